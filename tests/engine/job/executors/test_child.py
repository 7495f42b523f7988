"""A child that works, crashes or hangs; its driver lives on."""

import sys
import threading
import time

import pytest

from distilsearch.engine.job.executors.child import Child
from distilsearch.errors import Interrupted, TrialError

CHILD = """
import json, os, signal, sys, time
for line in sys.stdin:
    job = json.loads(line)["job"]
    if job == "count":
        for i in range(3): print(json.dumps({"progress": ["counting", i, 3]}), flush=True)
    elif job == "crash": print("last words", file=sys.stderr, flush=True); os.kill(os.getpid(), signal.SIGKILL)
    elif job == "leave": sys.exit(7)
    elif job == "hang": time.sleep(60)
    print(json.dumps({"answer": str(os.getpid())}), flush=True)
"""


@pytest.fixture
def child(tmp_path):
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    made = Child(tmp_path / "child.log", {}, patience_seconds=5.0, command=[sys.executable, str(script)])
    yield made
    made.discard()


def test_a_child_serves_many_jobs_and_tells_its_progress(child) -> None:
    seen: list[tuple[str, float, float]] = []
    first = child.call("count", progress=lambda *report: seen.append(report))
    assert seen == [*(("counting", i, 3) for i in range(3)), ("counting", 2, 2)]  # its end, which it has not told
    assert child.call("echo") == first


def test_a_crash_is_the_failure_of_one_job(child) -> None:
    with pytest.raises(TrialError, match=r"(?s)killed by SIGKILL \(out of memory\?\).*last words"):
        child.call("crash")
    with pytest.raises(TrialError, match="exited with 7") as caught:
        child.call("leave")
    assert caught.value.transient
    assert int(child.call("echo")) > 0


def test_a_hang_ends_with_the_patience(child) -> None:
    with pytest.raises(TrialError, match="said nothing for 5 s"):
        child.call("hang")
    assert int(child.call("echo")) > 0


def test_whatever_a_progress_callback_raises_the_next_job_gets_its_own_answer(child) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    first = child.call("echo")
    with pytest.raises(ZeroDivisionError):
        child.call("count", progress=broken)
    assert child.call("echo") != first


def test_closing_ends_a_job_at_once_and_for_good(child) -> None:
    started = time.monotonic()
    threading.Timer(0.3, child.close).start()
    with pytest.raises(Interrupted):
        child.call("hang")
    assert time.monotonic() - started < 30.0  # of the 60 that the job lasts
    with pytest.raises(Interrupted):
        child.call("echo")
