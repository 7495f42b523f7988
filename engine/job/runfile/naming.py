"""Architectures that are named by genes, as a run knows them: with what it fixes, and with the key that it gives them.

Notable: a run spells out which of its teacher's layers a student starts from, since several rules may name the same
ones. So the key that a run gives is known where its teacher's size is: where the teacher's files are here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distilsearch.architecture import Architecture, Value
from distilsearch.architectures import architecture_of, read_architectures
from distilsearch.distill.teachers.named import QUICKSTART, AtHand, pool_at_hand, quickstart_folder, teacher_at_hand
from distilsearch.errors import InputError, TeacherError
from distilsearch.families import Family, TeacherFacts, family
from distilsearch.families.cuts import GENE, RULES, spelt
from distilsearch.space import SearchSpace

from .config import Run

POOL = "pool"
MOST_SHOWN = 12  # choices of a gene that are named


@dataclass(frozen=True)
class Naming:
    """How architectures are named.

    Attributes:
        fixed: genes that need no word.
        teacher: whose layers are spelt out; None where none are, or where nobody knows how many there are.
        cure: what gives the keys of a run; "" where these are such.
        unheld: why architectures are not held against a run's teacher; "" where they are, or where there is no run.
        choices: by gene what the run searches, as far as that is known; but for the layers that students start from.
        students: all that the run searches; None where its teacher would have to be here for it.
    """

    kind: Family
    fixed: Mapping[str, Value] = field(default_factory=dict)
    teacher: TeacherFacts | None = None
    cure: str = ""
    unheld: str = ""
    choices: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    students: SearchSpace | None = None

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
            return cls(family(run.space.family), single(run), None, cure, why, but_start(run.space.genes))
        facts = known.facts
        try:
            fitted = run.fitted(facts)
            students = fitted.students(facts)
        except InputError as error:
            cure, why = "this one's makes none of its teacher", f"this run makes no student of its teacher ({error})"
            return cls(family(run.space.family), single(run), None, cure, why, but_start(run.space.genes))
        choices = {one.name: one.choices for one in students.parameters}
        named = choices | {GENE: fitted.space.genes.get(GENE, ())}
        fixed = {gene: own[0] for gene, own in named.items() if len(own) == 1}
        teacher = facts if fitted.spells else None
        return cls(family(fitted.space.family), fixed, teacher, choices=but_start(choices), students=students)

    def one(self, genes: Mapping[str, Value]) -> Architecture:
        """The architecture that genes name; an `InputError` where it is none, or not one alone.

        It may lie outside of what the run searches: its latency is known all the same, and `remarks` say so.
        """
        try:
            alone = {gene: (value,) for gene, value in self.fixed.items()}
            return self._spelt(architecture_of(self.kind, genes, among={**self.choices, **alone}))
        except InputError as error:
            lacking = [gene for gene in self.choices if gene not in genes and gene not in self.fixed]
            told = dict.fromkeys([*self._outside([genes]), *lacking])
            raise InputError(f"{error}; this run searches {self._searched(told)}") if told else error from None

    def those_in(self, path: Path) -> list[Architecture]:
        """The architectures of a file, a row each; see `read_architectures`."""
        return read_architectures(path, self.one)

    def remarks(self, architectures: Sequence[Architecture]) -> list[str]:
        """What is to be known of some: which the run does not make; where the key of one may not be the one that a run
        gives it, why, what was taken as usual, and what to do."""
        rules = sorted({str(one.values[GENE]) for one in architectures if one.values.get(GENE) in RULES})
        named = " and ".join(f"inherit={rule}" for rule in rules)
        spelling = f"keys are of {named} by name, and a run spells out the layers of its teacher: {self.cure}"
        said = [spelling] if self.cure and rules else []
        taken = [self._taken(architectures)] if self.unheld and architectures else []
        return [*said, *taken, *self._unsearched(architectures)]

    def _unsearched(self, architectures: Sequence[Architecture]) -> list[str]:
        """Which architectures the run makes no students of, by their genes."""
        outside = self._outside([one.values for one in architectures])
        if outside:
            words = ", ".join(f"{gene}={' and '.join(map(str, values))}" for gene, values in outside.items())
            return [
                f"this run searches {self._searched(outside)}: it makes no student of {words}, and what is said of one"
                " is what it would take"
            ]
        strange = [one for one in architectures if self.students and not self._makes(self.students, one)]
        return [
            f"this run searches {_genes(one, self.choices)}, but not together: it makes no student {one.key}"
            for one in strange[:1]
        ]

    def _outside(self, rows: Iterable[Mapping[str, Value]]) -> dict[str, list[Value]]:
        """Values that are none of the run's choices, by gene."""
        outside: dict[str, dict[Value, None]] = {}
        for gene, value in ((gene, value) for row in rows for gene, value in row.items()):
            if gene in self.choices and value not in self.choices[gene]:
                outside.setdefault(gene, {})[value] = None
        return {gene: list(values) for gene, values in outside.items()}

    def _searched(self, genes: Iterable[str]) -> str:
        """The choices of some genes in words."""
        return ", ".join(f"{gene} {_some(self.choices[gene])}" for gene in genes)

    @staticmethod
    def _makes(students: SearchSpace, architecture: Architecture) -> bool:
        """Whether an architecture is one of the students, whatever layers of its teacher it starts from."""
        start = next((one.choices for one in students.parameters if one.name == GENE), ())
        others = (Architecture(architecture.family, {**architecture.values, GENE: one}) for one in start)
        return students.contains(architecture) or any(students.contains(one) for one in others)

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


def but_start(choices: Mapping[str, Sequence[Value]]) -> dict[str, Sequence[Value]]:
    """Choices of all genes but of the layers that students start from, which have several names each."""
    return {gene: own for gene, own in choices.items() if gene != GENE}


def _some(values: Sequence[Value]) -> str:
    """Choices in words; of many the first ones and the last."""
    few = values if len(values) <= MOST_SHOWN else [*values[: MOST_SHOWN - 1], "...", values[-1]]
    return ", ".join(map(str, few))


def _genes(architecture: Architecture, choices: Mapping[str, Sequence[Value]]) -> str:
    """The genes of an architecture that have more than one choice."""
    return ", ".join(f"{gene}={value}" for gene, value in architecture.values.items() if len(choices.get(gene, ())) > 1)


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
