"""From raw rounds to figures: what each case takes, how noisy the table is, how far operators are from adding up.

| symbol | meaning |
| --- | --- |
| group | all rounds of one (kind, signature, regime) |
| level | the low quantile of a session's sentinel times at one thread count |
| baseline | the low quantile of the levels below `WAITING` x the least, by thread count: the undisturbed machine |
| noise floor | median over hot groups of the relative difference of two halves of the rounds |
| additivity error | median over models of measured / sum of operators - 1 |
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from distilsearch.arrays import FloatArray
from distilsearch.lowering import operators

from ..clock import WAITING, Measured, repeat_error, summarise, undisturbed
from ..device import PROBES, Probe, Regime
from ..model_case import parse_model
from .rounds import Rounds
from .rows import Roof

Key = tuple[str, str, Regime]
LEAST_FOR_FLOOR = 4
FASTEST = 100.0  # times faster than the median of all sessions, busy ones included: no probe gains so much


@dataclass
class Group:
    """The rounds of one case, in order of time."""

    seconds: list[float] = field(default_factory=list)
    sentinels: list[float] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    baseline: float = math.nan


Groups = dict[Key, Group]


def grouped(parts: Iterable[Rounds]) -> Groups:
    """The rounds of each case; the same groups whatever the order of the files."""
    records = [record for part in parts for record in part.rows.to_pylist()]
    records.sort(key=lambda r: (r["kind"], r["signature"], r["unix_seconds"], r["session"], r["round"]))
    regimes: dict[tuple[Any, ...], Regime] = {}
    groups: Groups = {}
    for r in records:
        conditions = tuple(r[name] for name in Regime.__dataclass_fields__)
        regime = regimes.setdefault(conditions, Regime(*conditions))
        group = groups.setdefault((r["kind"], r["signature"], regime), Group())
        if r["status"] != "ok":
            group.failures.append(r["status"])
            continue
        group.seconds.append(r["seconds"])
        group.sentinels.append(r["sentinel_seconds"])
        group.sessions.append(r["session"])
    _set_baselines(groups)
    return groups


def _set_baselines(groups: Groups) -> None:
    """Levels of the sessions, and the low quantile of those as the baseline: every session counts the same."""
    levels = _levels(groups)
    of_threads: dict[int, list[float]] = {}
    for (threads, _), level in levels.items():
        of_threads.setdefault(threads, []).append(level)
    baselines = {threads: undisturbed(_calm(values)) for threads, values in of_threads.items()}
    for (_, _, regime), group in groups.items():
        group.baseline = baselines.get(regime.threads, math.nan)
        group.levels = [levels[regime.threads, session] for session in group.sessions]


def _calm(levels: Sequence[float]) -> FloatArray:
    """The levels of sessions that had the machine to themselves: what waited for a core says nothing of it."""
    values = np.asarray(levels)
    least = _fastest(levels)
    return values[(values >= least) & (values < WAITING * least)]


def _levels(groups: Groups) -> dict[tuple[int, str], float]:
    """The sentinel of each thread count and session at its best."""
    sentinels: dict[tuple[int, str], list[float]] = {}
    for (_, _, regime), group in groups.items():
        for session, seconds in zip(group.sessions, group.sentinels, strict=True):
            sentinels.setdefault((regime.threads, session), []).append(seconds)
    return {key: undisturbed(values) for key, values in sentinels.items()}


def baselines(groups: Groups) -> dict[int, float]:
    """The undisturbed sentinel of each thread count, seconds."""
    return {regime.threads: group.baseline for (_, _, regime), group in groups.items() if group.sentinels}


def measured(group: Group) -> Measured:
    """The statistics of one case; a case that ever ran is what it was when it ran."""
    if not group.seconds:
        return Measured.failed(group.failures[-1])
    return summarise(group.seconds, group.sentinels, group.baseline, group.levels)


def roofs(groups: Groups) -> dict[str, Roof]:
    """The roof of each "dtype/threads" whose probes were timed."""
    figures: dict[str, dict[str, float]] = {}
    for (kind, signature, regime), group in groups.items():
        if kind != "probe" or not group.seconds:
            continue
        probe, least = Probe.parse(signature), _fastest(group.seconds)
        reached = {"peak": probe.flops / least, "bandwidth": probe.bytes / least, "launch": least}[probe.name]
        best = figures.setdefault(roof_name(regime), {})
        better = min if probe.name == "launch" else max
        best[probe.name] = better(best.get(probe.name, reached), reached)
    return {name: Roof(*(f[part] for part in PROBES)) for name, f in figures.items() if set(f) == set(PROBES)}


def _fastest(seconds: Sequence[float]) -> float:
    """The least of several times that can be true; the others may have been slowed down by any factor."""
    values = np.asarray(seconds)
    return float(values[values >= np.median(values) / FASTEST].min())


def roof_name(regime: Regime) -> str:
    """The key of a regime's roof."""
    return f"{regime.dtype}/{regime.threads}"


def noise_floor(groups: Groups) -> float:
    """How far a measurement with half the rounds is from the other half, relatively; NaN with too few rounds."""
    repeated = [
        group
        for (kind, _, regime), group in groups.items()
        if kind != "probe" and regime.cache == "hot" and len(group.seconds) >= LEAST_FOR_FLOOR
    ]
    calm = [group for group in repeated if not measured(group).disturbed]  # a busy session says nothing of the machine
    errors = [repeat_error(g.seconds, g.sentinels, g.baseline, g.levels) for g in calm or repeated]
    return float(np.median(errors)) if errors else math.nan


def additivity_error(found: Mapping[Key, Measured]) -> float:
    """Median over models of measured / sum of operators - 1, where every operator is in the table; else NaN."""
    times = {(s, r): m.seconds_p10 for (k, s, r), m in found.items() if k == "operator"}
    errors = []
    for (kind, signature, regime), whole in found.items():
        if kind != "model":
            continue
        architecture, serving = parse_model(signature, regime)
        parts = [(times.get((o.signature, regime), math.nan), n) for o, n in operators(architecture, serving)]
        error = whole.seconds_p10 / sum(seconds * n for seconds, n in parts) - 1
        errors += [] if math.isnan(error) else [error]
    return float(np.median(errors)) if errors else math.nan
