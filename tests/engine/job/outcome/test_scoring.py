"""`[[evaluate]]` of a run: checked first, scored by jobs after the finish, kept, shown, and continued."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from distilsearch.distill.texts.probe import BLOCKS
from distilsearch.engine.job.jobs import Distil, Job, Measure, Profile, dumps, loads
from distilsearch.engine.job.outcome.result import Result
from distilsearch.engine.job.plans import spending
from distilsearch.engine.job.run import search
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.work.evaluating import Evaluate
from distilsearch.engine.report.files import read_result
from distilsearch.engine.report.terminal import evaluation_lines, gain_lines
from distilsearch.errors import InputError, Interrupted, TrialError
from distilsearch.profiling.clock import Measured
from distilsearch.progress import nothing, silent
from distilsearch.testing.glue_folders import write_task
from distilsearch.testing.teachers import write_text

OLD = Path(__file__).parents[3] / "old" / "0.1.0"
(TABLE,) = (OLD / "tables").glob("*/*")
GLUE: dict[str, Any] = {"with": "glue", "seeds": 2, "epochs": 1, "learning_rates": [1e-3]}
WORDS = sorted({*(OLD / "text" / "words.txt").read_text().split()})
PAIRS = 'aa,aa,5\n"ab ba",aa,3\nba,aa,1\nbb,ab,2\n'


class Here:
    """Does jobs in this process, at once; `refuse` may make an evaluation fail."""

    workers = 1

    def __init__(self, refuse: Callable[[Evaluate], Exception | None] = lambda job: None) -> None:
        self.refuse = refuse
        self.done: list[Job] = []

    @property
    def evaluated(self) -> list[tuple[str, bool]]:
        """Evaluations, and whether of the teacher."""
        evaluations = [job for job in self.done if isinstance(job, Evaluate)]
        return [(job.evaluation, not job.trial) for job in evaluations if not (job.recipe or job.text)]

    @property
    def bought(self) -> list[tuple[str, bool]]:
        """Evaluations of what training bought, and whether of a student before its first step."""
        evaluations = [job for job in self.done if isinstance(job, Evaluate)]
        return [(job.evaluation, job.recipe is not None) for job in evaluations if job.recipe or job.text]

    @property
    def trained(self) -> int:
        return sum(isinstance(job, Distil) for job in self.done)

    def submit(self, job: Job, progress: Any = None) -> "Future[Any]":
        future: Future[Any] = Future()
        error = self.refuse(job) if isinstance(job, Evaluate) else None
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(self._answer(loads(dumps(job))))
        return future

    def _answer(self, job: Job) -> Any:
        self.done.append(job)
        if isinstance(job, Profile):
            return TABLE.parent.name, TABLE.name
        if isinstance(job, Measure):
            times = [float(model["layers"] ** 2) / 1e3 for model in job.architectures]
            return [Measured(seconds, seconds, seconds, 8, 0.0, 1.0, "ok") for seconds in times]
        return job.read(json.loads(json.dumps(job.run(silent, nothing))))

    def stop(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that holds the table of the machine."""
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    shutil.copytree(TABLE, tmp_path / "home" / "tables" / TABLE.parent.name / TABLE.name)
    return tmp_path / "home"


@pytest.fixture
def rte(tmp_path: Path) -> Path:
    return write_task(tmp_path / "RTE", "RTE", train=16, dev=8)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    (tmp_path / "pairs.csv").write_text(PAIRS)
    return tmp_path / "pairs.csv"


def asked(*evaluations: dict[str, Any]) -> Run:
    return Run.parse(
        {
            "name": "scored", "teacher": str(OLD / "teacher"), "text": [str(OLD / "text" / "words.txt")], "trials": 2,
            "space": {"layers": [1, 3], "width": [16], "heads": [1], "ffn": [16], "inherit": ["even"]},
            "train": {"device": "cpu", "precision": "float32", "flash_tokens": 512, "final_tokens": 512,
                      "finish": "none", "threads": 1},
            "target": [{"device": "cpu", "serving": {"sequence": 8, "threads": 1}}],
            **({"evaluate": list(evaluations)} if evaluations else {}),
        }
    )  # fmt: skip


def run(folder: Path, executor: Here, *evaluations: dict[str, Any], **keys: Any) -> Result:
    return search(asked(*evaluations).model_copy(update=keys), folder, executor=executor)


def test_students_and_teacher_are_scored_shown_and_not_scored_again(tmp_path: Path, rte: Path, pairs: Path) -> None:
    glue, similarity = GLUE | {"on": str(rte)}, {"with": "similarity", "on": str(pairs), "of": "chosen"}
    executor = Here()
    result = run(tmp_path / "run", executor, glue, similarity, {"with": "heldout"})
    models = len(result.front) + 1
    assert executor.evaluated.count(("glue", True)) == executor.evaluated.count(("similarity", True)) == 1
    assert len(executor.evaluated) == 2 * models + 2
    first, second, third = read_result(tmp_path / "run").evaluations
    assert (first.title, second.title) == ("RTE (seeds 2, epochs 1, learning_rates [0.001])", "pairs.csv")
    assert set(first.teacher.values) == {"accuracy", "accuracy_sd", "one_label"}  # it has learnt nothing of 16 rows
    assert set(first.students) == set(third.students) == {member.key for member in result.front}
    assert set(second.students) == {result.knee}
    assert third.teacher.values["loss"] == pytest.approx(0.0, abs=1e-6)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<h2>Evaluations</h2>" in page
    assert "Spearman, pairs.csv" in page
    assert "of the teacher" in page
    card = (tmp_path / "run" / "students" / str(result.knee) / "README.md").read_text()
    assert card.count("## Scores") == 1
    assert "| pairs.csv, spearman |" in card
    assert any(line.startswith("  pairs.csv, ") for line in evaluation_lines(result.file))
    again = Here()
    assert run(tmp_path / "run", again).file.evaluations == result.file.evaluations
    assert (again.evaluated, again.trained) == ([], 0)
    assert (tmp_path / "run" / "students" / str(result.knee) / "README.md").read_text() == card


def test_a_finished_run_that_is_asked_for_one_more_scores_that_alone(tmp_path: Path, rte: Path, pairs: Path) -> None:
    before = run(tmp_path / "run", Here())
    assert not before.file.evaluations
    run(tmp_path / "run", Here(), {"with": "similarity", "on": str(pairs)})
    executor = Here()
    both = run(tmp_path / "run", executor, GLUE | {"on": str(rte)}, {"with": "similarity", "on": str(pairs)})
    assert {name for name, _ in executor.evaluated} == {"glue"}
    assert executor.trained == 0
    assert [entry.evaluation for entry in both.file.evaluations] == ["glue", "similarity"]
    assert (both.knee, both.front) == (before.knee, before.front)
    other = Here()
    search(asked(), tmp_path / "another", executor=other)  # another run's students keep their scores
    result = run(tmp_path / "another", other, {"with": "similarity", "on": str(pairs)})
    assert other.evaluated == [("similarity", True)]
    assert result.file.evaluations[0].students == {
        key: scores.model_copy(update={"seconds": 0.0}) for key, scores in both.file.evaluations[1].students.items()
    }


def test_what_was_scored_before_a_stop_is_not_scored_again(tmp_path: Path, pairs: Path) -> None:
    similarity = {"with": "similarity", "on": str(pairs)}
    with pytest.raises(Interrupted):
        run(tmp_path / "run", Here(lambda job: Interrupted("stopped") if job.trial else None), similarity)
    assert read_result(tmp_path / "run").front
    executor = Here()
    result = run(tmp_path / "run", executor, similarity)
    assert executor.evaluated == [("similarity", False)] * len(result.front)


def test_an_evaluation_that_fails_costs_nobody_else_and_says_why(tmp_path: Path, pairs: Path) -> None:
    executor = Here(lambda job: TrialError("the loss is none") if not job.trial else None)
    result = run(tmp_path / "run", executor, {"with": "similarity", "on": str(pairs)})
    (entry,) = result.file.evaluations
    assert (entry.teacher.values, entry.teacher.cause) == ({}, "the loss is none")
    assert all(scores.values for scores in entry.students.values())
    assert "pairs.csv: the teacher was not scored (the loss is none)" in result.file.warnings
    assert run(tmp_path / "run", Here()).file.evaluations[0].teacher.values


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        ({"with": "blue"}, r"evaluate.0: unknown evaluation 'blue': did you mean 'glue'"),
        ({}, r"evaluate.0: expected the name of an evaluation, such as with = \"glue\""),
        ({"with": "glue", "seed": 1}, r"unknown option of evaluation 'glue' 'seed': did you mean 'seeds'"),
        ({"with": "glue", "seeds": "one"}, "seeds: expected a whole number"),
        ({"with": "glue", "of": "all"}, r"evaluate.0.of: it should be 'front' or 'chosen'"),
        ({"with": "glue", "on": "RTE", "rows": 3}, "rows of a fine-tuning should be 16 or more"),
        ({"with": "glue"}, "no folder was named"),
        ({"with": "glue", "on": "nowhere"}, "there is no folder nowhere"),
        ({"with": "glue", "on": "RTE", "task": "CoLA"}, r"RTE/train.tsv: expected 4 columns of CoLA"),
        ({"with": "words"}, "scores mlm .*is a embedding model|is of mlm"),
    ],
)
def test_mistakes_are_named_before_anything_is_done(
    evaluation: dict[str, Any], message: str, tmp_path: Path, rte: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    executor = Here()
    with pytest.raises(InputError, match=message):
        run(tmp_path / "run", executor, evaluation)
    assert not executor.done
    assert not (tmp_path / "run").exists()


def test_the_same_evaluation_twice_is_refused(tmp_path: Path, pairs: Path) -> None:
    with pytest.raises(InputError, match=r"evaluate.1: pairs.csv is asked for twice"):
        run(tmp_path / "run", Here(), *[{"with": "similarity", "on": str(pairs)}] * 2)


def test_data_are_found_beside_the_run_file_and_a_run_keeps_all_options(tmp_path: Path, rte: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'teacher = "quickstart"\ntext = "python-docs"\n[[evaluate]]\nwith = "glue"\non = "RTE"\nrows = 20\n'
    )
    (section,) = Run.read(path).evaluate
    assert section.on == str(rte)
    assert section.options["rows"] == 20
    assert section.options["seeds"] == 3
    assert Run.parse(Run.read(path).model_dump(mode="json")).evaluate == (section,)


def test_what_training_bought_is_taken_before_and_after_kept_shown_and_chooses_nothing(
    tmp_path: Path, pairs: Path
) -> None:
    second = write_text(tmp_path / "second.txt", WORDS, seed=7)
    similarity = {"with": "similarity", "on": str(pairs), "of": "chosen"}
    plain, executor = run(tmp_path / "plain", Here(), similarity).file, Here()
    result = run(tmp_path / "run", executor, similarity, probe_text=(str(second),))
    front = {member.key for member in result.front}
    assert sorted(executor.bought) == sorted([("heldout", False), ("heldout", True)] * len(front))
    assert plain.evaluations[0].untrained == result.file.evaluations[0].untrained
    assert plain.knee == result.file.knee
    assert [(one.key, one.loss) for one in plain.front] == [(one.key, one.loss) for one in result.front]
    assert plain.probe is not None
    assert "not English" in plain.probe.why
    file = read_result(tmp_path / "run")
    assert file.probe is not None
    assert (file.probe.name, file.probe.quality, set(file.probe.students)) == ("second.txt", "agreement", front)
    for taken in file.probe.students.values():
        assert taken.before is not None
        assert taken.after is not None
    assert set(file.evaluations[0].untrained) == {result.knee}
    card = (tmp_path / "run" / "students" / str(result.knee) / "README.md").read_text()
    assert card.count("## What training bought") == 1
    assert f"| loss on the probe, second.txt ({file.probe.blocks} blocks) |" in card
    assert 0 < file.probe.blocks < BLOCKS  # all that so small a text has
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<h2>What training bought</h2>" in page
    assert "second.txt is the probe" in page
    assert "not English" in (tmp_path / "plain" / "report.html").read_text()
    assert gain_lines(file)[0] == f"what training bought {result.knee}:"
    again = Here()
    assert run(tmp_path / "run", again, similarity, probe_text=(str(second),)).file.probe == file.probe
    assert (again.bought, again.evaluated, again.trained) == ([], [], 0)


def test_a_student_that_is_not_scored_on_the_probe_is_handed_back_with_the_reason(tmp_path: Path) -> None:
    second = write_text(tmp_path / "second.txt", WORDS, seed=7)
    failing = Here(lambda job: TrialError("no memory left") if job.recipe else None)
    result = run(tmp_path / "run", failing, probe_text=(str(second),))
    assert result.file.probe is not None
    for taken in result.file.probe.students.values():
        assert (taken.before, taken.cause) == (None, "no memory left")
        assert taken.after is not None


def test_where_time_has_stopped_the_hands_of_a_run_others_score_its_students(tmp_path: Path) -> None:
    second, stopped = write_text(tmp_path / "second.txt", WORDS, seed=7), list[Evaluate]()

    def once(job: Evaluate) -> Exception | None:
        stopped.append(job)
        return Interrupted("stopped") if len(stopped) == 1 else None

    result = run(tmp_path / "run", Here(once), probe_text=(str(second),))
    assert len(stopped) == 1 + 2 * len(result.front)
    assert result.file.probe is not None
    assert all(taken.before is not None and taken.after is not None for taken in result.file.probe.students.values())


class Endless(Here):
    """A caller's own: its longer trainings never end, and once it is stopped it takes nothing more."""

    stopped = False

    def submit(self, job: Job, progress: Any = None) -> "Future[Any]":
        if self.stopped or (isinstance(job, Distil) and job.training.tokens > 512):
            future: Future[Any] = Future()
            if self.stopped:
                future.set_exception(Interrupted("stopped"))
            return future
        return super().submit(job, progress)

    def stop(self) -> None:
        self.stopped = True


def test_a_finish_that_overruns_its_minutes_leaves_the_executor_of_a_caller_to_him_and_to_the_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, finish = write_text(tmp_path / "second.txt", WORDS, seed=7), spending.finish
    monkeypatch.setattr(spending, "finish", lambda *given: finish(*given, seconds=0.0))
    plain = asked().model_dump(mode="json")
    longer = plain["train"] | {"finish": "front", "final_tokens": 2048}
    executor, folder = Endless(), tmp_path / "run"
    overrun = Run.parse(plain | {"train": longer, "probe_text": [str(second)]})
    result = search(overrun, folder, executor=executor)
    assert not executor.stopped
    assert all(member.tokens < 2048 for member in result.front)
    assert result.file.probe is not None
    assert all(taken.after is not None for taken in result.file.probe.students.values())
