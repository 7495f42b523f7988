"""Which subsets of a teacher's layers are worth starting from: each is judged by what its untrained cut loses.

A cut is judged at full width on blocks of the training text: what is held out is not chosen on. Up to `ALL` layers all
subsets are judged; of deeper teachers those that two searches meet, one that takes layers away from the whole teacher
and one that puts layers into none, each going on from its best few. What was judged is kept in the home.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Self

import numpy as np

from distilsearch import strict
from distilsearch.errors import InputError
from distilsearch.families.cuts import layers_of, subset_text
from distilsearch.home import targets_folder, write_atomically
from distilsearch.progress import Between, Progress, nothing, silent

from ..targets.cache import outputs_key
from ..teachers.teacher import Teacher
from ..texts.data import Text, learnt_name
from .peeled import Peeled, Subset

SCHEMA = 1
JUDGING = "judging cuts"
ALL = 8  # layers of a teacher, up to which all of its subsets are judged
BEAM = 2  # subsets of a size that a search goes on from
MOST_BLOCKS, FEWEST_BLOCKS = 32, 16  # 496 and 120 pairs
WORK, WORK_SECONDS = 1e12, 10.0  # operations that the number of blocks is made for: about 10 seconds of one core


@dataclass(frozen=True)
class Judged:
    """Losses of untrained cuts of full width, by subset; lower is better.

    `short` says what there was no time to judge; "" where all is there.
    """

    losses: Mapping[Subset, float]
    short: str = field(default="", compare=False)

    def best(self, layers: int, count: int = 1) -> list[str]:
        """The best subsets of so many layers as values of the gene, best first; equal ones in the order of layers."""
        own = [(loss, subset) for subset, loss in self.losses.items() if len(subset) == layers]
        return [subset_text(subset) for _, subset in sorted(own)[:count]]


def judged_cuts(
    teacher: Teacher,
    text: Text,
    layers: Iterable[int],
    progress: Progress = silent,
    between: Between = nothing,
    seconds: float = math.inf,
) -> Judged:
    """The losses of a teacher's cuts of some numbers of layers; found in the home, else measured on this machine's CPU.

    Args:
        between: called after each cut.
        seconds: that it may take. Of few, fewer blocks are looked at; when they are over, what was judged counts, and
            is kept for a call that has more. One that has no more finds what the one before it did.

    Raises:
        TeacherError: its layers cannot be run one by one.
    """
    depth = teacher.facts.layers
    sizes = sorted({size for size in layers if 0 < size < depth})
    until = time.monotonic() + seconds
    for blocks in sorted({_blocks(teacher, depth), _blocks(teacher, depth, seconds)}, reverse=True):
        place = partial(_place, teacher, blocks)
        path = place(learnt_name(text, place))
        kept = _Kept.read(path)
        if not (missing := [size for size in sizes if size not in kept.sizes]):
            return Judged(kept.losses)
    expected = _subsets_in(depth, missing)
    if all(kept.stopped.get(size, 0.0) >= seconds for size in missing):
        return Judged(kept.losses, _short(len(kept.losses), expected, seconds))
    asking = _Asking(Peeled(teacher, shown(text, blocks)), kept.losses, expected, until, progress, between)
    losses = {**kept.losses, **searched(depth, missing, asking)}
    progress(JUDGING, expected, expected)
    kept.with_more(losses, missing, seconds if asking.stopped else None).write(path)
    return Judged(losses, _short(len(losses), expected, seconds) if asking.stopped else "")


def _short(judged: int, expected: int, seconds: float) -> str:
    """What was left out, in words."""
    return f"{judged} of at most {max(judged, expected)} cuts were judged in the {seconds:.1f} s there were"


@dataclass
class _Asking:
    """Asks for the losses of subsets that are not known yet, until its time is over; what is under way then ends.

    Where there will not be time for all, some are left out on the way, so that those that are judged lie evenly among
    them: in their order those without the first layers would be the last, and most students of few layers are there.
    """

    peeled: Peeled
    known: Mapping[Subset, float]
    expected: int
    until: float
    progress: Progress
    between: Between
    stopped: bool = False
    passed: int = 0  # subsets that were asked for, judged or not
    judged: int = 0
    began: float = field(default_factory=lambda: time.monotonic())

    def __call__(self, subsets: Sequence[Subset], done: int) -> Mapping[Subset, float]:
        made = {subset: self.known[subset] for subset in subsets if subset in self.known}
        self.passed += len(subsets)
        missing = [one for one in subsets if one not in made]
        while missing and (
            more := self.peeled.losses(missing, partial(self._told, done + len(made)), self._going, self._step)
        ):
            made |= more
            missing = [one for one in missing if one not in made]
            if self._starts() < self._ahead + len(missing):
                break  # else there was more time than it seemed
        self.stopped = self.stopped or bool(missing)
        return made

    def _told(self, done: int, count: int) -> None:
        self.judged += 1
        self.progress(JUDGING, min(done + count, self.expected), self.expected)
        self.between()

    def _going(self) -> bool:
        return time.monotonic() <= self.until

    def _step(self, left: int) -> int:
        """So many places on that the last subset is reached as the time is over."""
        starts, whole = self._starts(), left + self._ahead
        return 1 if starts >= whole else math.ceil(whole / max(1.0, starts))

    @property
    def _ahead(self) -> int:
        """Subsets that later steps of a search ask for, about."""
        return max(0, self.expected - self.passed)

    def _starts(self) -> float:
        """How many more can be begun in the time that is left, at the pace so far."""
        now = time.monotonic()
        each = (now - self.began) / max(1, self.judged)
        return (self.until - now) // each + 1 if each > 0 and math.isfinite(self.until) else math.inf


@dataclass(frozen=True)
class _Kept:
    """What was judged before: losses, of which numbers of layers all are there, and of which time was over, after how
    many seconds."""

    losses: Mapping[Subset, float] = field(default_factory=dict)
    sizes: frozenset[int] = frozenset()
    stopped: Mapping[int, float] = field(default_factory=dict)

    def with_more(self, losses: Mapping[Subset, float], sizes: Sequence[int], seconds: float | None) -> Self:
        """With these losses, of which all of some sizes are there; or, after `seconds`, not all."""
        others = {size: former for size, former in self.stopped.items() if size not in sizes}
        if seconds is None:
            return replace(self, losses=losses, sizes=self.sizes.union(sizes), stopped=others)
        return replace(self, losses=losses, stopped=others | dict.fromkeys(sizes, seconds))

    def write(self, path: Path) -> None:
        losses = {subset_text(subset): loss for subset, loss in sorted(self.losses.items())}
        data = {"schema": SCHEMA, "sizes": sorted(self.sizes), "losses": losses}
        stopped = {"stopped": {str(size): seconds for size, seconds in sorted(self.stopped.items())}}
        write_atomically(path, json.dumps(data | (stopped if self.stopped else {}), indent=1))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Nothing where that cannot be read."""
        try:
            data = strict.table(strict.read_json(path), "judged cuts")
            losses, stopped = strict.table(data["losses"], "losses"), strict.table(data.get("stopped", {}), "stopped")
            return cls(
                {tuple(layers_of(one)): strict.number(loss, one) for one, loss in losses.items()},
                frozenset(strict.whole(size, "sizes") for size in data["sizes"]),
                {int(size): strict.number(seconds, size) for size, seconds in stopped.items()},
            )
        except (OSError, ValueError, KeyError, TypeError, InputError):
            return cls()


def _place(teacher: Teacher, blocks: int, text: str) -> Path:
    content = f"{SCHEMA} {ALL} {BEAM} {blocks} {outputs_key(teacher)} {text}"
    return targets_folder() / f"cuts-{hashlib.sha256(content.encode()).hexdigest()[:32]}.json"


def best_cuts(judged: Judged, layers: Iterable[int], depth: int, count: int) -> list[str]:
    """The best few cuts of each depth below the teacher's, as values of the gene."""
    return [cut for size in layers if size < depth for cut in judged.best(size, count)]


def name_of_shown(text: str, blocks: int) -> str:
    """The name of the blocks of a text that are `shown`; `text`: by which name it goes."""
    return f"{text} cuts {blocks}"


def shown(text: Text, blocks: int) -> Text:
    """Training blocks of a text, evenly spread over it, in place of what is held out: of those nothing is chosen on."""
    places = np.linspace(0, len(text.train) - 1, min(blocks, len(text.train))).round().astype(int)
    return replace(text, heldout=text.train[places], sha256=name_of_shown(text.learnt, blocks))


Ask = Callable[[Sequence[Subset], int], Mapping[Subset, float]]
"""The losses of subsets, where so many have been judged before; of some of them alone, where time is over."""


def searched(depth: int, sizes: Sequence[int], ask: Ask) -> dict[Subset, float]:
    """The losses of all subsets of some sizes out of few layers; out of many, of those that two searches meet."""
    if depth <= ALL:
        return dict(ask([subset for size in sizes for subset in combinations(range(depth), size)], 0))
    made: dict[Subset, float] = {}
    # the one that takes less comes first: where time is over, something is known of few layers, as students have
    ways = (((), partial(_more, depth=depth), max(sizes)), (tuple(range(depth)), _fewer, depth - min(sizes)))
    for first, neighbours, steps in ways:
        going: list[Subset] = [first]
        for _ in range(steps):
            near = {subset for one in going for subset in neighbours(one)}
            made |= ask(sorted(near - made.keys()), len(made))
            going = sorted(near & made.keys(), key=lambda subset: (made[subset], subset))[:BEAM]
    return made


def _subsets_in(depth: int, sizes: Sequence[int]) -> int:
    """How many subsets are judged, at most."""
    if depth <= ALL:
        return sum(math.comb(depth, size) for size in sizes)
    return BEAM * (sum(range(min(sizes) + 1, depth + 1)) + sum(depth - size for size in range(max(sizes))))


def _passes(depth: int) -> int:
    """Passes through one layer that all sizes take, about: of many layers, a third of a subset's are its own."""
    return 2**depth - 1 if depth <= ALL else _subsets_in(depth, [1, depth - 1]) * depth // 3


def _fewer(subset: Subset) -> Iterable[Subset]:
    return (subset[:place] + subset[place + 1 :] for place in range(len(subset)))


def _more(subset: Subset, depth: int) -> Iterable[Subset]:
    return (tuple(sorted((*subset, layer))) for layer in range(depth) if layer not in subset)


def _blocks(teacher: Teacher, depth: int, seconds: float = WORK_SECONDS) -> int:
    """As many blocks as the work is meant for, by the weights of a layer; of less time fewer."""
    facts = teacher.facts
    weights = 4 * facts.width**2 + (3 if facts.family == "llama" else 2) * facts.width * facts.ffn
    per_block = 2 * weights * _passes(depth) * min(128, teacher.longest)
    return int(np.clip(WORK * min(1.0, seconds / WORK_SECONDS) / per_block, FEWEST_BLOCKS, MOST_BLOCKS))
