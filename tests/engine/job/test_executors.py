"""A child that works, fails, crashes or hangs; the driver lives on."""

import sys

import pytest

from distilsearch.engine.job import executors
from distilsearch.engine.job.executors import Worker
from distilsearch.errors import InputError, TrialError

CHILD = """
import json, os, signal, sys, time
for line in sys.stdin:
    job = json.loads(line)["job"]
    if job == "echo": answer = {"result": os.getpid()}
    elif job == "count":
        for i in range(3): print(json.dumps({"progress": ["counting", i, 3]}), flush=True)
        answer = {"result": 3}
    elif job == "refuse": answer = {"error": {"type": "InputError", "message": "no such thing"}}
    elif job == "break": answer = {"error": {"type": "ValueError", "message": "bad value"}}
    elif job == "crash": print("last words", file=sys.stderr, flush=True); os.kill(os.getpid(), signal.SIGKILL)
    elif job == "leave": sys.exit(7)
    elif job == "hang": time.sleep(60)
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def worker(tmp_path, monkeypatch):
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    spawn = executors.subprocess.Popen
    monkeypatch.setattr(executors.subprocess, "Popen", lambda _, **kw: spawn([sys.executable, str(script)], **kw))
    with Worker("child", tmp_path, threads=1, patience_seconds=2.0) as started:
        yield started


def test_a_child_serves_many_jobs_and_tells_its_progress(worker) -> None:
    seen: list[tuple[str, float, float]] = []
    assert worker.call("count", {}, lambda *report: seen.append(report)) == 3
    assert seen == [("counting", i, 3) for i in range(3)]
    assert worker.call("echo", {}) == worker.call("echo", {})


def test_errors_arrive_as_what_they_were(worker) -> None:
    with pytest.raises(InputError, match="no such thing"):
        worker.call("refuse", {})
    with pytest.raises(TrialError, match="ValueError: bad value"):
        worker.call("break", {})


def test_a_crash_is_the_failure_of_one_job(worker) -> None:
    with pytest.raises(TrialError, match=r"(?s)killed by SIGKILL \(out of memory\?\).*last words"):
        worker.call("crash", {})
    with pytest.raises(TrialError, match="exited with 7") as caught:
        worker.call("leave", {})
    assert caught.value.transient
    assert worker.call("echo", {}) > 0


def test_a_hang_ends_with_the_patience(worker) -> None:
    with pytest.raises(TrialError, match="said nothing for 2 s"):
        worker.call("hang", {})
    assert worker.call("echo", {}) > 0


def test_the_real_child_answers_and_keeps_prints_apart(tmp_path) -> None:
    with Worker("child", tmp_path, threads=1) as worker, pytest.raises(TrialError, match="KeyError: 'no-such-job'"):
        worker.call("no-such-job", {})
    assert "KeyError" in (tmp_path / "child.log").read_text()
