"""The contract of every job. Inherit it and give the fixture `job`:

    class TestMine(JobContract):
        @pytest.fixture
        def job(self): return Mine(...)

A job is a value that means the same on both ends of a wire.
"""

import json
from dataclasses import replace
from typing import Any

import pytest

from ..engine.job.jobs import JOBS, Job, Needs, answer, dumps, loads, perform
from ..errors import RunError
from . import executors


class JobContract:
    """What executors rely on in a job."""

    @pytest.fixture
    def job(self) -> Job:
        """The job; its plugin has been loaded."""
        raise NotImplementedError("give the fixture `job`: one of yours")

    def answer(self, job: Job) -> Any:
        """What comes back of a job that a worker does, over the wire both ways."""
        return answer(job, perform(dumps(job)))

    def test_it_is_listed_by_its_kind(self, job: Job) -> None:
        assert JOBS[job.kind] is type(job)

    def test_it_arrives_as_it_was_sent(self, job: Job) -> None:
        text = dumps(job)
        assert loads(text) == job
        assert dumps(loads(text)) == text
        assert "\n" not in text

    def test_it_names_no_place_of_this_machine(self, job: Job) -> None:
        assert not executors.local_paths(dumps(job))

    def test_its_plugins_travel_with_it(self, job: Job) -> None:
        other: Any = replace(job, plugins=(executors.__name__,))  # type: ignore[type-var]
        assert loads(dumps(other)).plugins == (executors.__name__,)

    def test_a_field_of_a_newer_version_is_refused_by_name(self, job: Job) -> None:
        data = json.loads(dumps(job))
        data["job"]["of_tomorrow"] = 1
        with pytest.raises(RunError, match="of_tomorrow"):
            loads(json.dumps(data))

    def test_it_says_what_it_needs(self, job: Job) -> None:
        assert isinstance(job.needs, Needs)
        assert job.needs.device
        assert job.needs.threads is None or job.needs.threads >= 1
