"""A small dense BFGS: for a few dozen hyperparameters it is quicker than starting a threaded library.

On a busy machine scipy's L-BFGS spent six times as long waiting for its linear-algebra threads as the process
spent on likelihoods. Nocedal and Wright, Numerical Optimization, algorithm 6.1, with a backtracking search.

Notation: x (p,), g its gradient, H (p, p) approximate inverse Hessian.
"""

from collections.abc import Callable

import numpy as np

from distilsearch.arrays import FloatArray

Objective = Callable[[FloatArray], tuple[float, FloatArray]]
REACH = 2.0  # longest step in any coordinate


def minimise(objective: Objective, start: FloatArray, steps: int = 60, tolerance: float = 1e-4) -> FloatArray:
    """A local minimum near `start` (p,) of a function that gives value and gradient.

    Stops after `steps` iterations, or when neither value nor gradient moves by more than `tolerance`.
    A value that is not finite counts as too far.
    """
    x, inverse = start.copy(), np.eye(len(start))
    value, gradient = objective(x)
    for step in range(steps):
        direction = -np.einsum("ij,j->i", inverse, gradient)
        slope = float(direction @ gradient)
        if slope >= 0:  # rounding spoilt the curvature: start it anew
            inverse, direction, slope = np.eye(len(x)), -gradient, -float(gradient @ gradient)
        direction *= min(1.0, REACH / max(float(np.abs(direction).max()), 1e-12))
        point = _search(objective, x, value, slope, direction)
        if point is None:
            break
        new, new_value, new_gradient = point
        moved, turned = new - x, new_gradient - gradient
        settled = value - new_value < tolerance * max(1.0, abs(value)) * 0.1
        x, value, gradient = new, new_value, new_gradient
        if float(np.abs(gradient).max()) < tolerance or (settled and step > 3):
            break
        inverse = _updated(inverse, moved, turned, first=step == 0)
    return x


def _search(
    objective: Objective, x: FloatArray, value: float, slope: float, direction: FloatArray
) -> tuple[FloatArray, float, FloatArray] | None:
    """The first of ever shorter steps that lowers the value enough."""
    for power in range(12):
        new = x + 0.5**power * direction
        new_value, gradient = objective(new)
        if np.isfinite(new_value) and new_value <= value + 1e-4 * 0.5**power * min(slope, 0.0):
            return new, new_value, gradient
    return None


def _updated(inverse: FloatArray, moved: FloatArray, turned: FloatArray, first: bool) -> FloatArray:
    curvature = float(moved @ turned)
    if curvature <= 1e-10:
        return inverse
    if first:
        inverse = np.eye(len(moved)) * (curvature / float(turned @ turned))
    rho = 1.0 / curvature
    left = np.einsum("ij,j->i", inverse, turned)
    grow = rho * (1.0 + rho * float(turned @ left)) * np.outer(moved, moved)
    return np.asarray(inverse + grow - rho * (np.outer(left, moved) + np.outer(moved, left)))
