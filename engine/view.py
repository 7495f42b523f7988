"""What a strategy may look at during one ask: a frozen picture in arrays, everything to be minimised.

Objectives stand in plane order here: the known ones first, then the expensive ones.

Notation: u distinct told architectures, N tells (replicates apart), K known, E expensive, M = K + E.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError
from distilsearch.space import SearchSpace

from .objectives import Cap, Codes, Expensive, Known, Limit, Objective, apart_by, ignored_by, kept, limited

NEVER_RUN = 2.0**64  # the cost of what was told and cannot be run: beyond any corner
Features = Callable[[Codes], npt.ArrayLike]


@dataclass(frozen=True)
class View:
    """One moment of an engine.

    `codes` (u, d) told; `measured` (u, K) measured costs, NaN where predicted; `row` (N,) the architecture of
    each tell, and `order` (N,) its place in the order they came; `values`, `noise` (N, E) told values and their
    standard deviations, NaN where missing; `fidelity`, `area` (N,; of the first expensive objective), NaN where not
    given; `pending` (p, d), `failed` (f, d) codes; `reference` (M,). `learnt_limits` are the C limits that are learnt
    and no objectives, `limit_values` (N, C) what was told of them, in their own direction; `told_keeps` (u,) which told
    architectures were told to keep all limits that are learnt, those of objectives included.
    """

    space: SearchSpace
    objectives: tuple[Objective, ...]
    codes: Codes
    measured: FloatArray
    row: npt.NDArray[np.int64]
    values: FloatArray
    noise: FloatArray
    fidelity: FloatArray
    area: FloatArray
    pending: Codes
    failed: Codes
    reference: FloatArray
    features: Features | None = None
    limits: tuple[Limit, ...] = ()
    learnt_limits: tuple[Expensive, ...] = ()
    limit_values: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    told_keeps: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    order: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @cached_property
    def held(self) -> tuple[Expensive, ...]:
        """All whose limits must be learnt, L: objectives first."""
        return (*(o for o in self.expensive if o.limited), *self.learnt_limits)

    @cached_property
    def seeks(self) -> bool:
        """Whether nothing told keeps every learnt limit, or too little was told of an objective to improve on it."""
        return bool(self.held) and not (self.told_keeps.any() and self.learnable)

    @cached_property
    def learnable(self) -> bool:
        """Whether every expensive objective has values for two architectures that are no twins."""
        students = self.students(self.codes)[self.row]
        told = [students[~np.isnan(self.values[:, e])] for e in range(len(self.expensive))]
        return all(len(np.unique(rows, axis=0)) >= 2 for rows in told)

    @cached_property
    def known(self) -> tuple[Known, ...]:
        """The known objectives."""
        return tuple(o for o in self.objectives if isinstance(o, Known))

    @cached_property
    def limited(self) -> tuple[Cap, ...]:
        """All that a candidate must keep."""
        return limited(self.objectives, self.limits)

    @cached_property
    def expensive(self) -> tuple[Expensive, ...]:
        """The expensive objectives."""
        return tuple(o for o in self.objectives if isinstance(o, Expensive))

    @cached_property
    def ignored(self) -> frozenset[str]:
        """The genes that nothing to be learnt depends on."""
        return ignored_by((*self.objectives, *self.learnt_limits))

    @cached_property
    def apart(self) -> frozenset[str]:
        """The genes that twins differ in: those that are ignored, and those that one training tells together."""
        return apart_by((*self.objectives, *self.learnt_limits))

    def students(self, codes: Codes) -> Codes:
        """The rows with twins alike; so their costs count among the features of what is learnt."""
        return self._without(codes, self.apart)

    def _without(self, codes: Codes, genes: frozenset[str]) -> Codes:
        if not genes:
            return codes
        columns = [self.space.column(name) for name in sorted(genes)]
        result = codes.copy()
        result[:, columns] = 0
        return result

    @cached_property
    def fresh(self) -> npt.NDArray[np.bool_]:
        """Which tells (N,) are results of their own, and not what was told of a twin told again."""
        if not self.ignored:
            return np.ones(len(self.row), dtype=bool)
        facts = np.column_stack([self.values, self.noise, self.fidelity, self.area, self.limit_values])
        students = self._without(self.codes, self.ignored)[self.row]
        keys = [(student.tobytes(), fact.tobytes()) for student, fact in zip(students, facts, strict=True)]
        first: dict[tuple[bytes, bytes], int] = {}
        return np.array([first.setdefault(key, u) == u for key, u in zip(keys, self.row.tolist(), strict=True)], bool)

    @cached_property
    def taken(self) -> Codes:
        """Codes never to be proposed again, nor their twins: told, pending and failed."""
        return np.concatenate([self.codes, self.pending, self.failed])

    def costs(self, codes: Codes) -> FloatArray:
        """Predicted known objectives (n, K), to be minimised."""
        return _stack([o.sign * o.values(codes) for o in self.known], len(codes))

    def cost_deviations(self, codes: Codes) -> FloatArray | None:
        """Their standard deviations (n, K); None where all are certain."""
        if all(o.spread is None for o in self.known):
            return None
        return _stack([o.deviations(codes) for o in self.known], len(codes))

    @cached_property
    def told_costs(self) -> FloatArray:
        """Costs (u, K) of the told architectures; what was measured wins."""
        predicted = self.costs(self.codes)
        return np.where(np.isnan(self.measured), np.where(np.isinf(predicted), NEVER_RUN, predicted), self.measured)

    @cached_property
    def _ends(self) -> list[tuple[float, float]]:
        """The least and the largest value of each known objective among the told architectures that can be run."""
        told = [o.values(self.students(self.codes)) for o in self.known]
        runs = [values[np.isfinite(values)] for values in told]
        return [(float(values.min()), float(values.max())) if len(values) else (0.0, 0.0) for values in runs]

    def within(self, codes: Codes) -> npt.NDArray[np.bool_]:
        """Which rows can be run and keep every limit by their bounds."""
        result = self.standing(codes)
        for known in self.known if len(codes) else ():
            result &= known.within(codes)
        return result

    def standing(self, codes: Codes) -> npt.NDArray[np.bool_]:
        """Which rows keep the limits that are no objectives, and so may stand on the front; the limits of objectives
        are part of the reference."""
        return kept(limited((), self.limits), codes)

    def further(self, codes: Codes) -> FloatArray:
        """Further feature columns (n, k): the logarithm of each known objective that is positive where it was told
        (else the objective itself), size, and the caller's.

        Size is how far up its choices an architecture stands, averaged over the ordered genes: at one cost the larger
        one is usually better, and a few results show whether that holds.
        """
        codes = self.students(codes)
        given = [_scaled(o.values(codes), *ends) for o, ends in zip(self.known, self._ends, strict=True)]
        reach = np.array([len(p.choices) - 1.0 if p.ordered else 0.0 for p in self.space.parameters])
        if (ordered := np.flatnonzero(reach)).size > 1:
            given.append((codes[:, ordered] / reach[ordered]).mean(axis=1))
        if self.features is not None:
            given += list(_columns(self.features(codes), len(codes)).T)
        return _stack(given, len(codes))


def _columns(given: object, n: int) -> FloatArray:
    """The caller's further features (n, k); an `InputError` where they are none."""
    try:
        columns = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        columns = np.empty(0)
    if columns.ndim != 2 or len(columns) != n or not np.isfinite(columns).all():
        raise InputError(f"the features must give finite numbers, shape ({n}, k); got shape {columns.shape}")
    return columns


def _scaled(values: FloatArray, least: float, most: float) -> FloatArray:
    """Logarithms where all told values are positive (a candidate that is not counts as next to nothing); what cannot be
    run counts as the largest of those that can."""
    finite = np.where(np.isfinite(values), values, most)
    return np.log(np.maximum(finite, 1e-12 * least)) if least > 0 else finite


def _stack(columns: Sequence[FloatArray], n: int) -> FloatArray:
    return np.stack(columns, axis=1) if columns else np.zeros((n, 0))
