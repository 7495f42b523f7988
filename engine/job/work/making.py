"""What all trainings of a run share, and the jobs that are made of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from distilsearch.architecture import Architecture
from distilsearch.distill.job import Training
from distilsearch.distill.recipes import Recipe

from ..jobs import Distil, Rehearse
from ..supernets.jobs import Score, TrainSuper
from ..supernets.supers import Super, key_of
from .cuts import Cut

REHEARSED = 10**12  # tokens: no step of a rehearsal is near an end


@dataclass(frozen=True)
class Making:
    """What all trainings of a run share. `training` is of any length; `depot` is where a worker finds the rest.

    Trials may learn from a share of the text; what finishes a student is of the `whole` of it, and so is what super-
    networks learn. `started`: whether trainings start from them.
    """

    training: Training
    recipe: Recipe
    depot: str = ""
    device: str = "cpu"
    threads: int | None = None
    cache_limit: int = 20_000_000_000
    plugins: tuple[str, ...] = ()
    supers: tuple[Super, ...] = ()
    started: bool = False

    @property
    def whole(self) -> "Making":
        """The same on the whole text."""
        return replace(self, training=self.training.whole)

    @property
    def anew(self) -> bool:
        """Whether trials learn from a share of the text, so that nothing on the whole of it goes on from them."""
        return self.training.share < 1.0

    def training_of(self, architecture: Architecture) -> Training:
        """How a student is trained: from the super-network that holds it, where trainings start from one."""
        return self.training.starting(key_of(self.supers, architecture)) if self.started else self.training

    @property
    def trainings(self) -> list[Training]:
        """All that students may have, of the length of `training`."""
        return [self.training.starting(one.key) for one in self.supers] if self.started else [self.training]

    def ways(self, architecture: Architecture, lengths: Iterable[int]) -> list[Training]:
        """All trainings that a student may have had: of each length, on a share of the text and on all of it."""
        starts = (self.training_of(architecture), self.whole.training_of(architecture))
        return [start.at(tokens) for tokens in lengths if tokens or self.started for start in starts]

    def alike(self, architectures: Sequence[Architecture]) -> list[list[Architecture]]:
        """Students in groups that one job may train side by side: those of one start, in their order."""
        groups: dict[Training, list[Architecture]] = {}
        for architecture in architectures:
            groups.setdefault(self.training_of(architecture), []).append(architecture)
        return list(groups.values())

    def distil(self, architectures: Sequence[Architecture], tokens: int) -> Distil:
        """The job that distils students side by side, all of one start, each for that many tokens."""
        training = self.training_of(architectures[0]).at(tokens)
        return Distil(training, architectures=tuple(architectures), **self._shared)

    def by_super(self, architectures: Sequence[Architecture]) -> list[list[Architecture]]:
        """Students in groups of one super-network each, in their order."""
        return replace(self, started=True).alike(architectures)

    def score(self, architectures: Sequence[Architecture]) -> Score:
        """The job that evaluates sub-networks, all of one super-network."""
        training = self.training.whole.starting(key_of(self.supers, architectures[0])).at(0)
        return Score(training, architectures=tuple(architectures), **self._shared)

    def cut(self, architectures: Sequence[Architecture]) -> Cut:
        """The job that judges students as they are cut."""
        return Cut(self.training, architectures=tuple(architectures), **self._shared)

    def train_supers(self) -> list[TrainSuper]:
        """The jobs that train the super-networks."""
        return [TrainSuper(one.training, part=one.part, genes=one.genes, **self._shared) for one in self.supers]

    def rehearse(self, architectures: Sequence[Architecture], probe: int = 0) -> Rehearse:
        """The job that takes some steps of trainings, one after the other; `probe`: blocks they are scored on."""
        training = self.training.at(REHEARSED)
        return Rehearse(training, architectures=tuple(architectures), probe=probe, **self._shared)

    @property
    def _shared(self) -> dict[str, Any]:
        """What of a job does not depend on who is trained, and how long."""
        names = ("recipe", "depot", "device", "threads", "cache_limit", "plugins")
        return {name: getattr(self, name) for name in names}
