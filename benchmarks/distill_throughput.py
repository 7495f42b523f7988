"""Tokens a second of the training loop against a plain `transformers.Trainer`, interleaved, with where the time goes.

    python benchmarks/distill_throughput.py [--steps 16] [--rounds 3] [--students 8]

Both train the same students on the same batches with the same loss at the same precision. The plain Trainer asks its
teacher in `compute_loss`, as one would; "plain" trains the whole word table, as it comes, "plain, adapted" the map
over the table that the loop trains. One student reads cached targets; several share a live teacher.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from common import record, table
from transformers import Trainer, TrainingArguments

from distilsearch.architecture import Architecture
from distilsearch.distill.compute.precision import resolve_precision
from distilsearch.distill.fidelity import spread
from distilsearch.distill.recipes import EMBEDDING, Recipe
from distilsearch.distill.steps.adapt import adapt
from distilsearch.distill.steps.runs import Run
from distilsearch.distill.students.student import build_student
from distilsearch.distill.targets.objective import Objective
from distilsearch.distill.targets.targets import Targets
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.distill.training import start
from distilsearch.engine.job.commands.quickstart import quickstart_run
from distilsearch.families import family

MANY = 10**9  # tokens: a schedule that does not end within the benchmark


class Plain(Trainer):  # type: ignore[misc]
    """A Trainer whose loss asks the live teacher."""

    def __init__(self, targets: Targets, **options: Any) -> None:
        super().__init__(**options)
        self.targets = targets

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        """The recipe's loss of one batch."""
        batch = self.targets.batch(int(inputs["step"][0]))
        parts = model(batch)
        return sum(weight * parts[name] for name, weight in self.targets.recipe.weights)


class Steps(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """The numbers of steps; the batch itself is made where the loss is."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> dict[str, int]:
        return {"step": place}


def main() -> None:
    """Measure, print and record."""
    options = _options()
    torch.set_num_threads(options.threads)
    teacher = load_teacher("quickstart")
    text = load_text(["python-docs"], teacher)
    precision = resolve_precision(options.precision)
    values = dict(family("bert").architecture(teacher.facts).values) | {"layers": 2, "ffn": 768}
    one = Architecture("bert", values)
    space = family("bert").space(quickstart_run().space.genes, teacher.facts)
    rows = _single(teacher, text, one, precision, options)
    rows += _several(teacher, text, spread(space, options.students), precision, options)
    print(table(rows))
    record("distill_throughput", rows)


def _single(teacher: Teacher, text: Text, one: Architecture, precision: str, options: Any) -> list[dict[str, Any]]:
    run = start(teacher, one, text, EMBEDDING, MANY, precision=precision)
    for step in range(options.steps):
        run.targets.batch(step)  # the cache is warm, as it is from a search's second student on
    cases: dict[str, Callable[[], float]] = {
        "loop, cached targets": lambda: _loop([run], options.steps),
        "loop, live teacher": lambda: _loop([_live(teacher, text, one, precision)], options.steps),
        "plain": lambda: _plain(teacher, text, one, precision, options.steps, adapted=False),
        "plain, adapted": lambda: _plain(teacher, text, one, precision, options.steps, adapted=True),
    }
    best = _interleaved(cases, options.rounds)
    tokens = options.steps * run.step_tokens
    rows = [_row("one student", name, tokens / seconds, best["plain"] / seconds) for name, seconds in best.items()]
    return rows + _breakdown(run, options.steps)


def _several(
    teacher: Teacher, text: Text, many: list[Architecture], precision: str, options: Any
) -> list[dict[str, Any]]:
    steps = max(2, options.steps // 4)
    targets = Targets(teacher, text, EMBEDDING, precision, cache_limit=0)
    runs = [start(teacher, a, text, EMBEDDING, MANY, precision=precision, targets=targets) for a in many]
    cases: dict[str, Callable[[], float]] = {
        "loop, shared live teacher": lambda: _loop(runs, steps),
        "plain, one after the other": lambda: sum(_plain(teacher, text, a, precision, steps, False) for a in many),
    }
    best = _interleaved(cases, max(1, options.rounds - 1))
    tokens, slow = steps * runs[0].step_tokens * len(many), best["plain, one after the other"]
    return [_row(f"{len(many)} students", name, tokens / seconds, slow / seconds) for name, seconds in best.items()]


def _live(teacher: Teacher, text: Text, one: Architecture, precision: str) -> Run:
    targets = Targets(teacher, text, EMBEDDING, precision, cache_limit=0)
    return start(teacher, one, text, EMBEDDING, MANY, precision=precision, targets=targets)


def _loop(runs: list[Run], steps: int) -> float:
    """Seconds of so many steps of all runs; each batch is made once."""
    started = time.perf_counter()
    for step in range(steps):
        parts = runs[0].parts(step)
        for run in runs:
            run.step = step
            run.advance(parts)
    return time.perf_counter() - started


def _plain(
    teacher: Teacher, text: Text, architecture: Architecture, precision: str, steps: int, adapted: bool
) -> float:
    recipe: Recipe = EMBEDDING
    targets = Targets(teacher, text, recipe, precision, cache_limit=0)
    model, basis = build_student(teacher, architecture, text)
    if adapted:
        adapt(model, teacher.model(), basis)
    objective = Objective(teacher, architecture, recipe, model, basis, precision)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=1,
            max_steps=steps,
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            remove_unused_columns=False,
            dataloader_num_workers=0,
        )
        trainer = Plain(targets, model=objective, args=arguments, train_dataset=Steps(steps))
        started = time.perf_counter()
        trainer.train()
        return time.perf_counter() - started


def _interleaved(cases: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The least seconds of each case over rounds in turn; the first round of each is a warm-up."""
    best = dict.fromkeys(cases, float("inf"))
    for place in range(rounds + 1):
        for name, case in cases.items():
            seconds = case()
            if place:
                best[name] = min(best[name], seconds)
            print(f"round {place}: {name} {seconds:.2f} s", flush=True)
    return best


def _breakdown(run: Run, steps: int) -> list[dict[str, Any]]:
    """Shares of a cached step: targets, forward and losses, backward, the rest (optimiser, clipping)."""
    seconds = dict.fromkeys(("batch and cached targets", "forward and losses", "backward"), 0.0)
    whole = time.perf_counter()
    weights = dict(run.recipe.weights)
    for step in range(steps):
        a = time.perf_counter()
        batch = run.targets.batch(step)
        b = time.perf_counter()
        parts = run.losses(batch)
        loss = torch.stack([weights[name] * value for name, value in parts.items()]).sum()
        c = time.perf_counter()
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        d = time.perf_counter()
        torch.nn.utils.clip_grad_norm_(run.parameters, run.recipe.clip)
        run.optimizer.step()
        for name, part in zip(seconds, (b - a, c - b, d - c), strict=True):
            seconds[name] += part
    whole = time.perf_counter() - whole
    seconds["clipping and optimiser"] = whole - sum(seconds.values())
    return [_row("share of a cached step", name, 0.0, part / whole) for name, part in seconds.items()]


def _row(what: str, how: str, speed: float, ratio: float) -> dict[str, Any]:
    return {"what": what, "how": how, "tokens_per_second": round(speed), "times_plain_or_share": round(ratio, 3)}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--students", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="auto")
    return parser.parse_args()


if __name__ == "__main__":
    main()
