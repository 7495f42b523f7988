"""Whether an exported file is still the checkpoint that it was made of: against torch on real text, before it is kept.

Float32 must give the same numbers, but for the order of sums. int8 does not, so it must rank and guess as well:
embeddings by their agreement with the checkpoint's own on held-out blocks, words by the cross-entropy it adds.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from distilsearch.artefacts.running import Runner
from distilsearch.errors import TrialError

from ..heldout.heldout import teacher_held_out
from ..quality import LOSS, NAMES
from ..teachers.teacher import Teacher
from ..texts.data import BlockArray, Text, framing, pieces
from .artefact import MASK, Artefact
from .asked import MOST_LOST
from .samples import Inputs
from .served_loss import held_of
from .whole import Whole

TOLERANCE = 1e-4  # of the largest number in an output: what float32 may differ by
FEWEST_CHECKED, MOST_CHECKED = 64, 256  # blocks that the cost of int8 is taken on
SHORT = 8  # tokens of a short piece, beside those that the tokenizer and a prompt add
ROUNDS = 40  # of timing, one call each
SAME_SPEED = 1.1  # times the fastest: what counts as no slower, on machines that others use too


@dataclass(frozen=True)
class Difference:
    """The largest difference of an output from torch's, and the largest of torch's own numbers."""

    largest: float
    scale: float

    @property
    def small(self) -> bool:
        """Whether it may be kept; never where it is no number."""
        return self.largest <= TOLERANCE * self.scale


def differences(module: Whole, runner: Runner, batches: Sequence[Inputs]) -> dict[str, Difference]:
    """How far a file's outputs are from torch's, by name; what stands under padding is nobody's."""
    worst = dict.fromkeys(module.outputs, Difference(0.0, 0.0))
    for batch in batches:
        with torch.inference_mode():
            expected = module(**{name: torch.from_numpy(array) for name, array in batch.items()})
        given = runner(batch)
        for name, theirs in zip(module.outputs, expected, strict=True):
            ours, theirs = given[name], theirs.numpy()
            if ours.shape != theirs.shape:
                raise TrialError(f"the output {name} has the shape {ours.shape}, and torch's has {theirs.shape}")
            real = batch[MASK].astype(bool) if theirs.ndim == 3 else np.ones(len(theirs), bool)
            apart = np.abs(ours[real] - theirs[real]).max()
            former, scale = worst[name], float(np.abs(theirs[real]).max())
            largest = np.maximum(former.largest, apart)  # unlike `max` it passes on what is no number
            worst[name] = Difference(float(largest), max(former.scale, scale))
    return worst


def check_differences(what: str, apart: Mapping[str, Difference]) -> dict[str, float]:
    """The largest difference by output; a `TrialError` where a file says something else than its checkpoint."""
    for name, difference in apart.items():
        if not difference.small:
            raise TrialError(
                f"{what} differs from torch: {name} by up to {difference.largest:.3g}, where numbers are up to"
                f" {difference.scale:.3g} and {TOLERANCE * difference.scale:.3g} is allowed; it is not kept"
            )
    return {name: difference.largest for name, difference in apart.items()}


def lost(artefact: Artefact, checkpoint: Teacher, text: Text, threads: int) -> float:
    """What an artefact adds to the loss of its own checkpoint: on blocks of a text or on short pieces, the larger."""
    added = []
    for few in judged_on(checkpoint, text):
        held = held_of(artefact, checkpoint, few, threads=threads)
        own = 0.0 if checkpoint.kind == "embedding" else teacher_held_out(checkpoint, few, LOSS).loss
        added.append(held.loss - own)
    return max(added)


def check_lost(what: str, kind: str, added: float, most: float = MOST_LOST) -> None:
    """A `TrialError` where int8 costs more than it may."""
    if not added <= most:
        raise TrialError(
            f"{what} adds {added:.4f} to the loss of its own checkpoint ({lost_words(kind)}), and {most:g} is allowed;"
            " it is not kept: serve float32, or calibrate on text more like what it will read"
        )


def lost_words(kind: str) -> str:
    """What `lost` is."""
    return f"1 - {NAMES[kind]} with it" if kind == "embedding" else NAMES[kind]


def judged_on(checkpoint: Teacher, text: Text) -> tuple[Text, ...]:
    """What the cost of int8 is taken on: held-out blocks, enough and not too many, and pieces as short as texts may be.

    Where few are held out, the last ones of those trained on are taken too: calibration looks at the first.
    """
    lacking = max(0, FEWEST_CHECKED - len(text.heldout))
    blocks = np.concatenate([text.heldout[:MOST_CHECKED], text.train[max(0, len(text.train) - lacking) :]])
    frame = framing(checkpoint)
    short = sum(map(len, frame)) + SHORT
    if text.block < 2 * short:
        return (_with_heldout(text, blocks),)
    return _with_heldout(text, blocks), _with_heldout(text, pieces(blocks, short, frame)[:MOST_CHECKED])


def _with_heldout(text: Text, blocks: BlockArray) -> Text:
    """A text with other held-out blocks; its name says so, since what teachers say of texts is kept by it."""
    named = hashlib.sha256(text.sha256.encode() + blocks.tobytes() + str(blocks.shape).encode()).hexdigest()
    return replace(text, heldout=blocks, sha256=named)


def fastest(
    runners: Mapping[str, Runner], inputs: Inputs, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """The least seconds of each for the same inputs: one call each in turn, so that all meet the same disturbances."""
    least = dict.fromkeys(runners, float("inf"))
    names = list(runners)
    for round_ in range(ROUNDS):
        for name in names if round_ % 2 else reversed(names):
            started = clock()
            runners[name](inputs)
            least[name] = min(least[name], clock() - started)
    return least


def better(seconds: Mapping[str, float], losses: Mapping[str, float]) -> str:
    """Of those as fast as the fastest, the one that loses least.

    >>> better({"dynamic": 1.0, "static": 1.05}, {"dynamic": 0.02, "static": 0.01})
    'static'
    >>> better({"dynamic": 1.0, "static": 1.5}, {"dynamic": 0.02, "static": 0.01})
    'dynamic'
    """
    fast = [name for name, each in seconds.items() if each <= SAME_SPEED * min(seconds.values())]
    return min(fast, key=lambda name: losses[name])
