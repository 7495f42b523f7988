"""Students are the same bit for bit whoever trains them: one worker or several, killed or stopped in the middle."""

import os
import signal

import pytest

from distilsearch.architecture import Architecture
from distilsearch.distill.job import Training
from distilsearch.distill.recipes import EMBEDDING
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.store.depot import Depot
from distilsearch.engine.job.executors import Options
from distilsearch.engine.job.executors.local import Local
from distilsearch.engine.job.jobs import Distil, TeacherLoss
from distilsearch.errors import Interrupted, TrialError
from distilsearch.testing.executors import Seen

TOKENS = 200_000  # so that no machine has ended one of the tiny students before it is killed


@pytest.fixture
def jobs(teacher, text) -> list[Distil]:
    """Two trainings, of one student each."""
    training = Training.of(teacher, text, EMBEDDING, TOKENS, 0, "float32")
    facts = teacher.facts
    fixed = {name: getattr(facts, name) for name in ("vocabulary", "positions", "types", "head", "pool")}
    genes = {"layers": 1, "heads": 2, "ffn": 32, "inherit": "even", "activation": "gelu", **fixed}
    students = [Architecture("bert", {**genes, "width": width}) for width in (16, 24)]
    return [Distil(training, EMBEDDING, (student,), threads=1) for student in students]


@pytest.fixture
def new_home(teacher, text, tmp_path_factory, monkeypatch):
    """`new_home()`: another archive, in which nothing has been trained."""

    def make() -> None:
        monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path_factory.mktemp("home")))
        Depot().put_teacher(teacher)
        Depot().put_text(text)

    return make


def weights(answers) -> list[str]:
    """The hashes of the students' weights."""
    return [trial.files["student/model.safetensors"] for (trial,) in answers]


@pytest.mark.slow
def test_students_are_the_same_whoever_trains_them(jobs, new_home, teacher, text, tmp_path) -> None:
    new_home()
    with Local(Options(tmp_path, workers=1)) as alone:
        expected = weights(alone.submit(job).result() for job in jobs)
        loss = alone.submit(TeacherLoss(jobs[0].training.teacher, text.sha256)).result().loss
    assert 0 <= loss < 1e-3
    assert len(set(expected)) == 2

    new_home()
    with Local(Options(tmp_path, workers=2)) as pair:
        seen = Seen()
        killed, other = [pair.submit(job, seen) for job in jobs]
        seen.wait("distil")
        os.kill(pair.processes["trainer"], signal.SIGKILL)
        failed = [future for future in (killed, other) if future.exception() is not None]
        assert len(failed) == 1
        assert isinstance(failed[0].exception(), TrialError)
        assert weights(pair.submit(job).result() for job in jobs) == expected

    new_home()
    with Local(Options(tmp_path, workers=2)) as stopped:
        seen = Seen()
        futures = [stopped.submit(job, seen) for job in jobs]
        seen.wait("distil")
        stopped.stop()
        assert all(isinstance(future.exception(), Interrupted) for future in futures)
    archive = Archive()
    assert [job for job in jobs if (archive.path(job.training.key(*job.architectures)) / "checkpoint").exists()]
    with Local(Options(tmp_path, workers=2)) as resumed:
        assert weights(resumed.submit(job).result() for job in jobs) == expected
