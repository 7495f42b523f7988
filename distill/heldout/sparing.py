"""How much of the held-out text a training is measured on before its end, so that measuring costs little of it.

The loss of a student is that of its end, on all held-out blocks, and comparable whatever its length. What is measured
before only shows the way there: on the first blocks alone, where all would cost more than a tenth of the training. At
the end the student is measured on those blocks too, and what they differ from all of them then is added to the earlier
figures. So each is compared with the end on its own blocks, and none jumps because the blocks are others.

Notation
    T          tokens of the training; a step on one costs about three passes: forward, and twice as much back
    h          held-out blocks, of `block` tokens
    allowance  passes over tokens that a tenth of the training pays for: 0.1 x 3 T
"""

from dataclasses import dataclass

SHARE = 0.1  # of a training, for its evaluations
PASSES = 3  # that training on a token costs
MUCH = 0.25  # of a training, above which its user is told
LEAST = 128  # blocks that are advised at least: see what fewer cost in docs/recipes.md
STEPS = (LEAST, 192, 256, 384, 512, 768, 1_024, 1_536, 2_000)
FEW = 32  # blocks of a look on the way: the same whatever the length, so that a longer training goes on from a shorter


@dataclass(frozen=True)
class Looks:
    """Blocks that a student is measured on: before its first step, and on the way; None is all of them."""

    start: int | None
    between: int | None


def looked(tokens: int, heldout: int, block: int, count: int) -> int:
    """Blocks that all looks of a training pass over, the last one's among them; see `looks`.

    >>> looked(160_000, 2_000, 128, 2), looked(10_000_000, 2_000, 128, 2)
    (2096, 4064)
    """
    plan = looks(tokens, heldout, block, count)
    return heldout + sum(heldout if n is None else n for n in (plan.start, *[plan.between] * count))


def share(tokens: int, heldout: int, block: int, count: int) -> float:
    """The share of a training that its looks take, the last one among them; see `looks`.

    >>> [round(share(tokens, 2_000, 128, 2), 2) for tokens in (160_000, 640_000, 2_560_000)]
    [0.36, 0.12, 0.06]
    """
    passed = looked(tokens, heldout, block, count) * block
    return passed / (PASSES * tokens + passed)


def enough(tokens: int, block: int, count: int) -> int:
    """The held-out blocks with which looks take no more than their share of a training; 0 where none do.

    >>> enough(160_000, 128, 2), enough(20_000, 128, 2)
    (279, 0)
    """
    return max(0, int(SHARE * PASSES * tokens) // block - (count + 1) * FEW)


def settled(tokens: int, heldout: int, block: int, count: int) -> int:
    """How many of h held-out blocks students are measured on that are trained for so long: of few steps, so that
    trainings of about as many tokens have one text; h where those would be no fewer, or nobody knows how long it is.

    >>> [settled(tokens, 2_000, 128, 2) for tokens in (64_000, 160_000, 640_000, 2_560_000)]
    [128, 256, 1024, 2000]
    >>> settled(160_000, 224, 128, 2), settled(0, 2_000, 128, 2)
    (224, 2000)
    """
    most = max(LEAST, enough(tokens, block, count))
    return min(heldout, max(step for step in STEPS if step <= most)) if tokens else heldout


def remark(tokens: int, heldout: int, block: int, count: int) -> str:
    """What whoever trains for so long should know of it; "" where looks cost little, or nobody knows how long it is."""
    if not tokens:
        return ""
    taken, fewer = share(tokens, heldout, block, count), max(LEAST, enough(tokens, block, count))
    if taken <= MUCH or fewer >= heldout:
        return ""
    return (
        f"measuring a student on {heldout:,} held-out blocks takes about {taken:.0%} of a training of {tokens:,}"
        f" tokens; with text_heldout = {fewer} it would take {share(tokens, fewer, block, count):.0%}"
    )


def looks(tokens: int, heldout: int, block: int, count: int) -> Looks:
    """How many blocks of the held-out text each look takes.

    Args:
        tokens: of the training.
        heldout: h.
        count: looks on the way, without the first and the last one.

    >>> looks(2_000_000, 570, 128, 2)
    Looks(start=None, between=32)
    >>> looks(160_000, 190, 128, 2)
    Looks(start=44, between=32)
    >>> looks(90_000, 570, 128, 2), looks(90_000, 20, 128, 2)
    (Looks(start=32, between=32), Looks(start=None, between=None))
    """
    if heldout <= FEW:
        return Looks(None, None)
    left = int(SHARE * PASSES * tokens) // block - heldout - (count + 1) * FEW  # the end, on the few blocks as well
    if left >= heldout:
        return Looks(None, FEW)
    return Looks(max(FEW, left // 2), FEW)  # each of its blocks is looked at again at the end
