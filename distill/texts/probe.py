"""The probe: a second text that nobody trains on, by which it is seen what training bought beyond the text it had.

A held-out loss is of the very text that is learnt, and falls while a student forgets what its teacher knew of other
texts. The probe is what `probe_text` names. Left open, it is Python's documentation, which is on every machine; where
students learn that, the docstrings of packages which this one needs. Both are English: beside a text that is not, they
would say how well a student reads what nobody asked of it, so then there is no probe, and that is said.

Only a few blocks of it are read, the same for every student, and nothing is ever chosen by them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distilsearch.errors import TextError
from distilsearch.progress import Progress, silent

from ..teachers.teacher import Teacher
from .data import MIN_HELDOUT, Text, blocks_alone, load_text
from .readers import TEXT
from .sources import AUTO, BUILT_IN, NONE, PACKAGE_DOCS, PYTHON_DOCS, stamp

BLOCKS, FEWER = 64, 32  # 2,016 pairs, and 496 where time is short; before and after a training two passes over them
READ = 1 << 17  # tokens of each source, of which the blocks are drawn
SHARE = 0.5  # of what is read that may be drawn: a small text gives all it has
ENGLISH = frozenset(["the", "of", "and", "to", "that", "with", "this", "from", "which"])  # a sixth of English words
ENOUGH = 0.05  # share of these above which a good part of a text is English


@dataclass(frozen=True, eq=False)
class Probe:
    """The blocks of a probe, as the held-out part of a text without any other; or `why` there are none."""

    text: Text | None
    sources: tuple[str, ...] = ()
    why: str = ""

    @property
    def name(self) -> str:
        """What it is called on pages and cards: files by their last part."""
        return ", ".join(Path(source).name or source for source in self.sources)


def load_probe(
    asked: Sequence[str],
    sources: Sequence[str],
    teacher: Teacher,
    text: Text,
    column: str = TEXT,
    progress: Progress = silent,
    most: int = BLOCKS,
) -> Probe:
    """The probe of students that learn a text.

    Args:
        asked: `probe_text`: what `load_text` reads, or "auto", or "none".
        sources: what the text was read from.
        progress: is told why there is none.
        most: blocks of it, the first ones: students that are scored on as many are scored on the same.

    Raises:
        TextError: what was asked for cannot be read, is too small, or is what students learn.
    """
    if tuple(asked) == (NONE,):
        return Probe(None, why="none was asked for")
    if tuple(asked) != (AUTO,):
        return _read(asked, sources, teacher, text, column, most)
    if english(teacher, text) < ENOUGH:
        probe = Probe(
            None, why="the text is not English, and the documentation that is at hand is: name a probe_text like it"
        )
    else:
        try:
            probe = _read(default_probe(sources), (), teacher, text, column, most)
        except TextError as error:
            probe = Probe(None, why=str(error))
    if probe.why:
        progress(f"there is no probe of what training buys beyond the text ({probe.why})", 0, 0)
    return probe


def default_probe(sources: Sequence[str]) -> tuple[str, ...]:
    """Documentation at hand that students of a text do not learn.

    >>> default_probe(["books/*.txt"]), default_probe(["python-docs"])
    (('python-docs',), ('package-docs',))
    """
    return (PACKAGE_DOCS,) if PYTHON_DOCS in sources else (PYTHON_DOCS,)


def english(teacher: Teacher, text: Text) -> float:
    """The share of words in a text that English needs and other languages do not have, by its held-out blocks."""
    blocks = teacher.tokenizer.batch_decode(text.heldout[:BLOCKS].tolist(), skip_special_tokens=True)
    words = [word for block in blocks for word in re.findall(r"[^\W\d_]+", block.lower())]
    return sum(word in ENGLISH for word in words) / max(1, len(words))


def _read(asked: Sequence[str], sources: Sequence[str], teacher: Teacher, text: Text, column: str, most: int) -> Probe:
    if shared := _shared(asked, sources):
        raise TextError(f"probe_text names {shared}, which students learn: name another text, or leave it out")
    read = load_text(asked, teacher, text.block, SHARE, most_tokens=READ, column=column)
    blocks, theirs = read.heldout, {row.tobytes() for part in (text.train, text.heldout) for row in part}
    unseen = [place for place, row in enumerate(blocks) if row.tobytes() not in theirs][:most]
    if len(unseen) < MIN_HELDOUT:
        raise TextError(
            f"probe_text has {len(unseen)} blocks of {text.block} tokens that the text does not have, and at least"
            f" {MIN_HELDOUT} are needed: name more text, or another"
        )
    return Probe(blocks_alone(blocks[unseen]), tuple(asked))


def _shared(asked: Sequence[str], sources: Sequence[str]) -> str:
    """The first file, or other source, that is of both; "" where none is."""
    ours, theirs = _places(asked), _places(sources)
    return next((name for name in ours if name in theirs), "")


def _places(sources: Sequence[str]) -> list[str]:
    """The files behind sources; what has none by its name."""
    stamps = {source: None if source in BUILT_IN else stamp(source) for source in sources}
    return [str(name) for source, files in stamps.items() for name in ([source] if files is None else _names(files))]


def _names(files: list[list[object]]) -> list[object]:
    return [name for name, *_ in files]
