"""Where trials come from: students distilled one by one, or whatever else can be asked for one.

A source says what job makes a trial; who runs it, and when, is none of its business. A source that must train
something first (a super-network, say) submits that in `prepare` and waits; its trials may then be mere evaluations.

A new source is one file of this shape and one line in `SOURCES`.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError, unknown
from distilsearch.families import TeacherFacts, family
from distilsearch.space import SearchSpace

from .jobs import Job
from .supernets.source import SuperNetwork
from .supernets.supers import PUBLISHED, Genes, Parts, Rule, bounded, checked, with_supers
from .work.making import Making as Making

if TYPE_CHECKING:
    from distilsearch.distill.teachers.teacher import Teacher

    from .runfile.config import Run

Submit = Callable[[Job], "Future[Any]"]
DISTILLED = "distilled"
GIVEN = ("making",)  # what a source is made with beside its options


class TrialSource(Protocol):
    """Makes trials. Its options are its further arguments, with defaults, as plain values.

    A source may also say, by static methods of its class: what its options come to in full (`spelt_out`), of which
    students alone it makes trials (`students`), and what trainings start from (`equipped`); and by `scores = True` that
    its trials train nothing, so that only the front is measured. See `SuperNetwork`.
    """

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


@dataclass
class Distilled:
    """Every trial is a student of its own, distilled for some tokens.

    With super-networks beside it (`super_tokens` above 0), the loss that a student has as a slice of one is seen by the
    surrogate, as what is known of it before it is trained; and with `start` it is trained from that slice instead of
    from the teacher.

    Args:
        super_tokens: of text that each super-network is trained on; 0: there are none.
        subspaces, rule: of the super-networks, as for `SuperNetwork`; students are then of these sub-spaces.
        start: whether trials and finals start from them.
    """

    making: Making
    super_tokens: int = 0
    subspaces: Parts = PUBLISHED
    rule: Rule = "sandwich"
    start: bool = False
    _prepared: bool = field(default=False, init=False)

    def prepare(self, submit: Submit) -> None:
        """Train the super-networks, or find them, where there are any."""
        if not self._prepared:
            for future in [submit(job) for job in self.making.train_supers()]:
                future.result()
            self._prepared = True

    def trial(self, architecture: Architecture, tokens: int) -> Job:
        """Distil it."""
        return self.making.distil([architecture], tokens)

    @staticmethod
    def spelt_out(options: Mapping[str, Any]) -> dict[str, Any]:
        """The options in full; none of them where there are no super-networks."""
        if options["super_tokens"]:
            return {**options, "subspaces": checked(options["subspaces"], options["super_tokens"])}
        if options["start"]:
            raise InputError("start = true needs super-networks to start from: give super_tokens, such as 2_000_000")
        return {}

    @staticmethod
    def students(
        kind: str, genes: Genes, facts: TeacherFacts | None, subspaces: Parts | None = None, **_: Any
    ) -> SearchSpace:
        """All of the family; of the sub-spaces alone, where there are super-networks."""
        return bounded(kind, genes, facts, subspaces) if subspaces else family(kind).space(genes, facts)

    @staticmethod
    def equipped(
        making: Making, kind: str, genes: Genes, teacher: "Teacher", start: bool = False, **supers: Any
    ) -> Making:
        """With super-networks, where there are any; trainings start from them where that is asked for."""
        return replace(with_supers(making, kind, genes, teacher, **supers), started=start) if supers else making


SOURCES: dict[str, Callable[..., TrialSource]] = {DISTILLED: Distilled, "supernetwork": SuperNetwork}


def students_of(
    name: str, options: Mapping[str, Any], kind: str, genes: Genes, facts: TeacherFacts | None
) -> SearchSpace:
    """The students that a source makes trials of: of a family, with choices of its genes, cut from a teacher."""
    own = getattr(_known(name), "students", None)
    made: SearchSpace = own(kind, genes, facts, **options) if own else family(kind).space(genes, facts)
    return made


def bounds_of(run: "Run") -> dict[str, Any] | None:
    """The name and options of a run's source, where it makes trials of some students alone: plain JSON, for jobs."""
    has = hasattr(_known(run.source.name), "students") and (run.source.options or run.source.name != DISTILLED)
    return {"name": run.source.name, **run.source.options} if has else None


def equipped(
    name: str, options: Mapping[str, Any], making: Making, kind: str, genes: Genes, teacher: "Teacher"
) -> Making:
    """What trainings of a source start from, put into a making."""
    equip = getattr(_known(name), "equipped", None)
    made: Making = equip(making, kind, genes, teacher, **options) if equip else making
    return made


def scores(name: str) -> bool:
    """Whether trials of a source train nothing."""
    return bool(getattr(_known(name), "scores", False))


def open_source(name: str, making: Making, **options: Any) -> TrialSource:
    """The source of a name; an `InputError` lists the known ones."""
    return _known(name)(making, **options)


def _known(name: str) -> Callable[..., TrialSource]:
    if name not in SOURCES:
        raise unknown("source", name, SOURCES)
    return SOURCES[name]
