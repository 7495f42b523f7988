"""How long a student is trained, as the surrogate sees it.

One column is the logarithm of the length. Where areas under the curves of loss were told there are more, for what
training on is worth differs: students that start from random weights are still falling steeply when others have long
levelled off. Of a student with the loss y at the end of the shortest training and the mean a over it,

    slopes  s = a - y and, of positive values, log(a / y)          drop  d = s (log length - log shortest length)

so that d is, up to a factor that the surrogate learns, how far the loss falls beyond the shortest training: in units of
the loss, as it should be where that is learnt as it is, and as a share of it, where its logarithm is learnt. Slopes are
themselves learnt, by surrogates of their own: new students have no curve yet.

Notation: N tells, n candidates.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from distilsearch.arrays import FloatArray
from distilsearch.predictors.surrogate.accuracy import fit_surrogate
from distilsearch.predictors.surrogate.encoding import Encoding

from .objectives import Codes
from .view import View

Slope = Callable[[Codes, FloatArray, torch.dtype], FloatArray]  # codes (n, d), further columns (n, k) -> (n,)
FEWEST = 4  # students with a curve; fewer say nothing of the others


@dataclass(frozen=True)
class Lengths:
    """Feature columns of the length of training; made by `Lengths.of`.

    `told` (N,) and `target`, the length that candidates are judged at, are logarithms.
    """

    view: View
    told: FloatArray
    target: float
    slopes: tuple[Slope, ...]

    @classmethod
    def of(cls, view: View) -> "Lengths | None":
        """None where all trainings are equally long; what was told without a length counts as the longest."""
        length = np.log(view.fidelity)
        told_lengths = length[~np.isnan(length)]
        if not len(told_lengths) or told_lengths.max() == told_lengths.min():
            return None
        target = float(told_lengths.max())
        return cls(view, np.where(np.isnan(length), target, length), target, _slopes(view))

    def columns(
        self, codes: Codes, length: FloatArray | float, further: FloatArray, dtype: torch.dtype = torch.float64
    ) -> FloatArray:
        """Columns (n, 1 to 3) of codes, with their further columns (n, k), trained to a length (or to one each)."""
        lengths = np.broadcast_to(np.asarray(length, dtype=np.float64), len(codes))
        beyond = lengths - self.told.min()
        return np.column_stack([lengths, *(slope(codes, further, dtype) * beyond for slope in self.slopes)])


def _slopes(view: View) -> tuple[Slope, ...]:
    """Slopes as functions of the architecture, where enough curves of the shortest training were told."""
    curved = ~np.isnan(view.area) & view.fresh
    if not curved.any():
        return ()
    shortest = curved & (view.fidelity == view.fidelity[curved].min())
    rows = np.unique(view.row[shortest])
    if len(rows) < FEWEST:
        return ()
    own = [shortest & (view.row == u) for u in rows]
    areas = np.array([view.area[mask].mean() for mask in own])
    ends = np.array([view.values[mask, 0].mean() for mask in own])
    kinds = [areas - ends]
    if areas.min() > 0 and ends.min() > 0:
        kinds.append(np.log(areas / ends))
    return tuple(_fitted(view, view.codes[rows], slopes) for slopes in kinds if np.ptp(slopes) > 0)


def _fitted(view: View, codes: Codes, slopes: FloatArray) -> Slope:
    """A surrogate of slopes (m,) told of codes (m, d)."""
    further = view.further(codes)
    encoding = Encoding.of(view.space, further, view.ignored)
    surrogate = fit_surrogate(encoding(codes, further), slopes, encoding.groups, further=further.shape[1])

    def slope(asked: Codes, further: FloatArray, dtype: torch.dtype) -> FloatArray:
        mean, _ = surrogate.marginals(encoding(asked, further, dtype))
        return surrogate.warp.inverse(mean.double().numpy())

    return slope
