"""Two processes at one run, a driver and one that has joined it, of which one is killed at a moment.

All students of the space are trained, so that it does not matter who proposes which, nor in which order.
"""

import random
import time
from dataclasses import dataclass, replace

from distilsearch.places import DRIVER

from .actions import kill
from .driver import Call, Plan, Running, call, import_what_was
from .harness import MOST_CALLS, Reference, References, Tried, judged
from .moments import counted, strokes
from .world import RUN, World

EVERYTHING = {"trials": 6, "train": RUN["train"] | {"finish": "none"}}
GONE = "no longer|has gone before|nobody is at work"
_made: dict[int, Reference] = {}  # the undisturbed pair, by the `References` whose base it lies in


@dataclass(frozen=True)
class PairFault:
    """One of the two is killed.

    Args:
        where: "driver" or "joined".
        words: that the other one says of it.
    """

    name: str
    where: str
    words: str = ""
    always: bool = True
    cause: str = ""
    failed: int = 0

    def tried(self, references: References, seed: int) -> Tried:
        """At the moment of a seed."""
        draw, whole = random.Random(f"{self.name} {seed}"), undisturbed(references)
        number = draw.randint(1, max(1, whole.events[self.where] * 2 // 3))  # how they share the work is chance
        world = references.world("hurt", changes=EVERYTHING)
        calls = together(world, Plan(self.where, number, kill()))
        while calls[-1].code and len(calls) < MOST_CALLS:
            calls.append(call(world))
        tried = judged(self, seed, f"event {number} of the {self.where}", world, calls, whole.facts)
        seconds = survived(calls, strokes(world.root))
        notes = tuple(note for note in tried.notes if not note.startswith("left over"))
        return replace(tried, strayed=False, seconds=seconds, notes=notes)


def undisturbed(references: References) -> Reference:
    """The pair in peace, and how many events each of them has."""
    if id(references) not in _made:
        world = references.world("pair", changes=EVERYTHING)
        calls = together(world, Plan())
        if any(one.code for one in calls):
            raise RuntimeError(f"the undisturbed pair failed: {[one.words for one in calls]}; see {world.root}")
        import_what_was(world)
        events = {role: counted(world.root / f"events-{role}") for role in ("driver", "joined")}
        _made[id(references)] = Reference(world, world.facts(), events)
    return _made[id(references)]


def together(world: World, plan: Plan) -> list[Call]:
    """A driver, and one that joins its run before the first student is trained: what came of the latter is first."""
    driver = Running(world, replace(plan, awaits=True))
    while not (world.run / DRIVER).exists() and not strokes(world.root):
        time.sleep(0.002)
    joined = Running(world, replace(plan, joins=True))
    return [joined.wait(), driver.wait()]


def survived(calls: list[Call], struck: list[float]) -> float:
    """Seconds from the fault to the next training of anybody, or to the end where none was left."""
    began = min(struck, default=calls[0].began)
    times = [at for one in calls for at in one.trainings if at > began]
    return min([*times, max(one.ended for one in calls)]) - began
