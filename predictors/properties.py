"""What must hold of any latency predictor, as properties that can be tried on anybody's table.

`distilsearch tables test` runs them on a table; `distilsearch.testing` hands them to property tests. Each property is a
function of a `Subject` (a table, its predictor, some drawn architectures) that returns what is wrong, or nothing.
They need no measurement, so they hold to rounding; where the table's own noise enters, within its noise floor.
"""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.errors import TableError
from distilsearch.families import family
from distilsearch.lowering import operators
from distilsearch.operators import Operator, Serving
from distilsearch.profiling.tables.table import LatencyTable
from distilsearch.space import SearchSpace

from .latency import LatencyPredictor
from .operators.features import CATEGORIES, FLAGS
from .operators.totals import Lowered
from .operators.utilisation import EXACT

DEPTH = "layers"
FAR = 16  # how far off the measured sizes an operator is certainly extrapolated
PLAUSIBLE = 3.0
ROUNDING = 1e-6


@dataclass(frozen=True)
class Subject:
    """A predictor and what it is tried on; `codes` (n, d) are drawn architectures of `space`."""

    table: LatencyTable
    predictor: LatencyPredictor
    space: SearchSpace
    serving: Serving
    codes: NDArray[np.int16]
    seed: int = 0

    @property
    def architectures(self) -> list[Architecture]:
        """The drawn ones."""
        return self.space.decode(self.codes)

    def means(self, architectures: Sequence[Architecture], serving: Serving | None = None) -> FloatArray:
        """Predicted latency (n,) in ms."""
        return self.predictor.predict(architectures, serving or self.serving).mean_ms


@dataclass(frozen=True)
class Finding:
    """The outcome of one property; `problem` is empty where it holds."""

    name: str
    serving: Serving
    problem: str


def check_table(table: LatencyTable, n: int = 32, seed: int = 0) -> list[Finding]:
    """Every property on every serving that a table has whole models of, over `n` drawn architectures each."""
    predictor = LatencyPredictor.fit(table, seed=seed)
    usable = [row for row in table.models if row.measured.usable]
    if not usable:
        raise TableError("this table holds no measured model to draw architectures around; profile a space first")
    findings = []
    for serving in dict.fromkeys(row.serving for row in usable):
        space = around([row.architecture for row in usable if row.serving == serving])
        codes = space.sample(n, np.random.default_rng(seed))
        subject = Subject(table, predictor, space, serving, codes, seed)
        findings += [Finding(name, serving, holds(subject)) for name, holds in PROPERTIES.items()]
    return findings


def around(architectures: Sequence[Architecture]) -> SearchSpace:
    """The space of all combinations of the genes of some architectures, of the first one's family."""
    same = [a for a in architectures if a.family == architectures[0].family]
    choices: dict[str, list[Any]] = {}
    for name in same[0].values:
        choices[name] = sorted({a[name] for a in same}, key=lambda v: (str(type(v)), v))
    return family(same[0].family).space(choices)


def positive_and_finite(s: Subject) -> str:
    """Means, bounds and spreads are positive numbers."""
    p = s.predictor.predict(s.architectures, s.serving)
    figures = np.stack([p.mean_ms, p.lower_ms, p.upper_ms, p.spread_ms])
    return _first(~(np.isfinite(figures) & (figures > 0)).all(axis=0), s, "has a latency that is no positive number")


def never_below_the_roofline(s: Subject) -> str:
    """No model is faster than computing at the measured peak, or moving all bytes at the measured bandwidth."""
    peak, bandwidth, _ = s.predictor.model.ceilings.of(s.predictor.setting(s.serving))
    least = []
    for architecture in s.architectures:
        parts = operators(architecture, s.serving)
        work, moved = (sum(f * count for f, count in each) for each in _work(parts, s.serving.dtype))
        least.append(1e3 * max(work / peak, moved / bandwidth))
    slack = 1.0 - max(s.table.meta.noise_floor, 0.0) if np.isfinite(s.table.meta.noise_floor) else 1.0
    return _first(s.means(s.architectures) < np.array(least) * slack, s, "is predicted to beat the roofline")


def a_layer_more_is_never_faster(s: Subject) -> str:
    """Depth only adds."""
    deeper = [
        Architecture(a.family, {**a.values, DEPTH: int(a[DEPTH]) + 1}) for a in s.architectures if DEPTH in a.values
    ]
    if not deeper:
        return ""
    return _first(s.means(deeper) < s.means(s.architectures) * (1 - ROUNDING), s, "gets faster by a layer more")


def order_of_operators_is_no_matter(s: Subject) -> str:
    """A model is the sum of its operators, whichever comes first."""
    rng = np.random.default_rng(s.seed)
    parts = [operators(a, s.serving) for a in s.architectures]
    shuffled = [[each[i] for i in rng.permutation(len(each))] for each in parts]
    a, b = (s.predictor._finished(Lowered.of_operators(each), s.serving)[0] for each in (parts, shuffled))
    return _first(np.abs(a / b - 1) > 1e-9, s, "depends on the order of its operators")


def more_tokens_are_never_faster(s: Subject) -> str:
    """Twice the batch or the length takes longer, within the noise floor."""
    noise = s.table.meta.noise_floor if np.isfinite(s.table.meta.noise_floor) else 0.0
    now, slack = s.means(s.architectures), 1.0 - max(noise, ROUNDING)
    for name in ("batch", "sequence"):
        twice = replace(s.serving, **{name: 2 * getattr(s.serving, name)})
        problem = _first(s.means(s.architectures, twice) < now * slack, s, f"gets faster by twice the {name}")
        if problem:
            return problem
    return ""


def compiled_equals_predicted(s: Subject) -> str:
    """The look-up tables give what adding up operator by operator gives."""
    compiled, p = s.predictor.compile(s.space, s.serving), s.predictor.predict(s.architectures, s.serving)
    pairs = [(compiled(s.codes), p.mean_ms), (compiled.spread(s.codes), p.spread_ms)]
    pairs.append((compiled.upper(s.codes), p.upper_ms))
    off = np.stack([np.abs(a / b - 1) for a, b in pairs]).max(axis=0)
    return _first(off > ROUNDING, s, "has another latency when compiled")


def interval_contains_the_mean(s: Subject) -> str:
    """lower < mean < upper."""
    p = s.predictor.predict(s.architectures, s.serving)
    return _first(~((p.lower_ms < p.mean_ms) & (p.mean_ms < p.upper_ms)), s, "lies outside its own interval")


def wider_off_the_table(s: Subject) -> str:
    """An operator far outside the measured sizes has a spread, a measured one has none."""
    setting = s.predictor.setting(s.serving)
    measured = [sample.operator for sample in s.predictor.model.samples if sample.setting == setting]
    far = [_far(operator) for operator in measured]
    if not measured:
        return ""
    near, off = s.predictor.model.estimate(measured, setting), s.predictor.model.estimate(far, setting)
    wrong = (near.tier != EXACT) | (off.spread <= near.spread)
    return f"{measured[int(wrong.argmax())].signature} is as certain far off the table" if wrong.any() else ""


def saved_and_loaded_is_the_same(s: Subject) -> str:
    """To the last bit."""
    with tempfile.TemporaryDirectory() as folder:
        loaded = LatencyPredictor.load(s.predictor.save(folder))
    a, b = (p.predict(s.architectures, s.serving) for p in (s.predictor, loaded))
    off = (a.mean_ms != b.mean_ms) | (a.upper_ms != b.upper_ms) | (a.tier != b.tier)
    return _first(off, s, "is predicted otherwise after saving and loading")


def same_seed_same_predictor(s: Subject) -> str:
    """Whatever the order of the table's rows."""
    turned = replace(s.table, operators=s.table.operators[::-1])
    fitted = [LatencyPredictor.fit(table, seed=s.seed) for table in (s.table, turned)]
    a, b = (p.predict(s.architectures, s.serving).upper_ms for p in fitted)
    return _first(a != b, s, "is predicted otherwise by a second fit")


def milliseconds(s: Subject) -> str:
    """Predictions lie near the table's own measured models: a factor of a thousand is a unit."""
    rows = [row for row in s.table.models if row.measured.usable and row.serving == s.serving]
    ratio = s.means([row.architecture for row in rows]) / (1e3 * np.array([row.measured.seconds_p10 for row in rows]))
    middle = float(np.median(ratio)) if len(rows) else 1.0
    plausible = 1 / PLAUSIBLE < middle < PLAUSIBLE
    return "" if plausible else f"predictions are {middle:.3g} times the measured models, in milliseconds"


Property = Callable[[Subject], str]
PROPERTIES: dict[str, Property] = {
    "positive and finite": positive_and_finite,
    "never below the roofline": never_below_the_roofline,
    "a layer more is never faster": a_layer_more_is_never_faster,
    "the order of operators is no matter": order_of_operators_is_no_matter,
    "more tokens are never faster": more_tokens_are_never_faster,
    "compiled equals predicted": compiled_equals_predicted,
    "the interval contains the mean": interval_contains_the_mean,
    "wider off the table": wider_off_the_table,
    "saved and loaded is the same": saved_and_loaded_is_the_same,
    "same seed, same predictor": same_seed_same_predictor,
    "milliseconds": milliseconds,
}


Amounts = list[tuple[int, float]]


def _work(parts: Iterable[tuple[Operator, float]], dtype: str) -> tuple[Amounts, Amounts]:
    """FLOPs and bytes of operators, with their counts."""
    listed = list(parts)
    return [(o.flops, n) for o, n in listed], [(o.bytes(dtype), n) for o, n in listed]


def _far(operator: Operator) -> Operator:
    """The operator with its sizes FAR times as large; choices and zeros stay."""
    unchanged = (*CATEGORIES, *FLAGS)
    return Operator(
        operator.kind,
        {n: v if isinstance(v, str) or n in unchanged else FAR * v for n, v in operator.sizes.items()},
    )


def _first(wrong: ArrayLike, s: Subject, what: str) -> str:
    """Names the first architecture that is wrong."""
    wrong = np.asarray(wrong, dtype=np.bool_)
    if not wrong.any():
        return ""
    values = dict(s.architectures[int(wrong.argmax())].values)
    return f"{int(wrong.sum())} of {len(wrong)}: {values} {what}"
