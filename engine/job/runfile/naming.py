"""Architectures that are named by genes, as a run knows them: with what it fixes, and with the key that it gives them.

Notable: a run spells out which of its teacher's layers a student starts from, since several rules may name the same
ones. So the key that a run gives is known where its teacher's size is: where the teacher's files are here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distilsearch.architecture import Architecture, Value
from distilsearch.architectures import architecture_of, read_architectures
from distilsearch.distill.teachers.named import QUICKSTART, AtHand, pool_at_hand, quickstart_folder, teacher_at_hand
from distilsearch.errors import InputError, TeacherError
from distilsearch.families import Family, TeacherFacts, family
from distilsearch.families.cuts import GENE, RULES, spelt

from .config import Run

POOL = "pool"


@dataclass(frozen=True)
class Naming:
    """How architectures are named.

    Attributes:
        fixed: genes that need no word.
        teacher: whose layers are spelt out; None where none are, or where nobody knows how many there are.
        cure: what gives the keys of a run; "" where these are such.
        unheld: why architectures are not held against a run's teacher; "" where they are, or where there is no run.
    """

    kind: Family
    fixed: Mapping[str, Value] = field(default_factory=dict)
    teacher: TeacherFacts | None = None
    cure: str = ""
    unheld: str = ""

    @classmethod
    def of(cls, run: Run | None) -> "Naming":
        """As a run names them; without one, students of the BERT family. A run that makes no student gives no key.

        Raises:
            TeacherError: the run's teacher is here, and is none.
        """
        if run is None:
            return cls(family("bert"), cure="give the file of a run as --space for its own")
        known = _at_hand(run)
        if known is None or known.facts is None:
            why = f"the teacher {run.teacher} {'is not here' if known is None else 'leaves out sizes in config.json'}"
            cure = f"the teacher {run.teacher} would have to be here"
            return cls(family(run.space.family), single(run), None, cure, why)
        facts = known.facts
        try:
            fitted = run.fitted(facts)
            choices = {one.name: one.choices for one in fitted.students(facts).parameters}
        except InputError as error:
            cure, why = "this one's makes none of its teacher", f"this run makes no student of its teacher ({error})"
            return cls(family(run.space.family), single(run), None, cure, why)
        choices |= {GENE: fitted.space.genes.get(GENE, ())}
        fixed = {gene: own[0] for gene, own in choices.items() if len(own) == 1}
        return cls(family(fitted.space.family), fixed, facts if fitted.spells else None)

    def one(self, genes: Mapping[str, Value]) -> Architecture:
        """The architecture that genes name; an `InputError` where it is none, or not one alone."""
        return self._spelt(architecture_of(self.kind, {**self.fixed, **genes}))

    def those_in(self, path: Path) -> list[Architecture]:
        """The architectures of a file, a row each; see `read_architectures`."""
        return [self._spelt(one) for one in read_architectures(path, self.kind, self.fixed)]

    def remarks(self, architectures: Sequence[Architecture]) -> list[str]:
        """Where the key of one may not be the one that a run gives it: why, what was taken as usual, what to do."""
        rules = sorted({str(one.values[GENE]) for one in architectures if one.values.get(GENE) in RULES})
        named = " and ".join(f"inherit={rule}" for rule in rules)
        spelling = f"keys are of {named} by name, and a run spells out the layers of its teacher: {self.cure}"
        said = [spelling] if self.cure and rules else []
        return [*said, self._taken(architectures)] if self.unheld and architectures else said

    def _taken(self, architectures: Sequence[Architecture]) -> str:
        """What was not held against the teacher: genes that are usual here and its own in a run, and sizes."""
        usual = [one.name for one in self.kind.space(None).parameters if len(one.choices) == 1]
        open_ = [gene for gene in usual if gene not in self.fixed and gene != GENE]
        values = {gene: dict.fromkeys(str(one.values[gene]) for one in architectures) for gene in open_}
        taken = ", ".join(f"{gene}={' and '.join(each)}" for gene, each in values.items())
        return (
            f"{self.unheld}: {taken or 'no gene'} may be other than its own, and whether sizes are no more than its own"
            " was not checked; what a run makes may have other keys and latencies, or be refused"
        )

    def _spelt(self, architecture: Architecture) -> Architecture:
        return spelt(architecture, self.teacher) if self.teacher else architecture


def single(run: Run) -> dict[str, Value]:
    """The genes of which a run names one choice alone, whatever its teacher is like."""
    return {gene: own[0] for gene, own in run.space.genes.items() if len(own) == 1 and gene != GENE}


def _at_hand(run: Run) -> AtHand | None:
    """What is known of a run's teacher; None where it is not here, and so of a quickstart that is not installed."""
    if run.teacher == QUICKSTART:
        try:
            quickstart_folder()
        except TeacherError:
            return None
    named = run.space.genes.get(POOL, ())
    return teacher_at_hand(run.teacher, str(named[0] if named else pool_at_hand(run.teacher)))
