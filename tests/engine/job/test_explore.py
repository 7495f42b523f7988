"""Trials of a run with a trainer that answers at once: what is planned, recalled and imported, and when it ends."""

import json
import math
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace

import pytest

from distilsearch.distill.job import Training
from distilsearch.distill.recipes import EMBEDDING
from distilsearch.distill.trial import Trial
from distilsearch.engine.engine import Engine
from distilsearch.engine.job.config import Run
from distilsearch.engine.job.explore import Trials
from distilsearch.engine.job.imports import KEPT
from distilsearch.engine.job.jobs import dumps, loads
from distilsearch.engine.job.ledger import Ledger, open_storage
from distilsearch.engine.job.machines import Latency
from distilsearch.engine.job.result import longest
from distilsearch.engine.objectives import Expensive, Known
from distilsearch.errors import TrialError
from distilsearch.families import family

GENES = {"layers": [1, 2, 3, 4], "width": [128, 192, 256], "heads": [4], "ffn": [256, 512], "inherit": ["even"]}


class Target:
    """A machine on which students take as long as they have layers."""

    objective = "latency_ms"

    def __init__(self) -> None:
        self.measured: dict[str, float] = {}
        self.slowness: dict[str, float] = {}

    def latency(self, architecture) -> Latency:
        ms = float(architecture["layers"]) + architecture["width"] / 1000
        return Latency(ms, ms, ms, self.measured.get(architecture.key))

    def measure(self, executor, architectures, progress) -> None:
        self.measured |= {a.key: self.latency(a).predicted for a in architectures}

    def recall(self, architecture, measured_ms):
        if measured_ms is not None:
            self.measured[architecture.key] = measured_ms
        return measured_ms

    def learn(self, architecture) -> None:
        """There is nothing to learn."""


class Trainer:
    """Longer training is worth `worth` for each factor of e; some students never come back."""

    def __init__(self, worth: float, broken=lambda architecture, tokens: False) -> None:
        self.worth, self.broken, self.asked = worth, broken, []

    def submit(self, job, progress) -> Future:
        future: Future = Future()
        try:
            future.set_result([self.distil(loads(dumps(job)))])
        except TrialError as error:
            future.set_exception(error)
        return future

    def distil(self, job) -> Trial:
        training = job.training
        (student,) = job.architectures
        genes = student.values
        self.asked.append((tuple(genes.values()), training.tokens))
        if self.broken(genes, training.tokens):
            raise TrialError("it diverged")
        loss = 1 / genes["layers"] + 20 / genes["width"] + self.worth * math.log(1000 / training.tokens)
        curve = ((training.tokens // 4, 2 * loss), (training.tokens, loss))
        return Trial("none", student, training, loss, 10, training.tokens + 7, 1.0, curve)


SPACE = family("bert").space(GENES)


@pytest.fixture
def start(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))

    def make(trainer, **changes) -> Trials:
        train = {"flash_tokens": 100, "longer_tokens": changes.pop("longer_tokens", [])}
        run = Run.parse({"teacher": "t", "text": ["x"], "space": GENES, "train": train, **changes})
        target = Target()
        prepared = SimpleNamespace(
            run=run, folder=tmp_path, targets=[target], space=SPACE,
            recipe=replace(EMBEDDING, warmup_tokens=10),
            training=lambda tokens: Training("t", "t", "x", "r", tokens, 0, "float32"),
        )  # fmt: skip
        cost = Known("latency_ms", lambda codes: [target.latency(a).predicted for a in SPACE.decode(codes)])
        engine = Engine(SPACE, [Expensive("loss"), cost], reference={"loss": 5.0, "latency_ms": 5.0}, initial=4)
        ledger = Ledger(open_storage("", tmp_path), run.name, ["loss", "latency_ms"], SPACE)
        made = Trials(prepared, engine, ledger, trainer, lambda *_: None)
        made.recall()
        return made

    return make


def test_every_trial_is_a_new_student_unless_longer_ones_are_allowed(start) -> None:
    trainer = Trainer(0.5)
    start(trainer, trials=8).explore()
    assert {tokens for _, tokens in trainer.asked} == {100}
    assert len({genes for genes, _ in trainer.asked}) == 8


def test_students_are_trained_for_longer_where_it_pays(start) -> None:
    trainer = Trainer(0.5)
    trials = start(trainer, trials=14, longer_tokens=[200, 400])
    trials.explore()
    assert len(trainer.asked) == len(set(trainer.asked)) == 14
    lengths = [tokens for _, tokens in trainer.asked]
    assert lengths[:4] == [100] * 4
    assert max(lengths) > 100
    kept = longest(trials.ledger.entries())
    assert len({e.architecture for e in kept}) == len(kept) < 14
    again = start(Trainer(0.5), trials=14, longer_tokens=[200, 400])
    assert again.engine.front() == trials.engine.front()


def test_what_failed_in_longer_training_is_not_trained_on(start) -> None:
    trainer = Trainer(0.5, broken=lambda genes, tokens: tokens > 100)
    with pytest.raises(TrialError, match="in a row failed"):
        start(trainer, trials=20, longer_tokens=[200]).explore()
    assert len(trainer.asked) == len(set(trainer.asked))


def test_it_ends_when_little_more_is_expected(start) -> None:
    trainer = Trainer(0.0)
    start(trainer, trials=24, stop_below=0.02).explore()
    assert 4 <= len(trainer.asked) < 24


def test_imported_results_are_a_start_and_do_not_count(start, tmp_path) -> None:
    text = '[{"architecture": %s, "values": {"loss": 0.5, "latency_ms": 2.5}, "noise": 0.1, "fidelity": null}]'
    (member,) = SPACE.decode(SPACE.grid(100)[:1])
    (tmp_path / KEPT).write_text(text % json.dumps(member.to_json()))
    trainer = Trainer(0.0)
    trials = start(trainer, trials=3)
    assert [o.values for o in trials.engine.outcomes()] == [{"loss": 0.5, "latency_ms": 2.5}]
    trials.explore()
    assert len(trainer.asked) == 3
    assert tuple(member.values.values()) not in {genes for genes, _ in trainer.asked}
    again = start(trainer, trials=3)
    assert len(again.ledger.entries()) == 4


def test_a_replicate_imported_later_counts_once(start, tmp_path) -> None:
    (member,) = SPACE.decode(SPACE.grid(100)[:1])
    row = {"architecture": member.to_json(), "values": {"loss": 0.5}, "noise": None, "fidelity": None}
    for losses in ([0.5], [0.5, 0.7], [0.5, 0.7]):
        (tmp_path / KEPT).write_text(json.dumps([row | {"values": {"loss": loss}} for loss in losses]))
        (outcome,) = start(Trainer(0.0), trials=3).engine.outcomes()
        assert outcome.values["loss"] == pytest.approx(sum(losses) / len(losses))
