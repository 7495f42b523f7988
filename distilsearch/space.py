"""Search spaces over integer codes.

A point of a space is a row of codes: for each parameter the index of its choice. Constraints and activity
rules name the parameters they read, so each becomes a table of truth over those choices; validity of millions
of rows is then a handful of look-ups, and the space is counted and sampled exactly (`counting.py`).

A gene that does not matter (its activity rule is false) is set to code 0: the canonical form. `sample`, `grid`
and `neighbours` speak of valid canonical rows only.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .architecture import Architecture, Value
from .counting import Counter, Factor, TooWide
from .errors import InputError, unknown

Codes = npt.NDArray[np.int16]  # (n, d)
TRIES = 200
ESTIMATE_DRAWS = 100_000


@dataclass(frozen=True)
class Parameter:
    """One gene: its name and choices. `ordered=False` makes it categorical."""

    name: str
    choices: tuple[Value, ...]
    ordered: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise InputError(f"the name of a parameter is text; got {self.name!r}")
        if isinstance(self.choices, str | Mapping) or not isinstance(self.choices, Iterable):
            raise InputError(f"parameter {self.name!r} needs a list of choices; got {self.choices!r}")
        object.__setattr__(self, "choices", tuple(self.choices))
        for choice in self.choices:
            if not isinstance(choice, int | float | str | bool | np.generic):
                raise InputError(f"a choice of parameter {self.name!r} must be a number or text; got {choice!r}")
        if not self.choices:
            raise InputError(f"parameter {self.name!r} has no choices; give at least one")
        if len(set(self.choices)) < len(self.choices):  # 0, 0.0 and False are equal, and could not be told apart
            raise InputError(f"parameter {self.name!r} repeats a choice: {list(self.choices)}")


@dataclass(frozen=True)
class Constraint:
    """A condition on some genes: `holds(*values)` in the order of `reads`.

    With `reads=None` it is opaque: `holds(values)` gets the mapping of all genes, row by row, and the size of
    the space becomes an estimate.
    """

    reads: tuple[str, ...] | None
    holds: Callable[..., bool]
    message: str = ""


class Size(int):
    """The number of distinct valid architectures; `exact` is False where it was estimated by sampling."""

    exact: bool

    def __new__(cls, value: int, exact: bool = True) -> "Size":
        size = super().__new__(cls, value)
        size.exact = exact
        return size

    def __str__(self) -> str:
        count = f"{int(self):,}" if self < 10**9 else f"{float(self):.3g}" if self < 10**300 else "over 1e300"
        return count if self.exact else f"about {count} (estimated)"


class SearchSpace:
    """All architectures of one family that some parameters, constraints and activity rules allow.

    Args:
        family: name of the family the architectures belong to (`"generic"` for anything else).
        parameters: the genes, in the order of the code columns.
        constraints: conditions every valid architecture meets.
        active: for some genes, the condition under which the gene matters.

    Raises:
        InputError: a name is repeated or unknown, or no architecture is valid.
    """

    def __init__(
        self,
        family: str,
        parameters: Sequence[Parameter],
        constraints: Sequence[Constraint] = (),
        active: Mapping[str, Constraint] | None = None,
    ) -> None:
        self.family = family
        self.parameters = tuple(parameters)
        self.constraints = tuple(constraints)
        self.active = dict(active or {})
        if wrong := [p for p in self.parameters if not isinstance(p, Parameter)]:
            raise InputError(f"the parameters of a space are Parameter(name, choices); got {wrong[0]!r}")
        self.names = tuple(p.name for p in self.parameters)
        self._check_names()
        self._radix = np.array([len(p.choices) for p in self.parameters], dtype=np.int64)
        self._check_not_empty()

    @property
    def d(self) -> int:
        """Number of parameters."""
        return len(self.parameters)

    def _check_names(self) -> None:
        if not self.parameters:
            raise InputError("a search space needs at least one parameter")
        if any(isinstance(c.reads, str) for c in (*self.constraints, *self.active.values())):
            raise InputError("a constraint names the parameters it reads in a tuple, as in Constraint(('width',), ...)")
        if len(set(self.names)) < len(self.names):
            raise InputError(f"a search space names a parameter twice: {', '.join(self.names)}")
        read = {name for c in (*self.constraints, *self.active.values()) for name in c.reads or ()}
        for name in sorted(read | set(self.active)):
            if name not in self.names:
                raise unknown("parameter", name, self.names)
        if any(rule.reads is None for rule in self.active.values()):
            raise InputError("an activity rule must name the parameters it reads")

    def _check_not_empty(self) -> None:
        if self.size == 0:
            reasons = "; ".join(c.message or f"a rule on {c.reads}" for c in self.constraints)
            raise InputError(f"no architecture of this space is valid; its constraints are: {reasons}")

    def column(self, name: str) -> int:
        """Index of the code column of a parameter."""
        if name not in self.names:
            raise unknown("parameter", name, self.names)
        return self.names.index(name)

    # Look-up tables: one index for a combination of some genes' choices

    def indices(self, codes: Codes, names: Sequence[str]) -> npt.NDArray[np.int64]:
        """Mixed-radix index (n,) of each row's choices of the named genes; the last name varies fastest."""
        index = np.zeros(len(codes), dtype=np.int64)
        for name in names:
            column = self.column(name)
            index *= self._radix[column]
            index += codes[:, column]
        return index

    def combinations(self, names: Sequence[str]) -> Iterator[tuple[Value, ...]]:
        """The value tuples of the named genes, in the order of `indices`."""
        return itertools.product(*(self.parameters[self.column(name)].choices for name in names))

    @cached_property
    def _rules(self) -> list[tuple[tuple[str, ...], npt.NDArray[np.bool_]]]:
        named = [(c.reads, c.holds) for c in self.constraints if c.reads is not None]
        return [(reads, self._truth(reads, holds)) for reads, holds in named]

    @cached_property
    def _activity(self) -> dict[str, tuple[tuple[str, ...], npt.NDArray[np.bool_]]]:
        rules = {gene: (rule.reads or (), rule.holds) for gene, rule in self.active.items()}
        return {gene: (reads, self._truth(reads, holds)) for gene, (reads, holds) in rules.items()}

    def _truth(self, reads: Sequence[str], holds: Callable[..., bool]) -> npt.NDArray[np.bool_]:
        return np.array([bool(holds(*values)) for values in self.combinations(reads)])

    @property
    def _opaque(self) -> list[Constraint]:
        return [c for c in self.constraints if c.reads is None]

    # Rows

    def canonical(self, codes: Codes) -> Codes:
        """The same architectures with every gene that does not matter at code 0."""
        result = np.array(codes, dtype=np.int16, ndmin=2)
        for _ in range(self.d if self._activity else 0):  # a rule may read a gene that another rule silences
            before = result.copy()
            for gene, (reads, truth) in self._activity.items():
                result[~truth[self.indices(result, reads)], self.column(gene)] = 0
            if np.array_equal(before, result):
                break
        return result

    def valid(self, codes: Codes) -> npt.NDArray[np.bool_]:
        """Which rows (n,) meet every constraint, in their canonical form."""
        codes = self.canonical(codes)
        result = np.ones(len(codes), dtype=bool)
        for reads, truth in self._rules:
            result &= truth[self.indices(codes, reads)]
        for constraint in self._opaque:
            rows = np.flatnonzero(result)
            result[rows] = [bool(constraint.holds(a.values)) for a in self.decode(codes[rows])]
        return result

    def encode(self, architectures: Sequence[Architecture]) -> Codes:
        """Codes (n, d) of architectures; an `InputError` names the gene or value this space does not have."""
        rows = [[self._code(a, p) for p in self.parameters] for a in architectures]
        return self.canonical(np.array(rows, dtype=np.int16).reshape(len(rows), self.d))

    def _code(self, architecture: Architecture, parameter: Parameter) -> int:
        if not isinstance(architecture, Architecture):
            raise InputError(f"expected an Architecture; got {architecture!r:.80}")
        if architecture.family != self.family:
            raise InputError(f"expected a {self.family} architecture; got one of {architecture.family}")
        value = architecture[parameter.name]
        if value not in parameter.choices:
            raise InputError(f"{parameter.name}={value!r} is not in this space: {list(parameter.choices)}")
        return parameter.choices.index(value)

    def contains(self, architecture: Architecture) -> bool:
        """Whether an architecture is a valid member of this space."""
        try:
            return bool(self.valid(self.encode([architecture]))[0])
        except InputError:
            return False

    def decode(self, codes: Codes) -> list[Architecture]:
        """The architectures of code rows (n, d)."""
        choices = [p.choices for p in self.parameters]
        return [
            Architecture(self.family, {n: c[i] for n, c, i in zip(self.names, choices, row, strict=True)})
            for row in np.asarray(codes).tolist()
        ]

    # Size and sampling

    @cached_property
    def _counter(self) -> Counter:
        factors = [self._factor(reads, truth) for reads, truth in self._rules]
        for gene, (reads, truth) in self._activity.items():
            silent_zero = truth[:, None] | (np.arange(self._radix[self.column(gene)]) == 0)
            factors.append(self._factor((*reads, gene), silent_zero.ravel()))
        return Counter(self._radix.tolist(), factors)

    def _factor(self, reads: Sequence[str], truth: npt.NDArray[np.bool_]) -> Factor:
        columns = tuple(self.column(name) for name in reads)
        return Factor(columns, truth.reshape([int(self._radix[c]) for c in columns]))

    @cached_property
    def size(self) -> Size:
        """How many distinct valid architectures there are: exact, or an estimate that says so."""
        try:
            named = self._counter.total
        except TooWide:
            rng = np.random.default_rng(0)
            share = self._accepted(self._uniform(ESTIMATE_DRAWS, rng)).mean()
            return Size(round(share * math.prod(self._radix.tolist())), exact=False)
        if not self._opaque or named == 0:
            return Size(named)
        draws = self._counter.sample(2_000, np.random.default_rng(0)).astype(np.int16)
        return Size(round(float(self.valid(draws).mean()) * named), exact=False)

    @property
    def listed(self) -> int:
        """How many rows `grid` goes through: more than `size` where it is an estimate, since opaque rules come last."""
        if self.size.exact:
            return int(self.size)
        try:
            return self._counter.total
        except TooWide:
            return math.prod(self._radix.tolist())

    def _uniform(self, n: int, rng: np.random.Generator) -> Codes:
        return rng.integers(0, self._radix, size=(n, self.d)).astype(np.int16)

    def _accepted(self, codes: Codes) -> npt.NDArray[np.bool_]:
        """Valid and already canonical: accepting only these keeps rejection sampling uniform."""
        same: npt.NDArray[np.bool_] = (self.canonical(codes) == codes).all(axis=1)
        return self.valid(codes) & same

    def sample(self, n: int, rng: np.random.Generator) -> Codes:
        """Codes (n, d), each row uniform over the valid canonical ones; rows may repeat."""
        try:
            self._counter.total  # noqa: B018  (may be too wide to count)
            draw: Callable[[int], Any] = lambda m: self._counter.sample(m, rng).astype(np.int16)  # noqa: E731
        except TooWide:
            draw = lambda m: self._uniform(m, rng)  # noqa: E731
        parts: list[Codes] = []
        count = 0
        for _ in range(TRIES):
            if count >= n:
                break
            codes = draw(max(n - count, 64))
            parts.append(codes[self._accepted(codes)])
            count += len(parts[-1])
        if count < n:
            raise InputError(f"only {count} of {n} draws met the constraints; loosen or name what they read")
        return np.concatenate([*parts, np.empty((0, self.d), np.int16)])[:n]

    def neighbours(self, codes: Codes, rng: np.random.Generator) -> Codes:
        """For each row one valid row that differs in one gene (a step for half of the ordered ones).

        A row for which no valid mutation was found in a few tries comes back unchanged.
        """
        result = self.canonical(codes)
        waiting = np.arange(len(result))
        free = np.flatnonzero(self._radix > 1)
        for _ in range(8 if len(free) else 0):
            if not len(waiting):
                break
            mutated = self._mutate(result[waiting], free, rng)
            good = self.valid(mutated) & (mutated != result[waiting]).any(axis=1)
            result[waiting[good]] = mutated[good]
            waiting = waiting[~good]
        return result

    def _mutate(self, codes: Codes, free: npt.NDArray[np.int64], rng: np.random.Generator) -> Codes:
        rows, columns = np.arange(len(codes)), rng.choice(free, size=len(codes))
        radix, now = self._radix[columns], codes[rows, columns].astype(np.int64)
        jump = (now + rng.integers(1, radix)) % radix
        step = np.clip(now + rng.choice([-1, 1], size=len(codes)), 0, radix - 1)
        ordered = np.array([p.ordered for p in self.parameters])[columns]
        mutated = codes.copy()
        mutated[rows, columns] = np.where(ordered & (rng.random(len(codes)) < 0.5), step, jump)
        return self.canonical(mutated)

    def grid(self, limit: int) -> Codes:
        """Every valid canonical row, in lexicographic order; made once, not to be written to.

        Raises:
            InputError: there are more than `limit`.
        """
        if self.size > limit:
            raise InputError(f"this space has {self.size} architectures, more than the limit of {limit:,}")
        return self._rows

    @cached_property
    def _rows(self) -> Codes:
        codes = np.zeros((1, 0), dtype=np.int16)
        for column in range(self.d):
            codes = self._extend(codes, column)
        rows: Codes = codes[self._accepted(codes)]
        rows.flags.writeable = False
        return rows

    def _extend(self, codes: Codes, column: int) -> Codes:
        """All extensions by one gene that no rule whose genes are all chosen forbids."""
        radix = int(self._radix[column])
        new = np.tile(np.arange(radix, dtype=np.int16), len(codes))
        codes = np.column_stack([np.repeat(codes, radix, axis=0), new])
        keep = np.ones(len(codes), dtype=bool)
        for factor in self._counter.factors:
            if column == max(factor.columns, default=-1):
                keep &= factor.table[tuple(codes[:, c] for c in factor.columns)]
        return codes[keep]
