"""The ceilings that whole models imply where nobody has probed their device: effective rates, and no peaks.

What a model takes is taken to be launching, computing and moving, as in `pairs`: three rates fitted to the measured
models so that outliers do not move them. They are then said as the roof from which `roofline`'s prior makes just these
times; the composition corrects the rest. From few models of like sizes the three are hardly told apart, which their
intervals, fitted to models left out, know.

    u (3,)   seconds of a launch, a FLOP, a byte         c (3,)   the prior's coefficients of l, F / P and B / W
    l = u_0 / c_0,   P = c_1 / u_1,   W = c_2 / u_2
"""

from collections.abc import Iterable, Sequence

import numpy as np

from distilsearch.lowering import operators
from distilsearch.operators import DTYPE_BYTES
from distilsearch.profiling.tables.rows import ModelRow, Roof

from .operators.roofline import PRIOR
from .operators.totals import Lowered
from .pairs.pairs import Pairs

LEAST_SHARE = 1e-3  # of a rate in what the typical model takes: a roof is finite


def effective_roofs(models: Iterable[ModelRow]) -> dict[tuple[str, int], Roof]:
    """The roof of each (dtype, threads) in which models were measured."""
    groups: dict[tuple[str, int], list[ModelRow]] = {}
    for row in models:
        if row.measured.usable:
            groups.setdefault((row.serving.dtype, row.serving.threads or 0), []).append(row)
    return {(dtype, threads): _roof(rows, dtype) for (dtype, threads), rows in groups.items()}


def _roof(rows: Sequence[ModelRow], dtype: str) -> Roof:
    pairs = _pairs(rows)
    lies, _ = pairs.lying()
    if lies.any():  # the predictor, fitted after this, names them
        pairs = _pairs([row for row, lie in zip(rows, lies, strict=True) if not lie])
    launch, flop, byte = (pairs.units * np.maximum(pairs.rates, LEAST_SHARE) / PRIOR).tolist()
    share = DTYPE_BYTES[dtype] / DTYPE_BYTES["float32"]  # `Pairs` counts bytes of float32, a roof those of the dtype
    return Roof(1.0 / flop, share / byte, launch)


def _pairs(rows: Sequence[ModelRow]) -> Pairs:
    lowered = Lowered.of_operators([operators(row.architecture, row.serving) for row in rows])
    return Pairs.of(lowered, np.array([row.measured.seconds_p10 for row in rows]))
