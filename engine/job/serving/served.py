"""How a student is served, where the run leaves that open: choices of a serving as genes of the engine's space.

A member of the engine's space is a student and how it is served: `served.dtype` and the like stand behind the family's
genes, in the engine and in the ledger's key. A student alone is what is trained: its key and its family never see them.
Without choices members are students, and everything is as if this were not here.

What a search does with them, since a student is trained once and known for all its servings:

- it asks for one member at a time: its student is trained, and the other `outcomes_of` that student are expected
  (`Engine.expect`), or another worker might be given the same student served otherwise;
- what comes out is told of all `outcomes_of` the student: each with its own latency and, where the run judges what is
  served, its own loss. None of them is asked again, so no student is trained twice. A failure is told of all of them;
- so is what is known already, from the archive or imported: all `outcomes_of` a student are free;
- the loss `ignores` the genes that it cannot depend on, such as torch's modes, and is told `together` for the others.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import numpy.typing as npt

from distilsearch.architecture import Architecture, Value
from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError
from distilsearch.operators import Serving
from distilsearch.space import Codes, Constraint, Parameter, SearchSpace

from ..runfile.sections import TargetSection

PREFIX = "served."


@dataclass(frozen=True)
class ServedSpace:
    """The engine's space over the students' own; made by `extend`.

    Attributes:
        students: the space of the family: d genes.
        space: what the engine searches: those genes, then one for each of `choices`; the same object without choices.
        choices: what a serving may choose, such as {"dtype": ("float32", "bfloat16")}.
        servings: of the target that has choices (else of the first one), in the order of `index`: every combination
            that there is.
        judged: whether the loss is of what is served, where that is no student as it was trained.
    """

    students: SearchSpace
    space: SearchSpace
    choices: Mapping[str, tuple[Value, ...]]
    servings: tuple[Serving, ...]
    judged: bool = False

    @classmethod
    def extend(cls, students: SearchSpace, sections: Sequence[TargetSection], judged: bool = True) -> "ServedSpace":
        """The space of a run's targets.

        Args:
            judged: whether students can be judged as they are served: trials that train none leave nothing to serve.
                Nor is a student of several targets that serve different artefacts of it, for it has one loss.

        Raises:
            InputError: there are choices and several targets, which one loss cannot tell apart.
        """
        choices = sections[0].choices
        judged = judged and all(section.loss == "served" for section in sections)
        judged = judged and (len(sections) == 1 or len({section.conditions.artefact for section in sections}) == 1)
        if len(sections) > 1 and any(section.choices for section in sections):
            raise InputError("choices of a serving need a run of one target")
        servings = sections[0].servings
        if not choices:
            return cls(students, students, {}, servings, judged)
        served = [Parameter(PREFIX + name, values, ordered=False) for name, values in choices.items()]
        rules = [_of_students(rule, students.names) for rule in students.constraints]
        rules += _of_servings(choices, servings)
        space = SearchSpace(students.family, [*students.parameters, *served], rules, students.active)
        return cls(students, space, choices, servings, judged)

    @property
    def names(self) -> tuple[str, ...]:
        """The genes that say how a member is served."""
        return tuple(PREFIX + name for name in self.choices)

    # What their loss depends on

    @property
    def artefacts(self) -> dict[str, Serving]:
        """What students are judged as, beside as they were trained: by name, the first serving of each."""
        altered = [serving for serving in self.servings if serving.artefact] if self.judged else []
        return {serving.artefact: serving for serving in altered[::-1]}

    @property
    def together(self) -> tuple[str, ...]:
        """The served genes that the loss depends on: precision, and the runtime where two of them round differently."""
        if not self.artefacts:
            return ()
        differently = len(self.artefacts) > len({serving.dtype for serving in self.artefacts.values()})
        names = ("dtype", "runtime") if differently else ("dtype",)
        return tuple(PREFIX + name for name in names if name in self.choices)

    @property
    def ignores(self) -> tuple[str, ...]:
        """The served genes that the loss cannot depend on."""
        return tuple(name for name in self.names if name not in self.together)

    def artefact(self, member: Architecture) -> str:
        """What a member is judged as; "" where that is the student as it was trained."""
        return self.split(member)[1].artefact if self.judged and self.artefacts else ""

    # One member

    def split(self, member: Architecture) -> tuple[Architecture, Serving]:
        """The student of a member, and how it is served.

        Raises:
            InputError: it is no member: a gene is missing, or one is served as nobody may choose.
        """
        (row,) = self.space.encode([member])
        values = {name: value for name, value in member.values.items() if name not in self.names}
        return Architecture(member.family, values), self.servings[int(self.index(row[None])[0])]

    def join(self, student: Architecture, serving: Serving) -> Architecture:
        """The member that is a student served in one of `servings`.

        Raises:
            InputError: it is none of them.
        """
        if serving not in self.servings:
            raise InputError(f"this run serves no student as {serving.to_json()}")
        served = {PREFIX + name: getattr(serving, name) for name in self.choices}
        return Architecture(student.family, {**student.values, **served})

    def outcomes_of(self, student: Architecture) -> list[Architecture]:
        """Every member that is known once this student is trained, in the order of `servings`."""
        return [self.join(student, serving) for serving in self.servings]

    # Many members

    def index(self, codes: Codes) -> npt.NDArray[np.int64]:
        """Which of `servings` each row (n,) is served in; -1 of one that breaks the space's rules."""
        return self._places[self.space.indices(codes, self.names)]

    @cached_property
    def _places(self) -> npt.NDArray[np.int64]:
        """The place among `servings` of every combination of choices; -1 of those that there are not."""
        places = {tuple(getattr(serving, name) for name in self.choices): i for i, serving in enumerate(self.servings)}
        return np.array([places.get(combination, -1) for combination in product(*self.choices.values())])

    def student_codes(self, codes: Codes) -> Codes:
        """The students' own codes (n, d) of members."""
        return codes[:, : self.students.d]

    def of_students(self, function: Callable[[Codes], FloatArray]) -> Callable[[Codes], FloatArray]:
        """A function of students' codes as one of members' codes."""
        return lambda codes: function(self.student_codes(codes))

    def by_serving(
        self,
        codes: Codes,
        function: Callable[[Serving, Codes], FloatArray],
        servings: Sequence[Serving] | None = None,
    ) -> FloatArray:
        """Figures (n,) of members: `function` is called once a serving that occurs, with the codes (m, d) of students.

        Args:
            servings: of a target without choices, where there are several targets: its one serving; else left out.
        """
        given, rows = self.servings if servings is None else servings, self.student_codes(codes)
        if len(given) == 1:
            return function(given[0], rows)
        index, result = self.index(codes), np.full(len(codes), np.inf)
        for i in np.unique(index[index >= 0]):
            mask = index == i
            result[mask] = function(given[i], rows[mask])
        return result


def student_of(member: Architecture) -> Architecture:
    """The student of a member of any engine's space: its genes without those of serving."""
    values = {name: value for name, value in member.values.items() if not name.startswith(PREFIX)}
    return Architecture(member.family, values)


def served_of(member: Architecture) -> dict[str, Value]:
    """How a member is served, by the name of the choice; empty where nothing was left open."""
    return {name.removeprefix(PREFIX): v for name, v in member.values.items() if name.startswith(PREFIX)}


def _of_servings(choices: Mapping[str, tuple[Value, ...]], servings: Sequence[Serving]) -> list[Constraint]:
    """The rule that a combination is one of `servings`; none where all are."""
    there = {tuple(getattr(serving, name) for name in choices) for serving in servings}
    if len(there) == math.prod(map(len, choices.values())):
        return []
    names = tuple(PREFIX + name for name in choices)
    return [Constraint(names, lambda *values: values in there, "nothing serves so")]


def _of_students(rule: Constraint, genes: Sequence[str]) -> Constraint:
    """A rule of a family as it was: one that reads everything reads the family's genes only."""
    if rule.reads is not None:
        return rule
    return Constraint(None, lambda values: rule.holds({name: values[name] for name in genes}), rule.message)
