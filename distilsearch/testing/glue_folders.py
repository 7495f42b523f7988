"""Tiny folders of GLUE tasks, in the words of the tiny teachers, whose labels follow from the sentences."""

from pathlib import Path

import numpy as np

from ..distill.evaluate.glue_tasks import TASKS
from .teachers import WORDS


def write_task(folder: Path, name: str, train: int = 40, dev: int = 12) -> Path:
    """The files of a task: rows of class 0 begin with another word than those of class 1."""
    task, order = TASKS[name], np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    columns = task.unnamed or ("index", *task.texts, task.label)
    for path, rows in [("train.tsv", train), *((file, dev) for file in task.scored.values())]:
        lines = [] if task.unnamed else ["\t".join(columns)]
        for row in range(rows):
            words = " ".join(order.choice(WORDS[10:], 1 + row % 7))
            cells = dict.fromkeys(columns, str(row)) | dict.fromkeys(task.texts, f"{WORDS[row % 2]} {words}")
            cells[task.label] = task.labels[row % len(task.labels)] if task.labels else f"{5 * (row % 2)}.000"
            lines.append("\t".join(cells[column] for column in columns))
        (folder / path).write_text("\n".join(lines) + "\n")
    return folder
