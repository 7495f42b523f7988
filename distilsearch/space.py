"""Search spaces over integer codes.

A point of a space is a row of codes: for each parameter the index of its choice. Constraints and activity
rules name the parameters they read, so each becomes a table of truth over those choices; validity of millions
of rows is then a handful of look-ups, and the space is counted and sampled exactly (`counting.py`).

A gene that does not matter (its activity rule is false) is set to code 0: the canonical form. `sample`, `grid`
and `neighbours` speak of valid canonical rows only.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from .architecture import Architecture, Value, plain_value
from .counting import Counter, Factor, TooWide
from .dropped import fitting, kept
from .errors import InputError, unknown
from .genes import Constraint, Parameter, Size

__all__ = ["Codes", "Constraint", "Parameter", "SearchSpace", "Size"]

Codes = npt.NDArray[np.int16]  # (n, d)
ESTIMATE_DRAWS = 100_000
OPAQUE_DRAWS = 2_000
LISTED = 1 << 17  # rows of a space that are gone through, to find how many an opaque rule leaves
MOST_ROWS = 1 << 23  # rows that an enumeration may hold at once
WIDE = 1 << 18  # combinations of the genes of a rule; one that reads more is asked row by row, as if it were opaque
ENOUGH = 16  # valid draws that a share is estimated from
SEARCHED = 1 << 18  # draws, at least, after which a sample makes do with what it has
BATCH = 1 << 15
TRIES = 64  # draws for each valid row, up to which drawing goes on
WALK, WALKERS = 8, 1 << 11  # steps, and rows that take them


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

    @classmethod
    def of(cls, architectures: Sequence[Architecture], unordered: Sequence[str] = ()) -> "SearchSpace":
        """The space that holds exactly these architectures, of one family and with the same genes.

        Args:
            architectures: its members, in any order; repeated ones count once.
            unordered: genes whose numbers are mere labels; genes of text always are.

        Raises:
            InputError: there are none, or they differ in family or genes.
        """
        from .listed import ListedSpace

        return ListedSpace(architectures, unordered)

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
        if self.size > 0:
            return
        reasons = "; ".join(c.message or f"a rule on {c.reads or 'all genes'}" for c in self.constraints)
        choices = {p.name: p.choices for p in self.parameters}
        named = [c for c in self.constraints if not self._wide(c)]
        hints = [words for c in named if not kept(c, choices) for words in fitting(c, choices)]
        reasons = "; ".join([reasons, *hints])
        if self.size.exact or self.listed <= LISTED:
            raise InputError(
                f"no architecture of this space is valid; its constraints are: {reasons}; give choices that keep them"
            )
        raise InputError(
            f"no valid architecture was found in {SEARCHED:,} draws, though there may be some; let rules name the few"
            f" genes they read, or list the architectures with SearchSpace.of; the constraints are: {reasons}"
        )

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

    def _wide(self, rule: Constraint) -> bool:
        """Whether a rule reads too many combinations to be tabulated, or all genes."""
        return rule.reads is None or math.prod(len(self.parameters[self.column(n)].choices) for n in rule.reads) > WIDE

    @cached_property
    def _rules(self) -> list[tuple[tuple[str, ...], npt.NDArray[np.bool_]]]:
        named = [(c.reads or (), c.holds) for c in self.constraints if not self._wide(c)]
        return [(reads, self._truth(reads, holds)) for reads, holds in named]

    @cached_property
    def _activity(self) -> dict[str, tuple[tuple[str, ...], npt.NDArray[np.bool_]]]:
        rules = {gene: (rule.reads or (), rule.holds) for gene, rule in self.active.items() if not self._wide(rule)}
        return {gene: (reads, self._truth(reads, holds)) for gene, (reads, holds) in rules.items()}

    def _truth(self, reads: Sequence[str], holds: Callable[..., bool]) -> npt.NDArray[np.bool_]:
        return np.array([bool(holds(*values)) for values in self.combinations(reads)])

    @cached_property
    def _opaque(self) -> list[Constraint]:
        """The rules that are asked row by row."""
        return [c for c in self.constraints if self._wide(c)]

    @cached_property
    def _loose(self) -> dict[str, Constraint]:
        """The activity rules that are asked row by row."""
        return {gene: rule for gene, rule in self.active.items() if self._wide(rule)}

    def _asked(self, rule: Constraint, codes: Codes) -> npt.NDArray[np.bool_]:
        """What a rule says of each row (n,), asked one by one."""
        columns = range(self.d) if rule.reads is None else [self.column(name) for name in rule.reads]
        tables = [
            (self.names[c], c, [plain_value(self.names[c], x) for x in self.parameters[c].choices]) for c in columns
        ]
        rows = codes.tolist()
        if rule.reads is None:
            ordered = sorted(tables)
            mappings = ({name: choices[row[c]] for name, c, choices in ordered} for row in rows)
            return np.array([bool(rule.holds(MappingProxyType(values))) for values in mappings], dtype=bool)
        return np.array([bool(rule.holds(*(choices[row[c]] for _, c, choices in tables))) for row in rows], dtype=bool)

    # Rows

    def canonical(self, codes: Codes) -> Codes:
        """The same architectures with every gene that does not matter at code 0."""
        result = np.array(codes, dtype=np.int16, ndmin=2)
        for _ in range(self.d if self.active else 0):  # a rule may read a gene that another rule silences
            before = result.copy()
            for gene, (reads, truth) in self._activity.items():
                result[~truth[self.indices(result, reads)], self.column(gene)] = 0
            for gene, rule in self._loose.items():
                result[~self._asked(rule, result), self.column(gene)] = 0
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
            result[rows] = self._asked(constraint, codes[rows])
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
            return self._estimate(float(share), math.prod(self._radix.tolist()))
        if not (self._opaque or self._loose) or named == 0:
            return Size(named)
        if named <= LISTED:
            return Size(len(self._rows), exact=False)
        draws = self._counter.sample(OPAQUE_DRAWS, np.random.default_rng(0)).astype(np.int16)
        return self._estimate(float(self._accepted(draws).mean()), named)

    def _estimate(self, share: float, total: int) -> Size:
        """A share of the rows; where few draws were valid that of a longer search, and zero where it finds none."""
        if share > 0.01:
            return Size(round(Fraction(share) * total), exact=False)
        seeds, drawn = self._drawn(ENOUGH, np.random.default_rng(1))
        return Size(max(round(Fraction(len(seeds), drawn) * total), len(seeds)), exact=False)

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
        """Codes (n, d), each row uniform over the valid canonical ones; rows may repeat.

        Where rules that are asked row by row leave next to nothing of what is drawn, some rows are what a walk from
        valid row to valid row leads to, and repeat.
        """
        codes, _ = self._drawn(n, rng)
        if len(codes) >= n:
            return codes[:n]
        if not len(codes):
            raise InputError(f"none of {SEARCHED:,} draws met the constraints; loosen or name what they read")
        walked = codes
        for _ in range(WALK):
            start = walked[rng.integers(len(walked), size=min(n, WALKERS))]
            walked = np.unique(np.concatenate([walked, self.neighbours(start, rng)]), axis=0)
        return np.concatenate([codes, walked[rng.integers(len(walked), size=n - len(codes))]])

    def _drawn(self, n: int, rng: np.random.Generator) -> tuple[Codes, int]:
        """Valid rows, n of them or as many as a bounded number of draws gives, and how many were drawn."""
        parts, count, drawn = [np.empty((0, self.d), np.int16)], 0, 0
        while count < n and (drawn < SEARCHED or count * TRIES > drawn):
            codes = self._proposed(min(max(2 * (n - count), 64), BATCH) if count else min(max(n, 64), BATCH), rng)
            parts.append(codes[self._accepted(codes)])
            count, drawn = count + len(parts[-1]), drawn + len(codes)
        return np.concatenate(parts), drawn

    def _proposed(self, n: int, rng: np.random.Generator) -> Codes:
        """Draws (n, d) that meet the rules that are tabulated, if these can be counted."""
        try:
            self._counter.total  # noqa: B018  (may be too wide to count)
        except TooWide:
            return self._uniform(n, rng)
        return self._counter.sample(n, rng).astype(np.int16)

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
            InputError: there are more than `limit`, or too many to be looked through for those that are valid.
        """
        self._check_limit(limit)
        return self._rows

    def _check_limit(self, limit: int) -> None:
        if self.size > limit:
            raise InputError(f"this space has {self.size} architectures, more than the limit of {limit:,}")

    @cached_property
    def _rows(self) -> Codes:
        codes = np.zeros((1, 0), dtype=np.int16)
        for column in range(self.d):
            codes = self._extend(codes, column)
            if len(codes) > MOST_ROWS:
                raise InputError(
                    f"there are more than {MOST_ROWS:,} combinations to look through for those that are valid; draw a"
                    " sample instead, or let the rules name the few genes they read"
                )
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
