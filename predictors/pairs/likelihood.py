"""What chooses the weights of a prior's parts: marginal likelihood, with noise of Student's t law.

Published measurements hold outliers of several times the truth. A t law is a normal one whose variance differs from
pair to pair, so expectation-maximisation fits it: given the weights, each pair's trust follows from how large its
noise must have been; given the trusts, the weights maximise a normal likelihood with a closed gradient.

    v (k + 1,)   weights of the k parts, the noise's last      nu     degrees of freedom of the noise
    w (n,)       trust in each pair, 1 where it agrees         y (n,) targets
    y ~ Normal(0, sum_j v_j part_j + v_n diag(1 / w));   w = (nu + 1) / (nu + E[noise^2] / v_n)
"""

from collections.abc import Sequence

import numpy as np
from scipy import linalg
from scipy.optimize import minimize

from distilsearch.arrays import FloatArray

from .operator_prior import combined

START = np.log([0.3, 0.3, 0.3, 0.03, 0.003, 1e-3, 1e-4])
BOUNDS = [(-9.0, 1.0)] * 3 + [(-14.0, 0.0)] * 2 + [(-14.0, -4.5), (-14.0, -2.0)]
FREEDOM = 4.0
ITERATIONS = 4


def weigh(parts: Sequence[FloatArray], target: FloatArray) -> FloatArray:
    """The weights (len(parts) + 1,) of largest marginal likelihood."""
    at, trust = START, np.ones(len(target))
    for _ in range(ITERATIONS):
        fixed = trust

        def loss(log_weights: FloatArray, fixed: FloatArray = fixed) -> tuple[float, FloatArray]:
            return negative_log_likelihood(parts, target, np.exp(log_weights), fixed)

        at = minimize(loss, at, jac=True, method="L-BFGS-B", bounds=BOUNDS, options={"maxiter": 60}).x
        trust = _trust(parts, target, np.exp(at), fixed)
    return np.asarray(np.exp(at))


def believe(parts: Sequence[FloatArray], target: FloatArray, weights: FloatArray) -> FloatArray:
    """Trust (n,) in each pair under given weights."""
    trust = np.ones(len(target))
    for _ in range(ITERATIONS):
        trust = _trust(parts, target, weights, trust)
    return trust


def negative_log_likelihood(
    parts: Sequence[FloatArray], target: FloatArray, weights: FloatArray, trust: FloatArray
) -> tuple[float, FloatArray]:
    """And its gradient with respect to the logarithms of the weights."""
    factor = linalg.cho_factor(combined(parts, weights) + noise(weights, trust), lower=True)
    inverse = linalg.cho_solve(factor, np.eye(len(target)))
    alpha = inverse @ target
    value = 0.5 * float(alpha @ target) + np.log(np.diag(factor[0])).sum()
    slope = np.outer(alpha, alpha) - inverse
    gradient = [-0.5 * w * float((slope * part).sum()) for part, w in zip(parts, weights, strict=False)]
    gradient.append(-0.5 * float(weights[-1]) * float((np.diag(slope) / trust).sum()))
    return float(value), np.asarray(gradient)


def _trust(parts: Sequence[FloatArray], target: FloatArray, weights: FloatArray, trust: FloatArray) -> FloatArray:
    """The expectation step: what the squared noise of each pair (n,) is expected to be decides its trust."""
    inverse = np.linalg.inv(combined(parts, weights) + noise(weights, trust))
    own = weights[-1] / trust
    expected = (own * (inverse @ target)) ** 2 + own - own**2 * np.diag(inverse)
    return student(expected / weights[-1])


def student(squares: FloatArray) -> FloatArray:
    """Trust (n,) in measurements whose squared errors are so many times the typical one."""
    trust: FloatArray = (FREEDOM + 1.0) / (FREEDOM + squares)
    return trust


def noise(weights: FloatArray, trust: FloatArray) -> FloatArray:
    """The noise covariance (n, n)."""
    diagonal: FloatArray = np.diag(weights[-1] / trust + 1e-9)
    return diagonal
