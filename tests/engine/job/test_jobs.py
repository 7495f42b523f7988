"""Jobs cross as strict JSON and come back as what they were; so do their answers and errors."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch import errors
from distilsearch.distill.job import Training
from distilsearch.distill.recipes import EMBEDDING
from distilsearch.distill.store.trial import Trial
from distilsearch.engine.job.jobs import (
    JOBS,
    Distil,
    Job,
    Measure,
    Probe,
    Profile,
    Rehearse,
    TeacherLoss,
    answer,
    dumps,
    loads,
    perform,
)
from distilsearch.engine.job.work.cuts import Cut
from distilsearch.engine.job.work.wire import parsed, plain_error, rebuilt, strict
from distilsearch.errors import DistilSearchError, InputError, RunError, TrialError
from distilsearch.families import family
from distilsearch.operators import Serving
from distilsearch.profiling.clock import Measured
from distilsearch.testing import architectures, servings
from distilsearch.testing.executors import Chore, local_paths
from distilsearch.testing.jobs import JobContract

TRAINING = Training("t" * 64, "k" * 64, "x" * 64, "r" * 64, 1000, 0, "float32")
OURS = sorted(n for n, k in vars(errors).items() if isinstance(k, type) and issubclass(k, DistilSearchError))
students = st.lists(architectures(), max_size=2).map(tuple)
jobs = st.one_of(
    st.builds(Distil, st.just(TRAINING), st.just(EMBEDDING), students, st.sampled_from(["", "s3://bucket/depot"])),
    st.builds(Rehearse, st.just(TRAINING), st.just(EMBEDDING), students, st.sampled_from(["", "s3://bucket/depot"])),
    st.builds(Cut, st.just(TRAINING), st.just(EMBEDDING), students),
    st.builds(Measure, students, st.sampled_from(["cpu", "cuda"]), servings()),
    st.builds(Profile, st.just("bert"), st.just({"layers": [1, 2]}), st.none(), st.just("cpu"), servings()),
    st.builds(TeacherLoss, st.just("t" * 64), st.just("x" * 64)),
    st.builds(Probe, st.just("cpu"), st.sampled_from([None, 1, 2]), st.floats(0, 9), st.just("auto")),
)


class TestJobs(JobContract):
    """Every kind of ours; what fields they may have is drawn below."""

    @pytest.fixture(
        params=sorted(
            {"distil", "rehearse", "cut", "measure", "profile", "teacher_loss", "probe", "evaluate", "served_loss"}
        )
    )
    def job(self, request: pytest.FixtureRequest) -> Job:
        few: dict[str, tuple[Any, ...]] = {
            "distil": (TRAINING, EMBEDDING, ()),
            "rehearse": (TRAINING, EMBEDDING, ()),
            "cut": (TRAINING, EMBEDDING, ()),
            "measure": ((), "cpu", Serving()),
            "profile": ("bert", {"layers": [1, 2]}, None, "cpu", Serving(threads=1)),
            "teacher_loss": ("t" * 64, "x" * 64),
            "probe": (),
            "served_loss": (TRAINING, "t" * 64, (Serving(dtype="bfloat16"),)),
            "evaluate": (TRAINING, "similarity", "d" * 64, {"seeds": 1}, "query", "t" * 64),
        }
        kind: Any = JOBS[request.param]
        job: Job = kind(*few[request.param])
        return job


@given(jobs)
def test_jobs_come_back_from_their_text(job) -> None:
    text = dumps(job)
    assert loads(text) == job
    assert dumps(loads(text)) == text
    assert "\n" not in text
    assert not local_paths(text)


def test_every_job_is_listed() -> None:
    assert {"distil", "measure", "profile", "teacher_loss", "probe", "evaluate"} <= set(JOBS)


@given(st.sampled_from(OURS), st.text(), st.booleans())
def test_errors_come_back_as_what_they_were(name, message, transient) -> None:
    kind = getattr(errors, name)
    error = kind(message, transient) if issubclass(kind, TrialError) else kind(message)
    back = rebuilt(json.loads(strict(plain_error(error))))
    assert type(back) is kind
    assert str(back) == message
    assert getattr(back, "transient", False) == getattr(error, "transient", False)


def test_what_is_no_error_of_ours_is_a_transient_failure_with_its_name_and_its_trace_in_the_log(capfd) -> None:
    with pytest.raises(TrialError, match="ValueError: bad value") as caught:
        answer(Chore(), perform(dumps(Chore("raise", "ValueError"))))
    assert caught.value.transient
    assert "Traceback" in capfd.readouterr().err


def test_text_that_is_no_job_is_answered_too() -> None:
    for text in ("{", '{"kind": "chore"}', "[]", '{"kind":"probe","plugins":["no.such.plugin"],"job":{}}'):
        with pytest.raises(DistilSearchError):
            answer(Chore(), perform(text))


def test_a_job_of_a_newer_version_is_refused_by_name() -> None:
    data = json.loads(dumps(Probe()))
    data["job"]["colour"] = "red"
    with pytest.raises(RunError, match="'probe' with colour comes from a newer version"):
        loads(json.dumps(data))


def test_no_number_that_is_none_crosses() -> None:
    with pytest.raises(ValueError, match="JSON"):
        strict({"loss": math.nan})
    with pytest.raises(InputError, match="NaN is no JSON"):
        parsed('{"loss": NaN}')
    with pytest.raises(TrialError, match="ValueError"):
        answer(Chore(), perform(dumps(Chore("not a number"))))


def test_measured_values_cross_with_null_where_there_is_no_time() -> None:
    job = Measure((), "cpu", Serving())
    sent = [Measured(1e-3, 2e-3, 3e-3, 4, 0.1, 1.0, "ok"), Measured.failed("oom")]
    fine, broken = job.read(json.loads(strict([one.to_json() for one in sent])))
    assert fine == sent[0]
    assert broken.status == "oom"
    assert math.isnan(broken.seconds_p10)


def test_trials_and_failures_come_back_side_by_side() -> None:
    student = family("bert").space().decode(family("bert").space().sample(1, np.random.default_rng(0)))[0]
    job = Distil(TRAINING, EMBEDDING, (student, student))
    trial = Trial("k", student, TRAINING, 0.5, 10, 1000, 1.0, ((500, 0.7), (1000, 0.5)))
    sent = [trial.to_json(), {"cause": "it diverged", "transient": False}]
    assert not local_paths(json.dumps(sent))
    same, failure = job.read(sent)
    assert same == trial
    assert (str(failure), failure.transient) == ("it diverged", False)


def test_needs_say_who_must_be_alone() -> None:
    assert Measure((), "cpu", Serving(threads=2)).needs.exclusive
    assert Profile("bert", {}, None, "cpu", Serving()).needs.threads is None
    assert not Distil(TRAINING, EMBEDDING, (), device="cuda", threads=3).needs.exclusive
    assert Distil(TRAINING, EMBEDDING, (), threads=3).needs.threads == 3
