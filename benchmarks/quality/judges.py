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
from pathlib import Path
from typing import Any

import torch
from common import data

from distilsearch.architecture import Architecture
from distilsearch.distill.heldout import heldout_loss
from distilsearch.distill.recipes import recipe
from distilsearch.distill.student import build_student
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.distill.training import distill_student
from distilsearch.families import family
from distilsearch.lowering import parameter_count

SHORTEST, SHORT, LONG = 2_560, 10_240, 128_000
HELDOUT = 0.02  # of Python's documentation: 76 blocks
BOOKS = 0.016  # of three books: 80 blocks
FRESH, OTHER = "none", "relation"

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


def pupils() -> Iterator[tuple[str, Pupil]]:
    """Those that rules are chosen on and those that they are tried on, in turn, kinds mixed."""
    parts = {"chosen": CHOSEN, "test": TEST}
    for place in range(20):
        for part, rows in parts.items():
            if place < len(rows):
                yield part, Pupil(*rows[(7 * place) % len(rows)])


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """What is known, a row a student and length."""
    file = folder / "rows.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def train(folder: Path) -> None:
    """Train what has no row yet."""
    folder.mkdir(parents=True, exist_ok=True)
    teacher = load_teacher("quickstart")
    text = load_text(["python-docs"], teacher, heldout_fraction=HELDOUT)
    books = [str(path) for path in sorted(data("text/books").rglob("*.md"))[:3]]
    second = load_text(books, teacher, heldout_fraction=BOOKS)
    print(f"{len(text.heldout)} held-out blocks, {len(second.heldout)} of the second text", flush=True)
    there = {(row["pupil"], row["tokens"]) for row in rows_of(folder)}
    for part, pupil in pupils():
        for tokens in (0, SHORTEST, SHORT, LONG):
            if (pupil.name, tokens) not in there:
                row = {"part": part, "pupil": pupil.name, "kind": pupil.kind, "tokens": tokens}
                row |= _result(pupil, teacher, text, second, tokens)
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


def main() -> None:
    """Train, or show the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "table"])
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "train":
        train(options.folder)


if __name__ == "__main__":
    main()
