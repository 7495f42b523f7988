"""How much of a text differs, and held-out blocks that never occur in training.

A text that says one thing over and over has enough tokens and teaches nothing: all students agree on it, or collapse.
Texts without repeats come out as they went in, so that their content hash stays what it was.
"""

import numpy as np
import numpy.typing as npt

from distilsearch.errors import TextError

Blocks = npt.NDArray[np.int32]
Keys = npt.NDArray[np.uint64]

WINDOW = 8  # tokens: a sentence that is repeated has as many different windows as it has tokens
PART = 1 << 20  # tokens looked at in one go: most texts show enough in the first


def check_varied(tokens: Blocks, needed: int) -> None:
    """Refuse a stream (n,) with fewer than `needed` different windows of 8 tokens; reads no further than it must."""
    seen = np.empty(0, np.uint64)
    for start in range(0, len(tokens), PART):
        part = tokens[start : start + PART + WINDOW - 1]
        if len(part) >= WINDOW:
            windows = np.lib.stride_tricks.sliding_window_view(part, WINDOW)
            seen = np.unique(np.concatenate([seen, _keys(windows)]))
        if len(seen) >= needed:
            return
    raise TextError(
        f"the text repeats itself: of its {len(tokens):,} tokens only {len(seen):,} begin something that was not said"
        f" before (in {WINDOW} tokens), and at least {needed:,} must; name a text that says more"
    )


def separated(heldout: Blocks, train: Blocks) -> tuple[Blocks, Blocks]:
    """Held-out blocks (h, c), each once, and the training blocks (m, c) that are none of them; order is kept."""
    ours, theirs = _keys(heldout), _keys(train)
    _, first = np.unique(ours, return_index=True)
    shared = np.isin(theirs, ours)
    if len(first) == len(ours) and not shared.any():
        return heldout, train
    rows = {row.tobytes(): place for place, row in reversed(list(enumerate(heldout)))}
    equal = [place for place in np.flatnonzero(shared) if train[place].tobytes() in rows]  # a key may be of two
    return heldout[sorted(rows.values())], np.delete(train, equal, axis=0)


def different(blocks: Blocks) -> int:
    """How many of the blocks (m, c) differ."""
    return len(np.unique(_keys(blocks)))


def _keys(rows: Blocks, part: int = 1 << 16) -> Keys:
    """A key of 64 bits for each row (n, c): equal rows have equal ones, and other rows hardly ever."""
    weights = np.random.default_rng(0).integers(1, 2**63, rows.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    parts = [rows[start : start + part].astype(np.uint64) @ weights for start in range(0, len(rows), part)]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)
