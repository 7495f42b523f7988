"""The source `supernetwork`: one weight-sharing super-network a sub-space is trained first; trials are evaluations.

After AutoDistil (arXiv 2201.12507). A search trains nothing any more, so hundreds of students are told where separate
trainings would give tens; whoever is handed back is cut from its super-network, or trained on from there.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from distilsearch.architecture import Architecture
from distilsearch.families import TeacherFacts
from distilsearch.space import SearchSpace

from ..jobs import Job
from ..work.making import Making
from .supers import PUBLISHED, SUPER_TOKENS, Genes, Parts, Rule, bounded, checked, with_supers

if TYPE_CHECKING:
    from distilsearch.distill.teachers.teacher import Teacher


@dataclass
class SuperNetwork:
    """Every trial is a sub-network, evaluated as it was trained together with all others of its sub-space.

    Args:
        subspaces: names of published ones, or tables of one's own: see `distill.subspaces`.
        rule: which sub-networks a step trains: "sandwich" (the smallest, the largest, two at random), or "nested" (the
            same four to six sizes each time).
        super_tokens: of text that each super-network is trained on.
    """

    making: Making
    subspaces: Parts = PUBLISHED
    rule: Rule = "sandwich"
    super_tokens: int = SUPER_TOKENS
    scores: ClassVar[bool] = True
    _prepared: bool = field(default=False, init=False)

    def prepare(self, submit: Callable[[Job], "Future[Any]"]) -> None:
        """Train the super-networks, or find them."""
        if self._prepared:
            return
        for future in [submit(job) for job in self.making.train_supers()]:
            future.result()
        self._prepared = True

    def trial(self, architecture: Architecture, tokens: int) -> Job:
        """Evaluate it; no tokens are trained on."""
        return self.making.score([architecture])

    @staticmethod
    def spelt_out(options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with sub-spaces as tables, so that a run's folder keeps what they meant."""
        return {**options, "subspaces": checked(options["subspaces"], options["super_tokens"])}

    @staticmethod
    def students(kind: str, genes: Genes, facts: TeacherFacts | None, subspaces: Parts, **_: Any) -> SearchSpace:
        """The union of the sub-spaces."""
        return bounded(kind, genes, facts, subspaces)

    @staticmethod
    def equipped(
        making: Making, kind: str, genes: Genes, teacher: "Teacher", subspaces: Parts, rule: str, super_tokens: int
    ) -> Making:
        """All trainings start from the super-networks."""
        return replace(with_supers(making, kind, genes, teacher, subspaces, rule, super_tokens), started=True)
