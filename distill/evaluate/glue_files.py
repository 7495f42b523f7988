"""Reading the tsv folders of GLUE tasks: rows of sentences and labels, checked before anything is trained on them.

In these files a quote is a letter and never closes, so they are no CSV. QQP's published ones hold a few rows that are
cut short; as elsewhere they are passed over, as long as they stay few.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError
from distilsearch.plaintext import read_text

from .glue_tasks import HIGHEST_SCORE, GlueTask

TRAIN = "train.tsv"
FEWEST_TO_LEARN, FEWEST_TO_SCORE = 16, 8  # rows
MOST_SHORT = 0.001  # of a file's rows


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows of a task: their sentences, one or two each, and labels (n,): classes from 0 on, or scores from -1 to 1.

    A fresh head answers about 0, the middle of them, so no steps are spent on finding it; correlations are the same.
    """

    texts: Sequence[tuple[str, ...]]
    labels: FloatArray

    def __len__(self) -> int:
        return len(self.texts)

    def at(self, rows: npt.NDArray[np.int64]) -> "Examples":
        """Some of the rows, in the order of their numbers."""
        return Examples([self.texts[row] for row in rows], self.labels[rows])


def files_of(folder: Path, task: GlueTask) -> list[Path]:
    """The files of a task's folder that are read, the one to learn from first; an `InputError` names a missing one."""
    paths = [folder / name for name in (TRAIN, *task.scored.values())]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise InputError(f"{folder} has no {' and no '.join(missing)}, of which {task.name} is learnt and scored")
    return paths


def read_examples(path: Path, task: GlueTask, fewest: int) -> Examples:
    """The rows of one file.

    Raises:
        InputError: its columns or labels are not the task's, or it has fewer rows than `fewest`; no row is quoted.
    """
    lines = [line.rstrip("\r") for line in read_text(path, InputError).split("\n")]
    columns = _columns(path, task, lines)
    rows = list(_rows(path, task, columns, lines[0 if task.unnamed else 1 :], 1 if task.unnamed else 2))
    if len(rows) < fewest:
        raise InputError(f"{path} holds {len(rows)} rows of {task.name}; expected at least {fewest}")
    labels = np.array([label for _, label in rows])
    if np.ptp(labels) == 0:
        raise InputError(f"{path}: all rows of {task.name} have the same label; nothing can be learnt or told by that")
    return Examples([texts for texts, _ in rows], labels)


def _columns(path: Path, task: GlueTask, lines: Sequence[str]) -> tuple[str, ...]:
    """The names of all columns of a file; refused where the task's are not among them."""
    first = tuple(cell.strip() for cell in lines[0].split("\t"))
    if task.unnamed:
        if len(first) != len(task.unnamed) or first[task.unnamed.index(task.label)] not in task.labels:
            raise InputError(
                f"{path}: expected {len(task.unnamed)} columns of {task.name} ({', '.join(task.unnamed)}) and no line"
                f" of names; its first line has {len(first)} cells, and no label of {_allowed(task)}"
            )
        return task.unnamed
    if not {*task.texts, task.label} <= set(first):
        raise InputError(
            f"{path}: expected the columns {', '.join((*task.texts, task.label))} of {task.name}, parted by tabs; its"
            f" first line names {', '.join(cell[:40] for cell in first[:12]) or 'nothing'}; name the folder of"
            " another task, or say which one it is (task)"
        )
    return first


def _rows(
    path: Path, task: GlueTask, columns: tuple[str, ...], lines: Sequence[str], first: int
) -> Iterator[tuple[tuple[str, ...], float]]:
    """The sentences and the label of each row; `first` is the number of the first line."""
    texts, label = [columns.index(name) for name in task.texts], columns.index(task.label)
    short: list[int] = []
    for number, line in enumerate(lines, first):
        cells = line.split("\t")
        if not line.strip():
            continue
        if len(cells) < len(columns):
            short.append(number)
            continue
        yield tuple(cells[place].strip() for place in texts), _label(path, task, number, cells[label].strip())
    if len(short) > MOST_SHORT * len(lines):
        raise InputError(
            f"{path}, line {short[0]}: fewer cells than the {len(columns)} columns of {task.name}, and so have"
            f" {len(short)} of {len(lines)} lines; is the file cut off, or not parted by tabs?"
        )


def _label(path: Path, task: GlueTask, number: int, cell: str) -> float:
    if task.labels:
        if cell not in task.labels:
            raise InputError(f"{path}, line {number}: the label is none of {task.name}'s; expected {_allowed(task)}")
        return float(task.labels.index(cell))
    try:
        score = float(cell)
    except ValueError:
        score = math.nan
    if not 0.0 <= score <= HIGHEST_SCORE:
        raise InputError(f"{path}, line {number}: expected a score of 0 to {HIGHEST_SCORE:g} as the label")
    return 2.0 * score / HIGHEST_SCORE - 1.0


def _allowed(task: GlueTask) -> str:
    return " or ".join(task.labels) or f"0 to {HIGHEST_SCORE:g}"
