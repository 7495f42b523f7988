"""Flash distillation of the quickstart teacher: seconds, held-out loss, STS-B and speed of a few students.

    python benchmarks/distill_quality.py --pairs stsb-en-test.csv [--tokens 160000 640000 ...]
        [--students 2x384x12x768,...] [--recipes default,relation]

Several budgets make a curve: each is a complete run with a schedule of its own, not a point on the way of the longest.

Speed is the teacher's time over the student's, batch 1 x 128 tokens in float32, least of interleaved rounds.
"""

import argparse
import itertools
import time
from pathlib import Path
from typing import Any

import torch
from common import record, table

from distilsearch.architecture import Architecture
from distilsearch.distill.evaluate.embedding import sts_spearman
from distilsearch.distill.recipes import recipe_for
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.distill.training import distill_student
from distilsearch.families import family


def main() -> None:
    """Distil, print a row a student and record them all."""
    options = _options()
    torch.set_num_threads(options.threads)
    teacher = load_teacher(options.teacher)
    text = load_text(options.text, teacher)
    quality = sts_spearman(teacher, options.pairs)
    print(f"teacher {teacher.name}: STS-B {quality:.4f}", flush=True)
    rows = []
    cases = itertools.product(options.recipes.split(","), options.students.split(","), options.tokens)
    for named, name, tokens in cases:
        rows.append(_row(teacher, text, name, named, quality, tokens, options))
        print(table(rows[-1:]).splitlines()[-1], flush=True)
    print(table(rows))
    record("distill_quality", rows)


def _row(
    teacher: Teacher, text: Text, name: str, named: str, quality: float, tokens: int, options: Any
) -> dict[str, Any]:
    chosen = recipe_for(teacher.kind, named)
    architecture = _architecture(teacher, name)
    student = distill_student(
        teacher, architecture, text, chosen, tokens, precision=options.precision, folder=options.folder
    )
    score = sts_spearman(student, options.pairs)
    return {
        "student": name,
        "recipe": chosen.name,
        "tokens": student.tokens,
        "parameters_m": round(student.parameters / 1e6, 1),
        "loss": round(student.loss, 4),
        "sts_b": round(score, 4),
        "of_teacher": round(score / quality, 3),
        "speed": round(_speed(teacher.model(), student.model), 2),
        "seconds": round(student.seconds, 1),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", required=True)
    parser.add_argument("--teacher", default="quickstart")
    parser.add_argument("--text", nargs="+", default=["python-docs"])
    parser.add_argument("--recipes", default="auto")
    parser.add_argument("--folder", type=Path, default=None, help="keeps a checkpoint, to go on after an interruption")
    parser.add_argument("--tokens", type=int, nargs="+", default=[160_000])
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--students", default="2x384x12x768,2x384x12x384,1x384x12x768,2x256x8x512,1x256x8x512")
    return parser.parse_args()


def _architecture(teacher: Teacher, name: str) -> Architecture:
    layers, width, heads, ffn, *rule = name.split("x")
    values: dict[str, Any] = dict(family(teacher.facts.family).architecture(teacher.facts).values)
    values |= {"layers": int(layers), "width": int(width), "heads": int(heads), "ffn": int(ffn)}
    return Architecture(teacher.facts.family, values | {"inherit": rule[0] if rule else "even"})


def _speed(teacher: Any, student: Any, rounds: int = 30) -> float:
    ids = torch.randint(1000, 2000, (1, 128), generator=torch.Generator().manual_seed(0))
    best = [float("inf"), float("inf")]
    with torch.inference_mode():
        for _ in range(rounds):
            for place, model in enumerate((teacher, student)):
                start = time.perf_counter()
                model(input_ids=ids, attention_mask=torch.ones_like(ids))
                best[place] = min(best[place], time.perf_counter() - start)
    return best[0] / best[1]


if __name__ == "__main__":
    main()
