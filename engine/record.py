"""What was told, asked and failed, and the rules that turn it into outcomes, a reference and a view.

Notation: u distinct told architectures, N tells, K known and E expensive objectives.
"""

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from distilsearch.architecture import Architecture, Value
from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError
from distilsearch.space import SearchSpace

from .objectives import AnyLimit, Expensive, Known, Objective, Outcome, apart_by, bounds_of, front, kept, limited
from .reference import Ends, beyond
from .values import mapping, number
from .view import Features, View


@dataclass(frozen=True)
class Tell:
    """One result as it was told."""

    architecture: Architecture
    values: Mapping[str, float]
    noise: float | None = None
    fidelity: float | None = None
    area: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        plain = {"architecture": self.architecture.to_json(), "values": dict(self.values)}
        return {**plain, "noise": self.noise, "fidelity": self.fidelity, "area": self.area}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Tell":
        """The inverse of `to_json`."""
        architecture = Architecture.from_json(data["architecture"])
        return cls(architecture, data["values"], data["noise"], data["fidelity"], data.get("area"))


@dataclass
class Record:
    """The memory of an engine: plain facts, in the order they came."""

    space: SearchSpace
    objectives: tuple[Objective, ...]
    initial: int
    given: dict[str, float]
    frozen: dict[str, float] | None = None
    tells: list[Tell] = field(default_factory=list)
    pending: dict[Architecture, None] = field(default_factory=dict)
    failed: dict[Architecture, str] = field(default_factory=dict)
    limits: tuple[AnyLimit, ...] = ()
    _provisional: dict[int, dict[str, float | None]] = field(default_factory=dict)  # corners, by how much was told

    @property
    def learnt_limits(self) -> tuple[Expensive, ...]:
        """The limits that must be learnt and are no objectives."""
        return tuple(limit for limit in self.limits if isinstance(limit, Expensive))

    @property
    def held(self) -> tuple[Expensive, ...]:
        """All whose limits must be learnt, objectives first."""
        return (*(o for o in self.objectives if isinstance(o, Expensive) and o.limited), *self.learnt_limits)

    def told(self) -> dict[Architecture, list[Tell]]:
        """The tells of each architecture, in the order of first tells."""
        groups: dict[Architecture, list[Tell]] = {}
        for tell in self.tells:
            groups.setdefault(tell.architecture, []).append(tell)
        return groups

    @property
    def started(self) -> int:
        """How many architectures, twins as one, were told or are pending: failures say nothing of where others lie."""
        return len({self.student(a) for a in (*(t.architecture for t in self.tells), *self.pending)})

    @property
    def learnable(self) -> bool:
        """Whether every expensive objective has values for two architectures that are no twins.

        Where limits must be learnt it is they that need them: they alone say what to try while nothing keeps them.
        """
        expensive = [o for o in self.objectives if isinstance(o, Expensive)]
        return all(self._students_told(o.name) >= 2 for o in self.held or expensive)

    def _students_told(self, name: str) -> int:
        return len({self.student(t.architecture) for t in self.tells if name in t.values})

    def student(self, architecture: Architecture) -> Architecture | tuple[tuple[str, Value], ...]:
        """What twins have in common; the architecture itself where there are none."""
        apart = apart_by((*self.objectives, *self.learnt_limits))
        if not apart:
            return architecture
        return tuple((gene, value) for gene, value in architecture.values.items() if gene not in apart)

    # Outcomes

    def outcomes(self) -> list[Outcome]:
        """Every told architecture, in the order of the first tells."""
        groups = self.told()
        codes = self.space.encode(list(groups))
        predicted = {o.name: o.values(codes) for o in self.objectives if isinstance(o, Known) and len(codes)}
        rows = {name: column.tolist() for name, column in predicted.items()}
        limits = {limit.name for limit in self.learnt_limits}
        return [
            _outcome(architecture, tells, {name: column[i] for name, column in rows.items()}, limits)
            for i, (architecture, tells) in enumerate(groups.items())
        ]

    def complete(self) -> list[Outcome]:
        """The outcomes that have every objective and keep the limits that are no objectives."""
        names = {o.name for o in self.objectives}
        rows = [o for o in self.outcomes() if names <= set(o.values) and self.keeps(o, self.learnt_limits)]
        codes = self.space.encode([o.architecture for o in rows])
        good = kept(limited((), self.limits), codes)
        return [o for o, within in zip(rows, good, strict=True) if within]

    @staticmethod
    def keeps(outcome: Outcome, held: Sequence[Expensive]) -> bool:
        """Whether it was told to keep limits that must be learnt."""
        return all(o.name in outcome.values and o.keeps(outcome.values[o.name]) for o in held)

    def front(self) -> list[Outcome]:
        """The complete outcomes within the limits that no other one dominates."""
        rows, objectives = self.complete(), self.objectives
        signs = np.array([o.sign for o in objectives])
        least, most = zip(*map(bounds_of, objectives), strict=True)
        return [rows[i] for i in np.flatnonzero(front(signs * self.minimised(rows), most, signs, least))]

    def minimised(self, outcomes: list[Outcome]) -> FloatArray:
        """Their values (m, M), to be minimised, in the order of the objectives."""
        rows = [[o.sign * outcome.values[o.name] for o in self.objectives] for outcome in outcomes]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.objectives))

    # The reference

    def reference(self) -> dict[str, float]:
        """The rule: what was given, else the limit, else the worst with a margin: of the space where an objective is
        known, of what was told where it is learnt. Without a learnt objective that nothing was told of."""
        if self.frozen is not None:
            return self.frozen
        if len(self.tells) not in self._provisional:
            self._provisional = {len(self.tells): {}}
        return self._ruled(self._first(), self._provisional[len(self.tells)])

    def freeze(self) -> None:
        """Fix the reference if the initial design is complete: one outcome alone would be its own corner."""
        stated, enough = self._stated(), max(2, self.initial)
        done = len({self.student(t.architecture) for t in self.tells}) >= self.initial
        done = done and (not self.held or sum(self.keeps(o, self.held) for o in self.outcomes()) >= 2)
        learnt = [o for o in self.objectives if isinstance(o, Expensive) and o.name not in stated]
        if self.frozen is None and done and all(self._students_with(o) >= enough for o in learnt):
            self.frozen = self._ruled(self.outcomes(), {})

    def _ruled(self, outcomes: Sequence[Outcome], corners: dict[str, float | None]) -> dict[str, float]:
        """The reference by the rule, with the corners of known objectives given or, where they are not, added."""
        result, stated = {}, self._stated()
        ends = Ends(self.space, limited(self.objectives, self.limits))
        for o in self.objectives:
            told = [o.sign * outcome.values[o.name] for outcome in outcomes if o.name in outcome.values]
            if o.name in stated:
                result[o.name] = stated[o.name]
            elif isinstance(o, Expensive) and told:
                result[o.name] = o.sign * beyond(np.array(told))
            elif isinstance(o, Known):
                if o.name not in corners:
                    corners[o.name] = ends.corner(o, outcomes)
                if (corner := corners[o.name]) is not None:
                    result[o.name] = o.sign * corner
        return result

    def _stated(self) -> dict[str, float]:
        """The reference as far as somebody said it: what was given, else a limit."""
        result = {}
        for objective in self.objectives:
            stated = self.given.get(objective.name, objective.edge)
            if stated is not None:
                result[objective.name] = stated
        return result

    def _first(self) -> list[Outcome]:
        """The first outcomes, of as many architectures as the initial design holds; twins count as one. Where limits
        must be learnt, also as many of those that keep them."""
        outcomes, first = self.outcomes(), set[Any]()
        keeping = [o for o in outcomes if self.keeps(o, self.held)] if self.held else []
        for rows in (outcomes, keeping):
            first |= set(list(dict.fromkeys(self.student(o.architecture) for o in rows))[: max(2, self.initial)])
        return [outcome for outcome in outcomes if self.student(outcome.architecture) in first]

    def _students_with(self, objective: Objective) -> int:
        """How many architectures, twins as one, were told of an objective."""
        return len({self.student(t.architecture) for t in self.tells if objective.name in t.values})

    def corner(self, objectives: tuple[Objective, ...]) -> FloatArray:
        """The reference (M,) to be minimised, clipped by the limits."""
        reference = self.reference()
        values = []
        for o in objectives:
            value = o.sign * reference.get(o.name, o.sign * math.inf)
            values.append(value if o.edge is None else min(value, o.sign * o.edge))
        return np.array(values)

    # What a strategy sees

    def view(self, extra: list[Architecture], features: Features | None) -> View:
        """The arrays of this moment, with some more architectures pending.

        The order of tells moves nothing but `order`, for those that ask for it.
        """
        order = sorted(range(len(self.tells)), key=lambda i: _place(self.tells[i]))
        tells = [self.tells[i] for i in order]
        architectures = list(dict.fromkeys(t.architecture for t in tells))
        index = {a: i for i, a in enumerate(architectures)}
        known_objectives = [o for o in self.objectives if isinstance(o, Known)]
        expensive = [o for o in self.objectives if isinstance(o, Expensive)]
        values = [[o.sign * t.values.get(o.name, math.nan) for o in expensive] for t in tells]
        noise = [[_or_nan(t.noise)] * len(expensive) for t in tells]
        of_limits = [[t.values.get(limit.name, math.nan) for limit in self.learnt_limits] for t in tells]
        keeping = {o.architecture for o in self.outcomes() if self.keeps(o, self.held)} if self.held else set()
        return View(
            space=self.space,
            objectives=self.objectives,
            codes=self.space.encode(architectures),
            measured=self._measured(architectures, known_objectives),
            row=np.array([index[t.architecture] for t in tells], dtype=np.int64),
            values=_table(values, len(expensive)),
            noise=_table(noise, len(expensive)),
            fidelity=np.array([_or_nan(t.fidelity) for t in tells], dtype=np.float64),
            area=np.array([expensive[0].sign * _or_nan(t.area) for t in tells], dtype=np.float64),
            pending=self.space.encode(sorted([*self.pending, *extra], key=lambda a: a.key)),
            failed=self.space.encode(sorted(self.failed, key=lambda a: a.key)),
            reference=self.corner((*known_objectives, *expensive)),
            features=features,
            limits=tuple(limit for limit in self.limits if not isinstance(limit, Expensive)),
            learnt_limits=self.learnt_limits,
            limit_values=_table(of_limits, len(self.learnt_limits)),
            order=np.array(order, dtype=np.int64),
            told_keeps=np.array([a in keeping for a in architectures], dtype=bool),
        )

    def _measured(self, architectures: list[Architecture], known: list[Known]) -> FloatArray:
        means = {o.architecture: o for o in self.outcomes()}
        rows = [
            [k.sign * means[a].values[k.name] if k.name in means[a].measured else math.nan for k in known]
            for a in architectures
        ]
        return _table(rows, len(known))


def _table(rows: list[list[float]], width: int) -> FloatArray:
    return np.array(rows, dtype=np.float64).reshape(len(rows), width)


def _rank(tell: Tell) -> float:
    return -math.inf if tell.fidelity is None else tell.fidelity


def _longest(tells: list[Tell]) -> list[Tell]:
    return [t for t in tells if _rank(t) == max(map(_rank, tells))]


def _place(tell: Tell) -> tuple[str, list[tuple[str, float]], tuple[float, ...]]:
    """Where a tell stands among the others, whenever it came."""
    numbers = tuple(-math.inf if x is None else x for x in (tell.noise, tell.fidelity, tell.area))
    return tell.architecture.key, sorted(tell.values.items()), numbers


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _outcome(
    architecture: Architecture, tells: list[Tell], predicted: Mapping[str, float], limits: Container[str]
) -> Outcome:
    """What counts of an architecture: quality at its highest fidelity, and its costs whenever they were measured.

    A learnt limit that the longest training says nothing of stands at the longest one that does.
    """
    best = _longest(tells)
    means = {}
    for name in sorted({name for t in tells for name in t.values}):
        own = tells if name in predicted else best
        own = _longest([t for t in tells if name in t.values]) if name in limits else own
        values = [t.values[name] for t in own if name in t.values]
        if values:
            means[name] = float(np.mean(values))
    return Outcome(architecture, {**predicted, **means}, frozenset(means), len(best), best[0].fidelity)


def checked_reference(reference: Mapping[str, float] | None, objectives: tuple[Objective, ...]) -> dict[str, float]:
    """The user's reference as plain floats; an `InputError` where it names no objective or is not finite."""
    names = [o.name for o in objectives]
    given = {name: number(f"the reference of {name}", v) for name, v in mapping("a reference", reference or {}).items()}
    wrong = [name for name, value in given.items() if name not in names or not math.isfinite(value)]
    if wrong:
        raise InputError(f"the reference must give finite numbers for some of {names}; got {given}")
    return given
