"""The teacher's targets: computed once per batch of text, cached on disk, shared by all students.

A batch (which blocks, cut and exchanged how) depends on the text, the view and the batch size alone. Each set
of targets is a folder under the shared targets folder, named by the content it depends on; each batch in it
is one memory-mapped safetensors file that carries its own hash. Files appear by renaming, so two writers at
most do the same work twice. The least recently used sets go when all of them outgrow `cache_limit`; a run
whose own set would not fit asks the live teacher instead.
"""

import functools
import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from distilsearch.home import ensure_folder, targets_folder

from .data import BlockArray, Text, add_frame, framing, pieces
from .losses import pooled
from .precision import autocast
from .recipes import Recipe, View
from .teacher import Teacher

CACHE_LIMIT = 8 << 30  # bytes
SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Batch:
    """Token ids of unpadded sequences, and what the teacher says of them."""

    input_ids: Tensor  # (n, s) int64
    masked: Tensor  # (k,) positions in the flattened batch whose words are hidden; empty unless masked-LM
    labels: Tensor  # (k,) the words that stood there
    targets: Mapping[str, Tensor] = field(default_factory=dict)


def make_batch(teacher: Teacher, blocks: BlockArray, view: View, mask: float, seed: tuple[int, ...]) -> Batch:
    """Show blocks (m, block) through a view; the same seed gives the same words."""
    frame = framing(teacher)
    cut = pieces(blocks, view.length, frame) if view.length else blocks
    generator = np.random.default_rng(seed)
    before, after = len(frame[0]), cut.shape[1] - len(frame[1])
    inner = cut[:, before:after]
    if view.noise:
        exchanged = generator.random(inner.shape) < view.noise
        inner = np.where(exchanged, generator.choice(whole_words(teacher), inner.shape), inner)
    masked, labels = np.zeros(0, np.int64), np.zeros(0, np.int64)
    if teacher.kind == "mlm":
        inner, masked, labels = _hide(teacher, inner, mask, generator)
        rows, columns = np.divmod(masked, inner.shape[1])
        masked = rows * cut.shape[1] + columns + before
    ids = add_frame(inner.astype(np.int32), frame).astype(np.int64)
    return Batch(torch.from_numpy(ids), torch.from_numpy(masked), torch.from_numpy(labels))


@functools.lru_cache(maxsize=4)  # by the identity of the teacher; the vocabulary has tens of thousands of words
def whole_words(teacher: Teacher) -> npt.NDArray[np.int64]:
    """The ids of the vocabulary's whole alphabetic words (special tokens and word parts left out)."""
    special = set(teacher.tokenizer.all_special_ids)
    words = (i for token, i in teacher.tokenizer.get_vocab().items() if _is_word(token) and i not in special)
    return np.sort(np.fromiter(words, np.int64))


def _is_word(token: str) -> bool:
    return len(token.lstrip("▁Ġ")) > 1 and token.lstrip("▁Ġ").isalpha()


def _hide(
    teacher: Teacher, inner: npt.NDArray[Any], share: float, generator: np.random.Generator
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """BERT's masking: a share of the words; of these 80 % become [MASK], 10 % another word, 10 % stay."""
    count = max(1, round(share * inner.size))
    masked = np.sort(generator.choice(inner.size, count, replace=False))
    shown = inner.astype(np.int64).ravel().copy()
    labels = shown[masked].copy()
    fate = generator.random(count)
    shown[masked[fate < 0.8]] = teacher.tokenizer.mask_token_id
    other = masked[(fate >= 0.8) & (fate < 0.9)]
    shown[other] = generator.integers(0, teacher.config.vocab_size, len(other))
    return shown.reshape(inner.shape), masked, labels


def ask_teacher(
    teacher: Teacher, batch: Batch, names: tuple[str, ...], layer: int, precision: str
) -> dict[str, Tensor]:
    """One pass of the teacher: "hidden" (n, s, v), "pooled" (n, v), "queries" ..., or "transformed" (k, v)."""
    model = teacher.model()
    states: dict[str, Tensor] = {}
    wanted = relation_modules(model, layer) if "queries" in names else {}
    hooks = [module.register_forward_hook(_keep(states, name)) for name, module in wanted.items()]
    try:
        with torch.no_grad(), autocast(precision):
            hidden = model.base_model(input_ids=batch.input_ids).last_hidden_state
            if "transformed" in names:
                chosen = hidden.flatten(0, 1)[batch.masked]
                states["transformed"] = model.cls.predictions.transform(chosen)
    finally:
        for hook in hooks:
            hook.remove()
    states["hidden"] = hidden
    if "pooled" in names:
        states["pooled"] = pooled(hidden.float(), teacher.pooling)
    return {name: _stored(name, states[name]) for name in names}


def _stored(name: str, value: Tensor) -> Tensor:
    return value.float().contiguous() if name == "pooled" else value.bfloat16().contiguous()


def relation_modules(model: Any, layer: int) -> dict[str, Any]:
    """The projections of one encoder layer, whose outputs are the queries, keys and values."""
    attention = model.base_model.encoder.layer[layer].attention.self
    return {"queries": attention.query, "keys": attention.key, "values": attention.value}


def _keep(states: dict[str, Tensor], name: str) -> Any:
    def hook(module: Any, inputs: Any, output: Tensor) -> None:
        states[name] = output

    return hook


def target_names(recipe: Recipe) -> tuple[str, ...]:
    """What the losses of a recipe need of the teacher."""
    losses = {loss for loss, weight in recipe.weights if weight}
    names: list[str] = []
    if "tokens" in losses:
        names.append("hidden")
    if losses & {"embedding", "similarity"}:
        names.append("pooled")
    if "relation" in losses:
        names += ["queries", "keys", "values"]
    if "logits" in losses:
        names.append("transformed")
    return tuple(names)


class Targets:
    """The batches of a text in training order, with the teacher's targets from the cache or the live teacher."""

    def __init__(
        self, teacher: Teacher, text: Text, recipe: Recipe, precision: str, cache_limit: int = CACHE_LIMIT
    ) -> None:
        self.teacher, self.text, self.recipe, self.precision = teacher, text, recipe, precision
        self.names = target_names(recipe)
        self.rows = max(1, min(len(text.train), recipe.batch_tokens // text.block))
        self.batches = len(text.train) // self.rows
        self.cache_limit = cache_limit
        self._folders: dict[View, Path | None] = {}

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """The order of batches in an epoch; the same for every student, so that budgets are comparable."""
        if epoch == 0:
            return np.arange(self.batches)
        return np.random.default_rng(epoch).permutation(self.batches)

    def batch(self, step: int) -> Batch:
        """The batch of a training step."""
        epoch, place = divmod(step, self.batches)
        index = int(self.order(epoch)[place])
        views = self.recipe.views
        return self.get(index, views[(index + epoch) % len(views)])

    def get(self, index: int, view: View) -> Batch:
        """Batch `index` of the text through `view`."""
        blocks = self.text.train[index * self.rows : (index + 1) * self.rows]
        batch = make_batch(self.teacher, blocks, view, self.recipe.mask, (index,))
        folder = self._folder(view)
        path = folder / f"{index:06d}.safetensors" if folder else None
        targets = read_targets(path, self.names) if path else None
        if targets is None:
            targets = ask_teacher(self.teacher, batch, self.names, self.recipe.layer, self.precision)
            if path:
                write_targets(path, targets)
        return Batch(batch.input_ids, batch.masked, batch.labels, targets)

    def _folder(self, view: View) -> Path | None:
        """Where this view's targets are cached; none when they would not fit."""
        if view not in self._folders:
            fits = self._bytes() <= self.cache_limit
            self._folders[view] = open_set(self._key(view), self.cache_limit, self._bytes()) if fits else None
        return self._folders[view]

    def _key(self, view: View) -> str:
        teacher = self.teacher
        content = [SCHEMA, teacher.weights_sha256, teacher.tokenizer_sha256, self.text.sha256, self.names]
        content += [self.rows, [view.length, view.noise], self.precision]
        content += [self.recipe.layer if "queries" in self.names else 0]
        content += [self.recipe.mask if teacher.kind == "mlm" else 0]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]

    def _bytes(self) -> int:
        """An upper estimate of the size of one epoch's targets."""
        width = self.teacher.facts.width
        a_token = sum({"pooled": 1, "transformed": 2 * self.recipe.mask * width}.get(n, 2 * width) for n in self.names)
        return int(a_token * self.text.tokens)


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
