"""What training bought: of each student the figures that it began with, beside those it came to.

Notable: a figure that is no better than at its beginning is marked by words, not by colour alone. Losses are shown as
the qualities that people know (1 - loss) where the result's are.
"""

from collections.abc import Mapping

from distilsearch.page.parts import cell, code, head, row, row_head, table

from .readings import UPWARDS, Reading
from .schema import Member
from .words import score, sentence

Figures = tuple[float | None, float]  # at the beginning, at the end
NO_BETTER = "no better"


def figures(reading: Reading, member: Member) -> dict[str, Figures]:
    """By name: the quality on the text, on the probe, and Spearman of each evaluation on pairs."""
    named: dict[str, Figures] = {}
    if member.untrained_loss is not None:
        named[f"{sentence(reading.quality_name)}, held-out text"] = _shown(
            (member.untrained_loss, member.loss), reading.upwards
        )
    probe = reading.result.probe
    if probe is not None and (taken := reading.on_probe(member)) is not None:
        named[f"{sentence(probe.quality)}, {probe.name}"] = _shown(taken, probe.quality in UPWARDS)
    return named | {f"Spearman, {title}": pair for title, pair in reading.on_pairs(member).items()}


def untrained_words(reading: Reading) -> str:
    """On how many held-out blocks untrained losses were taken; "" where on as many as others, or nobody knows."""
    counts = sorted({member.untrained_blocks for member in reading.front if member.untrained_blocks})
    whole = reading.heldout_blocks
    if not counts:
        return ""
    few = " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))
    of = f" of the {whole:,}" if whole else ""
    return f" On its text, what it was untrained was measured on the first {few}{of} held-out blocks."


def no_better(reading: Reading, name: str, pair: Figures) -> bool:
    """Whether a figure is known before and after, and has not become better."""
    rising = any(name.startswith(sentence(word)) for word in (*UPWARDS, "Spearman"))
    before, after = pair
    return before is not None and (after <= before if rising else after >= before)


def gains_table(reading: Reading, taken: Mapping[str, Mapping[str, Figures]]) -> str:
    """Every student that was trained, fastest first: each figure, and under it what it began with.

    Args:
        taken: `figures` of members by key.
    """
    names = list(dict.fromkeys(name for each in taken.values() for name in each))
    rows = []
    for member in reading.front:
        if taken.get(member.key):
            knee = reading.is_knee(member)
            cells = [row_head(code(member.key, member.student, "chosen" if knee else ""))]
            cells += [_cell(reading, name, taken[member.key].get(name)) for name in names]
            rows.append(row(cells, "knee" if knee else ""))
    return table([head(word) for word in ["Student", *names]], rows, "What training bought")


def gain_words(reading: Reading, member: Member) -> str:
    """One student's figures in words, such as "Agreement, held-out text 0.712 -> 0.845"."""
    words = []
    for name, pair in figures(reading, member).items():
        worse = f" ({NO_BETTER})" if no_better(reading, name, pair) else ""
        words.append(f"{name} {score(pair[0])} -> {score(pair[1])}{worse}")
    return "; ".join(words)


def _shown(pair: Figures, upwards: bool) -> Figures:
    before, after = pair
    return (None if before is None else 1 - before, 1 - after) if upwards else pair


def _cell(reading: Reading, name: str, pair: Figures | None) -> str:
    if pair is None:
        return cell("–")
    mark = f", {NO_BETTER}" if no_better(reading, name, pair) else ""
    return cell(score(pair[1]), small=f"from {score(pair[0])}{mark}")
