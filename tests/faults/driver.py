"""One call of a search, in a process that is forked from this one, which must not have computed anything."""

import contextlib
import importlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilsearch.distill import training
from distilsearch.engine.job.executors.executor import Options
from distilsearch.engine.job.joining.join import join
from distilsearch.engine.job.preparing import prepare
from distilsearch.engine.job.run import search
from distilsearch.engine.job.runfile.config import Run
from distilsearch.errors import DistilSearchError
from distilsearch.signals import end_now, ending, exit_code, name_of, number_of

from .hands import TRAINING, Children, Here, Tick
from .moments import Moment, strokes
from .world import World

Action = Callable[[], object]
MODULES = "modules"  # that a call had imported when it ended well
JOINED = "joined"  # is there as soon as somebody has joined the run


@dataclass(frozen=True)
class Plan:
    """What befalls a call: an action at an event of a role. None does nothing.

    `where`: "driver", in which trainings are, or "trainer" and "meter", which are `children` then, or "joined", who
    `joins` a run that is driven already; `awaits`: the first training waits until somebody has; `patience`: of
    children, in seconds.
    """

    where: str = "driver"
    number: int = 0
    action: Action = lambda: None
    children: bool = False
    patience: float = 600.0
    joins: bool = False
    awaits: bool = False


@dataclass(frozen=True)
class Call:
    """A call of a search that has ended.

    Attributes:
        code: its exit code; below 0 where a signal has ended it.
        error: what was raised: the name of its class, whether it is one of ours, and what it says.
        said: lines of progress.
        began: by the clock of the machine, as `trainings`, when trainings began.
    """

    code: int
    error: dict[str, Any]
    said: list[str]
    began: float
    ended: float
    trainings: list[float]

    @property
    def words(self) -> str:
        """All that it has said."""
        return "\n".join([*self.said, self.error.get("message", "")])

    @property
    def foreign(self) -> bool:
        """Whether it ended by an error that is none of ours, so that a user would see a traceback."""
        return bool(self.error) and not self.error["ours"]


class Running:
    """A call that was begun."""

    def __init__(self, world: World, plan: Plan) -> None:
        self._world, self.began = world, time.monotonic()
        number = len(list(world.root.glob("call-*.jsonl")))
        self._log = world.root / f"call-{number}.jsonl"
        self._log.touch()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _drive(world, plan, self._log)

    def wait(self) -> Call:
        """Until it has ended."""
        _, status = os.waitpid(self.pid, 0)
        lines = [json.loads(line) for line in self._log.read_text().splitlines()]
        return Call(
            os.waitstatus_to_exitcode(status),
            next((line["error"] for line in lines if "error" in line), {}),
            [line["said"] for line in lines if "said" in line],
            self.began,
            time.monotonic(),
            [line["at"] for line in lines if line.get("said") == TRAINING],
        )


def call(world: World, plan: Plan | None = None) -> Call:
    """A call, to its end."""
    return Running(world, plan or Plan()).wait()


def import_what_was(world: World) -> None:
    """Import what a call has imported, so that those that are forked from now on need not."""
    for name in (world.root / MODULES).read_text().split():
        with contextlib.suppress(ImportError, AttributeError):  # what is no module of its own
            importlib.import_module(name)


def _drive(world: World, plan: Plan, log: Path) -> None:
    """The forked side; it does not return."""
    code = 1
    try:
        os.environ |= {"DISTILSEARCH_HOME": str(world.home), "TMPDIR": str(world.root / "tmp")}
        tempfile.tempdir = None
        os.chdir(world.root)
        output = os.open(world.root / "output.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.dup2(output, 1)
        os.dup2(output, 2)
        prepare.SPARE_BYTES = 0
        training.USUAL["checkpoint_seconds"] = 0.0  # each step, so that kills fall between checkpoints too
        code = _called(world, plan, log)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _called(world: World, plan: Plan, log: Path) -> int:
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def write(**line: Any) -> None:
        os.write(file, json.dumps({"at": time.monotonic(), **line}).encode() + b"\n")

    def told(what: str, *_: float) -> None:
        write(said=what)
        if what.startswith("joined the run"):
            (world.root / JOINED).touch()
        while plan.awaits and what == TRAINING and not ((world.root / JOINED).exists() or strokes(world.root)):
            time.sleep(0.002)

    tick = prepared(world, plan)("joined" if plan.joins else "driver")
    try:
        with ending(end_now):
            executor = _executor(world, plan, told, tick)
            try:
                if plan.joins:
                    join(None, world.run, progress=told, executor=executor, sleep=lambda _: time.sleep(0.01))
                else:
                    search(Run.parse(world.asked), world.run, told, executor)
            finally:
                executor.close()
    except BaseException as error:
        return _ended(error, write)
    (world.root / MODULES).write_text("\n".join(sys.modules))
    return 0


def _ended(error: BaseException, write: Callable[..., None]) -> int:
    """Note an error as the command line would say it, and give its exit code."""
    ours = isinstance(error, DistilSearchError)
    message, code = str(error), error.exit_code if isinstance(error, DistilSearchError) else 1
    if isinstance(error, KeyboardInterrupt):
        ours, message, code = True, name_of(error), exit_code(number_of(error))
    if not ours:
        traceback.print_exc()
    write(error={"kind": type(error).__name__, "ours": ours, "message": message})
    return code


def _executor(world: World, plan: Plan, told: Any, tick: Tick) -> Any:
    if not plan.children:
        return Here(told, tick)
    world.run.mkdir(exist_ok=True)
    options = Options(world.run, 1, 1, "cpu", plan.patience)
    return Children(options, told, prepared(world, plan))


def prepared(world: World, plan: Plan) -> Callable[[str], Tick]:
    """What a process of a role does first: it counts its events; returns how it counts one more."""

    def prepare_(role: str) -> Tick:
        hit = role == plan.where
        moment = Moment(world.root / f"events-{role}", plan.number if hit else 0, plan.action)
        moment.arm()
        if role == "trainer" and (world.root / "gone").exists():
            with contextlib.suppress(RuntimeError):
                plan.action()
        return moment.tick

    return prepare_
