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
from .arrays import FloatArray as FloatArray
from .errors import InputError
from .families import family
from .operators import Operator, Serving
from .sites import Site
from .space import Codes, SearchSpace

Table = tuple[tuple[str, ...], FloatArray]  # figures over the genes named
TABLE_LIMIT = 1 << 16


def operators(architecture: Architecture, serving: Serving) -> list[tuple[Operator, float]]:
    """The distinct operators of one model, each with how often it runs; in the order of the model.

    Where requests are of many lengths: how often for a request in the mean, whole numbers else.
    """
    counts: dict[Operator, float] = {}
    for site, share in sites_of(architecture.family, serving):
        repeats = site.repeats(*(architecture[name] for name in site.times))
        operator = site.operator(*(architecture[name] for name in site.reads)) if repeats else None
        if operator:
            counts[operator] = counts.get(operator, 0) + share * repeats
    return list(counts.items())


def sites_of(name: str, serving: Serving) -> list[tuple[Site, float]]:
    """The sites of a family's models, each with the share of the requests that meet it: 1 where all are of a length."""
    return [(site, share) for part, share in serving.parts for site in family(name).sites(part)]


def check_length(space: SearchSpace, serving: Serving) -> None:
    """`InputError` where a serving asks for longer sequences than the models of a space have positions."""
    positions = max((p.choices for p in space.parameters if p.name == "positions"), default=None)
    if positions and serving.sequence > max(int(p) for p in positions):
        raise InputError(
            f"serving asks for sequences of {serving.sequence} tokens; these models have positions for"
            f" {max(positions)}: ask for shorter ones, such as serving = {{ sequence = {max(positions)} }}"
        )


def parameter_count(architecture: Architecture) -> int:
    """Number of weights of the model, as `transformers` would count them (tied ones once)."""
    return round(sum(o.parameters * count for o, count in operators(architecture, Serving())))


def flops(architecture: Architecture, serving: Serving) -> int:
    """Floating-point operations of one forward pass; of requests of many lengths their mean."""
    return round(sum(o.flops * count for o, count in operators(architecture, serving)))


def tabulate(
    space: SearchSpace, serving: Serving, function: Callable[[Sequence[Operator]], FloatArray]
) -> Callable[[Codes], FloatArray]:
    """A vectorised sum over sites of `repeats x function(operator)`; memory grows with the largest site's genes.

    Args:
        function: from m operators to figures (m, k); called once, with every distinct operator.

    Returns:
        A function from codes (n, d) to sums (n, k).
    """
    sites = _used(space, sites_of(space.family, serving))
    placed = [[site.operator(*values) for values in space.combinations(site.reads)] for site, _, _ in sites]
    distinct = list({operator: None for cells in placed for operator in cells if operator})
    figures = np.asarray(function(distinct), dtype=np.float64).reshape(len(distinct), -1)
    padded = np.concatenate([figures, np.zeros((1, figures.shape[1]))])
    position: dict[Operator | None, int] = {operator: i for i, operator in enumerate(distinct)} | {None: -1}

    # sites that repeat in proportion share the look-up of how often
    groups: dict[tuple[tuple[str, ...], tuple[float, ...]], list[Table]] = {}
    for (site, share, repeats), cells in zip(sites, placed, strict=True):
        rows = padded[[position[operator] for operator in cells]] * (share * max(repeats))
        pattern = tuple(r / max(repeats) for r in repeats)
        groups.setdefault((site.times, pattern), []).append((site.reads, rows))
    folded = [(times, np.array(pattern)[:, None], _merged(space, parts)) for (times, pattern), parts in groups.items()]

    def total(codes: Codes) -> FloatArray:
        result = np.zeros((len(codes), figures.shape[1]))
        for times, pattern, tables in folded:
            part = tables[0][1][space.indices(codes, tables[0][0])]
            for names, values in tables[1:]:
                part += values[space.indices(codes, names)]
            result += part * pattern[space.indices(codes, times)] if len(pattern) > 1 else part
        return result

    return total


def tabulate_largest(
    space: SearchSpace, serving: Serving, function: Callable[[Sequence[Operator]], FloatArray]
) -> Callable[[Codes], FloatArray]:
    """The same of the largest figure of any one operator: from m operators to figures (m,), from codes (n, d) to (n,).

    A model that has no operator at all has 0.
    """
    tables: list[tuple[Site, FloatArray, npt.NDArray[np.bool_]]] = []
    for site, _, repeats in _used(space, sites_of(space.family, serving)):
        cells = [site.operator(*values) for values in space.combinations(site.reads)]
        there = [operator for operator in cells if operator]
        figures = dict(zip(there, np.asarray(function(there), dtype=np.float64), strict=True)) if there else {}
        values = np.array([figures[operator] if operator else 0.0 for operator in cells])
        tables.append((site, values, np.array(repeats) > 0))

    def largest(codes: Codes) -> FloatArray:
        result = np.zeros(len(codes))
        for site, values, present in tables:
            part = values[space.indices(codes, site.reads)]
            np.maximum(result, part if present.all() else part * present[space.indices(codes, site.times)], out=result)
        return result

    return largest


def _used(space: SearchSpace, sites: Sequence[tuple[Site, float]]) -> list[tuple[Site, float, list[int]]]:
    """The sites that some architecture has with their shares, each with how often for every combination of `times`."""
    counted = [(s, share, [s.repeats(*values) for values in space.combinations(s.times)]) for s, share in sites]
    return [(site, share, repeats) for site, share, repeats in counted if any(repeats)]


def _merged(space: SearchSpace, tables: list[Table]) -> list[Table]:
    """Fewer, larger tables with the same sum: a look-up costs the same for any table that fits the cache."""
    merged: list[Table] = []
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
