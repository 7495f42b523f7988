"""GLUE's tasks: in which columns their tsv files hold sentences and labels, and by which metrics they are judged.

Columns are those of the files that gluebenchmark.com hands out, metrics those of Wang et al. (arXiv 1804.07461), as
scikit-learn and scipy calculate them. CoLA's files have no line of names; MNLI is scored on two files.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError, unknown

INSTALL = "GLUE's metrics need scikit-learn; install it with: pip install 'distilsearch[glue]'"
CORRELATIONS = ("mcc", "pearson", "spearman")
HIGHEST_SCORE = 5.0  # of STS-B, whose lowest is 0


@dataclass(frozen=True)
class GlueTask:
    """One task. `labels` are as they stand in the files, class 0 first; empty where the label is a number of 0 to 5.

    `texts` and `label` name columns; `unnamed` lists all columns of files without a line of names. `scored` holds the
    files that are scored, by what stands behind the names of their metrics.
    """

    name: str
    texts: tuple[str, ...]
    label: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    unnamed: tuple[str, ...] = ()
    scored: Mapping[str, str] = field(default_factory=lambda: {"": "dev.tsv"})

    @property
    def outputs(self) -> int:
        """How many numbers a model gives for a row: one a class, or the score alone."""
        return len(self.labels) or 1


PAIR, BINARY = ("sentence1", "sentence2"), ("0", "1")
ENTAILED = ("entailment", "not_entailment")

TASKS: dict[str, GlueTask] = {
    task.name: task
    for task in (
        GlueTask("CoLA", ("sentence",), "label", BINARY, ("mcc",), ("source", "label", "mark", "sentence")),
        GlueTask("SST-2", ("sentence",), "label", BINARY, ("accuracy",)),
        GlueTask("MRPC", ("#1 String", "#2 String"), "Quality", BINARY, ("f1", "accuracy")),
        GlueTask("STS-B", PAIR, "score", (), ("pearson", "spearman")),
        GlueTask("QQP", ("question1", "question2"), "is_duplicate", BINARY, ("f1", "accuracy")),
        GlueTask(
            "MNLI", PAIR, "gold_label", ("contradiction", "entailment", "neutral"), ("accuracy",),
            scored={"": "dev_matched.tsv", "_mismatched": "dev_mismatched.tsv"},
        ),
        GlueTask("QNLI", ("question", "sentence"), "label", ENTAILED, ("accuracy",)),
        GlueTask("RTE", PAIR, "label", ENTAILED, ("accuracy",)),
        GlueTask("WNLI", PAIR, "label", BINARY, ("accuracy",)),
    )
}  # fmt: skip


def task_named(name: str) -> GlueTask:
    """The task of a name, however it is spelt: "STS-B", "stsb", "sts_b"; an `InputError` lists the known ones."""
    plain = {_plain(task): task for task in TASKS}
    if _plain(name) not in plain:
        raise unknown("GLUE task", name, TASKS)
    return TASKS[plain[_plain(name)]]


def task_of(folder: Path) -> GlueTask:
    """The task whose name a folder bears."""
    try:
        return task_named(folder.resolve().name)
    except InputError:
        raise InputError(
            f"{folder} does not bear the name of a GLUE task ({', '.join(TASKS)}), each of which is a folder with"
            " train.tsv and dev.tsv; name that folder, or say which task it is, such as --option task=MRPC"
            ' (in a run file: task = "MRPC")'
        ) from None


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def check_installed() -> None:
    """Refuse to begin where scikit-learn is not installed."""
    _scikit()


def metric(name: str, truth: FloatArray, answers: FloatArray) -> float:
    """A metric of a task by its name: of classes (n,), or of scores (n,).

    Where all answers or all labels are the same, a correlation (Matthews' is one) is not defined and counts as 0.
    """
    if name in CORRELATIONS and (np.ptp(answers) == 0 or np.ptp(truth) == 0):
        return 0.0
    return float(METRICS[name](truth, answers))


def _scikit() -> Any:
    try:
        return importlib.import_module("sklearn.metrics")
    except ImportError:
        raise InputError(INSTALL) from None


METRICS: Mapping[str, Callable[[FloatArray, FloatArray], float]] = {
    "accuracy": lambda truth, answers: _scikit().accuracy_score(truth, answers),
    "f1": lambda truth, answers: _scikit().f1_score(truth, answers, zero_division=0.0),
    "mcc": lambda truth, answers: _scikit().matthews_corrcoef(truth, answers),
    "pearson": lambda truth, answers: stats.pearsonr(truth, answers).statistic,
    "spearman": lambda truth, answers: stats.spearmanr(truth, answers).statistic,
}
