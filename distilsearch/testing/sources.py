"""The contract of a trial source: inherit `TrialSourceContract`, say how to make one, and run it with pytest."""

from concurrent.futures import Future
from typing import Any

from distilsearch.architecture import Architecture
from distilsearch.distill.job import Training
from distilsearch.distill.recipes import recipe
from distilsearch.engine.job.jobs import Job, dumps, loads
from distilsearch.engine.job.source import Making, TrialSource
from distilsearch.errors import TrialError
from distilsearch.families import family


def making(recipe_name: str = "embedding") -> Making:
    """What trainings share in a test: contents that name nothing, one thread, the CPU."""
    named = recipe(recipe_name)
    content: dict[str, Any] = {"teacher": "0" * 64, "tokenizer": "1" * 64, "text": "2" * 64, "recipe": named.key}
    training = Training(**content, tokens=1_000, seed=0, precision="float32")
    return Making(training, named, threads=1)


class Submitted:
    """An executor that answers at once and keeps the jobs it was given, in order.

    A job must arrive as it was sent: what is kept has crossed the wire. `answer` says what comes back.
    """

    def __init__(self, broken: bool = False) -> None:
        self.jobs: list[Job] = []
        self.broken = broken

    def __call__(self, job: Job) -> "Future[Any]":
        """Keep the job; the answer is nothing, or a `TrialError` where it is broken."""
        self.jobs.append(loads(dumps(job)))
        future: Future[Any] = Future()
        if self.broken:
            future.set_exception(TrialError("the worker was killed", transient=True))
        else:
            future.set_result(self.answer(job))
        return future

    def answer(self, job: Job) -> Any:
        """What a job answers; nothing here. Override it where a source reads the answers of what it submits."""
        return None


class TrialSourceContract:
    """What a search relies on, of any source.

    Override `make`; and `submitted` where the source reads the answers of its own jobs, `architectures` where it makes
    other students than BERTs.
    """

    def make(self) -> TrialSource:
        """A fresh source; two of them are of the same run."""
        raise NotImplementedError

    def submitted(self, broken: bool = False) -> Submitted:
        """An executor that answers the source's own jobs; where it is broken, all of them fail."""
        return Submitted(broken)

    def architectures(self) -> list[Architecture]:
        """Two different members of the space the source makes students of."""
        space = family("bert").space({"layers": [1, 2], "width": [64], "heads": [2], "ffn": [128]})
        return space.decode(space.grid(100)[:2])

    def prepared(self) -> TrialSource:
        """A source whose first jobs are done."""
        source = self.make()
        source.prepare(self.submitted())
        return source

    def test_a_trial_is_a_job_that_survives_the_wire(self) -> None:
        source = self.prepared()
        for architecture in self.architectures():
            job = source.trial(architecture, 1_000)
            assert loads(dumps(job)) == job

    def test_equal_trials_are_equal_jobs_from_any_process(self) -> None:
        one, other = self.prepared(), self.prepared()
        architecture = self.architectures()[0]
        first = dumps(one.trial(architecture, 1_000))
        assert dumps(one.trial(architecture, 1_000)) == first
        assert dumps(other.trial(architecture, 1_000)) == first

    def test_different_students_are_different_jobs(self) -> None:
        source = self.prepared()
        jobs = {dumps(source.trial(a, 1_000)) for a in self.architectures()}
        assert len(jobs) == len(self.architectures()) > 1

    def test_asking_for_a_trial_submits_nothing(self) -> None:
        source, submitted = self.make(), self.submitted()
        source.prepare(submitted)
        before = len(submitted.jobs)
        source.trial(self.architectures()[0], 1_000)
        assert len(submitted.jobs) == before

    def test_what_was_prepared_is_not_prepared_again(self) -> None:
        source, submitted = self.make(), self.submitted()
        source.prepare(submitted)
        before = len(submitted.jobs)
        source.prepare(submitted)
        assert len(submitted.jobs) == before

    def test_a_failed_preparation_is_told(self) -> None:
        submitted = self.submitted(broken=True)
        try:
            self.make().prepare(submitted)
        except TrialError:
            return
        assert not submitted.jobs, "prepare must wait for what it submits, and raise what that failed of"
