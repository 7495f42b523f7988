"""How well the surrogate foresees each architecture from all the others, as plain JSON.

An architecture is left out with all its replicates and training lengths at once: what was seen of it elsewhere
would make the check too kind.

Notation: N tells, z their warped values, Q (N, N) the inverse covariance, I the tells of one architecture:
z_I given the others ~ N(z_I - Q_II^-1 (Q z)_I, Q_II^-1).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from distilsearch.arrays import FloatArray
from distilsearch.predictors.surrogate.accuracy import Surrogate

from .beliefs import Beliefs
from .view import View

INTERVAL = 1.6449  # standard deviations either way that hold 90 %
Point = dict[str, Any]
Row = tuple[str, float, float, float]  # key, measured in told units, warped mean and deviation


def diagnose(view: View) -> dict[str, Any]:
    """The check of the first expensive objective's surrogate, in told units; pending trials play no part.

    `points` holds one entry an architecture: `measured` at its longest training (replicates averaged), `predicted`
    the left-out median, `sd` half the width of the interval of one standard deviation either way.
    """
    beliefs = Beliefs.of(replace(view, pending=view.pending[:0]))
    surrogate, sign = beliefs.surrogates[0], view.expensive[0].sign
    tells = np.flatnonzero(~np.isnan(view.values[:, 0]) & view.fresh)
    keys = [a.key for a in view.space.decode(view.codes)]
    inverse = torch.cholesky_inverse(surrogate.factor).numpy()
    rows: list[Row] = []
    for u in np.unique(view.row[tells]):
        own = np.flatnonzero(view.row[tells] == u)
        last, mean, sd = _left_out(surrogate, inverse, own, view.fidelity[tells[own]])
        rows.append((keys[u], sign * float(view.values[tells[last], 0].mean()), mean, sd))
    points = [_point(surrogate, sign, *row) for row in rows]
    report = surrogate.report
    summary = {
        "name": report.kernel,
        "warped": report.warped,
        "r2": _r2([p["measured"] for p in points], [p["predicted"] for p in points]),
        "coverage": _coverage(surrogate, sign, rows),
        "log_likelihood": _plain(report.log_likelihood),
        "considered": {name: _plain(value) for name, value in report.considered},
    }
    return summary | {"points": points}


def _left_out(surrogate: Surrogate, inverse: FloatArray, own: Any, fidelity: FloatArray) -> tuple[Any, float, float]:
    """Of an architecture's tells `own`: those at its longest training, and their warped mean and deviation."""
    rank = np.nan_to_num(fidelity, nan=-math.inf, neginf=-math.inf)
    last = np.flatnonzero(rank == rank.max())
    covariance = np.linalg.inv(inverse[np.ix_(own, own)])
    z = surrogate.targets.numpy()
    mean = z[own] - covariance @ (inverse[own] @ z)
    weights = np.full(len(last), 1.0 / len(last))
    variance = float(weights @ covariance[np.ix_(last, last)] @ weights)
    return own[last], float(mean[last].mean()), math.sqrt(max(variance, 0.0))


def _point(surrogate: Surrogate, sign: float, key: str, measured: float, mean: float, sd: float) -> Point:
    low, middle, high = surrogate.warp.inverse(np.array([mean - sd, mean, mean + sd])).tolist()
    figures = {"measured": measured, "predicted": sign * middle, "sd": (high - low) / 2}
    return {"key": key} | {name: _plain(value) for name, value in figures.items()}


def _coverage(surrogate: Surrogate, sign: float, rows: Sequence[Row]) -> float | None:
    """Share of architectures within their 90 % interval."""
    measured = surrogate.warp(np.array([sign * value for _, value, _, _ in rows]))
    inside = [abs(z - mean) <= INTERVAL * sd for z, (_, _, mean, sd) in zip(measured, rows, strict=True)]
    return _plain(float(np.mean(inside)))


def _r2(measured: Sequence[float | None], predicted: Sequence[float | None]) -> float | None:
    y, f = np.array(measured, dtype=np.float64), np.array(predicted, dtype=np.float64)
    total = float(((y - y.mean()) ** 2).sum())
    return _plain(1.0 - float(((y - f) ** 2).sum()) / total) if total > 0 else None


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
