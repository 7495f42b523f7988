"""AutoDistill (arXiv 2201.08539): MobileBERTs, short trainings by progressive transfer, Bayesian optimisation.

The paper's [P]: the loop of exploration, flash distillation and evaluation on the target hardware; the objectives, the
accuracy of masked words and next sentences against the measured latency. A re-implementation's [R]: the values of the
five genes (24 layers, teacher BERT-large), flash at 5 % of the schedule, transfer layer by layer and then logits with
both pre-training tasks, the mean of the two accuracies. Ours: depth is searched too; a smaller teacher's students have
the same shares of it; the optimiser is the exact expected hypervolume improvement with latency known and predicted,
where [R] has a Gaussian process on -loss - latency, unscaled and untransformed, and its "latency" is a throughput.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from distilsearch.errors import InputError
from distilsearch.families import TeacherFacts

from .preset import Preset

LARGE = {"layers": 24, "width": 1024}  # BERT-large, whose students the published values are
SPACE: Mapping[str, Sequence[int]] = {
    "layers": (6, 12, 18, 24),
    "width": (128, 256, 384, 512),
    "bottleneck": (64, 96, 128, 160),
    "heads": (1, 2, 4, 8),
    "ffn": (384, 512, 640),
    "stacks": (2, 4, 6),
    "embedding": (128,),
}
WIDTHS = ("width", "bottleneck", "ffn", "embedding")  # what is cut with the teacher's width
OWN = (
    "layers",
    "width",
    "bottleneck",
    "ffn",
    "stacks",
)  # of which a MobileBERT has no more than its MobileBERT teacher
GRAIN = 8  # units that widths are multiples of
HEAD_SIZE = 8  # the published smallest: 64 / 8
NARROWEST = GRAIN * LARGE["width"] // SPACE["width"][0]  # a teacher's width: of less the shares would fall together


def space_of(teacher: TeacherFacts) -> dict[str, list[int]]:
    """Choices of genes for a teacher: the published values where it is as large as BERT-large, else its shares.

    Raises:
        InputError: its shares are too narrow.
    """
    if teacher.family == "mobilebert":
        smaller = {gene: [one for one in SPACE[gene] if one <= teacher[gene]] or [int(teacher[gene])] for gene in OWN}
        return smaller | {"heads": _heads(smaller["bottleneck"])}
    if teacher.width < NARROWEST:
        raise InputError(
            f'the preset "autodistill" gives students shares of their teacher, and {teacher.name} is {teacher.width} '
            f"wide: of less than {NARROWEST} no MobileBERT can be cut; take a wider teacher, or name the choices of "
            f"{', '.join(SPACE)} in [space] yourself"
        )
    wide, deep = (min(1.0, teacher[gene] / LARGE[gene]) for gene in ("width", "layers"))
    cut = {gene: _distinct(_rounded(one * wide) for one in SPACE[gene]) for gene in WIDTHS}
    layers = _distinct(max(1, round(one * deep)) for one in SPACE["layers"])
    return {**cut, "layers": layers, "heads": _heads(cut["bottleneck"]), "stacks": list(SPACE["stacks"])}


def _rounded(units: float) -> int:
    """To whole grains, up: every number of heads that is searched still divides it."""
    return max(GRAIN, GRAIN * -int(-units // GRAIN))


def _distinct(values: Any) -> list[int]:
    return sorted(set(values))


def _heads(bottlenecks: Sequence[int]) -> list[int]:
    """As many heads as divide a bottleneck into sizes that are published."""
    return [one for one in SPACE["heads"] if any(b % one == 0 and b // one >= HEAD_SIZE for b in bottlenecks)]


AUTODISTILL = Preset(
    recipe="mobilebert",
    space={"family": "mobilebert", **{gene: list(choices) for gene, choices in SPACE.items()}},
    train={"flash_tokens": 100_000, "final_tokens": 2_000_000, "finish": "front"},
    quality="accuracy",
    kinds=("mlm",),
    flash_share=0.05,
    space_of=space_of,
)
