"""What does training buy on tasks that nobody trained for?

    python -m quality.buys --folder /tmp/buys [--case books] [--layers 1 2 3] [--ways untrained ours ...]
        [--recipes sentences ...] [--tokens 160000] [--seeds 0] [--genes ffn=768] [--teachers FOLDER] [--chosen-on]
        [--beside "sentence-transformers, our layers/160000/0"]

Every student is scored on STS-B, SST-2 and the rest of unseen paragraphs, and held against its own untrained cut;
errors are of the difference, by resampling the same pairs, rows and queries for both. A cell that stands in
`FOLDER/cells.jsonl` is not made again; what its student answered lies beside it. `--chosen-on` asks what recipes are
chosen on instead: STS-B dev, paraphrases, authors and questions; such cells belong in a folder of their own.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import record, table
from quality.cases import UNSEEN, Case, books, cases
from quality.tasks import Task, chosen_on, key_of, like_teacher, paired, reported
from quality.ways import WAYS, Made, Setting

from distilsearch.arrays import FloatArray
from distilsearch.distill.evaluate.embedding import encode
from distilsearch.distill.recipes import recipe
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.data import Text, load_text

UNTRAINED, STATIC = "untrained", "model2vec"
MOST = 600_000  # tokens of each file
TEACHER = "teacher"


class Cells:
    """Scores in a file of lines, and the answers they were taken from, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "cells.jsonl"
        (folder / "answers").mkdir(parents=True, exist_ok=True)
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        self.rows: dict[str, dict[str, Any]] = {row["cell"]: row for row in map(json.loads, lines)}

    def put(self, row: dict[str, Any], answers: Mapping[str, FloatArray]) -> None:
        """Keep a cell."""
        np.savez_compressed(self._path(row["cell"]), **answers)
        self.rows[row["cell"]] = row
        with self.file.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def answers(self, cell: str) -> Mapping[str, FloatArray]:
        """The units (n, k) of each task."""
        with np.load(self._path(cell)) as file:
            return dict(file)

    def _path(self, cell: str) -> Path:
        return self.folder / "answers" / f"{cell.replace('/', '_').replace(', ', '-')}.npz"


class Bench:
    """One case: its teacher, text and tasks, opened when they are needed."""

    def __init__(self, name: str, case: Case, teachers: Path, cells: Cells, choosing: bool) -> None:
        self.name, self.case, self.teachers, self.cells, self.choosing = name, case, teachers, cells, choosing

    @cached_property
    def teacher(self) -> Teacher:
        """As it is in use."""
        return self.case.opened(self.teachers)

    @cached_property
    def text(self) -> Text:
        """What all ways learn from."""
        return load_text(self.case.text, self.teacher, most_tokens=MOST)

    @cached_property
    def tasks(self) -> list[Task]:
        """What is reported, or what recipes are chosen on."""
        if self.choosing:
            return chosen_on(self.case.languages)
        return reported([Path(one) for one in books(UNSEEN)], self.case.languages)

    @cached_property
    def vectors(self) -> dict[str, torch.Tensor]:
        """The teacher's of each task, kept."""
        made = {}
        for task in self.tasks:
            path = self.cells.folder / f"teacher-{self.teacher.weights_sha256[:12]}-{key_of(task)}.npy"
            if not path.exists():
                np.save(path, encode(self.teacher, task.texts).numpy())
            made[task.name] = torch.from_numpy(np.load(path))
        return made

    def score(self, cell: str, made: Made, about: Mapping[str, Any]) -> None:
        """Ask a model, and keep what it says."""
        started = time.process_time()
        answers, values = {}, {}
        for task in self.tasks:
            vectors = made.encode(task.texts)
            answers[task.name] = task.units(vectors)
            values[task.name] = round(task.score(answers[task.name]), 4)
            values[f"agreement {task.name}"] = round(like_teacher(task, vectors, self.vectors[task.name]), 4)
        row = {"cell": cell, "case": self.name, **about, "layers kept": made.layers, "loss": made.loss, **values}
        row |= {"seconds": round(made.seconds, 1), "scoring": round(time.process_time() - started, 1)}
        self.cells.put(row, answers)
        print(json.dumps(row), flush=True)

    def compared(self, cell: str, start: str, how: str = "bought") -> dict[str, str]:
        """What a cell scores above another, and the standard error, by task; `how` names the columns."""
        ours, other = self.cells.answers(cell), self.cells.answers(start)
        pairs = {task.name: paired(task, ours[task.name], other[task.name]) for task in self.tasks}
        return {f"{name} {how}": f"{gain:+.3f} ± {error:.3f}" for name, (gain, error) in pairs.items()}


def main() -> None:
    """Make what is missing, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--case", nargs="+", default=["books"])
    parser.add_argument("--layers", nargs="+", type=int, default=[3])
    parser.add_argument("--ways", nargs="+", default=[UNTRAINED, "ours"], help=", ".join(WAYS))
    parser.add_argument("--recipes", nargs="+", default=["sentences"])
    parser.add_argument("--tokens", nargs="+", type=int, default=[160_000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--genes", nargs="*", default=[], help="of the student, such as ffn=768 or inherit=0,2,4")
    parser.add_argument("--beside", help="what else cells are held against: the end of a cell's name, WAY/TOKENS/SEED")
    parser.add_argument("--teachers", type=Path, default=Path("teachers"))
    parser.add_argument("--chosen-on", action="store_true", help="ask what recipes are chosen on")
    parser.add_argument("--record", action="store_true", help="write the cells to results/")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cells = Cells(options.folder)
    rows = []
    for name in options.case:
        bench = Bench(name, cases()[name], options.teachers, cells, options.chosen_on)
        whole = f"{name}/{TEACHER}"
        if whole not in cells.rows:
            bench.score(whole, Made(lambda texts, own=bench.teacher: encode(own, texts)), {"way": TEACHER})
        rows += [shown(cells.rows[whole])]
        rows += [row for layers in options.layers for row in asked(bench, layers, options)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    print(table([{name: row.get(name, "") for name in names} for row in rows]))
    if options.record:
        isa = torch.backends.cpu.get_cpu_capability()
        kept = [{**row, "isa": isa} for row in cells.rows.values()]
        record("quality_chosen" if options.chosen_on else "quality_buys", kept)


def asked(bench: Bench, layers: int, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rows of a shape, each held against its untrained cut."""
    named = (one.partition("=") for one in options.genes)
    genes: dict[str, Any] = {key: int(value) if value.isdigit() else value for key, _, value in named}
    shape = "-".join([str(layers), *(f"{key}{value}" for key, value in sorted(genes.items()))])
    start = f"{bench.name}/{shape}/{UNTRAINED}"
    for way in dict.fromkeys([UNTRAINED, *options.ways]):
        for cell, changes in variants(way, f"{bench.name}/{shape}", options):
            if cell not in bench.cells.rows:
                made_of = (bench.teacher, bench.text, bench.case.shaped(bench.teacher, layers=layers, **genes))
                at = Setting(*made_of, changes["tokens"], changes["seed"], recipe(changes["recipe"]))
                bench.score(cell, WAYS[way](at), {"shape": shape, "way": way, **changes})
            row = bench.cells.rows[cell]
            above = {} if cell == start else bench.compared(cell, start)
            other = f"{bench.name}/{shape}/{options.beside}"
            yield shown(row) | above | (bench.compared(cell, other, "beside") if other in bench.cells.rows else {})


def variants(way: str, where: str, options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Cells of a way: by recipe, tokens and seed, as far as they matter to it."""
    plain = {"recipe": options.recipes[0], "tokens": options.tokens[0], "seed": 0}
    if way in (UNTRAINED, STATIC):
        yield f"{where}/{way}", plain
        return
    for name in options.recipes if way == "ours" else options.recipes[:1]:
        for tokens in options.tokens:
            for seed in options.seeds:
                label = f"{way} {Path(name).stem}" if way == "ours" else way
                yield f"{where}/{label}/{tokens}/{seed}", {"recipe": name, "tokens": tokens, "seed": seed}


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the table."""
    left = ("case", "recipe", "seed", "scoring", "way", "layers kept", "shape")
    return {"cell": row["cell"]} | {key: value for key, value in row.items() if key not in (*left, "cell", "tokens")}


if __name__ == "__main__":
    main()
