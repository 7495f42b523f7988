"""From architectures to numbers that add up over operators, for one or for millions.

A family describes a model as *sites*: places where an operator stands, with the genes that fix its sizes and
how often it repeats. Any figure that is a sum over operators (latency, FLOPs, parameters) then needs each site
only once per combination of the genes it reads: `tabulate` turns it into a few look-ups a row.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from .architecture import Architecture
from .families import family
from .operators import Operator, Serving
from .space import Codes, SearchSpace

FloatArray = npt.NDArray[np.float64]
TABLE_LIMIT = 1 << 16


def operators(architecture: Architecture, serving: Serving) -> list[tuple[Operator, int]]:
    """The distinct operators of one model, each with how often it runs; in the order of the model."""
    counts: dict[Operator, int] = {}
    for site in family(architecture.family).sites(serving):
        values = [architecture[name] for name in site.reads]
        if repeats := site.repeats(*values):
            operator = site.operator(*values)
            counts[operator] = counts.get(operator, 0) + repeats
    return list(counts.items())


def parameter_count(architecture: Architecture) -> int:
    """Number of weights of the model, as `transformers` would count them (tied ones once)."""
    return sum(o.parameters * count for o, count in operators(architecture, Serving()))


def flops(architecture: Architecture, serving: Serving) -> int:
    """Floating-point operations of one forward pass."""
    return sum(o.flops * count for o, count in operators(architecture, serving))


def tabulate(
    space: SearchSpace, serving: Serving, function: Callable[[Sequence[Operator]], FloatArray]
) -> Callable[[Codes], FloatArray]:
    """A vectorised sum over sites of `repeats x function(operator)`.

    Args:
        function: from m operators to figures (m, k); called once, with every distinct operator.

    Returns:
        A function from codes (n, d) to sums (n, k).
    """
    sites = family(space.family).sites(serving)
    rows = [[(v, s.repeats(*v)) for v in space.combinations(s.reads)] for s in sites]
    placed = [
        [(s.operator(*v), r) if r else None for v, r in site_rows] for s, site_rows in zip(sites, rows, strict=True)
    ]
    distinct = list({cell[0]: None for cells in placed for cell in cells if cell})
    figures = np.asarray(function(distinct), dtype=np.float64).reshape(len(distinct), -1)
    position = {operator: i for i, operator in enumerate(distinct)}

    def table(cells: Sequence[tuple[Operator, int] | None]) -> FloatArray:
        out = np.zeros((len(cells), figures.shape[1]))
        for i, cell in enumerate(cells):
            if cell:
                out[i] = figures[position[cell[0]]] * cell[1]
        return out

    tables = _merged(space, [(s.reads, table(cells)) for s, cells in zip(sites, placed, strict=True)])

    def total(codes: Codes) -> FloatArray:
        result = tables[0][1][space.indices(codes, tables[0][0])]
        for names, values in tables[1:]:
            result += values[space.indices(codes, names)]
        return result

    return total


def _merged(
    space: SearchSpace, tables: list[tuple[tuple[str, ...], FloatArray]]
) -> list[tuple[tuple[str, ...], FloatArray]]:
    """Fewer, larger tables with the same sum: a look-up costs the same for any table that fits the cache."""
    merged: list[tuple[tuple[str, ...], FloatArray]] = []
    for names, values in sorted(tables, key=lambda t: -len(t[0])):
        for i, (held, present) in enumerate(merged):
            union = tuple(n for n in space.names if n in held or n in names)
            if math.prod(len(space.parameters[space.column(n)].choices) for n in union) <= TABLE_LIMIT:
                merged[i] = union, _spread(space, held, present, union) + _spread(space, names, values, union)
                break
        else:
            merged.append((names, values))
    return merged


def _spread(space: SearchSpace, names: Sequence[str], values: FloatArray, union: Sequence[str]) -> FloatArray:
    """A table over `names` written out over the larger set of genes `union`."""
    grids = np.indices([len(space.parameters[space.column(n)].choices) for n in union]).reshape(len(union), -1)
    codes = np.zeros((grids.shape[1], space.d), dtype=np.int16)
    for name, column in zip(union, grids, strict=True):
        codes[:, space.column(name)] = column
    return values[space.indices(codes, names)]
