"""Super-networks as a source of trials: examples/autodistil.toml on a tiny teacher, killed, continued, and refused.

One run is made once for all tests that ask what a finished one gave, or find its super-network: each has its own copy.
"""

import json
import shutil
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from distilsearch.distill.store.archive import Archive
from distilsearch.distill.supernets.superlm import FILE
from distilsearch.distill.supernets.supers import SCORES, opened, super_folder
from distilsearch.distill.teachers.teacher import load_teacher
from distilsearch.engine.job.commands.inventory import inventory, removable, remove
from distilsearch.engine.job.jobs import Distil, Job, Measure, Profile, dumps, loads
from distilsearch.engine.job.outcome.result import Result
from distilsearch.engine.job.outcome.winners import winners_order
from distilsearch.engine.job.run import search
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.supernets.jobs import Score, TrainSuper
from distilsearch.engine.job.work.evaluating import Evaluate
from distilsearch.errors import InputError, Interrupted, RunError
from distilsearch.home import known_runs, register_run, supers_folder
from distilsearch.profiling.clock import Measured
from distilsearch.progress import Between, nothing, silent
from distilsearch.testing.glue_folders import write_task
from distilsearch.testing.teachers import write_teacher, write_text

OLD = Path(__file__).parents[3] / "old" / "0.1.0"
(TABLE,) = (OLD / "tables").glob("*/*")
SUPER, FINAL = 2_048, 2_048
EXAMPLE = tomllib.loads((Path(__file__).parents[4] / "examples" / "autodistil.toml").read_text())
PARTS = {"mine": {"layers": [1, 2], "width": [32, 48], "ratio": [1.0]}}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("material")
    return write_teacher(folder / "teacher"), write_text(folder / "words.txt")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that holds the table of a machine."""
    return settled(tmp_path / "home", monkeypatch)


def settled(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(place))
    shutil.copytree(TABLE, place / "tables" / TABLE.parent.name / TABLE.name)
    return place


class Here:
    """Does jobs at once, in this process; models take as long as they have weights, or so. `between` may interrupt."""

    workers = 1

    def __init__(self, between: Between = nothing) -> None:
        self.between = between
        self.jobs: list[Job] = []

    def submit(self, job: Job, progress: Any = None) -> "Future[Any]":
        future: Future[Any] = Future()
        self.jobs.append(job)
        try:
            future.set_result(self._answer(loads(dumps(job))))
        except Interrupted as error:
            future.set_exception(error)
        return future

    def _answer(self, job: Job) -> Any:
        if isinstance(job, Profile):
            return TABLE.parent.name, TABLE.name
        if isinstance(job, Measure):
            return [self._timed(model["layers"] * model["width"] * 1e-5) for model in job.architectures]
        return job.read(json.loads(json.dumps(job.run(silent, self.between))))

    def _timed(self, seconds: float) -> Measured:
        return Measured(seconds, seconds, seconds, 8, 0.0, 1.0, "ok")

    def of(self, kind: type[Job]) -> list[Any]:
        return [job for job in self.jobs if isinstance(job, kind)]

    def stop(self) -> None: ...

    def close(self) -> None: ...


def run_of(material: tuple[Path, Path], source: Any = None, train: Any = None, target: Any = None, **more: Any) -> Run:
    """What the example asks for, of a small teacher and text; it embeds, so the preset takes another recipe."""
    teacher, text = material
    small = {"device": "cpu", "precision": "float32", "final_tokens": FINAL, "threads": 1, **(train or {})}
    own = [{"device": "cpu", "serving": {"sequence": 8, "threads": 1}, **(target or {})}]
    given = {"name": "super", "teacher": str(teacher), "text": [str(text)], "target": own}
    given |= {"source": EXAMPLE["source"] | {"subspaces": PARTS, "super_tokens": SUPER, **(source or {})}}
    usual = {key: value for key, value in EXAMPLE.items() if key != "trials" or "minutes" not in more}
    return Run.parse(usual | given | {"train": {"finish": EXAMPLE["train"]["finish"]} | small} | more)


@pytest.fixture
def asked(material: tuple[Path, Path]) -> Callable[..., Run]:
    return partial(run_of, material)


@dataclass(frozen=True)
class Finished:
    """A run that trained its super-network, scored everybody and finished one."""

    folder: Path
    executor: "Here"
    result: Result


@pytest.fixture(scope="module")
def once(material: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as patch:
        settled(folder / "home", patch)
        executor = Here()
        result = search(run_of(material, train={"finish": "chosen"}), folder / "run", executor=executor)
    return Finished(folder, executor, result)


@pytest.fixture
def finished(once: Finished, home: Path, tmp_path: Path) -> Finished:
    """A copy of it, in this test's own home."""
    shutil.rmtree(home)
    shutil.copytree(once.folder / "home", home)
    shutil.copytree(once.folder / "run", tmp_path / "run")
    (known,) = known_runs()
    shutil.rmtree(home / "runs")
    register_run(tmp_path / "run", known.trainings)
    return Finished(tmp_path, once.executor, Result(tmp_path / "run", once.result.file))


@pytest.fixture
def trained(finished: Finished, home: Path, tmp_path: Path) -> Finished:
    """The same, where nobody was cut and no run is left: only the super-network, with its scores."""
    shutil.rmtree(home / "trials")
    shutil.rmtree(tmp_path / "run")
    return finished


def outputs(model: Any) -> torch.Tensor:
    ids = torch.arange(5, 25).view(2, 10)
    with torch.no_grad():
        states: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    return states


def test_a_search_scores_all_sub_networks_and_hands_back_stock_students_that_are_theirs(finished: Finished) -> None:
    from transformers import AutoModel

    executor, result = finished.executor, finished.result
    trials = {trial["key"]: trial for trial in result.data["trials"]}
    assert len(trials) == 2 * (2 + 3)  # depths, heads of 32 and 48
    assert len(executor.of(TrainSuper)) == 1
    assert len(executor.of(Score)) == len(trials)
    assert {trial["tokens"] for trial in trials.values()} == {0}
    assert 1 < len(result.front) < len(trials)
    students = {trial.architecture.key for trial in Archive().trials()}
    assert students == {member.key for member in result.front}  # nobody else was written
    start = start_of_all()
    whole = opened(start, load_teacher(result.data["teacher"]["name"]))
    for member in result.front:
        card = (result.student(member.key) / "README.md").read_text()
        assert f"## Cut from a super-network\n\n| | |\n| --- | --- |\n| key | {start} |\n| rule | sandwich |" in card
        assert "| sub-networks | 10 |" in card
        student = AutoModel.from_pretrained(str(result.student(member.key)))
        if member.tokens:
            assert (member.key, member.tokens) == (result.knee, FINAL)
            assert member.loss <= member.flash_loss
        else:
            difference = outputs(student) - outputs(whole.model(member.architecture))
            assert float(difference.abs().max()) <= 1e-5
            assert member.loss == pytest.approx(trials[member.key]["loss"], abs=1e-6)


def start_of_all() -> str:
    """The key of the only super-network of the home."""
    (start,) = (path.name for path in supers_folder().glob("[0-9a-f]*"))
    return start


def test_finals_go_on_from_the_slice_and_not_from_the_teacher(finished: Finished) -> None:
    (final,) = (job for job in finished.executor.of(Distil) if job.training.tokens == FINAL)
    assert [student.key for student in final.architectures] == [finished.result.knee]
    assert final.training.start == start_of_all()
    assert Archive().find(final.training.key(final.architectures[0])).training.start == start_of_all()  # type: ignore[union-attr]


def test_what_another_run_has_trained_and_scored_is_found(
    asked: Callable[..., Run], finished: Finished, tmp_path: Path
) -> None:
    first, whole = finished.result, super_folder(start_of_all())
    weights = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    limit = sorted(trial["parameters"] for trial in first.data["trials"])[4]
    again = asked(train={"finish": "none"}, target={"parameters": limit}, name="other")
    second = search(again, tmp_path / "second", executor=Here())
    losses = {trial["key"]: trial["loss"] for trial in first.data["trials"]}
    assert {trial["key"]: trial["loss"] for trial in second.data["trials"]}.items() <= losses.items()
    assert len(second.data["trials"]) < len(losses)
    assert {path: path.stat().st_mtime_ns for path in weights} == weights
    assert len(list((whole / SCORES).iterdir())) == len(losses)


def test_slices_of_least_loss_are_fine_tuned_on_a_proxy_task_and_the_best_of_them_is_finished(
    asked: Callable[..., Run], trained: Finished, tmp_path: Path
) -> None:
    task = {"on": str(write_task(tmp_path / "RTE", "RTE", train=16, dev=8)), "students": 2, "epochs": 1}
    executor = Here()
    run = asked(train={"finish": "chosen"}, choose="quality", proxy=task)
    result = search(run, tmp_path / "run", executor=executor)
    proxy, losses = result.file.proxy, sorted(member.flash_loss for member in result.front)
    assert proxy is not None
    assert sorted(m.flash_loss for m in result.front if m.key in proxy.students) == losses[:2]
    assert proxy.title == "RTE (seeds 1, epochs 1, learning_rates [0.0001], rows 2000)"
    assert proxy.merits[result.knee or ""] == max(proxy.merits.values())
    assert [job.trial != "" for job in executor.of(Evaluate)] == [True] * 2  # the teacher is not asked
    (final,) = (job for job in executor.of(Distil) if job.training.tokens == FINAL)
    assert [student.key for student in final.architectures] == [result.knee]
    again = Here()
    other = search(run.model_copy(update={"name": "other"}), tmp_path / "other", executor=again)
    assert not again.of(Evaluate)  # what a slice came to is kept beside it
    assert other.file.proxy is not None
    assert (other.file.proxy.merits, other.knee) == (proxy.merits, result.knee)


def counted(steps: int) -> Between:
    """A `between` that asks to stop after some steps."""
    left: Iterator[int] = iter(range(steps))

    def between() -> None:
        if next(left, None) is None:
            raise Interrupted("asked to stop")

    return between


def test_an_interrupted_run_goes_on_to_the_same_end(asked: Callable[..., Run], once: Finished, tmp_path: Path) -> None:
    run = asked(train={"finish": "none"})
    for steps in (1, 5):  # in the super-network's training; among the scores
        with pytest.raises(Interrupted):
            search(run, tmp_path / "run", executor=Here(counted(steps)))
    result = search(run, tmp_path / "run", executor=Here())
    assert _losses(result) == _losses(once.result)
    assert [m.key for m in result.front] == [m.key for m in once.result.front]
    (theirs,) = (once.folder / "home" / "supers").glob(f"*/{FILE}")
    assert _tensors(super_folder(start_of_all()) / FILE) == _tensors(theirs)


def _losses(result: Result) -> dict[str, float]:
    return {trial["key"]: trial["loss"] for trial in result.data["trials"]}


def _tensors(path: Path) -> dict[str, list[float]]:
    from safetensors.torch import load_file

    return {name: tensor.flatten().tolist() for name, tensor in load_file(path).items()}


def test_the_folder_keeps_what_sub_spaces_meant_and_the_recipe_that_was_taken(
    asked: Callable[..., Run], finished: Finished, tmp_path: Path
) -> None:
    kept = tomllib.loads((tmp_path / "run" / "run.toml").read_text())
    assert kept["source"]["subspaces"] == PARTS
    assert (kept["train"]["recipe"], kept["trials"], kept["strategy"]["name"]) == ("default", 2_000, "enumerate")
    executor = Here()
    search(asked(train={"finish": "chosen"}), tmp_path / "run", executor=executor)  # the same file goes on
    assert not executor.of(Score)
    with pytest.raises(RunError, match=r"source\.super_tokens: 2048 there, 8192 now"):
        search(asked(source={"super_tokens": 8_192}), tmp_path / "run", executor=Here())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": {"parameters": 1_000}}, r"no student keeps parameters <= 1,000: the smallest one has 1\d,\d"),
        ({"target": {"memory_mb": 0.001}}, "no student keeps memory_mb"),
        ({"target": {"gflops": 1e-6}}, "no student keeps gflops"),
        ({"source": {"subspaces": {"mine": {"layers": [1], "width": [8], "ratio": [1]}}}}, "no shape that stock"),
        (
            {"source": {"subspaces": {"mine": {"layers": [9], "width": [32], "ratio": [1]}}}},
            "more than the teacher's 3",
        ),
        ({"source": {"super_tokens": 0}}, "super_tokens are what each super-network is trained on, 1 or more"),
        ({"source": {"rule": "sandwhich"}}, "rule"),
        ({"train": {"recipe": "kdnas"}}, "sub-networks of one super-network share all they train"),
        ({"train": {"longer_tokens": [500_000]}}, "trials of the source 'supernetwork' train nothing"),
        ({"minutes": 5.0}, "minutes are shared out among trials"),
        ({"space": {"inherit": ["last"]}}, "leave the gene inherit out"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    asked: Callable[..., Run], tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    executor = Here()
    with pytest.raises(InputError, match=words):
        search(asked(**changes), tmp_path / "run", executor=executor)
    assert executor.jobs == []
    assert not (tmp_path / "run").exists()


def test_a_limit_on_latency_that_nobody_keeps_is_refused_before_a_super_network_is_trained(
    asked: Callable[..., Run], tmp_path: Path
) -> None:
    executor = Here()
    with pytest.raises(InputError, match="no student is predicted to keep latency_ms"):
        search(asked(target={"latency_ms": 1e-6}), tmp_path / "run", executor=executor)
    assert {type(job) for job in executor.jobs} == {Profile}


def test_a_space_that_is_too_large_to_enumerate_is_proposed_by_ehvi(
    asked: Callable[..., Run], trained: Finished, tmp_path: Path
) -> None:
    run = asked(train={"finish": "none"}, strategy="ehvi", trials=6)
    result = search(run, tmp_path / "run", executor=Here())
    assert len(result.data["trials"]) == 6


def test_a_start_that_is_gone_is_named(finished: Finished) -> None:
    job = finished.executor.of(Score)[0]
    shutil.rmtree(super_folder(job.training.start))
    (error,) = job.read(job.run(silent, nothing))
    assert "is not in" in str(error)


def test_separate_trainings_may_be_told_what_slices_score_and_start_from_them(
    asked: Callable[..., Run], trained: Finished, tmp_path: Path
) -> None:
    source = {"name": "distilled", "start": True}
    executor = Here()
    train = {"flash_tokens": 1_024, "finish": "none", "recipe": "default"}  # as the super-network was trained
    run = asked(source, train, preset="default", strategy="ehvi", trials=3)
    result = search(run, tmp_path / "run", executor=executor)
    assert sum(len(job.architectures) for job in executor.of(Score)) == 10  # all of them, before the first trial
    starts = {job.training.start for job in executor.of(Distil)}
    assert {trial["tokens"] for trial in result.data["trials"]} == {1_024}
    assert starts == {start_of_all()}
    again = search(run.model_copy(update={"trials": 4}), tmp_path / "run", executor=Here())
    assert [t["key"] for t in again.data["trials"]][:3] == [t["key"] for t in result.data["trials"]]


def test_separate_trainings_know_no_super_network_unless_they_are_asked_to(asked: Callable[..., Run]) -> None:
    plain = Run.parse({"teacher": "t", "text": ["x"], "source": {"name": "distilled", "super_tokens": 0}})
    assert plain.source == Run.parse({"teacher": "t", "text": ["x"]}).source
    with pytest.raises(InputError, match="start = true needs super-networks to start from"):
        Run.parse({"teacher": "t", "text": ["x"], "source": {"name": "distilled", "start": True}})
    with pytest.raises(InputError, match="minutes are shared out among trials"):
        asked({"name": "distilled"}, preset="default", minutes=5.0)


def test_a_super_network_stays_in_the_home_while_a_run_shows_it(finished: Finished, tmp_path: Path) -> None:
    (one,) = (item for item in inventory() if item.kind == "super-network")
    old = replace(one, days=9.0)
    assert one.shown_by == ((tmp_path / "run").resolve(),)
    assert not removable([old])
    shutil.rmtree(tmp_path / "run")
    (one,) = (item for item in inventory() if item.kind == "super-network")
    assert removable([replace(one, days=9.0)])
    assert not removable([replace(one, days=0.5)])  # a run that is at work may have made it
    remove([one])
    assert not one.path.exists()


def test_winners_are_distilled_on_from_their_slices(finished: Finished, tmp_path: Path) -> None:
    result, front = finished.result, {member.key for member in finished.result.front}
    slices = {member.key for member in result.front if not member.tokens}
    said = [warning for warning in result.data["warnings"] if "bought nothing" in warning]
    assert not [warning for warning in said if any(key in warning for key in slices)]  # they had no training
    assert winners_order(tmp_path / "run", [result.front[0].key], FINAL).start == start_of_all()
    scored = next(trial["key"] for trial in result.data["trials"] if trial["key"] not in front)
    with pytest.raises(RunError, match=f"{scored} was scored as a slice of a super-network and is not on the front"):
        winners_order(tmp_path / "run", [scored], FINAL)
