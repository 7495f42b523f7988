"""How long a student is trained, as the surrogate sees it.

One column is the logarithm of the length. Where areas under the curves of loss were told there is a second one, for
what training on is worth differs: students that start from random weights are still falling steeply when others have
long levelled off. Of a student with the loss y at the end of its shortest training and the mean a over it,

    steepness  s = log(a / y)          drop  d = s (log length - log shortest length)

so that d is, up to a factor that the surrogate learns, how far the loss falls beyond the shortest training if it goes
on as a power of the length. Steepness is itself learnt, by a surrogate of its own: new students have no curve yet.

Notation: N tells, n candidates.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from distilsearch.predictors.accuracy import Surrogate, fit_surrogate
from distilsearch.predictors.encoding import Encoding

from .objectives import Codes, Floats
from .view import View

FEWEST = 4  # students with a curve; fewer say nothing of the others


@dataclass(frozen=True)
class Lengths:
    """Feature columns of the length of training; made by `Lengths.of`.

    `told` (N,) and `target`, the length that candidates are judged at, are logarithms.
    """

    view: View
    told: Floats
    target: float
    steepness: tuple[Encoding, Surrogate] | None

    @classmethod
    def of(cls, view: View) -> "Lengths | None":
        """None where all trainings are equally long; what was told without a length counts as the longest."""
        length = np.log(view.fidelity)
        known = length[~np.isnan(length)]
        if not len(known) or known.max() == known.min():
            return None
        target = float(known.max())
        return cls(view, np.where(np.isnan(length), target, length), target, _fitted(view))

    def columns(self, codes: Codes, length: Floats | float, dtype: torch.dtype = torch.float64) -> Floats:
        """Columns (n, 1 or 2) of codes trained to a length (or to one each)."""
        lengths = np.broadcast_to(np.asarray(length, dtype=np.float64), len(codes))
        if self.steepness is None:
            return lengths[:, None]
        encoding, surrogate = self.steepness
        mean, _ = surrogate.marginals(encoding(codes, self.view.further(codes), dtype))
        steep = surrogate.warp.inverse(mean.double().numpy())
        return np.column_stack([lengths, steep * (lengths - self.told.min())])


def _fitted(view: View) -> tuple[Encoding, Surrogate] | None:
    """Steepness as a function of the architecture, where enough curves were told."""
    rows = {}
    for u in range(len(view.codes)):
        own = [i for i in map(int, np.flatnonzero(view.row == u)) if not math.isnan(_steepness(view, i))]
        if own:
            rows[u] = _steepness(view, min(own, key=lambda i: view.fidelity[i]))
    if len(rows) < FEWEST or np.ptp(list(rows.values())) == 0:
        return None
    codes = view.codes[list(rows)]
    further = view.further(codes)
    encoding = Encoding.of(view.space, further)
    values = np.array(list(rows.values()))
    return encoding, fit_surrogate(encoding(codes, further), values, encoding.groups, further=further.shape[1])


def _steepness(view: View, i: int) -> float:
    """Of one tell; NaN where its curve was not told or its value is not positive."""
    (objective, *_), area = view.expensive, view.area[i]
    value = objective.sign * view.values[i, 0]
    return objective.sign * math.log(area / value) if area > 0 and value > 0 else math.nan
