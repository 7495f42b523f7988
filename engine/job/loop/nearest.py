"""Students that are their teacher but for some of its layers: what people pick by hand, and what a search begins with.

Half of the layers at the teacher's width are DistilBERT's (arXiv 1910.01108). In a large space next to no student that
is drawn is one: all of its genes must be the teacher's at once. A surrogate that is told of none foresees nothing of
them, and the slow end of a front stays empty.
"""

import heapq
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from distilsearch.architecture import Architecture, Value
from distilsearch.families.cuts import FRESH, GENE, is_subset
from distilsearch.space import Codes, SearchSpace

from ...objectives import Bools

DEPTH = "layers"
MOST = 2_000  # members and other rows of a space that are looked at, the nearest first


def first_students(space: SearchSpace, teacher: Architecture, keeps: Callable[[Codes], Bools]) -> list[Architecture]:
    """The students nearest to a teacher of half of its layers, and of as few as there may be; those that there are.

    Args:
        space: of the engine: genes of the student, and of how it is served, if that is searched.
        keeps: which rows of codes (n, d) keep the limits.
    """
    if DEPTH not in space.names:
        return []
    whole = int(teacher[DEPTH])
    depths = [int(depth) for depth in space.parameters[space.column(DEPTH)].choices if int(depth) < whole]
    if not depths:
        return []
    half = min(depths, key=lambda depth: (abs(depth - whole / 2), depth))
    found = [nearest(space, teacher, depth, keeps) for depth in dict.fromkeys([half, min(depths)])]
    return [student for student in found if student is not None]


def nearest(
    space: SearchSpace, teacher: Architecture, layers: int, keeps: Callable[[Codes], Bools]
) -> Architecture | None:
    """The member of a space of so many layers whose other genes are nearest to a teacher's; None where none is near.

    Genes are as far apart as their logarithms, text by 1 where it differs. Of what is inherited the first subset of
    layers is the nearest: the cut that loses least where cuts were judged.
    """
    distances = []
    for parameter in space.parameters:
        own = layers if parameter.name == DEPTH else teacher.values.get(parameter.name)
        apart = [_apart(parameter.name, choice, own) for choice in parameter.choices]
        distances.append([d if parameter.name != DEPTH or not d else math.inf for d in apart])
    for row in _rising(distances):
        codes = space.canonical(row[None])
        if space.valid(codes).all() and keeps(codes).all():
            return space.decode(codes)[0]
    return None


def _apart(name: str, choice: Value, own: Value | None) -> float:
    """How far a choice of a gene is from a teacher's own; 0 where a teacher has no such gene."""
    if name == GENE:
        return 0.0 if is_subset(choice) else 2.0 if choice == FRESH else 1.0
    if own is None or choice == own:
        return 0.0
    if isinstance(choice, str) or isinstance(own, str):
        return 1.0
    return abs(math.log1p(float(choice)) - math.log1p(float(own)))


def _rising(distances: Sequence[Sequence[float]]) -> Iterator[Codes]:
    """The first rows (d,) by the sum of their choices' distances, of equal ones those of earlier choices first.

    Those at an infinite distance are none.
    """
    orders = [[i for i in np.argsort(each, kind="stable") if each[i] < math.inf] for each in distances]
    least = math.fsum(each[order[0]] for each, order in zip(distances, orders, strict=True))
    heap = [(least, (0,) * len(orders), 0)]  # the sum, the place of each choice in its order, what may still move
    for _ in range(MOST):
        if not heap:
            return
        total, ranks, last = heapq.heappop(heap)
        yield np.array([order[rank] for order, rank in zip(orders, ranks, strict=True)], dtype=np.int16)
        for place in range(last, len(ranks)):
            order, rank = orders[place], ranks[place] + 1
            if rank < len(order):
                more = distances[place][order[rank]] - distances[place][order[rank - 1]]
                heapq.heappush(heap, (total + more, (*ranks[:place], rank, *ranks[place + 1 :]), place))
