"""Which modules of sentence-transformers surround a model, and how its tokens are pooled: read without torch."""

from pathlib import Path
from typing import Any

from distilsearch.errors import TeacherError
from distilsearch.families.shared import POOLS

from .checkpoint import read_json

MODULES = "modules.json"
LEGACY_POOLS = {  # the flags of older files, in the order in which several are joined
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def pooling_of(folder: Path) -> str:
    """How the model in a folder pools its tokens; without files of sentence-transformers: their mean."""
    return read_pooling(folder, read_modules(folder))[0] if (folder / MODULES).is_file() else "mean"


def read_modules(folder: Path) -> list[tuple[str, str]]:
    """The kinds of modules and their paths, in order."""
    modules = [(str(module["type"]), str(module["path"])) for module in read_json(folder / MODULES)]
    foreign = [name for name, _ in modules if not name.startswith("sentence_transformers.")]
    kinds = [(name.rsplit(".", 1)[-1], path) for name, path in modules]
    names = [kind for kind, _ in kinds]
    foreign += [kind for kind in names if kind not in ("Transformer", "Pooling", "Normalize", "Dense")]
    if foreign or names[:2] != ["Transformer", "Pooling"] or names.count("Pooling") + names.count("Transformer") > 2:
        raise TeacherError(
            f"{folder}: a student carries Transformer, Pooling, Dense and Normalize modules, in this order; got "
            f"{foreign or names}, without which its vectors would be others; distil a model without them"
        )
    if kinds[0][1] not in ("", "."):
        raise TeacherError(
            f"{folder}: its Transformer lies in {kinds[0][1]}/ and not beside {MODULES}; save the model once with "
            "sentence-transformers 2 or later, or move the files of that folder here and empty its path"
        )
    return kinds


def read_pooling(folder: Path, modules: list[tuple[str, str]]) -> tuple[str, bool]:
    """How tokens are pooled, and whether those of a prompt are."""
    path = folder / modules[1][1] / "config.json"
    config = read_object(path)
    flags = [name for name, on in config.items() if name.startswith("pooling_mode_") and on is True]
    mode = config.get("pooling_mode") or [LEGACY_POOLS.get(flag, flag) for flag in flags] or "mean"
    mode = mode[0] if isinstance(mode, list) and len(mode) == 1 else mode
    if mode not in POOLS:
        raise TeacherError(f"{path}: a student can pool in one way of {', '.join(POOLS)}; got {mode!r}")
    return str(mode), config.get("include_prompt") is not False


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; a `TeacherError` where there is none."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise TeacherError(f"{path} should hold a JSON object; save the model again")
    return content
