"""Rank fidelity on the quickstart space: flash against longer distillation, and against parameter count alone.

    python benchmarks/distill_fidelity.py --folder runs/fidelity [--budgets 160000 640000] [--students 12]

Interrupted, it goes on where it stopped. The longest budget stands for the full run; say in the text which it was.
"""

import argparse
from pathlib import Path

import torch
from common import record, table

from distilsearch.distill.course import Course
from distilsearch.distill.fidelity import fidelity, spread
from distilsearch.distill.recipes import default_recipe, recipe
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.teachers.teacher import load_teacher
from distilsearch.distill.texts.data import load_text
from distilsearch.engine.job.commands.quickstart import quickstart_run
from distilsearch.families import family


def main() -> None:
    """Distil, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--budgets", type=int, nargs="+", default=[160_000, 640_000])
    parser.add_argument("--students", type=int, default=12)
    parser.add_argument("--fresh", type=int, default=0, help="how many of them start from random weights")
    parser.add_argument("--seed", type=int, default=0, help="of the students; 7 are those that rules were chosen on")
    parser.add_argument("--recipe", default="")
    parser.add_argument("--also", nargs="+", default=[], help="recipes tried at the shortest budget alone")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    run = quickstart_run(trials=18)
    teacher = load_teacher(run.teacher)
    text = load_text(run.text, teacher)
    chosen = recipe(options.recipe) if options.recipe else default_recipe(teacher.kind)
    space = family(run.space.family).space(run.space.genes, teacher.facts)
    students = spread(space, options.students, options.seed, options.fresh)

    also = [recipe(name) for name in options.also]

    def progress(what: str, done: float, total: float) -> None:
        if what == "trainings":
            print(f"{done:g} of {total:g} trainings", flush=True)

    course = Course.resolved(teacher, text, chosen, max(options.budgets), 0, "auto", "cpu")
    found, left_out = fidelity(course, students, options.budgets, Archive(options.folder), progress, also)
    for entry in left_out:
        print(f"left out: {entry.to_json()}")
    rows = [
        {
            "recipe": f.recipe or chosen.name,
            "predictor": f.predictor,
            "tokens": f.tokens,
            "against": max(options.budgets),
            "students": f.students,
            "students_seed": options.seed,
            "spearman": f.spearman.to_json()["value"],
            "spearman_90": f"{f.spearman.lower:.2f} to {f.spearman.upper:.2f}",
            "kendall": f.kendall.to_json()["value"],
            "kendall_90": f"{f.kendall.lower:.2f} to {f.kendall.upper:.2f}",
        }
        for f in found
    ]
    print(table(rows))
    record("distill_fidelity", rows)


if __name__ == "__main__":
    main()
