"""`[proxy]` of a run: candidates of the front are scored before one is chosen, and the choice follows the scores."""

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distilsearch.architecture import Architecture
from distilsearch.engine.job.jobs import Distil, Job, Measure, Profile, dumps, loads
from distilsearch.engine.job.ledger import Entry
from distilsearch.engine.job.outcome.choice import at_speeds, chosen, pair_key
from distilsearch.engine.job.outcome.proxy import candidates
from distilsearch.engine.job.outcome.remarks import kept_choice
from distilsearch.engine.job.outcome.result import Result
from distilsearch.engine.job.run import search
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.runfile.continuing import continued, kept_run, kept_text
from distilsearch.engine.job.work.evaluating import Evaluate, Scored
from distilsearch.engine.report.files import read_result
from distilsearch.engine.report.terminal import answer_lines, proxy_lines
from distilsearch.errors import InputError, Interrupted, RunError, TrialError
from distilsearch.profiling.clock import Measured
from distilsearch.progress import nothing, silent
from distilsearch.testing.glue_folders import write_task

OLD = Path(__file__).parents[3] / "old" / "0.1.0"
(TABLE,) = (OLD / "tables").glob("*/*")
FLASH, FINAL = 512, 1_536
Answers = Callable[[int], float | Exception]


class Here:
    """Does jobs in this process, at once; of the nth student that is to be scored it says what `answers` does."""

    workers = 1

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.scored: list[Evaluate] = []
        self.finished: list[Architecture] = []

    def submit(self, job: Job, progress: Any = None) -> "Future[Any]":
        future: Future[Any] = Future()
        answer = self._answer(loads(dumps(job)))
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        return future

    def _answer(self, job: Job) -> Any:
        if isinstance(job, Profile):
            return TABLE.parent.name, TABLE.name
        if isinstance(job, Measure):
            times = [float(model["layers"] ** 2) / 1e3 for model in job.architectures]
            return [Measured(seconds, seconds, seconds, 8, 0.0, 1.0, "ok") for seconds in times]
        if isinstance(job, Evaluate):
            self.scored.append(job)
            value = self.answers(len(self.scored) - 1)
            return value if isinstance(value, Exception) else Scored({"accuracy": value}, 1.0)
        if isinstance(job, Distil) and job.training.tokens == FINAL:
            self.finished += job.architectures
        return job.read(json.loads(json.dumps(job.run(silent, nothing))))

    def stop(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture(autouse=True, scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home that holds the table of the machine: one for all, so that the students are trained once."""
    place = tmp_path_factory.mktemp("home")
    shutil.copytree(TABLE, place / "tables" / TABLE.parent.name / TABLE.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILSEARCH_HOME", str(place))
        yield place


@pytest.fixture
def rte(tmp_path: Path) -> Path:
    return write_task(tmp_path / "RTE", "RTE", train=16, dev=8)


def asked(task: Path, proxy: Any = None, **changes: Any) -> Run:
    return Run.parse(
        {
            "name": "ranked", "teacher": str(OLD / "teacher"), "text": [str(OLD / "text" / "words.txt")], "trials": 3,
            "space": {"layers": [1, 2, 3], "width": [16], "heads": [1], "ffn": [16], "inherit": ["even"]},
            "train": {"device": "cpu", "precision": "float32", "flash_tokens": FLASH, "final_tokens": FINAL,
                      "finish": "chosen", "threads": 1},
            "target": [{"device": "cpu", "serving": {"sequence": 8, "threads": 1}}],
            "choose": "quality", "proxy": {"on": str(task), **(proxy or {})}, **changes,
        }
    )  # fmt: skip


def run(folder: Path, executor: Here, task: Path, rows: int = 2_000, **changes: Any) -> Result:
    """A search; scores of other `rows` are other scores, for what was scored in this home stays."""
    return search(asked(task, {"rows": rows} | changes.pop("proxy", {}), **changes), folder, executor=executor)


def test_the_best_of_the_proxy_task_is_chosen_finished_and_shown(tmp_path: Path, rte: Path) -> None:
    executor = Here(lambda number: 0.9 - 0.1 * number)  # the fastest is best, as no loss would have it
    result = run(tmp_path / "run", executor, rte)
    assert len(result.front) > 1
    assert result.knee == result.front[0].key
    assert min(result.front, key=lambda member: member.flash_loss or 0.0).key != result.knee
    assert [student.key for student in executor.finished] == [result.knee]
    proxy = read_result(tmp_path / "run").proxy
    assert proxy is not None
    assert [*proxy.students] == [member.key for member in result.front]
    assert (proxy.evaluation, proxy.on, proxy.options["rows"]) == ("glue", str(rte), 2_000)
    assert proxy.merits[result.knee] == pytest.approx(0.9)
    slow = {name: latency.model_copy(update={"measured": 99.0}) for name, latency in result.front[0].latencies.items()}
    members = (result.front[0].model_copy(update={"latencies": slow}), *result.front[1:])
    limited = tuple(target.model_copy(update={"limit_ms": 50.0}) for target in result.file.targets)
    again = result.file.model_copy(update={"front": members, "targets": limited})
    assert kept_choice(again, "quality", None)[0] == result.front[1].key  # the next best score
    page = (tmp_path / "run" / "report.html").read_text()
    assert "The proxy task" in page
    assert "the best quality, by the proxy task RTE" in page
    head, first, *_ = proxy_lines(result.file)
    assert head.startswith("on the proxy task RTE (seeds 1, epochs 2, learning_rates [0.0001], rows 2000)")
    assert first.startswith(f"★ {result.knee}: accuracy 0.900 (agreement ")
    assert any("0.900 on the proxy task" in line for line in answer_lines(result.file))


def test_what_was_scored_before_a_stop_is_not_scored_again(tmp_path: Path, rte: Path) -> None:
    stopped = Here(lambda number: Interrupted("stopped") if number else 0.8)
    with pytest.raises(Interrupted):
        run(tmp_path / "run", stopped, rte, rows=100)
    assert not stopped.finished
    executor = Here(lambda number: 0.5)
    result = run(tmp_path / "run", executor, rte, rows=100)
    assert len(executor.scored) == len(result.front) - 1
    assert stopped.scored[0].trial not in {job.trial for job in executor.scored}
    assert result.knee == result.front[0].key


def test_whose_fine_tuning_fails_is_named_and_not_chosen(tmp_path: Path, rte: Path) -> None:
    answers: Answers = lambda number: 0.5 if number == 1 else TrialError("it diverged")  # noqa: E731
    result = run(tmp_path / "run", Here(answers), rte, rows=101)
    assert result.knee == result.front[1].key
    title, fastest = "RTE (seeds 1, epochs 2, learning_rates [0.0001], rows 101)", result.front[0].key
    assert f"the proxy task {title}: {fastest} was not scored (it diverged)" in result.file.warnings
    none = run(tmp_path / "none", Here(lambda number: TrialError("it diverged")), rte, rows=102, name="none")
    assert none.knee == min(none.front, key=lambda member: member.flash_loss or 0.0).key
    assert any("so one was chosen as without it, by the loss" in warning for warning in none.file.warnings)


def test_data_are_found_beside_the_run_file_and_a_run_keeps_its_proxy(tmp_path: Path, rte: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('teacher = "quickstart"\ntext = "python-docs"\n[proxy]\non = "RTE"\nseeds = 2\n')
    run = Run.read(path)
    assert run.proxy is not None
    assert (run.proxy.on, run.proxy.students, run.proxy.evaluation) == (str(rte), 8, "glue")
    assert (run.proxy.options["seeds"], run.proxy.options["epochs"]) == (2, 2)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "run.toml").write_text(kept_text(run))
    there = kept_run(tmp_path / "kept")
    assert there is not None
    plain = {"teacher": run.teacher, "text": list(run.text), "name": run.name}
    assert continued(Run.parse(plain), there).proxy == there.proxy == run.proxy  # what it leaves out is as it was
    assert continued(Run.parse(plain | {"proxy": {"students": 8}}), there).proxy == run.proxy
    for proxy, words in (({"rows": 20}, "proxy.rows: 2000 there, 20 now"), ({"with": "similarity"}, "proxy.with")):
        with pytest.raises(RunError, match=words):
            continued(Run.parse(plain | {"proxy": {"on": run.proxy.on, **proxy}}), there)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"proxy": {"on": "nowhere"}}, "there is no folder nowhere"),
        ({"proxy": {"on": ""}}, "proxy: no folder was named"),
        ({"proxy": {"task": "CoLA"}}, r"RTE/train.tsv: expected 4 columns of CoLA"),
        ({"proxy": {"rows": 3}}, "proxy: rows of a fine-tuning should be 16 or more"),
        ({"proxy": {"seed": 1}}, r"unknown option of evaluation 'glue' 'seed': did you mean 'seeds'"),
        ({"proxy": {"students": 1}}, "proxy.students: it should be greater than or equal to 2"),
        ({"proxy": {"with": "heldout"}}, "ranked by scores of which more is better"),
        ({"minutes": 5.0, "trials": 0}, r"minutes are shared out among trials, and say nothing of a \[proxy\]"),
        ({"loss_at_most": 0.5}, "loss_at_most chooses by the loss and"),
        ({"choose": "fastest"}, "looks at no score"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    changes: dict[str, Any], message: str, tmp_path: Path, rte: Path
) -> None:
    executor = Here(lambda number: 0.5)
    with pytest.raises(InputError, match=message):
        run(tmp_path / "run", executor, rte, **changes)
    assert not executor.scored
    assert not (tmp_path / "run").exists()


def test_a_task_with_too_few_rows_is_refused(tmp_path: Path) -> None:
    small = write_task(tmp_path / "few" / "RTE", "RTE", train=8, dev=8)
    with pytest.raises(InputError, match="holds 8 rows of RTE; expected at least 16"):
        run(tmp_path / "run", Here(lambda number: 0.5), small)


# The rules


LATENCIES = {1: 1.0, 2: 1.1, 3: 1.2, 4: 4.0, 5: 8.0, 6: 16.0}
LOSSES = {1: 0.9, 2: 0.8, 3: 0.7, 4: 0.4, 5: 0.3, 6: 0.2}


def entry(layers: int) -> Entry:
    shape = Architecture("bert", {"layers": layers, "width": 16})
    facts = {"tokens": 1, "trial": str(layers)}
    return Entry(layers, layers, shape, "complete", (LOSSES[layers],), facts)


def predicted(ms: float) -> SimpleNamespace:
    return SimpleNamespace(best=ms, measured=None, times=lambda other: other.best / ms)


MACHINE: Any = SimpleNamespace(
    limit_ms=None,
    latency=lambda model: predicted(LATENCIES.get(model["layers"], 32.0)),
    keeps=lambda model: True,
)
FRONT = [entry(layers) for layers in LATENCIES]


@pytest.mark.parametrize(
    ("most", "choose", "numbers"),
    [
        (8, "knee", [1, 2, 3, 4, 5, 6]),
        (3, "knee", [1, 4, 6]),  # both ends, and what is nearest to the middle of the logarithms
        (2, "knee", [1, 6]),
        (3, "quality", [4, 5, 6]),
    ],
)
def test_candidates_are_spread_over_latency_or_the_best(most: int, choose: str, numbers: list[int]) -> None:
    assert [one.number for one in candidates(FRONT, [MACHINE], most, choose)] == numbers
    assert candidates([], [MACHINE], most, choose) == []


def merits(**scores: float) -> dict[str, float]:
    return {pair_key(entry(int(name[1:]))): value for name, value in scores.items()}


def test_the_choice_is_among_those_with_a_score_whom_none_of_them_hides() -> None:
    scores = merits(n1=0.5, n4=0.8, n5=0.7, n6=0.81)
    assert chosen(FRONT, [MACHINE], "quality", merits=scores).number == 6  # type: ignore[union-attr]
    assert chosen(FRONT, [MACHINE], "knee", merits=scores).number == 4  # type: ignore[union-attr]
    assert chosen(FRONT, [MACHINE], "quality", merits={}).number == 6  # type: ignore[union-attr]
    assert chosen(FRONT, [MACHINE], "quality", merits=merits(n1=0.1)).number == 1  # type: ignore[union-attr]


def test_who_answers_for_a_speed_has_the_best_score_there_or_the_least_loss() -> None:
    teacher = Architecture("bert", {"layers": 12, "width": 16})
    best = at_speeds(FRONT, [MACHINE], teacher, merits=merits(n5=0.7, n6=0.6))
    assert {speed: one.number for speed, one in best.items()} == {2: 5, 3: 5, 5: 4, 7: 4, 10: 3}
