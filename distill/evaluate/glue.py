"""Fine-tuning on a GLUE task: its official metrics on the dev file, over several seeds.

The learning rate is chosen on a part of train.tsv alone: each candidate learns from nine tenths of it and is judged on
the tenth that is left. Then the model is fine-tuned on all of it, once a seed, and only that is scored on the dev file,
once. What comes out is the mean of each metric and, of two seeds or more, its standard deviation (`f1`, `f1_sd`).
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distilsearch.errors import InputError, TrialError
from distilsearch.progress import Between, Progress, nothing, silent

from ..given import task_folder
from ..losses import KINDS
from ..teachers.teacher import Teacher, load_teacher
from .evaluation import Given, Subject
from .fine_tune import Rows, Schedule, Told, answers, fine_tuned, loss_of, threads, tokens
from .glue_files import FEWEST_TO_LEARN, FEWEST_TO_SCORE, Examples, files_of, read_examples
from .glue_tasks import GlueTask, check_installed, metric, task_named, task_of

METHOD = "glue 1"  # grows when equal options come to mean another training
JUDGED = 0.1  # share of train.tsv that learning rates are judged on
SPREAD = "_sd"
ONE_LABEL = "one_label"


@dataclass(frozen=True)
class Options:
    """How a model is fine-tuned, and what may be left out; what threads change, bits of a score, is no part of it."""

    seeds: int
    epochs: int
    learning_rates: tuple[float, ...]
    rows: int | None
    batch: int
    length: int
    dropout: float

    def check(self) -> None:
        """Refuse what cannot be done; an `InputError` says what was expected."""
        for name, least in (("seeds", 1), ("epochs", 1), ("batch", 1), ("length", 8), ("rows", FEWEST_TO_LEARN)):
            if (value := getattr(self, name)) is not None and value < least:
                raise InputError(f"{name} of a fine-tuning should be {least} or more; got {value}")
        if not self.learning_rates or not all(0 < rate < 1 for rate in self.learning_rates):
            raise InputError(f"learning_rates should be numbers between 0 and 1; got {list(self.learning_rates)}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout should be from 0 to below 1; got {self.dropout}")


@dataclass(frozen=True, eq=False)
class Glue:
    """Fine-tuning on one task; its files have been read and checked."""

    task: GlueTask
    train: Examples
    dev: Mapping[str, Examples]
    options: Options
    heldout: str
    threads: int | None = None
    between: Between = nothing
    progress: Progress = silent
    name = "glue"
    kinds = KINDS

    @classmethod
    def of(
        cls,
        given: Given,
        task: str = "",
        seeds: int = 3,
        epochs: int = 3,
        learning_rates: tuple[float, ...] = (3e-5, 1e-4, 3e-4),
        rows: int | None = None,
        batch: int = 32,
        length: int = 128,
        dropout: float = 0.1,
        threads: int | None = None,
    ) -> "Glue":
        """On the folder that is given, which also says the task, unless `task` does.

        Args:
            seeds: how many fine-tunings are averaged.
            rows: of train.tsv, drawn once and the same for all models; all of them where none are named.
            length: the most tokens of a row.
            threads: of torch; as many as it has where none are named.

        Raises:
            InputError: files, columns, labels or options are not what they should be; scikit-learn is not installed.
        """
        folder = task_folder(given.file)
        options = Options(seeds, epochs, tuple(learning_rates), rows, batch, length, dropout)
        options.check()
        chosen = task_named(task) if task else task_of(folder)
        learnt, *scored = files_of(folder, chosen)
        check_installed()
        return cls(
            task=chosen,
            train=_drawn(read_examples(learnt, chosen, FEWEST_TO_LEARN), rows),
            dev={
                behind: read_examples(path, chosen, FEWEST_TO_SCORE)
                for behind, path in zip(chosen.scored, scored, strict=True)
            },
            options=options,
            heldout=_key(chosen, [learnt, *scored], options),
            threads=threads,
            between=given.between,
            progress=given.progress,
        )

    def __call__(self, model: Subject) -> dict[str, float]:
        """The mean of each official metric and its standard deviation over the seeds; more is better of each.

        `ONE_LABEL` is the share of fine-tunings that gave every row the same label, where there was one: those have
        learnt nothing, and their scores are the labels' own shares.
        """
        subject = model if isinstance(model, Teacher) else load_teacher(str(model))
        options, told = self.options, self._telling()
        with threads(self.threads):
            rate, train = self.rate(subject, told), tokens(subject, self.train, options.length)
            dev = {behind: tokens(subject, examples, options.length) for behind, examples in self.dev.items()}
            runs = []
            for seed in range(options.seeds):
                own = next(told)
                runs.append(self._scores(self._tuned(subject, train, rate, seed, own), dev, own))
        return _summary(runs)

    def rate(self, subject: Teacher, told: Iterator[Told] | None = None) -> float:
        """The learning rate that is best on a part of the training rows, learnt from the others; the dev file has no
        part in it. A `TrialError` where all of them diverge.
        """
        if len(self.options.learning_rates) == 1:
            return self.options.learning_rates[0]
        order = np.random.default_rng(0).permutation(len(self.train))
        judged = max(1, round(JUDGED * len(order)))
        rest, part = (
            tokens(subject, self.train.at(np.sort(chosen)), self.options.length)
            for chosen in (order[judged:], order[:judged])
        )
        told = told or self._telling()
        merits = {rate: self._merit(subject, rest, part, rate, next(told)) for rate in self.options.learning_rates}
        best = max(merits, key=lambda rate: merits[rate])
        if merits[best][0] == -math.inf:
            raise TrialError(f"fine-tuning diverged at each of the learning rates {list(merits)}; try smaller ones")
        return best

    def _telling(self) -> Iterator[Told]:
        """For each fine-tuning, in their order, whom to tell of it."""
        rates = len(self.options.learning_rates)
        total = self.options.seeds + (rates if rates > 1 else 0)
        for done in range(total):

            def told(share: float, done: int = done) -> None:
                self.between()
                self.progress(f"fine-tuning on {self.task.name}", done + share, total)

            yield told

    def _merit(self, subject: Teacher, rest: Rows, part: Rows, rate: float, told: Told) -> tuple[float, float]:
        """How good a rate is: the mean of the metrics on the part, and between equals the smaller loss."""
        try:
            model = self._tuned(subject, rest, rate, 0, told)
        except TrialError:
            return -math.inf, -math.inf
        scores = {name: score for name, score in self._scores(model, {"": part}, told).items() if name != ONE_LABEL}
        return sum(scores.values()) / len(scores), -float(loss_of(answers(model, part), part.labels))

    def _tuned(self, subject: Teacher, rows: Rows, rate: float, seed: int, told: Told) -> object:
        schedule = Schedule(rate, self.options.epochs, self.options.batch, self.options.dropout)
        return fine_tuned(subject, rows, self.task.outputs, schedule, seed, told)

    def _scores(self, model: object, parts: Mapping[str, Rows], told: Told) -> dict[str, float]:
        scores, one_label = dict[str, float](), True
        for behind, rows in parts.items():
            outputs = answers(model, rows, told=told)
            said = (outputs.argmax(1) if self.task.labels else outputs[:, 0]).double().numpy()
            scores |= {name + behind: metric(name, rows.labels, said) for name in self.task.metrics}
            one_label &= bool(self.task.labels) and len(np.unique(said)) == 1
        return scores | ({ONE_LABEL: 1.0} if one_label else {})


def _drawn(examples: Examples, rows: int | None) -> Examples:
    if rows is None or rows >= len(examples):
        return examples
    return examples.at(np.sort(np.random.default_rng(0).permutation(len(examples))[:rows]))


def _key(task: GlueTask, paths: Sequence[Path], options: Options) -> str:
    files = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    return hashlib.sha256(json.dumps([METHOD, task.name, files, vars(options)]).encode()).hexdigest()


def _summary(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    summary: dict[str, float] = {}
    for name in (name for name in runs[0] if name != ONE_LABEL):
        values = [run[name] for run in runs]
        summary[name] = float(np.mean(values))
        if len(values) > 1:
            summary[name + SPREAD] = float(np.std(values, ddof=1))
    one_label = sum(run.get(ONE_LABEL, 0.0) for run in runs) / len(runs)
    return summary | ({ONE_LABEL: one_label} if one_label else {})
