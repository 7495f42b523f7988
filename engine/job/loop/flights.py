"""A trial under way, and what is kept of it when it has landed: as a result, or as a failure of a kind."""

import re
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from distilsearch.distill.store.trial import UNTRAINED_BLOCKS, Trial
from distilsearch.errors import TrialError
from distilsearch.profiling.clock import Measured

from ..ledger import Entry
from ..serving.losses import Losses

FACTS = ("asked", "trial", "tokens", "seconds", "parameters", "curve", "parts", UNTRAINED_BLOCKS)
NUMBERS = re.compile(r"[0-9a-f]{12,}|[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?")


@dataclass(frozen=True)
class Timing:
    """A measurement of several members, or of one `alone`, and the place of one of them."""

    future: "Future[list[Measured]]"
    place: int
    alone: bool


@dataclass
class Flight:
    """A trial under way: its training, what is served of it judged, and its measurement on each machine.

    `unmeasured`: why it could not be measured, by machine.
    """

    entry: Entry
    training: "Future[list[Trial | TrialError]]"
    judging: "Future[Losses] | None" = None
    measuring: dict[str, Timing] = field(default_factory=dict)
    unmeasured: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    @property
    def futures(self) -> "list[Future[Any]]":
        """All that must be done before it lands."""
        judging = [] if self.judging is None else [self.judging]
        return [self.training, *judging, *(timing.future for timing in self.measuring.values())]

    @property
    def done(self) -> bool:
        """Whether it can land."""
        return all(future.done() for future in self.futures)


def kind_of(cause: str) -> str:
    """What failures of one kind have in common: the first line of their cause, without its numbers and keys.

    >>> kind_of("the loss is 1.5e9 at step 12; the end of trainer-2.log") == kind_of("the loss is 7 at step 900; ...")
    False
    >>> kind_of("the loss is 1.5e9 at step 12\\nand so on") == kind_of("the loss is 7 at step 900")
    True
    """
    return NUMBERS.sub("#", cause.partition("\n")[0])


def facts_of(trial: Trial) -> dict[str, Any]:
    """What the ledger keeps of a trained student: `FACTS`."""
    plain = {
        "asked": trial.training.tokens,
        "trial": trial.key,
        "tokens": trial.tokens,
        "seconds": trial.seconds,
        "parameters": trial.parameters,
        "curve": [list(point) for point in trial.curve],
    }
    more = {"parts": trial.parts, UNTRAINED_BLOCKS: trial.untrained_blocks}
    return plain | {name: value for name, value in more.items() if value}
