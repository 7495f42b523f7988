"""Which models are no teachers, told from their configuration: by task, by family, by how their weights are kept.

Each is refused by its own name, with what is supported and what to give instead, before a weight is read. Nothing here
loads torch or transformers: commands ask first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilsearch import strict
from distilsearch.errors import TeacherError
from distilsearch.families import FAMILIES

from .checkpoint import CONFIG, Header, headers, model_folder, read_json, weight_files

MIN_BLOCK = 16  # tokens of a text that a teacher must be able to read
SUPPORTED = "teachers are embedding models, masked language models and causal language models"
BASE, MASKED, CAUSAL = ("Model",), ("ForMaskedLM", "ForPreTraining"), ("ForCausalLM", "LMHeadModel")
TASKS: Mapping[str, str] = {  # by the end of the name of a transformers class
    "ForSequenceClassification": "a classifier, regressor or reranker (cross-encoder)",
    "ForTokenClassification": "a token classifier",
    "ForQuestionAnswering": "a question answerer",
    "ForMultipleChoice": "a multiple-choice model",
    "ForNextSentencePrediction": "a judge of sentence pairs",
    "ForConditionalGeneration": "a model that reads a text and writes another",
    "ForSeq2SeqLM": "a model that reads a text and writes another",
    "ForImageClassification": "a classifier of images",
}
HEADS: Mapping[str, str] = {  # by the beginning of a weight's name, where a configuration does not say what it is for
    "classifier.": "a classifier or reranker (cross-encoder)",
    "score.": "a classifier or reranker",
    "qa_outputs.": "a question answerer",
}
QUANTISED_DTYPES = ("I8", "U8", "I4", "U4", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4")
QUANTISED_FILES = ("quantize_config.json", "quant_config.json", "hf_quant_config.json", "quant_model_description.json")
QUANTISED_PARTS = (".qweight", ".qzeros", ".absmax", ".quant_state.", ".weight_scale", ".weight_packed", ".SCB")


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a model folder from its configuration and the headers of its weights."""

    folder: Path
    kind: str  # "embedding" | "mlm" | "causal"
    weights: tuple[Path, ...]
    tensors: Mapping[str, Header]


def read_checkpoint(path: Path) -> Checkpoint:
    """A folder that may be a teacher, as far as its files' headers tell; else a `TeacherError` says what it is."""
    folder = model_folder(path)
    raw = configuration(folder)
    weights = weight_files(folder)
    checkpoint = Checkpoint(folder, kind_of(folder, raw), weights, headers(weights))
    _check_weights(checkpoint)
    return checkpoint


def configuration(folder: Path) -> dict[str, Any]:
    """The content of config.json of a model that can be a teacher, by what it says of itself.

    Raises:
        TeacherError: it needs code of its own, is of no family, for another task, or quantised.
    """
    raw = read_json(folder / CONFIG)
    if not isinstance(raw, dict):
        raise TeacherError(f"{folder / CONFIG} must hold a table, got {type(raw).__name__}; download the model again")
    if "auto_map" in raw:
        raise TeacherError(f"{folder} needs code of its own (auto_map in {CONFIG}), which is never run")
    _check_family(folder, raw)
    _check_task(folder, raw)
    _check_quantised(folder, raw)
    return raw


def kind_of(folder: Path, raw: Mapping[str, Any]) -> str:
    """What a teacher is for: "embedding", "mlm" or "causal"."""
    if (folder / "modules.json").is_file():
        return "embedding"
    names = architectures(raw)
    if any(name.endswith(CAUSAL) for name in names):
        return "causal"
    return "mlm" if any(name.endswith(MASKED) for name in names) else "embedding"


def architectures(raw: Mapping[str, Any]) -> list[str]:
    """The names of transformers classes that a configuration gives."""
    named = raw.get("architectures")
    return [str(name) for name in named] if isinstance(named, list) else []


def _check_weights(checkpoint: Checkpoint) -> None:
    """Refuse weights whose names or types tell of quantisation, or of a task nobody mentioned."""
    folder, tensors = checkpoint.folder, checkpoint.tensors
    packed = [name for name in tensors if any(part in f"{name}." for part in (f"{p}." for p in QUANTISED_PARTS))]
    narrow = [name for name, header in tensors.items() if header.dtype in QUANTISED_DTYPES]
    if packed or narrow:
        raise _quantised(folder, "", f"weights such as {(packed or narrow)[0]}")
    if checkpoint.kind != "embedding" or (folder / "modules.json").is_file():
        return
    for name in tensors:
        for beginning, what in HEADS.items():
            if name.startswith(beginning):
                raise _of_another_task(folder, f"{what}, by its weight {name}")


def check_tokens(folder: Path, kind: str, config: Any, tokenizer: Any) -> None:
    """A `TeacherError` where a token's number has no row in the embedding table, or one that is needed is absent."""
    rows = int(config.vocab_size)
    highest = max(tokenizer.get_vocab().values(), default=-1)
    size = max(len(tokenizer), highest + 1)
    if size > rows:
        numbered = f" (numbered up to {highest})" if size > len(tokenizer) else ""
        raise TeacherError(
            f"{folder}: the tokenizer has {len(tokenizer)} tokens{numbered} but the model embeds {rows}; "
            "they do not belong together, save the tokenizer the model was trained with"
        )
    padding = config.pad_token_id
    lowest = -1 if kind == "causal" else 0  # -1, the last row, is what early decoders say for none
    if padding is not None and not lowest <= padding < rows:
        right = tokenizer.pad_token_id
        raise TeacherError(
            f"{folder}: pad_token_id is {padding} in {CONFIG}, outside the vocabulary of {rows}; write "
            f"{'null' if right is None else right} there, which is what the tokenizer says"
        )
    needed = {"embedding": ("cls", "sep", "pad"), "mlm": ("cls", "sep", "pad", "mask"), "causal": ("eos",)}[kind]
    missing = [f"{name}_token" for name in needed if getattr(tokenizer, f"{name}_token_id") is None]
    if missing:
        raise TeacherError(f"{folder}: the tokenizer lacks {', '.join(missing)}, which {kind} teachers need")


def check_reach(folder: Path, longest: int) -> None:
    """A `TeacherError` where a teacher reads too few tokens for anything to be learnt of it."""
    if longest < MIN_BLOCK:
        raise TeacherError(
            f"{folder} reads texts of {longest} tokens (max_position_embeddings in {CONFIG}), and students are trained "
            f"on blocks of {MIN_BLOCK} or more; take a teacher of longer texts"
        )


def _check_family(folder: Path, raw: Mapping[str, Any]) -> None:
    model_types = sorted({model_type for kind in FAMILIES.values() for model_type in kind.teachers})
    if raw.get("model_type") in model_types:
        return
    names = architectures(raw)
    if "model_type" not in raw and (folder.parent / "modules.json").is_file():
        raise TeacherError(f"{folder} is one part of a sentence-transformers model; name {folder.parent}")
    what = f" ({', '.join(names)})" if names else ""
    raise TeacherError(
        f"{folder} is of model type {raw.get('model_type')!r}{what}; students can be made of: {', '.join(model_types)}"
    )


def _check_task(folder: Path, raw: Mapping[str, Any]) -> None:
    """Refuse what its own files say is for a task that has no students here."""
    about = folder / "config_sentence_transformers.json"
    said = read_json(about) if about.is_file() else {}
    task = said.get("model_type", "SentenceTransformer") if isinstance(said, dict) else "SentenceTransformer"
    if task != "SentenceTransformer":
        raise _of_another_task(folder, f"a sentence-transformers {task}")
    if (folder / "modules.json").is_file():
        _check_modules(folder / "modules.json")  # an embedding model, whatever its transformer was before
        return
    for name in architectures(raw):
        if not name.endswith((*BASE, *MASKED, *CAUSAL)):
            what = next((what for end, what in TASKS.items() if name.endswith(end)), "a model for another task")
            raise _of_another_task(folder, f"{what}, {name}")


def _check_modules(path: Path) -> None:
    """Refuse a list of modules that is none; which modules can be carried is checked where they are."""
    modules = read_json(path)
    fields = ("type", "path")
    if not isinstance(modules, list) or not all(
        isinstance(one, dict) and all(isinstance(one.get(name), str) for name in fields) for one in modules
    ):
        raise TeacherError(f"{path} must list modules, each with a type and a path; download the model again")
    for one in modules:
        if one["path"] not in ("", ".") and not strict.is_plain(one["path"]):
            raise TeacherError(f"{path} names {one['path']!r:.80}, which is no plain name below its own folder")


def _of_another_task(folder: Path, what: str) -> TeacherError:
    return TeacherError(
        f"{folder} is {what}, and its head would be lost; {SUPPORTED}. To distil its encoder for embeddings, save that "
        f"alone, with its tokenizer: from transformers import AutoModel; AutoModel.from_pretrained({str(folder)!r})"
        ".save_pretrained('encoder')"
    )


def _check_quantised(folder: Path, raw: Mapping[str, Any]) -> None:
    for key in ("quantization_config", "compression_config"):
        if raw.get(key):
            content = raw[key] if isinstance(raw[key], dict) else {}
            raise _quantised(folder, _method(content), f"{key} in {CONFIG}")
    for name in QUANTISED_FILES:
        if (folder / name).is_file():
            content = read_json(folder / name)
            raise _quantised(folder, _method(content if isinstance(content, dict) else {}), name)


def _method(content: Mapping[str, Any]) -> str:
    """How it was quantised, in the method's own word."""
    if content.get("quant_method"):
        return str(content["quant_method"])
    return "bitsandbytes" if content.get("load_in_4bit") or content.get("load_in_8bit") else ""


def _quantised(folder: Path, method: str, sign: str) -> TeacherError:
    how = f" by {method}" if method else ""
    return TeacherError(
        f"{folder} is quantised{how} ({sign}), and a student is cut from weights of full precision; give the model it "
        "was quantised from, in float32, bfloat16 or float16"
    )
