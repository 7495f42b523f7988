"""What surrounds an embedding teacher in its folder: the modules and settings of sentence-transformers.

Read as sentence-transformers 6.2 reads them (`SentenceTransformer._parse_model_config`), and written for its students,
with only the width changed. What cannot be carried is refused when the teacher is opened.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers.normalizers import BertNormalizer, Lowercase
from tokenizers.normalizers import Sequence as Normalizers

from distilsearch.errors import TeacherError

from .ending import Dense, Ending, Normalize
from .pooling import LEGACY_POOLS, MODULES, read_modules, read_object, read_pooling
from .sentence_files import (
    TRANSFORMER,
    read_module,
    read_transformer,
    write_json,
    write_modules,
)

MODEL = "config_sentence_transformers.json"

FORMER: Mapping[str, Any] = {  # what students of version 0.1.0 carried, whatever their teacher had; never edited
    "modules": ["Normalize"], "truncate": None, "lower_case": False, "include_prompt": True, "prompts": {},
    "default_prompt": None, "similarity": "cosine", "length": None,
}  # fmt: skip
PROMPTS = ("query", "document")  # names that always are there, empty where nothing is said
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Of an embedding teacher.

    Args:
        ending: what follows the transformer.
        length: the most tokens of a text that are read, special ones included.
        lower_case: whether text is lower-cased before the tokenizer sees it.
        include_prompt: whether the tokens of a prompt are pooled.
        prompts: by name; `default_prompt` names the one that every text gets.
        settings: `config_sentence_transformers.json` as it is; None where there is none.
        identity: "" where students of version 0.1.0 carried all of it, else a sha256.
    """

    ending: Ending
    length: int
    lower_case: bool
    include_prompt: bool
    prompts: Mapping[str, str]
    default_prompt: str | None
    similarity: str
    settings: Mapping[str, Any] | None
    identity: str = ""


def read_surroundings(folder: Path, kind: str, tokenizer: Any, config: Any, longest: int) -> Surroundings:
    """What a teacher's folder says, a `TeacherError` where it cannot be carried.

    Without files of sentence-transformers it is what that package makes of a plain encoder: the mean of all tokens.

    Args:
        kind: of the teacher; only an embedding teacher has an `identity`.
        longest: the most tokens that the model reads.
    """
    sentence = (folder / MODULES).is_file()
    modules = read_modules(folder) if sentence else []
    own = read_transformer(folder) if sentence else {}
    settings = read_object(folder / MODEL) if sentence and (folder / MODEL).is_file() else None
    pooling, include_prompt = read_pooling(folder, modules) if sentence else ("mean", True)
    prompts, default = _prompts(folder, settings or {})
    after = tuple(read_module(folder, kind, path) for kind, path in modules if kind in ("Dense", "Normalize"))
    if after:
        _check_widths(folder, int(config.hidden_size), after)
    stated = int(own.get("max_seq_length") or 0)
    limit = min(_reads(folder, tokenizer), int(getattr(config, "max_position_embeddings", longest)))
    similarity = (settings or {}).get("similarity_fn_name")
    whole = Surroundings(
        ending=Ending(pooling, after, _truncate(folder, settings or {})),
        length=min(longest, stated or limit),
        lower_case=bool(own.get("do_lower_case")),
        include_prompt=include_prompt,
        prompts=prompts,
        default_prompt=default,
        similarity=similarity if similarity in SIMILARITIES else "cosine",  # any other name counts as none there too
        settings=settings,
    )
    former = min(longest, stated or longest)
    return replace(whole, identity=_identity(whole, tokenizer, former)) if kind == "embedding" else whole


def _identity(own: Surroundings, tokenizer: Any, former_length: int) -> str:
    changed: dict[str, Any] = {
        "modules": [_named(module) for module in own.ending.modules],
        "truncate": own.ending.truncate,
        "lower_case": own.lower_case and not lowers(tokenizer),
        "include_prompt": own.include_prompt,
        "prompts": {name: prompt for name, prompt in sorted(own.prompts.items()) if prompt},
        "default_prompt": own.default_prompt,
        "similarity": own.similarity,
        "length": own.length if own.length != former_length else None,
    }
    return "" if changed == FORMER else hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()


def write_surroundings(folder: Path, own: Surroundings, ending: Ending, width: int, length: int) -> None:
    """Write the surroundings of a student beside its model.

    Args:
        ending: the student's own.
        width: of its states.
        length: the most tokens that it reads.
    """
    pooling: dict[str, Any] = {"word_embedding_dimension": width}
    pooling |= {flag: name == ending.pooling for flag, name in LEGACY_POOLS.items()}
    write_modules(folder, pooling | {"include_prompt": own.include_prompt}, ending.modules)
    write_json(folder / TRANSFORMER, {"max_seq_length": length, "do_lower_case": own.lower_case})
    if own.settings is not None:
        write_json(folder / MODEL, own.settings)


def lowers(tokenizer: Any) -> bool:
    """Whether a tokenizer lower-cases by itself."""
    own = tokenizer.backend_tokenizer.normalizer
    parts: list[Any] = [own] if not isinstance(own, Normalizers) else [own[i] for i in range(len(own))]
    return any(isinstance(x, Lowercase) or (isinstance(x, BertNormalizer) and x.lowercase) for x in parts)


def lower_cased(backend: Any) -> Any:
    """A copy of a tokenizer that lower-cases first, as sentence-transformers makes it."""
    from tokenizers import Tokenizer

    copy = Tokenizer.from_str(backend.to_str())
    copy.normalizer = Normalizers([Lowercase(), *([copy.normalizer] if copy.normalizer is not None else [])])
    return copy


def _prompts(folder: Path, settings: Mapping[str, Any]) -> tuple[dict[str, str], str | None]:
    """The prompts by name, and which of them is the default."""
    prompts = settings.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise TeacherError(f"{folder / MODEL}: prompts should map names to text; got {prompts!r}")
    named = dict.fromkeys(PROMPTS, "") | {str(name): text or "" for name, text in prompts.items()}
    default = settings.get("default_prompt_name")
    if default is not None and default not in named:
        raise TeacherError(f"{folder / MODEL}: the default prompt {default!r} is none of {', '.join(named)}")
    return named, default


def _reads(folder: Path, tokenizer: Any) -> int:
    """The most tokens that a tokenizer says it reads; transformers says a very large number for none."""
    most = tokenizer.model_max_length
    if type(most) not in (int, float) or not 1 <= most < math.inf:
        raise TeacherError(
            f"{folder / 'tokenizer_config.json'}: model_max_length should be a positive whole number; got {most!r:.60}"
        )
    return int(most)


def _truncate(folder: Path, settings: Mapping[str, Any]) -> int | None:
    truncate = settings.get("truncate_dim")
    if truncate is not None and (type(truncate) is not int or truncate < 1):
        raise TeacherError(f"{folder / MODEL}: truncate_dim should be a positive whole number; got {truncate!r}")
    return truncate


def _check_widths(folder: Path, width: int, modules: tuple[Dense | Normalize, ...]) -> None:
    """Refuse a Dense module that does not read what comes before it."""
    for module in modules:
        if isinstance(module, Dense):
            outputs, inputs = module.weight.shape
            if inputs != width:
                raise TeacherError(
                    f"{folder}: a Dense module reads {inputs} numbers and is given {width}; save it anew"
                )
            width = int(outputs)


def _named(module: Dense | Normalize) -> str:
    """A module's name, that of a Dense one with its content."""
    if isinstance(module, Normalize):
        return "Normalize"
    digest = hashlib.sha256(module.weight.numpy().tobytes())
    digest.update(b"" if module.bias is None else module.bias.numpy().tobytes())
    return f"Dense {tuple(module.weight.shape)} {module.activation} {digest.hexdigest()}"
