"""Real text as the inputs of a graph: batches of mixed lengths to check it with, whole blocks to calibrate int8 on.

A text is cut into blocks of one length. What is served is not: so a check cuts held-out blocks to every length from a
few tokens to the longest that the model reads, pads them into batches, and looks at what is no padding alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from distilsearch.errors import TextError

from ..teachers.teacher import Teacher
from ..texts.data import BlockArray, Text, framing
from .artefact import IDS, MASK, TYPES
from .asked import Way

Inputs = Mapping[str, npt.NDArray[np.int64]]

FEWEST_CALIBRATION = 4_096  # tokens that scales of static int8 are measured on, or none
MOST_CALIBRATION = 128  # blocks: at 32 tokens each still as many as `FEWEST_CALIBRATION`
ROWS = 8  # texts of a batch that is checked
BATCHES = 4
LONGEST = 512  # tokens of the longest text that a check makes


def check_batches(checkpoint: Teacher, text: Text, names: Sequence[str]) -> list[Inputs]:
    """Batches of held-out text: mixed lengths under one padding, one text alone, and one as long as the model reads."""
    before, after = framing(checkpoint)
    content = text.heldout[:, len(before) : text.block - len(after)]
    longest = min(checkpoint.surroundings.length, LONGEST) - len(before) - len(after)
    lengths = np.unique(np.geomspace(2, content.shape[1], ROWS * BATCHES).astype(int))
    drawn = np.random.default_rng(0).permutation(np.resize(lengths, ROWS * BATCHES))
    rows = [content[place % len(content)][:length] for place, length in enumerate(drawn)]
    whole = np.resize(content.ravel(), longest)
    batches = [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)] + [[rows[0]], [whole]]
    return [_padded(checkpoint, [[*before, *map(int, row), *after] for row in batch], names) for batch in batches]


def calibration(checkpoint: Teacher, text: Text, names: Sequence[str]) -> list[Inputs]:
    """Blocks that students train on, one a batch, for the scales of static int8; every other one is cut shorter.

    What is served is mostly shorter than a block, and attends more to each of its few tokens: scales of whole blocks
    alone would cut that off.
    """
    before, after = framing(checkpoint)
    blocks = text.train[:MOST_CALIBRATION]
    whole = text.block - len(after)
    lengths = np.geomspace(len(before) + 2, whole, len(blocks)).astype(int)
    drawn = np.random.default_rng(0).permutation(lengths)
    ends = [whole if place % 2 else int(drawn[place]) for place in range(len(blocks))]
    rows = [np.concatenate([block[:end], block[whole:]])[None] for block, end in zip(blocks, ends, strict=True)]
    return [of_blocks(row, names) for row in rows]


def calibrates(text: Text) -> bool:
    """Whether a text has enough blocks for the scales of static int8."""
    return text.train.size >= FEWEST_CALIBRATION


def check_calibration(ways: Sequence[Way], text: Text) -> None:
    """A `TextError` where a text has too few blocks for a way that needs them; onnxruntime's int8 does without."""
    if ("openvino", "int8") in ways and not calibrates(text):
        raise TextError(
            f"the calibration text has {text.train.size:,} tokens beside those held out, and scales of int8 are"
            f" measured on {FEWEST_CALIBRATION:,} or more: name more text, or runtime onnxruntime, whose int8 is scaled"
            " as it runs where there is less"
        )


def of_blocks(blocks: BlockArray, names: Sequence[str]) -> dict[str, npt.NDArray[np.int64]]:
    """Blocks (n, s) as inputs: nothing is padding, all of it is one segment."""
    ids = np.ascontiguousarray(blocks, dtype=np.int64)
    given = {IDS: ids, MASK: np.ones_like(ids), TYPES: np.zeros_like(ids)}
    return {name: given[name] for name in names}


def _padded(checkpoint: Teacher, rows: Sequence[Sequence[int]], names: Sequence[str]) -> Inputs:
    """Rows of ids as inputs (n, s), padded on the right."""
    pad = checkpoint.tokenizer.pad_token_id
    shape = (len(rows), max(map(len, rows)))
    ids, mask = np.full(shape, 0 if pad is None else int(pad), np.int64), np.zeros(shape, np.int64)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
        mask[place, : len(row)] = 1
    given = {IDS: ids, MASK: mask, TYPES: np.zeros_like(ids)}
    return {name: given[name] for name in names}
