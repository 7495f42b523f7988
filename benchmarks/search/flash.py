"""Distil every student of one small space of the quickstart with the flash schedule, once, and keep the table.

    python -m search.flash      # from benchmarks/; continues where it stopped; the search problem `quickstart-flash`

One line a student in benchmarks/results/search_flash.jsonl: genes, held-out loss, seconds of training on one thread,
and the latency that the predictor gave for this machine. Students come in random order: a part is a fair sample.
"""

import json
import os
import time
from importlib.metadata import version

import numpy as np
import torch
from common import RESULTS

from distilsearch import profiling
from distilsearch.distill import FLASH_TOKENS
from distilsearch.distill.flash import flash_distill
from distilsearch.distill.teachers.teacher import load_teacher
from distilsearch.distill.texts.data import load_text
from distilsearch.families import family
from distilsearch.operators import Serving
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.space import SearchSpace

TABLE = RESULTS / "search_flash.jsonl"
GENES = {
    "layers": (1, 2, 3, 4, 6),
    "width": (128, 256, 320, 384),
    "heads": (8,),
    "ffn": (256, 1024),
    "inherit": ("even", "first"),
}


def flash_space() -> SearchSpace:
    """The space that is evaluated exhaustively; it needs no teacher to be listed."""
    return family("bert").space(GENES)


def main() -> None:
    torch.set_num_threads(1)
    teacher = load_teacher("quickstart")
    text = load_text(["python-docs"], teacher)
    space = family("bert").space(GENES, teacher.facts)
    students = space.decode(np.random.default_rng(0).permutation(space.grid(10_000)))
    table = profiling.find_table("cpu")
    if table is None:
        raise SystemExit("there is no latency table of this machine yet; run `distilsearch profile`")
    latency = LatencyPredictor.fit(table).predict(students, Serving()).mean_ms
    there = [json.loads(line)["genes"] for line in TABLE.open()] if TABLE.exists() else []
    versions = {name: version(name) for name in ("torch", "transformers")}
    for student, ms in zip(students, latency.tolist(), strict=True):
        genes = {gene: student[gene] for gene in GENES}
        if genes in there:
            continue
        start = time.perf_counter()
        made = flash_distill(teacher, student, text)
        row = {"genes": genes, "loss": made.loss, "latency_ms": ms, "seconds": round(time.perf_counter() - start, 1)}
        row |= {"tokens": made.tokens, "recipe_tokens": FLASH_TOKENS, "versions": versions}
        with os.fdopen(os.open(TABLE, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o644), "w") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)


if __name__ == "__main__":
    main()
