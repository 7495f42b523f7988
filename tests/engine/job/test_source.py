"""Sources of trials under one contract: the usual one, and one that trains a whole first and then asks for parts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from distilsearch.architecture import Architecture
from distilsearch.engine.job.jobs import JOBS, Distil, Job, Needs
from distilsearch.engine.job.source import SOURCES, Distilled, Making, Submit, TrialSource, open_source
from distilsearch.errors import InputError
from distilsearch.progress import Between, Progress
from distilsearch.testing.sources import Submitted, TrialSourceContract, making


class TestDistilled(TrialSourceContract):
    def make(self) -> TrialSource:
        return open_source("distilled", making())

    def test_the_job_is_of_the_run_and_the_length_asked(self) -> None:
        source = Distilled(making("relation"))
        job = source.trial(self.architectures()[0], 5_000)
        assert isinstance(job, Distil)
        assert job.training == source.making.training.at(5_000)
        assert job.architectures == (self.architectures()[0],)
        assert (job.recipe, job.threads) == (source.making.recipe, 1)

    def test_nothing_is_prepared(self) -> None:
        submitted = Submitted()
        self.make().prepare(submitted)
        assert submitted.jobs == []


@dataclass(frozen=True)
class Whole:
    """A job of the sketched super-network: train the whole, or judge a part of it by its key."""

    kind: ClassVar[str] = "whole"
    seed: int
    key: str = ""
    architecture: Architecture | None = None
    plugins: tuple[str, ...] = ()

    @property
    def needs(self) -> Needs:
        return Needs()

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"architecture": self.architecture and self.architecture.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Whole":
        part = data["architecture"] and Architecture.from_json(data["architecture"])
        return cls(data["seed"], data["key"], part, tuple(data["plugins"]))

    def run(self, progress: Progress, between: Between) -> Any:
        raise NotImplementedError("the contract runs no job")

    def read(self, data: Any) -> Any:
        return data


@dataclass
class Sketch:
    """A super-network as it will be: `prepare` trains it once, a trial is a judgement of a part of it."""

    making: Making
    stages: int = 1
    key: str = field(default="", init=False)

    def prepare(self, submit: Submit) -> None:
        if not self.key:
            self.key = submit(Whole(self.making.training.seed)).result()

    def trial(self, architecture: Architecture, tokens: int) -> Job:
        return Whole(self.making.training.seed, self.key, architecture)


class Trained(Submitted):
    def answer(self, job: Job) -> Any:
        return "the key of what was trained"


class TestSuperNetwork(TrialSourceContract):
    @pytest.fixture(autouse=True)
    def known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(JOBS, "whole", Whole)
        monkeypatch.setitem(SOURCES, "whole", Sketch)

    def make(self) -> TrialSource:
        return open_source("whole", making(), stages=2)

    def submitted(self, broken: bool = False) -> Submitted:
        return Trained(broken)

    def test_trials_are_of_what_was_trained(self) -> None:
        job = self.prepared().trial(self.architectures()[0], 1_000)
        assert isinstance(job, Whole)
        assert job.key == "the key of what was trained"


class Careless(Sketch):
    """It prepares anew at each call, and does not wait."""

    def prepare(self, submit: Submit) -> None:
        submit(Whole(0))


@pytest.mark.parametrize("test", ["test_what_was_prepared_is_not_prepared_again", "test_a_failed_preparation_is_told"])
def test_the_contract_finds_a_careless_source(test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Contract(TrialSourceContract):
        def make(self) -> TrialSource:
            return Careless(making())

    monkeypatch.setitem(JOBS, "whole", Whole)
    with pytest.raises(AssertionError):
        getattr(Contract(), test)()


def test_an_unknown_source_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="unknown source 'distiled': did you mean 'distilled'"):
        open_source("distiled", making())
