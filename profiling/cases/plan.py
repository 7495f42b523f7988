"""Which cases to measure, most valuable first.

A space of millions of architectures is made of few distinct operators, because each depends on two or three
genes. Where even those are too many, a farthest-first choice in log sizes spreads the allowed number over the
space, corners first; the predictor fills the gaps. Some students are added whole.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from distilsearch.architecture import Architecture, Value
from distilsearch.arrays import FloatArray
from distilsearch.lowering import check_length, operators, parameter_count, sites_of
from distilsearch.operators import Operator, Serving
from distilsearch.sites import Site
from distilsearch.space import SearchSpace

from ..device import Costs, Probe, Work
from ..model_case import model_signature
from .spread import farthest_first, size_points
from .whole_models import whole_models

MOST_OPERATORS = 400
MODELS = 10
MOST_COMBINATIONS = 8192
LENGTHS_MORE = 2  # times the operators of one length: half of that predicted toy students with three times the error
COMPILED_FEWER = 3  # compiled operators take a second each, and whole models tell what is fused across them
CALLS_A_VISIT = 6
EAGER_PENALTY = 2.0

Roofline = Callable[[Sequence[Operator], Serving], FloatArray]


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

    def estimate_seconds(self, roofline: Roofline, costs: Callable[[Serving], Costs], rounds: int) -> float:
        """About how long `rounds` rounds of all cases take; `roofline` gives seconds of operators."""
        return sum(estimate_seconds(case, roofline, costs(case.serving), rounds) for case in self.cases)


def make_plan(
    subject: SearchSpace | Iterable[SearchSpace | Operator],
    servings: Sequence[Serving],
    models: int = MODELS,
    most: int = MOST_OPERATORS,
) -> Plan:
    """The cases for spaces or operators under each serving; `models` students are taken whole.

    The lengths of a serving of several share what one length would have: `most` operators and no more than twice those
    of one length, chosen over all of them, and `models` students, whole at one length each and at the median.
    """
    subjects = [subject] if isinstance(subject, SearchSpace) else list(subject)
    spaces = [s for s in subjects if isinstance(s, SearchSpace)]
    named = [s for s in subjects if isinstance(s, Operator)]
    cases: dict[tuple[str, Serving], Case] = {}
    spare: list[Case] = []
    distinct = 0
    for space, serving in itertools.product(spaces, servings):
        check_length(space, serving)
    for serving in servings:
        whole = [case for space in spaces for case in _whole(space, serving, models)]
        candidates = {o: None for space in spaces for o in space_operators(space, serving)}
        distinct += len(candidates) + len(named)
        first = [o for work, part in whole for o, _ in operators(work, part)]
        allowed = max(1, most // COMPILED_FEWER) if serving.mode == "compile" else most
        if serving.lengths is not None:
            allowed = min(allowed, LENGTHS_MORE * -(-len(candidates) // len(serving.parts)))
        chosen = [Case(o, serving) for o in dict.fromkeys([*named, *first])]
        chosen += [Case(*one) for one in [*whole, *_as_most(whole, serving)]]
        chosen += [Case(o, serving) for o in choose(list(candidates), allowed)]
        for case in chosen:
            cases.setdefault((case.signature, serving), case)
        spare += [Case(o, serving) for o in candidates if (o.signature, serving) not in cases]
    return Plan(tuple(cases.values()), distinct, tuple(spare))


def _whole(space: SearchSpace, serving: Serving, count: int) -> list[tuple[Architecture, Serving]]:
    """Students to take whole, each at one length: of several these are taken in turn, the longest first.

    Compiling a model takes seconds, so that none is taken at the median length as well: every other one is there.
    """
    models, parts = whole_models(space, serving, count), [part for part, _ in serving.parts]
    in_turn = itertools.cycle(parts[::-1])
    if serving.mode == "compile" and len(parts) > 1:
        return [(model, _median(serving) if place % 2 else next(in_turn)) for place, model in enumerate(models)]
    return list(zip(models, in_turn, strict=False))


def _as_most(whole: Sequence[tuple[Architecture, Serving]], serving: Serving) -> list[tuple[Architecture, Serving]]:
    """The same students at the median of several lengths, which most requests are near.

    What a model takes beyond its operators is most of a short request, and little of a long one, so a model or two at
    each length says too little of where requests are. No operator is timed for their sake: predicting those was right.
    """
    if serving.lengths is None or serving.mode == "compile":
        return []
    return [(model, _median(serving)) for model, part in whole if part != _median(serving)]


def _median(serving: Serving) -> Serving:
    return serving if serving.lengths is None else serving.at(serving.lengths.p50)


def space_operators(space: SearchSpace, serving: Serving) -> list[Operator]:
    """The distinct operators of the valid architectures of a space, in the order of the model.

    All of them, unless a site has more than `MOST_COMBINATIONS` combinations of its genes.
    """
    distinct: dict[Operator, None] = {}
    for site, _ in sites_of(space.family, serving):
        if any(site.repeats(*values) for values in space.combinations(site.times)):
            distinct |= {o: None for values in _allowed(space, site) if (o := site.operator(*values))}
    return list(distinct)


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
        count = len(choices[longest]) // 2 + 1
        places = np.linspace(0, len(choices[longest]) - 1, count).round().astype(int)
        choices[longest] = [choices[longest][i] for i in places]
    return choices


def choose(found: Sequence[Operator], most: int) -> list[Operator]:
    """At most `most` operators: all, or spread over each kind; broad coverage first."""
    kinds: dict[str, list[Operator]] = {}
    for operator in found:
        kinds.setdefault(operator.kind, []).append(operator)
    shares = _shares({kind: len(members) for kind, members in kinds.items()}, most)
    ordered = {kind: _corners_first(members, shares[kind]) for kind, members in kinds.items()}
    ranked = [(i / len(picked), o) for picked in ordered.values() for i, o in enumerate(picked)]
    return [operator for _, operator in sorted(ranked, key=lambda pair: pair[0])]


def _shares(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """How many of each kind: small kinds whole, the rest of the allowance split evenly over the large ones."""
    shares, left = {}, most
    for i, kind in enumerate(sorted(counts, key=lambda kind: counts[kind])):
        shares[kind] = min(counts[kind], max(1, left // (len(counts) - i)))
        left -= shares[kind]
    return shares


def _corners_first(members: Sequence[Operator], n: int) -> list[Operator]:
    """`n` operators of one kind, spread over their log sizes; starts at the smallest."""
    points = size_points(members)
    return [members[i] for i in farthest_first(points, n, [int(points.sum(axis=1).argmin())])]


def estimate_seconds(case: Case, roofline: Roofline, costs: Costs, rounds: int) -> float:
    """About how long one case takes in all: made ready, then visited in `rounds` rounds."""
    prepare = costs.prepare_seconds
    if isinstance(case.work, Probe):
        return prepare + rounds * costs.visit_seconds
    if isinstance(case.work, Operator):
        parts: list[tuple[Operator, float]] = [(case.work, 1)]
    else:
        parts, prepare = operators(case.work, case.serving), prepare + case.weight_bytes / 2e8
    seconds = roofline([o for o, _ in parts], case.serving) @ np.array([n for _, n in parts], dtype=np.float64)
    visit: float = max(costs.visit_seconds, CALLS_A_VISIT * EAGER_PENALTY * float(seconds))
    return prepare + rounds * visit


def missing(plan: Plan, done: Callable[[Case], bool]) -> Plan:
    """The part of a plan that is not in a table yet."""
    return replace(plan, cases=tuple(case for case in plan.cases if not done(case)))
