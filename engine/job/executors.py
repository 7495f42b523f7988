"""Where trials and measurements run: in child processes, so that no crash or hang reaches the driver.

A `Worker` is one long-lived child with a fixed number of threads. Requests and answers are lines of JSON; the
child's own prints and the chatter of libraries go to a log file. A child that dies, or says nothing for too long,
is killed and its job fails with the cause; the next job gets a fresh child.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distilsearch import errors
from distilsearch.errors import DistilSearchError, TrialError
from distilsearch.progress import Progress, silent

PATIENCE_SECONDS = 900.0
LOG_TAIL = 1500


class Worker:
    """One child process that runs jobs, one at a time; a context manager.

    Args:
        name: what the log file is called.
        log_folder: where the log file goes.
        threads: threads of the child's compute libraries.
        patience_seconds: silence after which a job counts as hung.
    """

    def __init__(self, name: str, log_folder: Path, threads: int, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._log = log_folder / f"{name}.log"
        self._threads = threads
        self._patience = patience_seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._buffer = b""

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, job: str, arguments: Mapping[str, Any], progress: Progress = silent) -> Any:
        """Run a job in the child and return its JSON result.

        Raises:
            DistilSearchError: what the job raised, as the same class.
            TrialError: the child died or hung, with the end of its log.
        """
        child = self._running()
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps({"job": job, "arguments": dict(arguments)}).encode() + b"\n")
            child.stdin.flush()
            while True:
                message = self._next(child)
                if "progress" in message:
                    progress(*message["progress"])
                elif "error" in message:
                    raise _rebuilt(message["error"])
                else:
                    return message["result"]
        except BrokenPipeError:
            raise self._died(child) from None
        except KeyboardInterrupt:
            self.close()
            raise

    def close(self) -> None:
        """End the child, at once."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            for pipe in (self._child.stdin, self._child.stdout):
                if pipe is not None:
                    pipe.close()
            self._child = None
        self._buffer = b""

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._child is None or self._child.poll() is not None:
            self.close()
            environment = os.environ | {"TOKENIZERS_PARALLELISM": "false"}
            environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(self._threads))
            with self._log.open("ab") as log:
                self._child = subprocess.Popen(
                    [sys.executable, "-m", "distilsearch.engine.job.worker", str(self._threads), str(os.getpid())],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=environment,
                )
        return self._child

    def _next(self, child: "subprocess.Popen[bytes]") -> dict[str, Any]:
        """The next message of the child."""
        assert child.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(self._patience):
                    self.close()
                    raise TrialError(
                        f"the child said nothing for {self._patience:.0f} s and was stopped; see {self._log}",
                        transient=True,
                    )
                chunk = os.read(child.stdout.fileno(), 1 << 16)
                if not chunk:
                    raise self._died(child)
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def _died(self, child: "subprocess.Popen[bytes]") -> TrialError:
        code = child.wait()
        self.close()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        tail = self._log.read_bytes()[-LOG_TAIL:].decode(errors="replace").strip()
        return TrialError(f"the child {how}{hint}; the end of {self._log}:\n{tail}", transient=True)


def _rebuilt(error: Mapping[str, str]) -> DistilSearchError:
    """The child's error as the class it was; anything that is not ours is the failure of a trial."""
    kind = getattr(errors, error["type"], None)
    if isinstance(kind, type) and issubclass(kind, DistilSearchError):
        return kind(error["message"])
    return TrialError(f"{error['type']}: {error['message']}", transient=True)
