"""The teacher's targets: computed once per batch of text, cached on disk, shared by all students.

A batch (which blocks, cut and exchanged how) depends on the text, the view and the batch size alone: a seed orders
batches, and changes nothing in them, so that trainings of all seeds share their targets. Each set
of targets is a folder under the shared targets folder, named by the content it depends on; each batch in it
is, through each view, one memory-mapped safetensors file that carries its own hash. Files appear by renaming, so
two writers at most do the same work twice. The least recently used sets go before all of them outgrow `cache_limit`;
what does not fit is asked of the live teacher each time. A training whose targets would not fit, neither those of all
its tokens nor an epoch's, begins no set: it asks the live teacher, once for all students that train side by side.
"""

import functools
import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distilsearch.errors import InputError
from distilsearch.families import family

from ..losses import LOSSES
from ..recipes import Recipe, View
from ..states import STATES
from ..teachers.teacher import Teacher
from ..texts.data import Text, framing, learnt_name
from .batch import Batch, make_batch
from .cache import open_set, outputs_key, read_targets, set_folder, write_targets
from .objective import TRANSFER
from .watch import look

CACHE_LIMIT = 8 << 30  # bytes
SCHEMA = 3


def ask_teacher(
    teacher: Teacher, batch: Batch, names: tuple[str, ...], layer: int, precision: str
) -> dict[str, Tensor]:
    """One pass of the teacher over a batch: the `STATES` that are named, those of one layer of `layer`."""
    model = teacher.model()
    batch = batch.to(next(model.parameters()).device)
    with torch.no_grad():
        states = look(
            family(teacher.facts.family),
            model,
            batch,
            names,
            layer,
            types=teacher.facts.types,
            pooling=teacher.ending,
            precision=precision,
        )
    for name in names:
        if STATES[name].per == "layer":
            states[name] = torch.stack(tuple(states[name]))
    return {name: STATES[name].stored(states[name]) for name in names}


def recipe_losses(recipe: Recipe) -> set[str]:
    """The losses that a recipe asks for at some step."""
    return {name for name, weight in recipe.weights if weight} | (set(TRANSFER) if recipe.progressive else set())


def target_names(recipe: Recipe) -> tuple[str, ...]:
    """The `STATES` of the teacher that the losses of a recipe ask for."""
    asked = {name for loss in recipe_losses(recipe) for name in LOSSES[loss].teacher}
    return tuple(name for name in STATES if name in asked)


def learnt_blocks(text: Text, share: float) -> int:
    """How many of a text's training blocks, the first ones, a share of it holds: blocks lie in random order.

    Raises:
        InputError: there is no such share, or it holds no block.
    """
    if not 0 < share <= 1:
        raise InputError(f"a share of the text lies above 0 and at 1 at most; got {share}")
    total = len(text.train)
    if not (blocks := int(share * total + 1e-9)):
        raise InputError(
            f"a share of {share:g} of the text's {total:,} training blocks of {text.block} tokens holds no block; give "
            f"at least share = {math.ceil(1e4 / total) / 1e4:g}, add text, or choose shorter blocks"
        )
    return blocks


def shows_pairs(recipe: Recipe) -> bool:
    """Whether a recipe shows each block as two halves that may not follow each other."""
    return any(LOSSES[name].pairs for name in recipe_losses(recipe))


def batch_rows(text: Text, recipe: Recipe, share: float = 1.0) -> int:
    """Blocks in a batch."""
    return max(1, min(learnt_blocks(text, share), recipe.batch_tokens // text.block))


class Targets:
    """The batches of a text in training order, with the teacher's targets from the cache or the live teacher.

    Those of a share of the text are its first ones, so what the teacher said of them counts for all of it.

    Args:
        cache_limit: bytes of the cache, of all sets together.
        tokens: of the longest training that asks for batches; an epoch or more where it is None.
    """

    def __init__(
        self,
        teacher: Teacher,
        text: Text,
        recipe: Recipe,
        precision: str,
        cache_limit: int = CACHE_LIMIT,
        seed: int = 0,
        share: float = 1.0,
        tokens: int | None = None,
    ) -> None:
        self.teacher, self.text, self.recipe, self.precision = teacher, text, recipe, precision
        self.seed, self.share, self.tokens = seed, share, tokens
        self.names = target_names(recipe)
        self.pairs = shows_pairs(recipe)
        self.rows = batch_rows(text, recipe, share)
        self.batches = learnt_blocks(text, share) // self.rows
        self.cache_limit = cache_limit
        self._check()

    def _check(self) -> None:
        """Refuse views that a block cannot be cut into: a word in a frame, one that has a next, or two in a pair."""
        shortest = max(2, sum(len(part) for part in framing(self.teacher)) + (3 if self.pairs else 1))
        for view in self.recipe.views:
            if view.length and view.length < shortest:
                raise InputError(
                    f"the recipe {self.recipe.name!r} shows pieces of {view.length} tokens, and here they hold at "
                    f"least {shortest}: choose longer ones"
                )

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """The order of batches in an epoch; the same for every student of a seed, so that budgets are comparable.

        Seed 0 begins in the order of the text; another one meets other batches in a budget below an epoch.
        """
        if epoch == 0 and self.seed == 0:
            return np.arange(self.batches)
        return np.random.default_rng([self.seed, epoch] if self.seed else epoch).permutation(self.batches)

    def batch(self, step: int, part: tuple[int, int] = (0, 1)) -> Batch:
        """The batch of a training step, or one of several parts of it."""
        epoch, place = divmod(step, self.batches)
        index = int(self.order(epoch)[place])
        views = self.recipe.views
        return self.get(index, views[(index + epoch) % len(views)], part)

    def get(self, index: int, view: View, part: tuple[int, int] = (0, 1)) -> Batch:
        """Batch `index` of the text through `view`; of a live teacher only the part is asked for."""
        blocks = self.text.train[index * self.rows : (index + 1) * self.rows]
        batch = make_batch(self.teacher, blocks, view, self.recipe.mask, (index,), self.pairs)
        if not self.names:
            return batch.part(*part)
        if self._folder is None:
            batch = batch.part(*part)
            return replace(batch, targets=self._ask(batch))
        cut = ("-sentences" if view.sentences else "") + ("-ends" if view.ends else "")
        path = self._folder / f"{index:06d}-{view.length}-{_exactly(view.noise)}{cut}.safetensors"
        targets = read_targets(path, self.names)
        if targets is None:
            targets = self._ask(batch)
            write_targets(path, targets, self.cache_limit)
        return replace(batch, targets=targets).part(*part)

    def _ask(self, batch: Batch) -> dict[str, Tensor]:
        return ask_teacher(self.teacher, batch, self.names, self.recipe.layer, self.precision)

    @functools.cached_property
    def _folder(self) -> Path | None:
        """Where the targets of all views are cached; none where those of this training would not fit."""
        if not self.cached:
            return None
        return open_set(self._key(learnt_name(self.text, lambda name: set_folder(self._key(name)))))

    @property
    def cached(self) -> bool:
        """Whether targets are kept for other trainings, and for later epochs."""
        most = self.most_cached
        return bool(self.names) and (most is None or (self.tokens is not None and self.tokens <= most))

    @property
    def most_cached(self) -> int | None:
        """The tokens of the longest training whose targets are cached; None: of any, for an epoch of them fits."""
        whole = self._bytes()
        return None if whole <= self.cache_limit else self._epoch_tokens * self.cache_limit // whole

    @property
    def _epoch_tokens(self) -> int:
        return self.batches * self.rows * self.text.block

    def _key(self, text: str) -> str:
        """`text`: the name of what is learnt."""
        content = [SCHEMA, outputs_key(self.teacher), text, self.names]
        content += [self.rows, self.precision]
        content += [self.recipe.layer if {"queries", "keys", "values"} & set(self.names) else 0]
        content += [self.recipe.mask if self.teacher.kind == "mlm" else 0]
        content += ["pairs"] if self.pairs else []
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]

    def _bytes(self) -> int:
        """About the size of one epoch's targets."""
        facts, words = self.teacher.facts, 1.0 if self.teacher.kind == "causal" else self.recipe.mask
        shortest = min(min(view.length or self.text.block, self.text.block) for view in self.recipe.views)
        sizes = [STATES[name].token_bytes(facts.width, facts.layers, shortest, words) for name in self.names]
        return int(sum(sizes) * self._epoch_tokens)


def _exactly(noise: float) -> str:
    """A share as short as it can be told from all others."""
    short = f"{noise:g}"
    return short if float(short) == noise else repr(noise)
