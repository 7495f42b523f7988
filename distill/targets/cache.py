"""Targets on disk: sets of memory-mapped safetensors files, each with its own hash, the oldest sets given up first.

All sets together never outgrow the limit, however many processes write: one does at a time, under a lock of the whole
folder, and makes room before it writes. The file `used` of a set says how many bytes it holds, and by its time when
it was last read or written.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from distilsearch.home import ensure_folder, file_lock, targets_folder

from ..teachers.teacher import Teacher

UNSAID = ("_name_or_path", "transformers_version")  # of a config: where it lies and who wrote it
USED = "used"
LOCK = ".lock"
HEADER = 4096  # bytes; more than names, shapes and hash of one file's tensors take


def outputs_key(teacher: Teacher) -> str:
    """A key over everything that a teacher's outputs depend on: weights, vocabulary, config and pooling.

    What else surrounds it is in the key too, where students of version 0.1.0 did not carry all of it.
    """
    config = {name: value for name, value in teacher.config.to_dict().items() if name not in UNSAID}
    content = [teacher.weights_sha256, teacher.tokenizer_sha256, teacher.pooling, config]
    content += [teacher.surroundings.identity] if teacher.surroundings.identity else []
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def set_folder(key: str) -> Path:
    """Where a set of targets lies."""
    return targets_folder() / f"set-{key}"


def open_set(key: str) -> Path:
    """The folder of a set of targets, made where it is absent; the bytes in it are counted again."""
    with file_lock(targets_folder() / LOCK):
        folder = ensure_folder(set_folder(key))
        (folder / USED).write_text(str(_count(folder)))
    return folder


def write_targets(path: Path, targets: Mapping[str, Tensor], limit: int) -> None:
    """Write one batch's targets into an open set, with their hash; without room, or on a full disk, nothing is cached.

    A set that another writer has removed meanwhile is not begun again: the two would remove each other's forever.
    """
    stored = {name: value.cpu() for name, value in targets.items()}  # a live teacher answers where it is
    size = HEADER + sum(value.numel() * value.element_size() for value in stored.values())
    temporary = path.with_name(f".{path.name}")
    try:
        with file_lock(targets_folder() / LOCK):
            if path.parent.is_dir() and _make_room(path.parent, size, limit):
                held = _held(path.parent) - _size(path)
                save_file(stored, str(temporary), {"sha256": _digest(stored)})
                temporary.replace(path)
                (path.parent / USED).write_text(str(held + _size(path)))
    except (OSError, SafetensorError):
        with contextlib.suppress(OSError):  # it stays where the disk has become read-only
            temporary.unlink(missing_ok=True)


def read_targets(path: Path, names: tuple[str, ...]) -> dict[str, Tensor] | None:
    """Targets of a batch; none when they are absent or damaged (they are then made again)."""
    try:
        os.utime(path.with_name(USED))
        with safe_open(str(path), framework="pt") as file:
            targets = {name: file.get_tensor(name) for name in names}
            sha256 = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError, RuntimeError):  # the last where another writer removes the file in mid-opening
        return None
    return targets if _digest(targets) == sha256 else None


def _make_room(folder: Path, size: int, limit: int) -> bool:
    """Remove other sets, least recently used first, until so many bytes more fit; false where they never will."""
    if _held(folder) + size > limit:
        return False
    sets = sorted(targets_folder().glob("set-*"), key=_last_used)
    total = size + sum(_held(path) for path in sets)
    for path in sets:
        if total > limit and path != folder:
            held = _held(path)
            shutil.rmtree(path, ignore_errors=True)
            total -= held - _held(path)
    return total <= limit


def _held(folder: Path) -> int:
    """Bytes of a set, as noted, or counted where no note can be read."""
    try:
        return int((folder / USED).read_text())
    except (OSError, ValueError):
        return _count(folder)


def _count(folder: Path) -> int:
    return sum(_size(path) for path in folder.glob("*.safetensors"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _last_used(folder: Path) -> float:
    try:
        return (folder / USED).stat().st_mtime
    except OSError:
        return 0.0


def _digest(targets: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(targets):
        digest.update(name.encode())
        digest.update(targets[name].contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
