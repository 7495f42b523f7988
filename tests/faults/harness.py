"""One fault at one moment: the run that it befalls is called again until it ends, and held against one in peace."""

import random
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .actions import Action, Undo, kill
from .driver import Call, Plan, Running, call, import_what_was
from .moments import counted, strokes
from .world import Facts, World, compared

STOPS = 8  # moments at which runs are killed whose files are then hurt
MOST_CALLS = 4  # of a run, until it has ended
Around = Callable[[World, random.Random], AbstractContextManager[tuple[Action, Undo]]]


@dataclass(frozen=True)
class Tried:
    """What one fault has done at one moment.

    Attributes:
        moment: what was drawn: the number of an event, or the file and what was done to it.
        struck: whether the moment came.
        said: whether it ended, or went on, as it should be told: in words of ours, and those that were expected.
        seconds: from the fault, or from the call after it, to the next training, or to the end where none was left.
        notes: what is wrong.
    """

    fault: str
    seed: int
    moment: str
    struck: bool
    lost: int
    doubled: int
    corrupted: int
    strayed: bool
    said: bool
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reference:
    """The undisturbed run of a kind, and how many events it has, by role."""

    world: World
    facts: Facts
    events: Mapping[str, int]


class References:
    """Undisturbed runs, each made once.

    Args:
        base: the folder that they, and all that are disturbed, lie in.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self._made: dict[tuple[bool, bool], Reference] = {}
        self._stops: dict[int, World] = {}

    def of(self, children: bool = False, database: bool = False) -> Reference:
        """That of a kind."""
        if (children, database) not in self._made:
            world = self.world(f"whole-{len(self._made)}", database)
            first = call(world, Plan(children=children))
            if first.code:
                raise RuntimeError(f"the undisturbed run failed: {first.words}; see {world.root}")
            import_what_was(world)
            events = {role: counted(world.root / f"events-{role}") for role in ("driver", "trainer", "meter")}
            self._made[children, database] = Reference(world, world.facts(), events)
        return self._made[children, database]

    def stopped(self, draw: random.Random, pattern: str) -> tuple[World, str]:
        """A copy of a run where files of a pattern lie: one that was killed at one of some moments, or has ended."""
        whole, first = self.of(), draw.randrange(STOPS)
        for number in (*range(first, STOPS), *range(first)):
            event = (2 * number + 1) * whole.events["driver"] // (2 * STOPS)
            if number not in self._stops:
                self._stops[number] = self.world(f"stopped-{number}")
                call(self._stops[number], Plan(number=event, action=kill()))
            if any(self._stops[number].root.glob(pattern)):
                return self._copied(self._stops[number]), f"killed at event {event}"
        return self._copied(whole.world), "ended"

    def _copied(self, world: World) -> World:
        shutil.rmtree(self.base / "hurt", ignore_errors=True)
        copy = world.copy(self.base / "hurt")
        (copy.root / "struck").unlink(missing_ok=True)
        return copy

    def world(self, name: str, database: bool = False, changes: Mapping[str, Any] | None = None) -> World:
        """A fresh one; an older one of that name is removed. `changes`: of the run file."""
        root = self.base / name
        shutil.rmtree(root, ignore_errors=True)
        storage = {"storage": {"url": f"sqlite:///{root / 'study.db'}"}} if database else {}
        return World(root, {**(changes or {}), **storage}).make()


@dataclass(frozen=True)
class Fault:
    """A fault that befalls a process at a moment.

    Args:
        around: what is made ready, from the world and a generator: the action and how it is undone.
        where, children, patience: as in `Plan`.
        words: a pattern of what must be said where the call that it befell did not end well; or always, with `always`.
        failed: trials that it makes fail for good.
        database: whether the trials lie in a database.
    """

    name: str
    around: Around
    words: str = ""
    always: bool = False
    where: str = "driver"
    children: bool = False
    patience: float = 600.0
    failed: int = 0
    database: bool = False
    second: bool = False
    cause: str = ""

    def tried(self, references: References, seed: int) -> Tried:
        """At the moment of a seed."""
        draw, whole = random.Random(f"{self.name} {seed}"), references.of(self.children, self.database)
        number = draw.randint(1, whole.events[self.where])
        world = references.world("hurt", self.database)
        with self.around(world, draw) as (action, undo):
            plan = Plan(self.where, number, action, self.children, self.patience)
            first = Running(world, plan)
            others = self._others(world)
            calls = [first.wait(), *(other.wait() for other in others)]
            undo()
            while calls[-1].code and len(calls) < MOST_CALLS:
                calls.append(call(world, replace(plan, number=0)))
        return judged(self, seed, f"event {number} of the {self.where}", world, calls, whole.facts)

    def _others(self, world: World) -> list[Running]:
        """A second driver, from the moment on."""
        if not self.second:
            return []
        import time

        while not strokes(world.root):
            time.sleep(0.01)
        return [Running(world, Plan(children=self.children))]


def judged(
    fault: Any,
    seed: int,
    moment: str,
    world: World,
    calls: list[Call],
    whole: Facts,
    made: frozenset[str] | None = None,
    beside: str = "",
) -> Tried:
    """What the calls of a run came to."""
    struck = strokes(world.root)
    notes = [f"{one.error['kind']}: {one.error['message']}" for one in calls if one.foreign]
    if calls[-1].code:
        notes.append(f"still fails: {calls[-1].words[-300:]}")
        return Tried(fault.name, seed, moment, bool(struck), len(whole.trials), 0, 0, True, False, 0.0, tuple(notes))
    facts = world.facts()
    difference = compared(facts, whole, fault.failed if struck else 0, made, beside)
    words = "\n".join(one.words for one in calls)
    if struck and fault.words and (fault.always or calls[0].code > 0) and not re.search(fault.words, words):
        notes.append(f"not said: {fault.words}; but: {calls[0].words[-300:]}")
    if struck and fault.cause and facts.causes and not any(re.search(fault.cause, cause) for cause in facts.causes):
        notes.append(f"the cause in the ledger is {facts.causes}")
    said = not notes
    notes += [f"left over: {name}" for name in difference.left_over]
    return Tried(
        fault.name, seed, moment, bool(struck), difference.lost, difference.doubled, difference.corrupted,
        difference.strayed, said, continued(calls, struck), tuple(notes),
    )  # fmt: skip


def continued(calls: list[Call], struck: list[float]) -> float:
    """Seconds until a run was at work again."""
    after = calls[1:] or calls
    began = after[0].began if calls[1:] else (struck or [after[0].began])[0]
    began = max(began, calls[0].ended) if calls[1:] else began  # whoever waited for it, waited until then
    times = [at for one in after for at in one.trainings if at > began]
    return min([*times, after[-1].ended]) - began
