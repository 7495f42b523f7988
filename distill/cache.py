"""Targets on disk: sets of memory-mapped safetensors files, each with its own hash, the oldest sets given up first."""

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from distilsearch.home import ensure_folder, targets_folder

from .teacher import Teacher

UNSAID = ("_name_or_path", "transformers_version")  # of a config: where it lies and who wrote it


def outputs_key(teacher: Teacher) -> str:
    """A key over all that a teacher's outputs depend on: weights, vocabulary, and what its config makes of them."""
    config = {name: value for name, value in teacher.config.to_dict().items() if name not in UNSAID}
    content = [teacher.weights_sha256, teacher.tokenizer_sha256, teacher.pooling, config]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def open_set(key: str, limit: int, expected: int) -> Path:
    """The folder of a set of targets; older sets are removed until this one fits beside the rest."""
    root = targets_folder()
    folder = ensure_folder(root / f"set-{key}")
    folder.touch()
    (folder / "used").touch()
    others = [path for path in root.glob("set-*") if path != folder]
    sizes = {path: sum(file.stat().st_size for file in path.glob("*.safetensors")) for path in others}
    total = expected + sum(sizes.values())
    for path in sorted(others, key=_last_used):
        if total <= limit:
            break
        shutil.rmtree(path, ignore_errors=True)
        total -= sizes[path]
    return folder


def _last_used(folder: Path) -> float:
    try:
        return (folder / "used").stat().st_mtime
    except OSError:
        return 0.0


def write_targets(path: Path, targets: Mapping[str, Tensor]) -> None:
    """Write one batch's targets with their hash; a full disk only costs the cache."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        save_file(dict(targets), str(temporary), {"sha256": _digest(targets)})
        temporary.replace(path)
    except (OSError, SafetensorError):
        temporary.unlink(missing_ok=True)


def read_targets(path: Path, names: tuple[str, ...]) -> dict[str, Tensor] | None:
    """Targets of a batch; none when they are absent or damaged (they are then made again)."""
    try:
        with safe_open(str(path), framework="pt") as file:
            targets = {name: file.get_tensor(name) for name in names}
            sha256 = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return None
    return targets if _digest(targets) == sha256 else None


def _digest(targets: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(targets):
        digest.update(name.encode())
        digest.update(targets[name].contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
