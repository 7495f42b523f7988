"""Judges of students: what cheap figures say of the order after a long training, within and between kinds of start.

    python -m quality.judges train --folder DIR          # in benchmarks/; resumable, a student after the other
    python -m quality.judges table --folder DIR          # what has been trained so far

A judge sees what costs at most a tenth of the long training: the untrained cut's loss (one forward pass), trainings of
a fiftieth and of two twenty-fifths of its tokens, sizes, and the same on a second text. Rules are chosen on `CHOSEN`
and reported on `TEST`: other shapes and other cuts, of the same three kinds of start (inherited, random, inherited and
trained by another recipe).
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import data, record, table
from scipy.stats import rankdata

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.distill.heldout.heldout import heldout_loss
from distilsearch.distill.recipes import recipe
from distilsearch.distill.students.student import build_student
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.distill.training import distill_student
from distilsearch.families import family
from distilsearch.lowering import parameter_count

SHORTEST, SHORT, LONG = 2_560, 10_240, 128_000
HELDOUT = 0.02  # of Python's documentation: 76 blocks
BOOKS = 0.016  # of three books: 80 blocks
FRESH, OTHER = "none", "relation"
RESAMPLES = 500

CHOSEN = [
    *[(2, 384, 768, cut, "embedding") for cut in ("0,5", "0,3", "4,5", "0,1")],
    *[(3, 256, 768, cut, "embedding") for cut in ("0,3,5", "0,1,2", "3,4,5", "1,2,5")],
    *[(1, 128, 512, "5", "embedding"), (1, 384, 768, "5", "embedding"), (2, 192, 512, "0,5", "embedding")],
    (4, 320, 1024, "0,2,4,5", "embedding"),
    *[(1, 256, 512, FRESH, "embedding"), (2, 384, 768, FRESH, "embedding")],
    *[(3, 256, 768, FRESH, "embedding"), (4, 320, 1024, FRESH, "embedding")],
    *[
        (1, 384, 768, "5", OTHER),
        (2, 256, 768, "0,5", OTHER),
        (3, 384, 768, "0,3,5", OTHER),
        (2, 192, 512, "1,5", OTHER),
    ],
]
TEST = [
    *[(1, 192, 512, "5", "embedding"), (1, 320, 768, "3", "embedding")],
    *[(2, 256, 512, cut, "embedding") for cut in ("0,5", "1,3")],
    *[(3, 320, 512, cut, "embedding") for cut in ("0,2,5", "0,1,5")],
    *[(4, 384, 1024, "0,2,3,5", "embedding"), (4, 192, 512, "0,1,3,5", "embedding")],
    *[(1, 320, 768, FRESH, "embedding"), (2, 256, 512, FRESH, "embedding")],
    *[(3, 384, 768, FRESH, "embedding"), (4, 192, 512, FRESH, "embedding")],
    *[
        (1, 256, 512, "5", OTHER),
        (2, 320, 768, "0,4", OTHER),
        (3, 192, 512, "0,3,5", OTHER),
        (4, 256, 512, "0,1,3,5", OTHER),
    ],
]


CUTS = [
    *[(1, 384, 1536, cut, "embedding") for cut in ("0", "1", "2", "5")],
    *[(2, 384, 1536, cut, "embedding") for cut in ("4,5", "0,2", "1,4", "0,5", "0,4")],
    *[(3, 384, 1536, cut, "embedding") for cut in ("0,4,5", "0,3,5", "0,2,5", "2,4,5", "0,1,2", "1,3,5")],
]
PARTS = {"chosen": CHOSEN, "test": TEST, "cuts": CUTS, "books": TEST}
"""What is trained: the last are cuts of one size, and the students of the test on another text."""


@dataclass(frozen=True)
class Pupil:
    """A student, how it starts and by what recipe it is trained."""

    layers: int
    width: int
    ffn: int
    start: str
    recipe: str

    @property
    def kind(self) -> str:
        """Of start: "inherited", "random", or the other recipe's name."""
        return "random" if self.start == FRESH else self.recipe if self.recipe == OTHER else "inherited"

    @property
    def name(self) -> str:
        """As rows are known by."""
        return f"{self.layers}x{self.width}/{self.ffn} {self.start} {self.recipe}"

    def architecture(self, teacher: Teacher) -> Architecture:
        """The student of a teacher."""
        genes = {"layers": [self.layers], "width": [self.width], "heads": [self.width // 32], "ffn": [self.ffn]}
        space = family(teacher.facts.family).space({**genes, "inherit": [self.start]}, teacher.facts)
        return space.decode(space.grid(1))[0]


def pupils(parts: Sequence[str]) -> Iterator[tuple[str, Pupil]]:
    """The students of some parts, in turn, kinds mixed."""
    for place in range(max(map(len, PARTS.values()))):
        for part in parts:
            if place < len(rows := PARTS[part]):
                yield part, Pupil(*rows[(7 * place) % len(rows)])


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """What is known, a row a student and length."""
    file = folder / "rows.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def train(folder: Path, parts: Sequence[str]) -> None:
    """Train what has no row yet."""
    folder.mkdir(parents=True, exist_ok=True)
    teacher = load_teacher("quickstart")
    text = load_text(["python-docs"], teacher, heldout_fraction=HELDOUT)
    books = [str(path) for path in sorted(data("text/books").rglob("*.md"))[:3]]
    second = load_text(books, teacher, heldout_fraction=BOOKS)
    print(f"{len(text.heldout)} held-out blocks, {len(second.heldout)} of the second text", flush=True)
    there = {(row["part"], row["pupil"], row["tokens"]) for row in rows_of(folder)}
    for part, pupil in pupils(parts):
        own, other = (second, text) if part == "books" else (text, second)
        for tokens in (0, SHORT) if part == "cuts" else (0, SHORTEST, SHORT, LONG):
            if (part, pupil.name, tokens) not in there:
                row = {"part": part, "pupil": pupil.name, "kind": pupil.kind, "tokens": tokens}
                row |= _result(pupil, teacher, own, other, tokens)
                with (folder / "rows.jsonl").open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(
                    row["pupil"],
                    tokens,
                    round(row["loss"], 4),
                    round(row["second"], 4),
                    f"{row['seconds']:.0f} s",
                    flush=True,
                )


def _result(pupil: Pupil, teacher: Teacher, text: Text, second: Text, tokens: int) -> dict[str, Any]:
    """The losses of a student after so many tokens, on the held-out blocks of both texts."""
    architecture, started = pupil.architecture(teacher), time.monotonic()
    curve: Sequence[tuple[int, float]] = ()
    if tokens:
        student = distill_student(teacher, architecture, text, recipe(pupil.recipe), tokens, precision="bf16")
        model, loss, curve, ending = student.model, student.loss, student.curve, student.ending
    else:
        model, basis = build_student(teacher, architecture, text)
        ending = teacher.ending.cut(basis)
        loss = heldout_loss(teacher, text, model, architecture, ending=ending)
    return {
        "loss": loss,
        "second": heldout_loss(teacher, second, model, architecture, ending=ending),
        "curve": curve,
        "parameters": parameter_count(architecture),
        "layers": pupil.layers,
        "seconds": time.monotonic() - started,
    }


def known(rows: Sequence[dict[str, Any]], part: str) -> list[dict[str, Any]]:
    """Of each student of a part whose long training has ended: its kind, and a figure a judge."""
    by: dict[str, dict[int, dict[str, Any]]] = {}
    for row in rows:
        if row["part"] == part:
            by.setdefault(row["pupil"], {})[row["tokens"]] = row
    return [_figures(lengths) for lengths in by.values() if LONG in lengths]


def _figures(lengths: dict[int, dict[str, Any]]) -> dict[str, Any]:
    first, shortest, short, long = (lengths[tokens] for tokens in (0, SHORTEST, SHORT, LONG))
    slope = np.log(short["loss"] / shortest["loss"]) / np.log(SHORT / SHORTEST)
    return {
        "kind": first["kind"],
        "size": first["pupil"].split()[0],
        "truth": long["loss"],
        "untrained cut": first["loss"],
        "fewer parameters": 1 / first["parameters"],
        f"{SHORTEST:,} tokens": shortest["loss"],
        f"{SHORT:,} tokens": short["loss"],
        "power law of both": short["loss"] * (LONG / SHORT) ** slope,
        "untrained cut, second text": first["second"],
        f"{SHORT:,} tokens, second text": short["second"],
    }


def foretold(told: Sequence[dict[str, Any]], asked: Sequence[dict[str, Any]], names: Sequence[str]) -> FloatArray:
    """Logarithms (n,) of long losses, by a rule linear in those of judges, fitted to others; "kind": an offset each."""

    def columns(rows: Sequence[dict[str, Any]]) -> FloatArray:
        numbers = [[np.log(row[name]) for name in names if name != "kind"] for row in rows]
        kinds = [[float(row["kind"] == kind) for kind in ("random", OTHER) if "kind" in names] for row in rows]
        return np.column_stack([np.ones(len(rows)), np.array(numbers).reshape(len(rows), -1), np.array(kinds)])

    x, y = columns(told), np.log([row["truth"] for row in told])
    ridge = 1e-3 * np.eye(x.shape[1])
    return columns(asked) @ np.linalg.solve(x.T @ x + ridge, x.T @ y)


RULES = [
    ("untrained cut", "fewer parameters"),
    (f"{SHORT:,} tokens", "fewer parameters"),
    (f"{SHORT:,} tokens", "untrained cut", "fewer parameters"),
    (f"{SHORT:,} tokens", "kind"),
    (f"{SHORT:,} tokens", "fewer parameters", "kind"),
    (f"{SHORT:,} tokens", "untrained cut", "fewer parameters", "kind"),
    (f"{SHORTEST:,} tokens", f"{SHORT:,} tokens", "untrained cut", "fewer parameters", "kind"),
]


def show(folder: Path) -> None:
    """The tables, of what has been trained so far; recorded."""
    rows = rows_of(folder)
    chosen, test = known(rows, "chosen"), known(rows, "test")
    judges = [name for name in chosen[0] if name not in ("kind", "size", "truth")]
    made = []
    for part, students in (("chosen", chosen), ("test", test), ("both", [*chosen, *test])):
        for kind in ("all", "inherited", "random", OTHER):
            some = [one for one in students if kind in ("all", one["kind"])]
            made += [_row(part, kind, name, [one[name] for one in some], some) for name in judges if len(some) > 4]
    made += _within_sizes([*chosen, *test], judges)
    for names in RULES:
        alone = [foretold([o for o in chosen if o is not one], [one], names)[0] for one in chosen]
        made.append(_row("chosen, each from the others", "all", " + ".join(names), alone, chosen))
        made.append(_row("test", "all", " + ".join(names), foretold(chosen, test, names), test))
    made += [_of_few(chosen, test, few) for few in (1, 2, 4)]
    print(table(made))
    record("quality_judges", made)


def _row(
    part: str, kind: str, judge: str, guess: Sequence[float], students: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    truth, guesses = np.array([one["truth"] for one in students]), np.array(guess)
    rng, n = np.random.default_rng(0), len(students)
    draws = [rng.integers(0, n, n) for _ in range(RESAMPLES)]
    drawn = [_spearman(guesses[places], truth[places]) for places in draws]
    interval = "{:.2f} to {:.2f}".format(*np.nanquantile(drawn, [0.05, 0.95]))
    value = _spearman(guesses, truth)
    return {"students": part, "start": kind, "judge": judge, "n": n, "spearman": round(value, 3), "90 %": interval}


def _spearman(x: FloatArray, y: FloatArray) -> float:
    with np.errstate(invalid="ignore"):  # of a constant sample there is no order
        return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def _of_few(chosen: Sequence[dict[str, Any]], test: Sequence[dict[str, Any]], few: int) -> dict[str, Any]:
    """The short loss with an offset for each kind, where few of each kind have had a long training: 100 draws."""
    rng, truth, values = np.random.default_rng(0), np.array([one["truth"] for one in test]), []
    for _ in range(100):
        kinds = [[one for one in chosen if one["kind"] == kind] for kind in ("inherited", "random", OTHER)]
        told = [kind[place] for kind in kinds for place in rng.permutation(len(kind))[:few]]
        values.append(_spearman(foretold(told, test, (f"{SHORT:,} tokens", "kind")), truth))
    judge = f"{SHORT:,} tokens + kind, told {few} long trainings of each"
    interval = "{:.2f} to {:.2f}".format(*np.quantile(values, [0.05, 0.95]))
    facts = {"students": "test", "start": "all", "judge": judge, "n": len(test)}
    return {**facts, "spearman": round(float(np.mean(values)), 3), "90 %": f"{interval} over draws"}


def _within_sizes(students: Sequence[dict[str, Any]], judges: Sequence[str]) -> list[dict[str, Any]]:
    """The share of pairs of one size, both inherited, that a judge orders as the long training does."""
    kin = [one for one in students if one["kind"] == "inherited"]
    pairs = [(a, b) for a, b in combinations(kin, 2) if a["size"] == b["size"]]
    made = []
    for name in judges:
        right = [(a[name] - b[name]) * (a["truth"] - b["truth"]) > 0 for a, b in pairs]
        facts = {"students": "both", "start": "inherited, pairs of one size", "judge": name, "n": len(pairs)}
        made.append({**facts, "spearman": None, "90 %": f"{np.mean(right):.0%} in order"})
    return made


def main() -> None:
    """Train, or show the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "table"])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["chosen", "test"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "train":
        train(options.folder, options.parts)
    else:
        show(options.folder)


if __name__ == "__main__":
    main()
