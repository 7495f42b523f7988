"""What students are asked that nobody trained them for, with the error of what training changed.

A task asks a model for vectors once and keeps of them what resampling needs: a number for each of its units (a pair, a
row, a query). Two models answer the same units, so the error of a difference is that of resampled units, the same for
both: pairs that all models get wrong do not count.

Notation
    n          units of a task
"""

import csv
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import data
from scipy.stats import rankdata, spearmanr
from torch import Tensor
from torch.nn.functional import normalize

from distilsearch.arrays import FloatArray
from distilsearch.distill.heldout.heldout import agreement

DRAWS = 400
PARAGRAPHS, PAIRS, ROWS = 1_000, 1_000, 2_000
TOP = 10
Encode = Callable[[Sequence[str]], Tensor]  # texts -> (n, o)


@dataclass(frozen=True)
class Task:
    """A task by its name.

    Args:
        texts: what is encoded.
        units: (vectors of the texts) -> (n, k), what each unit's share in the score is taken from.
        score: (n, k) of any units -> the score, more is better.
    """

    name: str
    texts: Sequence[str]
    units: Callable[[Tensor], FloatArray]
    score: Callable[[FloatArray], float]


def paired(task: Task, first: FloatArray, second: FloatArray, draws: int = DRAWS) -> tuple[float, float]:
    """By how much the first model's units (n, k) score above the second's, and the standard error of that."""
    generator, n = np.random.default_rng(0), len(first)
    rows = [generator.integers(0, n, n) for _ in range(draws)]
    differences = [task.score(first[drawn]) - task.score(second[drawn]) for drawn in rows]
    return task.score(first) - task.score(second), float(np.std(differences))


def mean(units: FloatArray) -> float:
    """The share of units that are right."""
    return float(units.mean())


def rank(units: FloatArray) -> float:
    """Spearman correlation of the two columns."""
    return float(spearmanr(units[:, 0], units[:, 1]).statistic)


def above(units: FloatArray) -> float:
    """The chance that a pair of label 1 is more alike than one of label 0."""
    ranks, positive = rankdata(units[:, 0]), units[:, 1] > 0.5
    many = int(positive.sum())
    return float((ranks[positive].sum() - many * (many + 1) / 2) / max(1, many * (len(units) - many)))


def similarity(name: str, rows: Sequence[tuple[str, str, float]], score: Callable[[FloatArray], float] = rank) -> Task:
    """Pairs of sentences with what people say of them."""
    left, right, told = zip(*rows, strict=True)

    def units(vectors: Tensor) -> FloatArray:
        unit = normalize(vectors.float(), dim=-1)
        alike = (unit[: len(left)] * unit[len(left) :]).sum(-1)
        return np.stack([alike.double().numpy(), np.asarray(told, float)], axis=1)

    return Task(name, [*left, *right], units, score)


def classification(name: str, learnt: Sequence[tuple[str, str]], asked: Sequence[tuple[str, str]]) -> Task:
    """A logistic regression on vectors of unit length, from rows (text, label): which of the others it gets right."""

    def units(vectors: Tensor) -> FloatArray:
        from sklearn.linear_model import LogisticRegression

        unit = normalize(vectors.float(), dim=-1).double().numpy()
        labels = [label for _, label in learnt]
        model = LogisticRegression(C=10.0, max_iter=1_000).fit(unit[: len(learnt)], labels)
        right = model.predict(unit[len(learnt) :]) == np.array([label for _, label in asked])
        return right.astype(float)[:, None]

    return Task(name, [text for text, _ in [*learnt, *asked]], units, mean)


def retrieval(name: str, queries: Sequence[str], texts: Sequence[str], top: int = TOP) -> Task:
    """Query i asks for text i among all: whether it is among the first `top`."""

    def units(vectors: Tensor) -> FloatArray:
        unit = normalize(vectors.float(), dim=-1)
        alike = unit[: len(queries)] @ unit[len(queries) :].T
        better = (alike > alike.diagonal()[:, None]).sum(1)
        return (better < top).double().numpy()[:, None]

    return Task(name, [*queries, *texts], units, mean)


def like_teacher(task: Task, ours: Tensor, theirs: Tensor, most: int = 2_000) -> float:
    """The agreement of vectors of a task's texts with the teacher's, on the first of them."""
    ours, theirs = (normalize(x[:most].float(), dim=-1) for x in (ours, theirs))
    return agreement(ours, theirs)


def sts(language: str, part: str) -> list[tuple[str, str, float]]:
    """STS-B in a language: "train", "dev" or "test"."""
    with data(f"multilingual/stsb/stsb-{language}-{part}.csv").open(encoding="utf-8", newline="") as file:
        return [(a, b, float(score)) for a, b, score in csv.reader(file)]


def glue(path: str) -> list[dict[str, str]]:
    """Rows of a file of GLUE by the names of its first line."""
    lines = data(f"glue/{path}").read_text(encoding="utf-8-sig").splitlines()
    names = lines[0].split("\t")
    return [dict(zip(names, line.split("\t"), strict=False)) for line in lines[1:]]


def drawn(rows: Sequence[Any], many: int, seed: int = 0) -> list[Any]:
    """So many of the rows, drawn once and for all."""
    order = np.random.default_rng(seed).permutation(len(rows))[:many]
    return [rows[i] for i in order]


def halves(files: Sequence[Path], many: int = PARAGRAPHS) -> tuple[list[str], list[str]]:
    """First sentences of paragraphs, and what follows them in each."""
    found = []
    for file in files:
        for paragraph in file.read_text(encoding="utf-8").split("\n\n"):
            first, _, rest = " ".join(paragraph.split()).partition(". ")
            if 40 <= len(first) <= 300 and len(rest) >= 150:
                found.append((f"{first}.", rest[:600]))
    chosen = drawn(found, many)
    return [first for first, _ in chosen], [rest for _, rest in chosen]


def reported(unseen: Sequence[Path], languages: Sequence[str] = ("en",)) -> list[Task]:
    """The three tasks of the table: STS-B test, SST-2 and the rest of unseen paragraphs."""
    train = [(row["sentence"], row["label"]) for row in drawn(glue("SST-2/train.tsv"), ROWS)]
    dev = [(row["sentence"], row["label"]) for row in glue("SST-2/dev.tsv")]
    pairs = [similarity(f"sts-{language}", sts(language, "test")) for language in languages]
    return [*pairs, classification("sst2", train, dev), retrieval("recall", *halves(unseen))]


def chosen_on(languages: Sequence[str] = ("en",)) -> list[Task]:
    """What recipes are chosen on: none of the texts and rows that are reported."""
    pairs = [similarity(f"dev-{language}", drawn(sts(language, "dev"), PAIRS)) for language in languages]
    articles = json.loads(data("squad/squad-v1.1-dev-rebuilt.json").read_text())["data"]
    asked = drawn([(p["qas"][0]["question"], p["context"][:300]) for a in articles for p in a["paragraphs"]], 400)
    same = [(r["#1 String"], r["#2 String"], float(r["Quality"])) for r in drawn(glue("MRPC/train.tsv"), 400)]
    books = sorted(data("text/books").glob("*.md"))[::5]
    rows = [(text, book.stem) for book in books for text in halves([book], 100)[0]]
    rows = drawn(rows, len(rows))
    return [
        *pairs,
        similarity("mrpc", same, above),
        classification("author", rows[: len(rows) // 2], rows[len(rows) // 2 :]),
        retrieval("squad", [q for q, _ in asked], [c for _, c in asked], top=1),
    ]


def key_of(task: Task) -> str:
    """Twelve hexadecimal digits of a task's texts: what vectors of them are kept by."""
    return hashlib.sha256("\0".join([task.name, *task.texts]).encode()).hexdigest()[:12]
