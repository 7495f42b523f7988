"""What is believed of operators' seconds before anyone has timed one: the covariance that `pairs` learns with.

Within a kind, seconds are linear in launches, FLOPs and bytes with unknown rates; what deviates from that is smooth
in the logarithms of the sizes, with a rest of each operator's own; all of it proportional to the operator's roofline
terms. A whole model deviates from the sum of its operators by a small smooth factor.

    N (n, m)     counts of the m distinct operators in n models       s (n,)   seconds, about: relative errors count
    T (m, 3)     roofline terms of the operators in seconds           u (3,)   seconds of a launch, a FLOP, a byte
    K_j (m, m)   parts of the prior covariance of operators' seconds   v_j      their weights
    X = N / s    covariance of models' relative seconds: sum_j v_j X K_j X' + v_f R
    p (n, 3)     logarithms of whole models' launches, FLOPs, bytes    R        squared-exponential kernel over p
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from distilsearch.arrays import FloatArray
from distilsearch.operators import KINDS, Operator

from ..operators.totals import Lowered

PARTS = ("launches", "flops", "bytes", "smooth", "own", "factor")
OPERATOR_LENGTH, MODEL_LENGTH = 2.0, 1.0  # of the smooth parts, in powers of two


def units(lowered: Lowered, seconds: FloatArray) -> FloatArray:
    """u (3,), if the typical measured model did nothing else."""
    work = np.array([[1.0, o.flops, o.bytes("float32")] for o in lowered.distinct])
    return np.asarray(np.median(seconds[:, None] / lowered.sums(work), axis=0))


def terms(operators: Sequence[Operator], unit: FloatArray) -> FloatArray:
    """T (m, 3): seconds of launching, computing and moving."""
    return np.array([[1.0, o.flops, o.bytes("float32")] for o in operators]).reshape(len(operators), 3) * unit


def rates(totals: FloatArray, seconds: FloatArray, trust: FloatArray) -> FloatArray:
    """The prior mean: non-negative rates (k,) of models' totals (n, k) in seconds; `trust` (n,) weighs the models."""
    root, k = np.sqrt(trust), totals.shape[1]
    # a weak pull to equal shares, so that a handful of models of one size has an answer
    design = np.vstack([totals / seconds[:, None] * root[:, None], 0.01 * np.eye(k)])
    solution, _ = nnls(design, np.concatenate([root, np.full(k, 0.01 / k)]))
    return np.asarray(solution)


def parts(a: Lowered, b: Lowered, s_a: FloatArray, s_b: FloatArray, unit: FloatArray) -> list[FloatArray]:
    """X K_j X' (n, n') for every part between operators, then R."""
    left, right = counts(a) / s_a[:, None], counts(b) / s_b[:, None]
    between = [left @ part @ right.T for part in operator_parts(a.distinct, b.distinct, unit)]
    return [*between, near(places(a, unit), places(b, unit), MODEL_LENGTH)]


def variances(a: Lowered, s: FloatArray, unit: FloatArray, weights: FloatArray) -> FloatArray:
    """The diagonal (n,) of the weighted sum of `parts` of n models with themselves."""
    left = counts(a) / s[:, None]
    own = combined(operator_parts(a.distinct, a.distinct, unit), weights)
    total: FloatArray = np.einsum("nm,nm->n", left @ own, left) + weights[len(PARTS) - 1]
    return total


def operator_parts(a: Sequence[Operator], b: Sequence[Operator], unit: FloatArray) -> list[FloatArray]:
    """The K_j (m, m') between two lists of operators."""
    left, right = terms(a, unit), terms(b, unit)
    order = list(KINDS)
    same = np.equal.outer([order.index(o.kind) for o in a], [order.index(o.kind) for o in b]).astype(np.float64)
    parts = [same * np.outer(left[:, j], right[:, j]) for j in range(3)]
    size = np.outer(left.max(axis=1), right.max(axis=1))
    parts.append(same * size * near(_sizes(a), _sizes(b), OPERATOR_LENGTH))
    names = {operator: index for index, operator in enumerate(b)}
    own = np.zeros_like(same)
    for index, operator in enumerate(a):
        if operator in names:
            own[index, names[operator]] = 1.0
    parts.append(own * size)
    return parts


def combined(between: Sequence[FloatArray], weights: FloatArray) -> FloatArray:
    """The weighted sum of as many parts as are given."""
    total = np.zeros_like(between[0])
    for part, weight in zip(between, weights, strict=False):
        total += weight * part
    return total


def counts(lowered: Lowered) -> FloatArray:
    """N (n, m)."""
    return lowered.sums(np.eye(len(lowered.distinct)))


def places(lowered: Lowered, unit: FloatArray) -> FloatArray:
    """p (n, 3)."""
    return np.log2(lowered.sums(terms(lowered.distinct, unit)))


def near(a: FloatArray, b: FloatArray, length: float) -> FloatArray:
    """Squared-exponential kernel (n, n')."""
    distance = ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2)
    kernel: FloatArray = np.exp(-0.5 * distance / length**2)
    return kernel


def _sizes(operators: Sequence[Operator]) -> FloatArray:
    """log2 sizes (m, d), padded: within a kind all have the same sizes in the same order."""
    rows = [[np.log2(max(v, 1)) for v in o.sizes.values() if not isinstance(v, str)] for o in operators]
    longest = max(len(k.sizes) for k in KINDS.values())
    return np.array([row + [0.0] * (longest - len(row)) for row in rows]).reshape(len(rows), longest)
