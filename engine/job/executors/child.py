"""A child process that runs jobs, one at a time, so that no crash or hang reaches the driver.

Jobs go in and answers come out as lines of JSON; the child's own prints and the chatter of libraries go to a log file.
A child that dies, or says nothing for too long, is killed and its job fails with the cause; the next job gets a fresh
child. It dies with the thread that started it (and so with the driver, however that dies), and no signal from a
terminal reaches it: it is in a process group of its own.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distilsearch.errors import Interrupted, TrialError
from distilsearch.progress import Progress, all_over, silent

from ..work.wire import parsed, strict
from .executor import PATIENCE_SECONDS

LOG_TAIL = 1500
COMMAND = (sys.executable, "-m", "distilsearch.engine.job.executors.worker")


class Child:
    """One child process at a time, driven by one thread; `stop` and `close` may come from any other.

    Args:
        log: the file that its words go to.
        environment: what its environment has beyond that of this process.
        patience_seconds: silence after which a job counts as hung.
        command: what is started; the number of this process is added.
    """

    def __init__(
        self,
        log: Path,
        environment: Mapping[str, str],
        patience_seconds: float = PATIENCE_SECONDS,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.name = log.stem
        self._log = log
        self._environment = dict(environment)
        self._patience = patience_seconds
        self._command = tuple(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._lock = threading.Lock()  # of starting and ending it
        self._stopped = False
        self._closed = False

    def call(self, job: str, threads: int | None = None, cores: Sequence[int] = (), progress: Progress = silent) -> str:
        """Run a job and return its answer, both as text.

        Args:
            threads: of its compute libraries; None leaves them as they are.
            cores: that it computes on; none leaves all.

        Raises:
            TrialError: the child died or hung, with the end of its log.
            Interrupted: it was stopped or closed before it had answered.
        """
        request = strict({"job": job, "threads": threads, "cores": sorted(cores)})
        try:
            process = self._running()
            self._send(process, request)
            with all_over(progress) as told:
                while "answer" not in (message := self._next(process)):
                    told(*message["progress"])
        except BaseException:  # what is left of this job must not answer the next one
            self.discard()
            raise
        text: str = message["answer"]
        return text

    @property
    def process_id(self) -> int | None:
        """The number of the process that runs now, if one does."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def stop(self) -> None:
        """Ask the job that runs to end at its next step; none is begun any more."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.send_signal(signal.SIGTERM)

    def skip(self) -> None:
        """Ask the job that runs to end at its next step; who drives the child discards it then, and others follow."""
        with self._lock:
            if self._process is not None:
                self._process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """End the child at once, and for good."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def discard(self) -> None:
        """End the process; called by the thread that drives it, which gets a fresh one with its next job."""
        with self._lock:
            process, self._process, self._buffer = self._process, None, b""
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(BrokenPipeError):  # what was not sent is not wanted
                    if pipe is not None:
                        pipe.close()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is not None and self._process.poll() is not None:
            self.discard()
        with self._lock:
            if self._stopped or self._closed:
                raise Interrupted("stopped before this job had begun; the same command goes on")
            if self._process is None:
                self._process = self._started()
            return self._process

    def _started(self) -> "subprocess.Popen[bytes]":
        environment = os.environ | {"TOKENIZERS_PARALLELISM": "false"} | self._environment
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*self._command, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                process_group=0,
            )

    def _send(self, process: "subprocess.Popen[bytes]", request: str) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(request.encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise self._died(process) from None

    def _next(self, process: "subprocess.Popen[bytes]") -> dict[str, Any]:
        """The next message of the child."""
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(self._patience):
                    silence = f"the child said nothing for {self._patience:.0f} s and was stopped"
                    hint = "[executor] patience_minutes may give it longer"
                    raise TrialError(f"{silence}; {hint}. See {self._log}", transient=True)
                chunk = os.read(process.stdout.fileno(), 1 << 16)
                if not chunk:
                    raise self._died(process)
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return parsed(line.decode())

    def _died(self, process: "subprocess.Popen[bytes]") -> TrialError | Interrupted:
        code = process.wait()
        if self._stopped or self._closed:
            return Interrupted(f"the work was ended; what had been saved is in place, the log in {self._log}")
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        return TrialError(f"the child {how}{hint}; the end of {self._log}:\n{self._last_words()}", transient=True)

    def _last_words(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - LOG_TAIL))
            return log.read().decode(errors="replace").strip()
