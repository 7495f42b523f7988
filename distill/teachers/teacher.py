"""The teacher: a transformers model on disk, checked before any work is done on it.

A teacher is opened from safetensors only and never runs code that comes with it. What a model is for decides
its kind: "embedding" (sentence-transformers files, or an encoder without a head), "mlm" or "causal". The
kind decides which targets a student learns from and what its loss is.
"""

import contextlib
import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from distilsearch.errors import InputError, TeacherError, unknown
from distilsearch.families import TeacherFacts, family, family_of

from .checkpoint import CONFIG, check_finite, count_parameters
from .ending import Ending
from .fit import check_fit
from .frame import Frame, frame_of, prompt_ids
from .named import INSTALL_QUICKSTART, quickstart_folder
from .pooling import pooling_of
from .refusals import Checkpoint, check_reach, check_tokens, read_checkpoint
from .surroundings import Surroundings, lower_cased, lowers, read_surroundings

QUICKSTART_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

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
    surroundings: Surroundings
    weights_sha256: str
    tokenizer_sha256: str
    parameters: int
    prompt: str = ""  # before every text that is shown
    _loaded: list[Any] = field(default_factory=list, repr=False)

    @property
    def longest(self) -> int:
        """The most tokens of a text."""
        return family(self.facts.family).longest(self.config)

    @property
    def pooling(self) -> str:
        """How an embedding teacher makes one vector of its tokens, of `families.shared.POOLS`."""
        return self.surroundings.ending.pooling

    def shown(self, prompt: str) -> "Teacher":
        """The same teacher, asked with one of its prompts, by name; "" is its default, which usually is none.

        Raises:
            InputError: it has no such prompt.
        """
        if not prompt:
            return self
        if self.kind != "embedding":
            raise InputError(f"prompts are those of embedding teachers; {self.name} is a {self.kind} model: name none")
        if prompt not in self.surroundings.prompts:
            raise unknown(f"prompt of the teacher {self.name}", prompt, self.surroundings.prompts)
        return self.asked(self.surroundings.prompts[prompt])

    def asked(self, prompt: str) -> "Teacher":
        """The same teacher, asked with a prompt's own text."""
        return replace(self, prompt=prompt)

    @functools.cached_property
    def frame(self) -> Frame:
        """The ids that the tokenizer puts before and after every text."""
        return frame_of(self.tokenizer)

    @functools.cached_property
    def reader(self) -> Any:
        """The tokenizer's own backend, as text is to be read: lower-cased where the teacher wants it."""
        own = self.tokenizer.backend_tokenizer
        return lower_cased(own) if self.surroundings.lower_case and not lowers(self.tokenizer) else own

    @functools.cached_property
    def ending(self) -> Ending:
        """What makes one vector of the states of a text that begins with the prompt."""
        own = self.surroundings
        skip = 0 if own.include_prompt or not self.prompt else len(self.frame[0]) + len(prompt_ids(self))
        return replace(own.ending, skip=skip)

    def model(self, device: Any = None) -> Any:
        """The transformers model in float32, in evaluation mode, without gradients; loaded once.

        It moves to `device`, and without one stays where it is; at first that is the CPU.
        """
        if not self._loaded:
            self._loaded.append(_load_model(self.folder, self.kind))
        return self._loaded[0] if device is None else self._loaded[0].to(device)


def load_teacher(name: str) -> Teacher:
    """Open a teacher from a folder, a hub name, or "quickstart"; a `TeacherError` says what is wrong with it."""
    checkpoint = read_checkpoint(_folder(name))
    folder, kind = checkpoint.folder, checkpoint.kind
    config = _config(folder)
    facts = family_of(config.model_type).facts(config, name, kind, pooling_of(folder))
    longest = family(facts.family).longest(config)
    check_reach(folder, longest)
    _check_table(folder, kind, config)
    tokenizer = _tokenizer(folder)
    check_tokens(folder, kind, config, tokenizer)
    check_fit(folder, _LOADERS[kind], config, checkpoint.tensors, family(facts.family))
    weights_sha256 = _weights_sha256(name, checkpoint)
    surroundings = read_surroundings(folder, kind, tokenizer, config, longest)
    check_finite(checkpoint.weights)
    return Teacher(
        name=name,
        folder=folder,
        kind=kind,
        config=config,
        tokenizer=tokenizer,
        facts=facts,
        surroundings=surroundings,
        weights_sha256=weights_sha256,
        tokenizer_sha256=hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
        parameters=count_parameters(checkpoint.tensors),
        prompt=surroundings.prompts.get(surroundings.default_prompt or "", ""),
    )


def _weights_sha256(name: str, checkpoint: Checkpoint) -> str:
    """What the weights are known by; those of the quickstart must be the ones that were published."""
    digest = weights_digest(checkpoint.weights)
    if name == "quickstart" and digest != QUICKSTART_SHA256:
        raise TeacherError(
            f"the quickstart package's weights have sha256 {digest}, expected {QUICKSTART_SHA256}: it is "
            f"not the model it claims to be, and is not used; remove it, then {INSTALL_QUICKSTART}"
        )
    return digest


def _folder(name: str) -> Path:
    if name == "quickstart":
        return quickstart_folder()
    path = Path(name).expanduser()
    if path.exists():
        return path
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise TeacherError(f"{name!r} is not a model folder, a hub name ('owner/model') or 'quickstart'")
    return _download(name)


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.safetensors", "*.json", "*.txt", "*.model", "README.md"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise TeacherError(
            f"the teacher {name!r} is neither a folder here nor to be had from the hub ({reason}); "
            "name a folder with a transformers model, or 'quickstart'"
        ) from error


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


def weights_digest(paths: tuple[Path, ...]) -> str:
    """A sha256 of the content of weight files, one after another."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            for part in iter(lambda: file.read(1 << 22), b""):
                digest.update(part)
    return digest.hexdigest()
