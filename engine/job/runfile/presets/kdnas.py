"""KD-NAS (arXiv 2303.09639): episodes of a controller on a share of the text, the best on all of it.

The paper's [P]: a controller that foresees rewards of loss and latency, its candidates distilled on a small proxy set,
the best by reward on the full text, students for several budgets of latency; teacher XLM-R base. A re-implementation's
[R]: the space, exponent and target of the reward, the LSTM and its exploration, 15 episodes, 30 % of the text as the
proxy, uniform and last hidden states through one projection. Ours: a half and a quarter of [R]'s target beside it, and
what makes targets count; width 576; a smaller teacher's students have the same shares of it; heads of 16 to 64 alone;
students begin with layers of the teacher, evenly spread; who gets the full text is the front's best at each speed.
"""

from collections.abc import Iterable, Mapping, Sequence

from distilsearch.architecture import Value
from distilsearch.errors import InputError
from distilsearch.families import TeacherFacts
from distilsearch.families.encoder import MAX_HEAD_SIZE, MIN_HEAD_SIZE

from .preset import Json, Preset

BASE = {"layers": 12, "width": 768, "ffn": 3072}  # XLM-R base, whose students the published values are
SPACE: Mapping[str, Sequence[int]] = {
    "layers": (3, 4, 6, 10, 12),
    "width": (384, 576, 768),
    "heads": (2, 3, 4, 6, 12),
    "ffn": (384, 512, 576, 768, 1024, 1536, 2048, 3072),
}
ACTIVATIONS = ("gelu", "relu", "silu")
FAMILIES = ("bert", "roberta")
GRAIN = 16  # units that widths are multiples of; also the smallest head


def space_of(teacher: TeacherFacts) -> dict[str, Sequence[Value]]:
    """Choices of genes for a teacher: the published values where it is as large as XLM-R base, else its shares.

    Raises:
        InputError: it is no encoder, or no width has heads that fit.
    """
    if teacher.family not in FAMILIES:
        raise InputError(
            f'the preset "kdnas" makes students of encoders, {" or ".join(FAMILIES)} ones, and {teacher.name} is a '
            f'{teacher.family} model; use preset = "default", with [space] family = "{teacher.family}"'
        )
    widths, own = _shares("width", teacher), {*SPACE["heads"], teacher.heads}
    heads = sorted(count for count in own if count <= max(teacher.heads, 12) and any(_fit(w, count) for w in widths))
    fitting = [width for width in widths if any(_fit(width, count) for count in heads)]
    if not fitting:
        raise InputError(
            f'the preset "kdnas" gives students shares of their teacher, and {teacher.name} is {teacher.width} wide, '
            f"of which no share has heads of {MIN_HEAD_SIZE} to {MAX_HEAD_SIZE}; name widths and heads in [space]"
        )
    activations = dict.fromkeys((*ACTIVATIONS, teacher.activation))
    sizes = {"layers": _shares("layers", teacher), "width": fitting, "heads": heads, "ffn": _shares("ffn", teacher)}
    return {**sizes, "inherit": ["even"], "activation": list(activations)}


def _shares(gene: str, teacher: TeacherFacts) -> list[int]:
    """The published choices of a gene, as shares of a teacher that is smaller than theirs."""
    own, whole = int(teacher[gene]), BASE[gene]
    if own >= whole:
        return list(SPACE[gene])
    grain = 1 if gene == "layers" else GRAIN
    return _distinct(min(own, grain * max(1, int(choice / whole * own / grain + 0.5))) for choice in SPACE[gene])


def _fit(width: int, heads: int) -> bool:
    return width % heads == 0 and MIN_HEAD_SIZE <= width // heads <= MAX_HEAD_SIZE


def _distinct(values: Iterable[int]) -> list[int]:
    return sorted(set(values))


GENES: Json = {
    **{gene: list(choices) for gene, choices in SPACE.items()},
    "heads": [6, 12],  # of the published ones, those that have 16 to 64 units in any of these widths
    "inherit": ["even"],
    "activation": list(ACTIVATIONS),
}

KDNAS = Preset(
    strategy={
        "name": "kdnas",
        "candidates": 2,
        "targets": [0.6, 0.3, 0.15],
        "alpha": -0.06,
        "beyond": -1.0,
        "pool": 150,
        "exploration": 1.0,
        "least": 0.05,
        "decay": 0.05,
        "steps": 500,
        "rate": 1e-4,
    },
    recipe="kdnas",
    space=GENES,
    train={"share": 0.3, "flash_tokens": 160_000, "final_tokens": 2_000_000, "finish": "budgets"},
    kinds=("embedding", "mlm"),
    space_of=space_of,
    episodes=15,
)
