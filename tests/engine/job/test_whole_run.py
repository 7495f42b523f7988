"""A whole run in this process: real trainings of a tiny teacher, on a machine whose table and timings are made up."""

import json
import os
import re
import shutil
import signal
import tomllib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from distilsearch.architecture import Architecture
from distilsearch.distill.targets import targets
from distilsearch.engine.job.jobs import Distil, Job, Measure, Profile, dumps, loads
from distilsearch.engine.job.ledger import open_storage, study_facts
from distilsearch.engine.job.outcome.result import Result
from distilsearch.engine.job.run import search
from distilsearch.engine.job.runfile.config import Run
from distilsearch.errors import InputError, Interrupted, RunError, TrialError
from distilsearch.profiling.clock import Measured
from distilsearch.progress import nothing, silent
from distilsearch.signals import exit_code

OLD = Path(__file__).parents[2] / "old" / "0.1.0"
(TABLE,) = (OLD / "tables").glob("*/*")
FLASH, FINAL = 2_048, 6_144
RUN: dict[str, Any] = {
    "name": "whole",
    "teacher": str(OLD / "teacher"),
    "text": [str(OLD / "text" / "words.txt")],
    "trials": 6,
    "space": {"layers": [1, 2, 3], "width": [16], "heads": [1], "ffn": [16, 32], "inherit": ["even"]},
    "train": {"device": "cpu", "precision": "float32", "flash_tokens": FLASH, "final_tokens": FINAL, "threads": 1},
    "target": [{"device": "cpu", "serving": {"sequence": 8, "threads": 1}}],
}


def milliseconds(model: Architecture) -> float:
    """What models take: the teacher (3 layers, FFN 32) 27 ms."""
    return float(model["layers"] ** 2 * (3 if model["ffn"] == 32 else 1))


class Here:
    """Does jobs at once, in this process; what it would time takes as long as `times` says."""

    workers = 1

    def __init__(
        self,
        times: Callable[[Architecture], float] = milliseconds,
        slowness: float = 1.0,
        error: TrialError | None = None,
    ) -> None:
        self.times, self.slowness, self.error = times, slowness, error
        self.trained: list[tuple[int, int]] = []  # (tokens, students)

    def submit(self, job: Job, progress: Any = None) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(self._answer(loads(dumps(job))))
        return future

    def _answer(self, job: Job) -> Any:
        if isinstance(job, Profile):
            return TABLE.parent.name, TABLE.name
        if isinstance(job, Measure):
            return [self._timed(self.times(model) / 1e3) for model in job.architectures]
        if isinstance(job, Distil):
            self.trained.append((job.training.tokens, len(job.architectures)))
            if self.error and job.training.tokens == FINAL:
                return [self.error] * len(job.architectures)
        return job.read(json.loads(json.dumps(job.run(silent, nothing))))  # no core is asked for: nothing is timed

    def _timed(self, seconds: float) -> Measured:
        return Measured(seconds, seconds, seconds, 8, 0.0, self.slowness, "ok")

    def stop(self) -> None: ...

    def close(self) -> None: ...


class Killed(Here):
    """is killed in its fourth training."""

    def submit(self, job: Job, progress: Any = None) -> "Future[Any]":
        if isinstance(job, Distil) and len(self.trained) == 3:
            raise KeyboardInterrupt
        return super().submit(job, progress)


class AskedToEnd(Here):
    """is asked to end in a finish."""

    def submit(self, job: Job, progress: Any = None) -> "Future[Any]":
        if isinstance(job, Distil) and job.training.tokens == FINAL:
            os.kill(os.getpid(), signal.SIGINT)
            stopped: Future[Any] = Future()
            stopped.set_exception(Interrupted("stopped"))
            return stopped
        return super().submit(job, progress)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that holds the table of the machine."""
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    shutil.copytree(TABLE, tmp_path / "home" / "tables" / TABLE.parent.name / TABLE.name)
    return tmp_path / "home"


def run(folder: Path, executor: Here | None = None, **changes: Any) -> Result:
    train = RUN["train"] | changes.pop("train", {})
    target = [RUN["target"][0] | changes.pop("target", {})]
    return search(Run.parse(RUN | {"train": train, "target": target} | changes), folder, executor=executor or Here())


def speeds(result: Result) -> dict[str, float]:
    return {m.key: 27.0 / m.latencies["latency_ms"].measured for m in result.front}


def test_what_answers_for_a_speed_is_finished_and_nobody_leaves_the_front_for_it(tmp_path: Path) -> None:
    plain = run(tmp_path / "plain", train={"finish": "none"})
    executor = Here()
    result = run(tmp_path / "budgets", executor)
    assert [m.key for m in result.front] == [m.key for m in plain.front]
    assert (result.knee, [m.flash_loss for m in result.front]) == (plain.knee, [m.loss for m in plain.front])
    reached, expected = speeds(result), {result.knee}
    for speed in (2, 3, 5, 7, 10):
        fast = [m for m in plain.front if reached[m.key] >= speed]
        expected |= {min(fast, key=lambda m: m.loss).key} if fast else set()
    trained = {trial["key"]: trial for trial in map(_trial, (tmp_path / "home" / "trials").glob("*/trial.json"))}
    finished = {t["student"] for t in trained.values() if t["tokens"] > FLASH + 1_000}
    assert finished == expected
    assert len(result.front) > 1
    assert executor.trained == [(FINAL, len(expected))]  # all of them side by side; the flashes were known
    for member in result.front:
        assert (result.folder / member.student / "model.safetensors").exists()
        assert member.loss <= member.flash_loss


def _trial(path: Path) -> dict[str, Any]:
    data = json.loads(path.read_text())
    return {"key": data["key"], "tokens": data["tokens"], "student": Architecture.from_json(data["architecture"]).key}


@pytest.mark.parametrize("cached", [True, False], ids=["cached", "live"])
def test_all_students_of_a_finish_share_each_pass_of_the_teacher(
    cached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[int] = Counter()  # by the tokens of the training
    ask, executor = targets.ask_teacher, Here()

    def count(*arguments: Any) -> Any:
        asked[executor.trained[-1][0]] += 1
        return ask(*arguments)

    monkeypatch.setattr(targets, "ask_teacher", count)
    result = run(tmp_path / "run", executor, storage={} if cached else {"cache_limit_gb": 1e-9})
    flashes, (tokens, students) = executor.trained[:-1], executor.trained[-1]
    assert (tokens, {size for _, size in flashes}) == (FINAL, {1})
    assert students > 1
    assert result.file.phases
    steps = {length: max(1, round(length / 1_024)) for length in (FLASH, FINAL)}  # of 1,024 tokens
    if cached:  # the finish begins anew here, and finds what the first trial was told
        assert asked == {FLASH: steps[FLASH], FINAL: steps[FINAL] - steps[FLASH]}
    else:
        assert asked == {FLASH: len(flashes) * steps[FLASH], FINAL: steps[FINAL]}


def test_a_finish_of_some_minutes_that_was_asked_to_end_is_not_taken_for_one_whose_time_is_over(tmp_path: Path) -> None:
    asked = Run.parse({name: value for name, value in RUN.items() if name != "trials"} | {"minutes": 5})
    folder = tmp_path / "run"
    with pytest.raises(Interrupted) as ended:
        search(asked, folder, executor=AskedToEnd())
    assert ended.value.exit_code == exit_code(signal.SIGINT)
    assert not (folder / "result.json").exists()
    again = Here()
    search(asked, folder, executor=again)
    assert [tokens for tokens, _ in again.trained] == [FINAL]


@pytest.mark.parametrize("length", [{}, {"trials": 0, "minutes": 5}], ids=["trials", "minutes"])
def test_whatever_is_begun_within_a_phase_is_over_before_it_ends(length: dict[str, Any], tmp_path: Path) -> None:
    under_way, left = list[str](), list[tuple[str, list[str]]]()

    def progress(what: str, done: float, total: float) -> None:
        if total and done < total:
            under_way.append(what) if what not in under_way else None
        elif total and what in under_way:
            place = under_way.index(what)
            left.append((what, under_way[place + 1 :]))
            del under_way[place:]

    search(Run.parse(RUN | length), tmp_path / "run", progress, Here())
    assert [entry for entry in left if entry[1]] == []
    assert under_way == []
    assert {"read and open", "distil and measure", "finish"} <= {what for what, _ in left}


class Slow(Here):
    """notes what it is asked for, and takes its time for profiling."""

    def __init__(self, wait: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.jobs: list[str] = []
        self.wait = wait

    def _answer(self, job: Job) -> Any:
        self.jobs.append(type(job).__name__)
        if isinstance(job, Profile):
            self.wait()
        return super()._answer(job)


@pytest.mark.parametrize(("minutes", "asked"), [(0.1, []), (1, ["Profile"])])
def test_minutes_of_which_nothing_is_left_are_refused_before_more_is_begun(
    minutes: float, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = [0.0]
    monkeypatch.setattr("distilsearch.engine.job.plans.phases.Stopwatch.seconds", property(lambda _: passed[0]))

    def wait() -> None:
        passed[0] = 99.0

    executor = Slow(wait)
    few = Run.parse({name: value for name, value in RUN.items() if name != "trials"} | {"minutes": minutes})
    with pytest.raises(InputError, match=r"minutes are too few here: .* no time is left for any; give at least"):
        search(few, tmp_path / "run", executor=executor)
    assert executor.jobs == asked
    assert not (tmp_path / "run" / "run.toml").exists()  # so that a mended file is as good as new


def test_a_second_call_trains_nothing_and_says_the_same(tmp_path: Path) -> None:
    first, again, said = run(tmp_path / "run"), Here(), list[str]()
    second = search(Run.parse(RUN), tmp_path / "run", lambda what, *_: said.append(what), again)
    nothing = "nothing was trained"
    assert [words.partition("of its")[0] for words in said if nothing in words] == [
        "nothing was trained by this call: "
    ]
    assert not [words for words in (*first.file.warnings, *second.file.warnings) if nothing in words]
    before, after = ({phase.what: phase.seconds for phase in one.file.phases} for one in (first, second))
    assert before["distil and measure"] > 0
    assert all(after[what] >= seconds for what, seconds in before.items())
    other = run(tmp_path / "other")
    assert [words for words in other.file.warnings if nothing in words]
    assert again.trained in ([], [(FINAL, len([m for m in first.front if m.tokens > FLASH + 1_000]))])
    assert (second.knee, [m.key for m in second.front]) == (first.knee, [m.key for m in first.front])
    assert [m.loss for m in second.front] == [m.loss for m in first.front]


def test_a_run_that_was_begun_under_an_older_default_goes_on_with_it(tmp_path: Path) -> None:
    run(tmp_path / "run", train={"finish": "knee"})
    path, dropped = tmp_path / "run" / "run.toml", ("finish", "choose", "latency", "minutes")
    lines = [line for line in path.read_text().splitlines() if line.partition(" ")[0] not in dropped]
    path.write_text("\n".join(lines))
    executor = Here()
    run(tmp_path / "run", executor)
    assert {size for tokens, size in executor.trained if tokens == FINAL} <= {1}
    assert 'finish = "chosen"' in path.read_text()
    assert 'choose = "knee"' in path.read_text()
    with pytest.raises(RunError, match=r"train.finish: 'chosen' there, 'budgets' now"):
        run(tmp_path / "run", train={"finish": "budgets"})


def test_within_a_share_of_the_teachers_latency_the_best_is_chosen_and_finished(tmp_path: Path) -> None:
    result = run(tmp_path / "run", target={"latency": "0.5x teacher"}, train={"finish": "chosen"})
    (target,) = result.file.targets
    assert (target.limit, target.limit_ms) == ("0.5x teacher", pytest.approx(13.5))
    assert all(m.latencies["latency_ms"].measured <= 13.5 for m in result.front)
    best = next(m for m in result.front if m.key == result.knee)
    assert best.flash_loss == min(m.flash_loss for m in result.front)
    assert best.tokens > FLASH + 1_000
    assert re.search(r"limit 13\.5 ms \(0\.5x teacher\)", (result.folder / "report.html").read_text())


def test_a_longer_training_that_fails_costs_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(TrialError, match="was killed"):
        run(tmp_path / "run", Here(error=TrialError("the worker was killed", transient=True)))
    result = run(tmp_path / "run", Here(error=TrialError("it diverged")))
    assert result.knee in {m.key for m in result.front}
    assert all(m.tokens == m.flash_tokens for m in result.front)
    (warning,) = (text for text in result.file.warnings if "to be trained further, but not trained" in text)
    assert result.knee in warning
    again = run(tmp_path / "run")
    assert not [text for text in again.file.warnings if "to be trained further" in text]
    assert any(m.tokens > m.flash_tokens for m in again.front)


def test_a_limit_stays_where_it_is_when_the_teacher_is_measured_otherwise(tmp_path: Path) -> None:
    half = {"latency": "0.5x teacher"}
    run(tmp_path / "run", target=half, trials=4)
    result = run(tmp_path / "run", Here(lambda model: 2 * milliseconds(model)), target=half)
    assert result.file.targets[0].limit_ms == pytest.approx(13.5)


def test_a_disturbed_machine_is_said_and_its_digits_are_not_printed(tmp_path: Path) -> None:
    result = run(tmp_path / "run", Here(slowness=2.0), train={"finish": "none"})
    assert all(m.latencies["latency_ms"].slowness == 2.0 for m in result.front)
    assert any("2.00 times slower" in warning for warning in result.file.warnings)
    assert "≈" in (result.folder / "report.html").read_text()


def test_trials_learn_from_a_share_of_the_text_and_finals_from_all_of_it(tmp_path: Path) -> None:
    executor = Here()
    train = {"share": 0.3, "final_tokens": FLASH}  # as long as a flash, and still another training
    result = run(tmp_path / "run", executor, trials=3, train=train)
    trials = [json.loads(path.read_text())["training"] for path in (tmp_path / "home" / "trials").glob("*/trial.json")]
    assert sorted(trial.get("share", 1.0) for trial in trials)[:3] == [0.3] * 3
    whole = [trial for trial in trials if "share" not in trial]
    assert executor.trained == [(FLASH, 1)] * 3 + [(FLASH, len(whole))]
    assert whole
    again = Here()
    assert run(tmp_path / "run", again, trials=3, train=train).knee == result.knee
    assert again.trained in ([], [(FLASH, len(whole))])  # asked again, and found
    with pytest.raises(RunError, match=r"train.share: 0.3 there, 1.0 now"):
        run(tmp_path / "run", trials=3, train={"share": 1.0, "final_tokens": FLASH})
    with pytest.raises(InputError, match=r"share of 1e-06 of the text's .* holds no block"):
        run(tmp_path / "other", train={"share": 1e-6})
    with pytest.raises(InputError, match=r"a bert model; .* choose \[space\] family = 'bert' or 'mobilebert'"):
        run(tmp_path / "other", space={"family": "roberta"})
    assert not (tmp_path / "other").exists()


def test_kd_nas_runs_by_name_and_goes_on_after_it_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = tomllib.loads((Path(__file__).parents[3] / "examples" / "kdnas.toml").read_text())
    small: dict[str, Any] = {"flash_tokens": FLASH, "final_tokens": FINAL, "threads": 1, "precision": "float32"}
    given = {key: RUN[key] for key in ("name", "teacher", "text", "target")} | {"prompt": "", "trials": 5}
    strategy = example["strategy"] | {"candidates": 2, "steps": 30, "decay": 0.5}
    given |= {"train": example["train"] | small, "strategy": strategy}
    whole = Run.parse(example | given)
    executor = Here()
    result = search(whole, tmp_path / "whole", executor=executor)
    assert executor.trained[:5] == [(FLASH, 1)] * 5
    assert {tokens for tokens, _ in executor.trained[5:]} == {FINAL}
    trained = [json.loads(path.read_text())["training"] for path in (tmp_path / "home" / "trials").glob("*/trial.json")]
    assert {(one["tokens"], one.get("share", 1.0)) for one in trained} == {(FLASH, 0.3), (FINAL, 1.0)}
    text = (tmp_path / "whole" / "run.toml").read_text()
    assert "ffn = [16, 32]" in text  # shares of this teacher
    assert "share = 0.3" in text
    assert speeds(result)
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "other"))  # where nothing is known
    shutil.copytree(tmp_path / "home" / "tables", tmp_path / "other" / "tables")
    with pytest.raises(KeyboardInterrupt):
        search(whole, tmp_path / "killed", executor=Killed())
    again = search(whole, tmp_path / "killed", executor=Here())
    assert [m.key for m in again.front] == [m.key for m in result.front]
    trials = [[(trial.key, trial.loss) for trial in one.file.trials] for one in (result, again)]
    assert trials[0] == trials[1]


OPEN = {gene: choices for gene, choices in RUN["space"].items() if gene != "inherit"}  # which layers is left open


def test_cuts_are_judged_once_before_the_search_and_are_choices(tmp_path: Path) -> None:
    said: list[str] = []
    own = Run.parse(RUN | {"space": OPEN, "trials": 3, "train": RUN["train"] | {"finish": "none"}})
    result = search(own, tmp_path / "run", lambda what, *_: said.append(what), Here())
    kept = tomllib.loads((tmp_path / "run" / "run.toml").read_text())["space"]
    assert kept["inherit"][:3] == ["even", "first", "last"]
    assert [choice.count(",") + 1 for choice in kept["inherit"][3:]] == [1, 1, 2, 2]
    assert all(str(trial.architecture["inherit"])[0].isdigit() for trial in result.file.trials)
    assert {"judge cuts", "judge untrained students"} <= {phase.what for phase in result.file.phases}
    assert {"judging cuts", "judging untrained students"} <= set(said)
    said.clear()
    again = search(own, tmp_path / "run", lambda what, *_: said.append(what), Here())
    assert "judging cuts" not in said
    assert [trial.key for trial in again.file.trials] == [trial.key for trial in result.file.trials]


def test_what_was_trained_under_the_name_of_a_rule_is_known_by_its_layers(tmp_path: Path) -> None:
    former = run(tmp_path / "former", space=RUN["space"] | {"cuts": None}, trials=4, train={"finish": "none"})
    assert {trial.architecture["inherit"] for trial in former.file.trials} == {"even"}
    executor = Here()
    result = run(tmp_path / "run", executor, trials=4, train={"finish": "none"})
    assert executor.trained == []
    assert {trial.architecture["inherit"] for trial in result.file.trials} <= {"2", "0,2", "0,1,2"}
    assert sorted(trial.loss for trial in result.file.trials) == sorted(trial.loss for trial in former.file.trials)
    more = run(tmp_path / "former", trials=4, train={"finish": "none"}, space=RUN["space"])
    assert [trial.key for trial in more.file.trials] == [trial.key for trial in former.file.trials]


def test_searches_of_one_study_make_its_trials_together_and_say_what_they_measure_on(tmp_path: Path) -> None:
    storage = {"url": f"sqlite:///{tmp_path}/study.db"}
    first, second = (
        run(tmp_path / name, trials=3, storage=storage, train={"finish": "none"}) for name in ("first", "second")
    )
    assert [trial.key for trial in first.file.trials] == [trial.key for trial in second.file.trials]
    database = open_storage(storage["url"], tmp_path)
    facts, trials = study_facts(database, "whole")
    database.close()
    assert (facts["text_heldout"], trials) == (2_000, 3)
    blocks = {result.file.environment["heldout_blocks"] for result in (first, second)}
    assert 0 < blocks.pop() < 2_000  # all that the text holds out
    assert not blocks
