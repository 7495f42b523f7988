"""Files that are damaged or missing when a run is called again: one of each kind that the product writes."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .driver import call
from .harness import References, Tried, judged
from .moments import struck
from .world import trained

# kind: where such files lie; and what must be said, "" where it may be made again in silence
KINDS: Mapping[str, tuple[str, str]] = {
    "journal": ("run/journal.log", ""),
    "trial": ("home/trials/*/trial.json", ""),
    "student in the home": ("home/trials/*/student/model.safetensors", ""),
    "student's configuration": ("home/trials/*/student/config.json", ""),
    "student handed out": ("run/students/*/model.safetensors", ""),
    "checkpoint": ("home/trials/*/*/checkpoint.safetensors", ""),
    "cached targets": ("home/targets/**/*.safetensors", ""),
    "result": ("run/result.json", ""),
    "run file": ("run/run.toml", "run.toml"),
    "predictor": ("run/predictor/*/predictor.json", ""),
    "rounds of a table": ("home/tables/*/*/rounds/*.parquet", "rounds"),
    "facts of a table": ("home/tables/*/*/meta.json", ""),
    "mark of the home": ("home/home.json", "home.json"),
    "note of a teacher": ("home/depot/teachers/*.json", ""),
    "text": ("home/depot/texts/*/*.safetensors", ""),
    "note of a run": ("home/runs/*.json", ""),
}


@dataclass(frozen=True)
class FileFault:
    """A file of a kind that is damaged or missing, in a run that was killed at a moment, or has ended.

    A run that says what is wrong, and stops, is called again with the file as it was.
    """

    name: str
    kind: str
    failed: int = 0
    always: bool = False
    cause: str = ""

    @property
    def words(self) -> str:
        """What must be said where the run stops for it."""
        return KINDS[self.kind][1]

    def tried(self, references: References, seed: int) -> Tried:
        """At the moment of a seed."""
        draw, pattern = random.Random(f"{self.name} {seed}"), KINDS[self.kind][0]
        world, moment = references.stopped(draw, pattern)
        file = draw.choice(sorted(world.root.glob(pattern)))
        good, made = file.read_bytes(), trained(world)
        done = _hurt(file, draw)
        struck(world.root)
        calls = [call(world)]
        if calls[0].code:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(good)
            calls.append(call(world))
        where = f"{moment}; {file.relative_to(world.root)}: {done}"
        return judged(self, seed, where, world, calls, references.of().facts, made, _training(file))


def _training(file: Path) -> str:
    """The key of the training that a file of the home's trials belongs to; "" where it belongs to none."""
    return next((place.name for place in file.parents if place.parent.name == "trials"), "")


def _hurt(file: Path, draw: random.Random) -> str:
    """Flip a bit of a file, cut it, or remove it; says what was done."""
    data, how = bytearray(file.read_bytes()), draw.choice(("flip", "cut", "remove"))
    place = draw.randrange(len(data))
    if how == "remove":
        file.unlink()
        return "removed"
    if how == "cut":
        file.write_bytes(data[:place])
        return f"cut at {place}"
    data[place] ^= 1 << draw.randrange(8)
    file.write_bytes(data)
    return f"a bit of byte {place} flipped"
