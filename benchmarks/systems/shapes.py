"""Hand-made shapes: proportions that published students have of their teachers, and a strategy that trains these alone.

Out of the papers: DistilBERT keeps half of the layers at full width; TinyBERT-4 has 4 of 12 layers, 312 of 768 units
and 1200 of 3072 in the feed-forward network; MiniLM 6 or 12 of 12 layers at half the width. MobileBERT's (of 24 x 1024)
has all layers, half the width between them, an eighth within, and four feed-forward networks of half the width.

The module is a plugin: `plugins = ["systems.shapes"]` makes the strategy "listed" known to a run.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from distilsearch.architecture import Value
from distilsearch.engine.objectives import Codes, Objective
from distilsearch.engine.pool import distinct
from distilsearch.engine.view import View
from distilsearch.errors import InputError
from distilsearch.families.encoder import MIN_HEAD_SIZE
from distilsearch.plugins import Plugin
from distilsearch.space import SearchSpace

PROPORTIONS = {  # of layers, width, feed-forward network
    "DistilBERT": (1 / 2, 1.0, 1.0),
    "TinyBERT-4": (4 / 12, 312 / 768, 1200 / 3072),
    "MiniLM-6": (1 / 2, 1 / 2, 1 / 2),
    "MiniLM-12": (1.0, 1 / 2, 1 / 2),
}

Shape = dict[str, Value]


def hand_made(teacher: tuple[int, int, int, int]) -> dict[str, Shape]:
    """BERT shapes by the name of the student they are after, of a teacher's (layers, width, heads, FFN).

    There are as many heads as the teacher has, or the most that heads of `MIN_HEAD_SIZE` units leave.
    """
    layers, width, heads, ffn = teacher
    shapes: dict[str, Shape] = {}
    for name, (deep, wide, inner) in PROPORTIONS.items():
        thin = 4 * round(width * wide / 4)
        fits = max(h for h in range(1, heads + 1) if thin % h == 0 and thin // h >= MIN_HEAD_SIZE)
        shapes[name] = {"layers": max(1, round(layers * deep)), "width": thin, "heads": fits, "ffn": round(ffn * inner)}
    return shapes


def mobile(teacher: tuple[int, int, int, int]) -> Shape:
    """MobileBERT's shape scaled to a teacher's (layers, width, heads, FFN)."""
    layers, width, _, _ = teacher
    return {"layers": layers, "width": width // 2, "bottleneck": width // 8, "heads": 4, "ffn": width // 2, "stacks": 4}


def choices(shapes: Sequence[Shape]) -> dict[str, list[Value]]:
    """The smallest space that holds the shapes: each gene's values."""
    return {gene: sorted({shape[gene] for shape in shapes}) for gene in shapes[0]}  # type: ignore[type-var]


@dataclass(frozen=True)
class Listed:
    """Asks for the shapes that are listed, in their order, and for nothing else.

    Args:
        shapes: the genes of each, by name; genes that are left out may have any one value.
    """

    shapes: tuple[Shape, ...] = ()
    name = "listed"
    needs_design = False

    def check(self, space: SearchSpace, objectives: Sequence[Objective]) -> None:
        """Refuse a space that lacks a shape."""
        for shape in self.shapes:
            if not len(_rows(space, shape)):
                raise InputError(f"the space of this run holds no student of the shape {shape}")

    def options(self) -> dict[str, Any]:
        """Plain JSON of the fields."""
        return {"shapes": [dict(shape) for shape in asdict(self)["shapes"]]}

    def propose(self, view: View, n: int, rng: np.random.Generator) -> Codes:
        """The next shapes that are free."""
        rows = np.concatenate([_rows(view.space, shape)[:1] for shape in self.shapes])
        free = [row for row in rows if len(distinct(view.space, row[None], view.taken, view.ignored))]
        return np.array(free[:n], dtype=rows.dtype).reshape(-1, rows.shape[1])


def _rows(space: SearchSpace, shape: Shape) -> Codes:
    """The rows of a small space that have a shape."""
    codes = space.grid(100_000)
    fits = np.ones(len(codes), dtype=bool)
    for place, parameter in enumerate(space.parameters):
        if parameter.name in shape:
            wanted = [choice == shape[parameter.name] for choice in parameter.choices]
            fits &= np.array(wanted)[codes[:, place]]
    return codes[fits]


PLUGIN = Plugin(strategies={"listed": Listed})
