"""What does a training cost beside its own steps: measuring it, and its teacher, alone or side by side with others?

    python distill_costs.py [--steps 12] [--students 5] [--blocks 128 279 2000] [--resamples 200]

Processor seconds of one thread. "looks": the share of a training that its held-out losses take, by its tokens, for the
tiny teacher of the tests and the quickstart's. "finish": what a step of each student takes, its share of the teacher
among it, where 1, 3 or 5 train side by side. "error": what the held-out loss differs by between samples of blocks, that
of one student and the difference of two on the same blocks.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import record, table

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.distill.fidelity import spread
from distilsearch.distill.heldout.heldout import agreement, embeddings_of, teacher_embeddings
from distilsearch.distill.heldout.sparing import looks
from distilsearch.distill.recipes import ANCHORED
from distilsearch.distill.steps.runs import Run
from distilsearch.distill.targets.targets import Targets
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.distill.texts.probe import BLOCKS
from distilsearch.distill.training import start
from distilsearch.engine.job.commands.quickstart import quickstart_run
from distilsearch.families import family
from distilsearch.testing.teachers import write_teacher, write_text

TOKENS = (40_000, 160_000, 640_000)
SIZES = (32, 64, 128, 256, 512)  # held-out blocks
SAMPLED = 0.6  # of the blocks that there are, at most: a sample of more says little of another text's
FRESH = 200  # a step
Row = dict[str, Any]


def main() -> None:
    """Measure, print and record."""
    options = _options()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tiny = load_teacher(str(write_teacher(Path(folder) / "tiny")))
        words = load_text([str(write_text(Path(folder) / "words.txt", count=400_000))], tiny, block=64)
        rows = _shares("tiny", tiny, words, {"layers": 2, "width": 32, "heads": 2, "ffn": 64}, options)
    teacher = load_teacher("quickstart")
    text = load_text(["python-docs"], teacher)
    for genes in ({"layers": 3}, {"layers": 2, "width": 192, "heads": 6, "ffn": 512}):
        rows += _shares("quickstart", teacher, text, genes, options)
    rows += _finish(teacher, text, options)
    rows += _errors(teacher, text, options)
    for what in dict.fromkeys(row["what"] for row in rows):
        print(table([row for row in rows if row["what"] == what]))
    record("distill_costs", rows)


def _shares(name: str, teacher: Teacher, text: Text, genes: dict[str, int], options: Any) -> list[Row]:
    """What looks take of trainings, from a step and a pass over the held-out blocks, both as they are in training."""
    student = _student(teacher, genes)
    run = start(teacher, student, text, ANCHORED, TOKENS[-1], precision="float32")
    for place in range(options.steps):
        run.targets.batch(place)  # kept, as they are from a search's second student on
    run.advance()
    step = _seconds(lambda: _loop([run], options.steps)) / options.steps
    held = len(text.heldout)
    run.heldout()
    block = min(_seconds(run.heldout) for _ in range(2)) / held
    rows = []
    for blocks in dict.fromkeys((held, *options.blocks)):
        for tokens in TOKENS:
            plan = looks(tokens, blocks, text.block, 2)
            on_way = sum(blocks if n is None else n for n in (plan.start, plan.between, plan.between))
            steps = step * tokens / run.step_tokens
            shares = [part * block / (steps + (blocks + on_way) * block) for part in (blocks, on_way, blocks + on_way)]
            about = {"what": "looks", "teacher": name, "student": _name(student), "held-out blocks": blocks}
            row = dict(zip(("end", "on the way", "in all"), (round(share, 3) for share in shares), strict=True))
            probe = round(2 * BLOCKS * block / steps, 3)
            per_token = round(step / run.step_tokens / (block / text.block), 2)
            rows.append({**about, "tokens": tokens, **row, "probe": probe, "step in passes": per_token})
    return rows


def _finish(teacher: Teacher, text: Text, options: Any) -> list[Row]:
    """Seconds of a step of a student, with a live teacher alone and side by side, and with targets from the cache."""
    space = family("bert").space(quickstart_run().space.genes, teacher.facts)
    many = sorted(spread(space, options.students), key=lambda a: -int(a["layers"]))
    live = Targets(teacher, text, ANCHORED, "float32", cache_limit=0)
    kept = Targets(teacher, text, ANCHORED, "float32")
    runs = [start(teacher, a, text, ANCHORED, 10**9, precision="float32", targets=live) for a in many]
    for run in runs:
        run.advance()
    new = range(FRESH, FRESH + options.steps)  # nobody has asked about these
    asking = _seconds(lambda: [live.batch(step) for step in new])
    writing = _seconds(lambda: [kept.batch(step) for step in new])
    for step in range(options.steps):
        kept.batch(step)
    rows = [{"what": "finish", "how": "teacher's batch, live", "students": 0, "seconds a step": asking / options.steps}]
    rows += [{**rows[0], "how": "teacher's batch, and kept", "seconds a step": writing / options.steps}]
    for count in sorted({1, 3, len(runs)}):
        places = np.linspace(0, len(runs) - 1, count).round().astype(int) if count > 1 else [len(runs) // 2]
        group = [runs[place] for place in places]
        for how, targets in (("side by side, live", live), ("side by side, cached", kept)):
            rows.append(_row(how, group, targets, options.steps, lambda g, n: _loop(g, n)))
        rows.append(_row("one after the other, live", group, live, options.steps, _one_by_one))
    return [{**row, "seconds a step": round(row["seconds a step"], 4)} for row in rows]


def _row(
    how: str, group: Sequence[Run], targets: Targets, steps: int, work: Callable[[Sequence[Run], int], None]
) -> Row:
    for run in group:
        run.targets = targets
    seconds = _seconds(lambda: work(group, steps)) / steps / len(group)
    return {"what": "finish", "how": how, "students": len(group), "seconds a step": seconds}


def _one_by_one(group: Sequence[Run], steps: int) -> None:
    for run in group:
        _loop([run], steps)


def _loop(group: Sequence[Run], steps: int) -> None:
    """Steps of all, each batch made once; no held-out loss is due."""
    for step in range(steps):
        parts = group[0].parts(step)
        for run in group:
            run.evaluations = set()
            run.advance(parts)


def _errors(teacher: Teacher, text: Text, options: Any) -> list[Row]:
    """Standard deviations of the held-out loss over samples of blocks: of one untrained cut, and between two."""
    theirs, ours = teacher_embeddings(teacher, text), []
    for genes in ({"layers": 4}, {"layers": 4, "ffn": 1024}):
        student = _student(teacher, genes)
        run = start(teacher, student, text, ANCHORED, 1_000, precision="float32")
        ours.append(_vectors(run, text))
    generator, rows = np.random.default_rng(0), []
    for size in [size for size in SIZES if size <= SAMPLED * len(text.heldout)]:
        losses = np.array([_losses(ours, theirs, generator, size) for _ in range(options.resamples)])
        rest = (1 - size / len(theirs)) ** 0.5  # samples without replacement differ by less
        rows.append(
            {
                "what": "error",
                "held-out blocks": size,
                "of a loss": round(float(losses[:, 0].std()) / rest, 4),
                "between two": round(float((losses[:, 0] - losses[:, 1]).std()) / rest, 4),
                "they differ by": round(float((losses[:, 1] - losses[:, 0]).mean()), 4),
            }
        )
    return rows


def _losses(
    ours: Sequence[torch.Tensor], theirs: torch.Tensor, generator: np.random.Generator, size: int
) -> FloatArray:
    rows = generator.choice(len(theirs), size, replace=False)
    return np.array([1 - agreement(one[rows], theirs[rows]) for one in ours])


def _vectors(run: Run, text: Text) -> torch.Tensor:
    return embeddings_of(run.model.eval(), run.objective.architecture, run.objective.ending, text.heldout, "float32")


def _student(teacher: Teacher, genes: dict[str, int]) -> Architecture:
    own = dict(family("bert").architecture(teacher.facts).values)
    return Architecture("bert", own | {"inherit": "even"} | genes)


def _name(student: Architecture) -> str:
    return f"{student['layers']} x {student['width']}, FFN {student['ffn']}"


def _seconds(work: Callable[[], object]) -> float:
    """Of the processor."""
    started = time.process_time()
    work()
    return time.process_time() - started


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--students", type=int, default=5)
    parser.add_argument("--blocks", type=int, nargs="*", default=[128, 279, 2_000])
    parser.add_argument("--resamples", type=int, default=200)
    return parser.parse_args()


if __name__ == "__main__":
    main()
