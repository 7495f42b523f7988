"""Where trials come from: students distilled one by one, or whatever else can be asked for one.

A source says what job makes a trial; who runs it, and when, is none of its business. A source that must train
something first (a super-network, say) submits that in `prepare` and waits; its trials may then be mere evaluations.

A new source is one file of this shape and one line in `SOURCES`.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Protocol

from distilsearch.architecture import Architecture
from distilsearch.distill.job import Training
from distilsearch.distill.recipes import Recipe
from distilsearch.errors import unknown

from .jobs import Distil, Job, Rehearse

Submit = Callable[[Job], "Future[Any]"]
REHEARSED = 10**12  # tokens: no step of a rehearsal is near an end
GIVEN = ("making",)  # what a source is made with beside its options


class TrialSource(Protocol):
    """Makes trials. Its options are its further arguments, with defaults, as plain values."""

    def prepare(self, submit: Submit) -> None:
        """Do once, before the first trial, what all of them need; a second call finds it done.

        Raises:
            DistilSearchError: a job that was submitted failed.
        """

    def trial(self, architecture: Architecture, tokens: int) -> Job:
        """The job of one trial: its answer is a list of one, a trial or a `TrialError`.

        Asking has no effect: equal arguments give equal jobs. `tokens` is how long the student is trained, where the
        source trains it.
        """


@dataclass(frozen=True)
class Making:
    """What all trainings of a run share. `training` is of any length; `depot` is where a worker finds the rest.

    Trials may learn from a share of the text; what finishes a student is of the `whole` of it.
    """

    training: Training
    recipe: Recipe
    depot: str = ""
    device: str = "cpu"
    threads: int | None = None
    cache_limit: int = 20_000_000_000
    plugins: tuple[str, ...] = ()

    @property
    def whole(self) -> "Making":
        """The same on the whole text."""
        return replace(self, training=self.training.whole)

    @property
    def anew(self) -> bool:
        """Whether trials learn from a share of the text, so that nothing on the whole of it goes on from them."""
        return self.training.share < 1.0

    def distil(self, architectures: Sequence[Architecture], tokens: int) -> Distil:
        """The job that distils students side by side, each for that many tokens."""
        return Distil(self.training.at(tokens), architectures=tuple(architectures), **self._shared)

    def rehearse(self, architectures: Sequence[Architecture]) -> Rehearse:
        """The job that takes some steps of trainings, one after the other."""
        return Rehearse(self.training.at(REHEARSED), architectures=tuple(architectures), **self._shared)

    @property
    def _shared(self) -> dict[str, Any]:
        """What of a job does not depend on who is trained, and how long."""
        names = ("recipe", "depot", "device", "threads", "cache_limit", "plugins")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Distilled:
    """Every trial is a student of its own, distilled for some tokens: nothing to prepare."""

    making: Making

    def prepare(self, submit: Submit) -> None:
        """Nothing is needed beforehand."""

    def trial(self, architecture: Architecture, tokens: int) -> Job:
        """Distil it."""
        return self.making.distil([architecture], tokens)


SOURCES: dict[str, Callable[..., TrialSource]] = {"distilled": Distilled}


def open_source(name: str, making: Making, **options: Any) -> TrialSource:
    """The source of a name; an `InputError` lists the known ones."""
    if name not in SOURCES:
        raise unknown("source", name, SOURCES)
    return SOURCES[name](making, **options)
