"""What a student loses in each serving, as the ledger keeps it; the job that takes it crosses the wire as any other."""

import pytest

from distilsearch.architecture import Architecture
from distilsearch.distill.job import Training
from distilsearch.engine.job.jobs import dumps, loads
from distilsearch.engine.job.ledger import Entry
from distilsearch.engine.job.serving.losses import Losses, ServedLoss, trained_loss
from distilsearch.operators import Serving

STUDENT = Architecture("bert", {"layers": 1})
TRAINING = Training("t", "t", "x", "r", 100, 0, "float32")


def entry(state: str = "complete", **facts) -> Entry:
    return Entry(0, 0, STUDENT, state, (0.5,) if state == "complete" else (), facts)


def test_the_ledger_says_what_was_judged() -> None:
    losses = Losses(0.3, {"torch bfloat16": 0.31}, {"other int8": "no such kernel"})
    assert Losses.noted(entry(**losses.facts)) == losses
    assert Losses.noted(entry("failed", **losses.facts)) == losses  # its own serving was the one that it cannot have
    assert Losses.noted(entry("failed")) is None
    assert Losses.noted(entry()) == Losses(0.5)
    assert (trained_loss(entry(**losses.facts)), trained_loss(entry())) == (0.3, 0.5)


def test_what_nobody_has_judged_is_as_it_was_trained() -> None:
    losses = Losses(0.3, {"torch bfloat16": 0.31}, {"other int8": "no such kernel"})
    asked = ("", "torch bfloat16", "other int8", "torch float16")
    assert [losses.of(artefact) for artefact in asked] == [0.3, 0.31, None, 0.3]
    assert Losses(0.3).facts == {}


def test_the_job_and_its_answer_cross_the_wire() -> None:
    job = ServedLoss(TRAINING, "k" * 64, (Serving(dtype="bfloat16"), Serving(dtype="float16")), threads=1)
    assert loads(dumps(job)) == job
    losses = Losses(0.3, {"torch bfloat16": 0.31}, {"torch float16": "no such kernel"})
    plain = {"trained": 0.3, "served": dict(losses.served), "causes": dict(losses.causes)}
    assert job.read(plain) == losses
    assert not job.needs.exclusive
    with pytest.raises(KeyError):
        job.read({"trained": 0.3})
