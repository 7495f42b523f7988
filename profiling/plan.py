"""Which cases to measure, most valuable first.

A space of millions of architectures is made of few distinct operators, because each depends on two or three
genes. Where even those are too many, a farthest-first choice in log sizes spreads the allowed number over the
space, corners first; the predictor fills the gaps. Some whole models are added at a few depths: the difference
between depths is the cost of a layer where it runs.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from distilsearch.architecture import Architecture, Value
from distilsearch.families import family
from distilsearch.lowering import flops, operators, parameter_count
from distilsearch.operators import Operator, Serving
from distilsearch.sites import Site
from distilsearch.space import SearchSpace

from .device import Probe, Work
from .model_case import model_signature

MOST_OPERATORS = 400
DEPTHS = (1, 2, 4)
DEPTH_GENE = "layers"
DRAWS = 256
MOST_COMBINATIONS = 8192
PREPARE_SECONDS = 0.05
COMPILE_SECONDS = 6.0
COMPILED_FEWER = 8  # compiled operators take seconds each, and whole models tell what is fused across them
VISIT_SECONDS = 5e-3
CALLS_A_VISIT = 6
EAGER_PENALTY = 2.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """Some work under one serving."""

    work: Work
    serving: Serving

    @property
    def kind(self) -> str:
        """`operator`, `model` or `probe`."""
        if isinstance(self.work, Operator):
            return "operator"
        return "model" if isinstance(self.work, Architecture) else "probe"

    @property
    def signature(self) -> str:
        """What identifies the work in a table, within a regime."""
        if isinstance(self.work, Architecture):
            return model_signature(self.work, self.serving)
        return self.work.signature

    @property
    def weight_bytes(self) -> int:
        """About how much memory it takes to hold it ready."""
        if isinstance(self.work, Probe):
            return self.work.bytes
        held = self.work.parameters if isinstance(self.work, Operator) else parameter_count(self.work)
        moved = self.work.bytes(self.serving.dtype) if isinstance(self.work, Operator) else 0
        return 4 * held + moved


@dataclass(frozen=True)
class Plan:
    """Cases in the order of their value, without duplicates, chosen among `distinct` operators.

    `spare` are the operators that were not chosen.
    """

    cases: tuple[Case, ...]
    distinct: int
    spare: tuple[Case, ...] = ()

    def count(self, kind: str) -> int:
        """How many cases are of a kind."""
        return sum(case.kind == kind for case in self.cases)

    def estimate_seconds(self, roofline: Callable[[Sequence[Operator], Serving], Floats], rounds: int) -> float:
        """About how long `rounds` rounds of all cases take; `roofline` gives seconds of operators."""
        return sum(estimate_seconds(case, roofline, rounds) for case in self.cases)


def make_plan(
    subject: SearchSpace | Iterable[SearchSpace | Operator],
    servings: Sequence[Serving],
    models: int = 3,
    most: int = MOST_OPERATORS,
) -> Plan:
    """The cases for spaces or operators under each serving; `models` students are taken whole at a few depths."""
    subjects = [subject] if isinstance(subject, SearchSpace) else list(subject)
    spaces = [s for s in subjects if isinstance(s, SearchSpace)]
    named = [s for s in subjects if isinstance(s, Operator)]
    cases: dict[tuple[str, Serving], Case] = {}
    spare: list[Case] = []
    distinct = 0
    for serving in servings:
        whole = [a for space in spaces for a in whole_models(space, serving, models)]
        found = {o: None for space in spaces for o in space_operators(space, serving)}
        distinct += len(found) + len(named)
        first = [o for a in whole for o, _ in operators(a, serving)]
        allowed = max(1, most // COMPILED_FEWER) if serving.mode == "compile" else most
        chosen: list[Work] = [*dict.fromkeys([*named, *first]), *whole, *choose(list(found), allowed)]
        for case in (Case(work, serving) for work in chosen):
            cases.setdefault((case.signature, serving), case)
        spare += [Case(o, serving) for o in found if (o.signature, serving) not in cases]
    return Plan(tuple(cases.values()), distinct, tuple(spare))


def space_operators(space: SearchSpace, serving: Serving) -> list[Operator]:
    """The distinct operators of the valid architectures of a space, in the order of the model.

    All of them, unless a site has more than `MOST_COMBINATIONS` combinations of its genes.
    """
    found: dict[Operator, None] = {}
    for site in family(space.family).sites(serving):
        for values in _allowed(space, site):
            if site.repeats(*values):
                found.setdefault(site.operator(*values))
    return list(found)


def _allowed(space: SearchSpace, site: Site) -> Iterable[tuple[Value, ...]]:
    """The values of a site's genes that every single constraint can still be met with."""
    rules = []
    for rule in space.constraints:
        shared = [name for name in site.reads if rule.reads and name in rule.reads]
        if shared and rule.reads:
            columns = [rule.reads.index(name) for name in shared]
            met = (values for values in space.combinations(rule.reads) if rule.holds(*values))
            possible = {tuple(values[c] for c in columns) for values in met}
            rules.append(([site.reads.index(name) for name in shared], possible))
    for values in itertools.product(*_thinned(space, site)):
        if all(tuple(values[c] for c in columns) in possible for columns, possible in rules):
            yield values


def _thinned(space: SearchSpace, site: Site) -> list[Sequence[Value]]:
    """The choices of a site's genes; of very many combinations an even part, ends included, as only some are timed."""
    choices: list[Sequence[Value]] = [space.parameters[space.column(name)].choices for name in site.reads]
    while math.prod(map(len, choices)) > MOST_COMBINATIONS:
        longest = max(range(len(choices)), key=lambda i: len(choices[i]))
        kept = len(choices[longest]) // 2 + 1
        places = np.linspace(0, len(choices[longest]) - 1, kept).round().astype(int)
        choices[longest] = [choices[longest][i] for i in places]
    return choices


def whole_models(space: SearchSpace, serving: Serving, count: int) -> list[Architecture]:
    """`count` students spread over the space's cost, each at the depths of the space nearest to 1, 2 and 4."""
    if count < 1:
        return []
    codes = np.unique(space.sample(DRAWS, np.random.default_rng(0)), axis=0)
    cost = [flops(architecture, serving) for architecture in space.decode(codes)]
    ranks = np.argsort(cost, kind="stable")
    picked = codes[ranks[((np.arange(count) + 0.5) / count * len(codes)).astype(int)]]
    return list(dict.fromkeys(a for row in picked for a in _depths(space, row)))


def _depths(space: SearchSpace, row: npt.NDArray[np.int16]) -> list[Architecture]:
    if DEPTH_GENE not in space.names:
        return space.decode(row[None])
    column = space.column(DEPTH_GENE)
    choices = np.array([float(c) for c in space.parameters[column].choices])
    rows = np.repeat(row[None], len(DEPTHS), axis=0)
    rows[:, column] = [int(np.abs(np.log(choices / depth)).argmin()) for depth in DEPTHS]
    rows = space.canonical(rows)
    return space.decode(rows[space.valid(rows)])


def choose(found: Sequence[Operator], most: int) -> list[Operator]:
    """At most `most` operators: all, or spread over each kind; broad coverage first."""
    kinds: dict[str, list[Operator]] = {}
    for operator in found:
        kinds.setdefault(operator.kind, []).append(operator)
    shares = _shares({kind: len(members) for kind, members in kinds.items()}, most)
    ordered = {kind: farthest_first(members, shares[kind]) for kind, members in kinds.items()}
    ranked = [(i / len(picked), o) for picked in ordered.values() for i, o in enumerate(picked)]
    return [operator for _, operator in sorted(ranked, key=lambda pair: pair[0])]


def _shares(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """How many of each kind: small kinds whole, the rest of the allowance split evenly over the large ones."""
    shares, left = {}, most
    for i, kind in enumerate(sorted(counts, key=lambda kind: counts[kind])):
        shares[kind] = min(counts[kind], max(1, left // (len(counts) - i)))
        left -= shares[kind]
    return shares


def farthest_first(members: Sequence[Operator], n: int) -> list[Operator]:
    """`n` operators of one kind, each the farthest in log sizes from those before it; starts at the smallest."""
    points = size_points(members)
    order = [int(np.argmin(points.sum(axis=1)))]
    distance = np.full(len(members), np.inf)
    while len(order) < n:
        np.minimum(distance, ((points - points[order[-1]]) ** 2).sum(axis=1), out=distance)
        order.append(int(np.argmax(distance)))
    return [members[i] for i in order]


def size_points(members: Sequence[Operator]) -> Floats:
    """Operators of one kind as points: log2 of every size, and an axis for each word (m, k)."""
    sizes = [operator.sizes for operator in members]
    numbers = [k for k, v in sizes[0].items() if not isinstance(v, str)]
    words = sorted({(k, v) for s in sizes for k, v in s.items() if isinstance(v, str)})
    rows = [[np.log2(1.0 + int(s[k])) for k in numbers] + [float(s[k] == v) for k, v in words] for s in sizes]
    return np.array(rows, dtype=np.float64)


def estimate_seconds(case: Case, roofline: Callable[[Sequence[Operator], Serving], Floats], rounds: int) -> float:
    """About how long one case takes in all: made ready, then visited in `rounds` rounds."""
    prepare = COMPILE_SECONDS if case.serving.mode == "compile" else PREPARE_SECONDS
    if isinstance(case.work, Probe):
        return prepare + rounds * VISIT_SECONDS
    if isinstance(case.work, Operator):
        parts: list[tuple[Operator, int]] = [(case.work, 1)]
    else:
        parts, prepare = operators(case.work, case.serving), prepare + case.weight_bytes / 2e8
    seconds = roofline([o for o, _ in parts], case.serving) @ np.array([n for _, n in parts], dtype=np.float64)
    visit: float = max(VISIT_SECONDS, CALLS_A_VISIT * EAGER_PENALTY * float(seconds))
    return prepare + rounds * visit


def missing(plan: Plan, done: Callable[[Case], bool]) -> Plan:
    """The part of a plan that is not in a table yet."""
    return replace(plan, cases=tuple(case for case in plan.cases if not done(case)))
