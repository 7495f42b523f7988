"""No test fails or waits because the machine is busy: Hypothesis times no examples, nobody waits for quiet.

Several processes of tests share the cores: each takes its part, and waits without spinning. No test sees the home of
whoever runs it. Ctrl-C is heeded, also where a shell that starts tests in the background has it ignored: tests that
send it would wait forever.
"""

import os
import signal
import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("DISTILSEARCH_PATIENCE", "0")  # also of the processes that tests start

processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if processes > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // processes)))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with many long tests begin first, so that no process of tests is left alone with one at the end."""
    long = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -long[item.path])


@pytest.fixture(scope="session", autouse=True)
def home_of_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A home for tests that take none of their own, and for the processes that they start."""
    os.environ["DISTILSEARCH_HOME"] = str(tmp_path_factory.mktemp("home"))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Say how a process of tests died: by which signal, or with which code."""
    if error is not None:
        print(f"\n{node.gateway.id} ended with {node.gateway._io.popen.wait(60)}", file=sys.stderr)
