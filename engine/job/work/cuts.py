"""The job that judges students before they are trained: one forward pass each."""

from dataclasses import dataclass
from typing import Any, ClassVar

from distilsearch.progress import Between, Progress

from .of_students import OfStudents


@dataclass(frozen=True)
class Cut(OfStudents):
    """Cut students and train nothing; answers the loss of each, None of one that cannot be judged."""

    kind: ClassVar[str] = "cut"

    def run(self, progress: Progress, between: Between) -> list[float | None]:
        """Judge those whose loss this machine does not know."""
        from distilsearch.distill.cuts.untrained_losses import untrained_losses

        from .work import learnt_from

        return untrained_losses(
            *learnt_from(self.depot, self.training), self.architectures, self.training.seed, between
        )

    def read(self, data: Any) -> list[float | None]:
        """The losses."""
        return [None if one is None else float(one) for one in data]
