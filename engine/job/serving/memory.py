"""How much memory a student takes as it is served: known of its shape, before anything of it is trained.

Weights, tied ones once, at the bytes of the precision; keys and values that are kept while a text is generated; and
the activations of the one operator that reads and writes the most of them. In int8 products alone are integers: what
flows between them is float32. What a runtime takes for itself comes on top, and so does what it does not free at once:
the figure compares students, and bounds what no runtime can do without.

Notation: n students, d genes.
"""

from collections.abc import Callable, Sequence

import numpy as np

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.lowering import operators, tabulate, tabulate_largest
from distilsearch.operators import DTYPE_BYTES, Operator, Serving
from distilsearch.space import Codes, SearchSpace

BETWEEN = {**DTYPE_BYTES, "int8": DTYPE_BYTES["float32"]}  # bytes of what flows between products, by precision
GENERATES = ("prefill", "decode")
MEGA = 1e6


def memory_mb(student: Architecture, serving: Serving) -> float:
    """Of one student, in 10^6 bytes: operator by operator."""
    held = operators(student, serving)
    kept = sum(_kept(operator, serving) * count for operator, count in held)
    largest = max((operator.activations for operator, _ in held), default=0)
    return (kept + largest * BETWEEN[serving.dtype]) / MEGA


def memory_counts(space: SearchSpace, serving: Serving) -> Callable[[Codes], FloatArray]:
    """The same as a function from codes (n, d) to 10^6 bytes (n,), for millions."""
    kept = tabulate(space, serving, lambda held: np.array([[_kept(o, serving)] for o in held], dtype=np.float64))
    largest = tabulate_largest(space, serving, _activations)
    return lambda codes: (kept(codes)[:, 0] + BETWEEN[serving.dtype] * largest(codes)) / MEGA


def _kept(operator: Operator, serving: Serving) -> int:
    """Bytes that stay from one operator to the next."""
    cache = operator.cached * BETWEEN[serving.dtype] if serving.phase in GENERATES else 0
    return operator.parameters * DTYPE_BYTES[serving.dtype] + cache


def _activations(held: Sequence[Operator]) -> FloatArray:
    return np.array([operator.activations for operator in held], dtype=np.float64)
