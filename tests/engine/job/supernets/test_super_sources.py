"""The parts of a run with super-networks: sources and jobs, by their contracts."""

from dataclasses import asdict, replace
from typing import Any

import pytest

from distilsearch.architecture import Architecture
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.engine.job.jobs import Distil, Job
from distilsearch.engine.job.source import TrialSource, equipped, open_source
from distilsearch.engine.job.supernets.jobs import Score
from distilsearch.errors import InputError
from distilsearch.testing.jobs import JobContract
from distilsearch.testing.sources import TrialSourceContract, making
from distilsearch.testing.teachers import write_teacher

PARTS = {"mine": {"layers": [1, 2], "width": [32, 48], "ratio": [1.0]}}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    return load_teacher(str(write_teacher(tmp_path_factory.mktemp("material") / "teacher")))


def equipped_making(teacher: Teacher, name: str = "supernetwork", **options: Any) -> Any:
    return equipped(
        name, {"subspaces": PARTS, "rule": "nested", "super_tokens": 100, **options}, making(), "bert", {}, teacher
    )


class TestSuperNetwork(TrialSourceContract):
    @pytest.fixture(autouse=True)
    def _teacher(self, teacher: Teacher) -> None:
        self.making = equipped_making(teacher)

    def make(self) -> TrialSource:
        return open_source("supernetwork", self.making)

    def architectures(self) -> list[Architecture]:
        (one,) = self.making.supers
        largest = one.training.largest
        return [largest, Architecture(largest.family, {**largest.values, "layers": 1})]

    def test_a_trial_is_a_score_of_the_super_network_that_holds_the_student(self) -> None:
        job = self.prepared().trial(self.architectures()[0], 1_000)
        assert isinstance(job, Score)
        assert (job.training.start, job.training.tokens) == (self.making.supers[0].key, 0)

    def test_who_is_in_no_sub_space_has_no_trial(self) -> None:
        largest = self.architectures()[0]
        with pytest.raises(InputError, match="no sub-space holds layers=9"):
            self.make().trial(Architecture(largest.family, {**largest.values, "layers": 9}), 1_000)


class TestDistilledFromSlices(TestSuperNetwork):
    @pytest.fixture(autouse=True)
    def _teacher(self, teacher: Teacher) -> None:
        self.making = equipped_making(teacher, "distilled", start=True)

    def make(self) -> TrialSource:
        return open_source("distilled", self.making)

    def test_a_trial_is_a_score_of_the_super_network_that_holds_the_student(self) -> None:
        job = self.prepared().trial(self.architectures()[0], 1_000)
        assert isinstance(job, Distil)
        assert (job.training.start, job.training.tokens) == (self.making.supers[0].key, 1_000)


class TestTrainSuper(JobContract):
    @pytest.fixture
    def job(self, teacher: Teacher) -> Job:
        return equipped_making(teacher).train_supers()[0]  # type: ignore[no-any-return]


class TestScore(JobContract):
    @pytest.fixture
    def job(self, teacher: Teacher) -> Job:
        whole = equipped_making(teacher)
        return whole.score([whole.supers[0].training.largest])  # type: ignore[no-any-return]


def test_the_key_of_a_training_is_what_it_was_where_nothing_starts_it() -> None:
    training = making().training
    assert "start" not in training.to_json()
    assert training.starting("") == training
    assert training.starting("a" * 64).to_json()["start"] == "a" * 64
    assert asdict(replace(training, start="b"))["start"] == "b"
