"""The initial design: what is tried before there is anything to learn from.

Spread over cost, for cost is known, and over every gene: a surrogate says nothing of a gene that was set one way in all
it was told, and a search that believes it never looks further. Under a limit that matters most: what keeps it is mostly
small in every gene, and rows chosen by cost alone may all have one layer although deeper ones keep it, too.

Notation: n candidates, p columns, one for each ordered gene and for each choice of a categorical one.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distilsearch.arrays import FloatArray
from distilsearch.predictors.surrogate.encoding import Encoding

from .objectives import Codes
from .pool import Rng, candidates, fingerprints, position
from .view import View

DESIGN = 8_192
MARGIN = 0.12  # of the costs' logarithmic range, at either end, that the design leaves out
NEAR = 12  # one in so many candidates costs near enough what the design wants
UNLIKE = 0.5  # the quantile of novelty that the design asks for


def design(view: View, n: int, rng: Rng, cheapest: bool = False, given: int = 0) -> Codes:
    """The next n rows of an initial design: at middling cost first, then between, and unlike each other in every gene.

    Neither end of the costs adds much to a hypervolume, so they are left to what the first results say. With
    `cheapest` the very first row is the cheapest one: where the worst loss of the design is the reference, it opens
    the whole range. So many rows of those taken were `given`, and are none of the design's own.
    """
    codes = candidates(view, view.codes, rng, DESIGN)
    if not len(codes):
        return codes
    if len(codes) > DESIGN:
        codes = codes[np.sort(rng.choice(len(codes), DESIGN, replace=False))]
    genes, place = Genes.of(view, codes), position(view.costs(codes))
    twins, chosen = fingerprints(view.space, codes, view.apart), list[int]()
    free = np.ones(len(codes), dtype=bool)
    done = len(view.taken) - given
    for i in range(done, done + min(n, len(np.unique(twins)))):
        if cheapest and i == 0:
            pick = int(np.argmin(place))
        else:
            target = MARGIN + (1 - 2 * MARGIN) * _van_der_corput(i - cheapest)
            pick = _unlike(np.abs(place - target), genes, free & genes.opening(free), rng)
        chosen.append(pick)
        genes = genes.with_shown(genes.columns[pick])
        free &= twins != twins[pick]
    return codes[chosen]


@dataclass(frozen=True)
class Genes:
    """What candidates show that was not shown before: `columns` (n, p) of them, `shown` (s, p) of what was taken."""

    columns: FloatArray
    shown: FloatArray

    @classmethod
    def of(cls, view: View, codes: Codes) -> "Genes":
        """Each gene stretched over the candidates: under a limit they hold a part of its choices, and it is within that
        part that they are to differ."""
        encoding = Encoding.of(view.space, np.zeros((0, 0)), view.ignored)
        points, taken = (encoding(rows, np.zeros((len(rows), 0))).numpy() for rows in (codes, view.taken))
        groups = np.array(encoding.groups)
        whole = np.array([math.sqrt(2.0) if (groups == g).sum() > 1 else 2.0 for g in groups])
        reach = np.ptp(points, axis=0)
        stretch = np.where(np.isclose(reach, whole) | (reach == 0), 1.0, whole / np.where(reach > 0, reach, 1.0))
        return cls(points * stretch, taken * stretch)

    def with_shown(self, row: FloatArray) -> "Genes":
        """The same after one more row (p,) is shown."""
        return Genes(self.columns, np.concatenate([self.shown, row[None]]))

    @property
    def novelty(self) -> FloatArray:
        """How far each candidate (n,) is from the nearest row shown."""
        gap = np.full(len(self.columns), np.inf)
        for row in self.shown:
            gap = np.minimum(gap, ((self.columns - row) ** 2).sum(axis=1))
        return gap

    def opening(self, free: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Which candidates (n,) set that gene anew, of all that the rows so far, two or more, have set one way, which
        the fewest free ones do: the others come by chance. All candidates where there is no such gene."""
        everything = np.ones(len(self.columns), dtype=bool)
        if len(self.shown) < 2:
            return everything
        moved = np.abs(self.columns - self.shown[0]) > 1e-9
        alike = (np.ptp(self.shown, axis=0) == 0) & moved[free].any(axis=0)
        if not alike.any():
            return everything
        return np.asarray(moved[:, np.argmin(np.where(alike, moved[free].sum(axis=0), len(free) + 1))])


def _unlike(distance: FloatArray, genes: Genes, free: npt.NDArray[np.bool_], rng: Rng) -> int:
    """Of the free rows whose cost is near enough, any of the half that is farther from all chosen ones.

    Not the farthest one: that is a corner of the space, and corners alone say nothing of what lies between.
    """
    near = np.argsort(distance + ~free * 9.0, kind="stable")[: max(8, len(free) // NEAR)]
    near = near[free[near]]
    novelty = genes.novelty[near]
    return int(rng.choice(near[novelty >= np.quantile(novelty, UNLIKE, method="lower")]))


def _van_der_corput(i: int) -> float:
    """1/2, 1/4, 3/4, 1/8, ...: the middle, then ever finer between."""
    value, unit, rest = 0.0, 0.5, i + 1
    while rest:
        value, unit, rest = value + unit * (rest & 1), unit / 2, rest >> 1
    return value
