"""From a finished run to its students, trained fully: what the run found, with the run's own training."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from distilsearch.architecture import Architecture
from distilsearch.distill.job import Training
from distilsearch.distill.material import Material
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.store.deliver import Delivery, Order, deliver, latency_section
from distilsearch.distill.texts.data import MOST_HELDOUT
from distilsearch.distill.training import Conditions
from distilsearch.errors import InputError, RunError
from distilsearch.home import known_run
from distilsearch.progress import Progress, silent

from ...report.doubts import disturbed, measured_words
from ...report.files import read_result
from ...report.schema import Entry, Latency, ResultFile
from ...report.students import STUDENTS
from ..preflight import run_in
from ..runfile.config import Run

MOST_NAMED = 8


@dataclass(frozen=True)
class Winner:
    """A student that a run has found, with what the run knows of its latency."""

    architecture: Architecture
    latency: Mapping[str, Any] | None = None


def winners(folder: Path, keys: Sequence[str] = ()) -> list[Winner]:
    """Students of a run by their keys, which may be shortened; the chosen one where none is given."""
    result = read_result(folder)
    students: dict[str, Entry] = {student.key: student for student in (*result.trials, *result.front)}
    if not keys and not result.knee:
        raise RunError(f"{folder} has no chosen student; give RUN and keys of: {_named(students, result)}")
    chosen = [_entry(folder, result, students, key) for key in dict.fromkeys(keys or [result.knee or ""])]
    return [Winner(entry.architecture, _plain(entry.latencies.get("latency_ms"))) for entry in chosen]


def _plain(latency: Latency | None) -> dict[str, Any] | None:
    """What a card says of a latency, in ms; of a disturbed measurement one digit, and no tail below its median."""
    if latency is None:
        return None
    plain = latency.model_dump(exclude_none=True, exclude={"slowness", "repeated", "left_out"})
    rough = {"measured": f"about {measured_words(latency).lstrip('≈')} (the machine was disturbed)"}
    return plain | (rough if disturbed(latency) else {})


def _entry(folder: Path, result: ResultFile, students: Mapping[str, Entry], wanted: str) -> Entry:
    matches = [key for key in students if wanted and key.startswith(wanted)]
    if len(matches) != 1:
        raise RunError(
            f"{folder} has {len(matches) or 'no'} students whose key begins with {wanted!r}; give RUN and keys of: "
            f"{_named(students, result)}"
        )
    return students[matches[0]]


def _named(students: Iterable[str], result: ResultFile) -> str:
    """Some keys of a run, the chosen student and its front before the others, and how many more there are."""
    handed = [result.knee, *(member.key for member in result.front)]
    keys = list(dict.fromkeys([*(key for key in handed if key), *sorted(students)]))
    more = len(keys) - MOST_NAMED
    return ", ".join(keys[:MOST_NAMED]) + (f" and {more} more, as `distilsearch report` lists them" if more > 0 else "")


def run_of(folder: Path) -> Run:
    """The run that a folder was filled by."""
    return run_in(folder)


def most_heldout(models: Sequence[str]) -> int:
    """On how many held-out blocks, at most, the runs measured whose students these folders are; on all of any others.

    Raises:
        InputError: they are of runs that measured on different numbers, so that no one number is as all of them had.
    """
    places = [Path(model).resolve() for model in models]
    folders = {place.parents[1] for place in places if place.parent.name == STUDENTS}
    counts = {run_in(folder).most_heldout for folder in folders if (folder / "run.toml").exists()}
    if len(counts) > 1:
        listed = " and ".join(map(str, sorted(counts)))
        raise InputError(f"these students are of runs that measured on {listed} held-out blocks: give --text-heldout")
    return next(iter(counts), MOST_HELDOUT)


def material(run: Run) -> Material:
    """What the students of a run learn from."""
    return Material(
        run.teacher,
        run.text,
        run.train.recipe,
        text_temperature=run.text_temperature,
        text_tokens=run.text_tokens,
        text_block=run.text_block,
        text_heldout=run.most_heldout,
        text_column=run.text_column,
        prompt=run.prompt,
        probe_text=run.probe_text,
    )


def precision_of(run: Run, folder: Path | None = None) -> str:
    """The precision that a run trains in: what it resolved when it was started with this home, if it was."""
    noted = known_run(folder) if folder is not None else None
    return str(noted.trainings[0]["precision"]) if noted and noted.trainings else run.train.precision


def start_of(folder: Path, students: Sequence[Architecture]) -> str:
    """The key of the super-network that students of a run start from; "" where its students start from the teacher.

    Raises:
        RunError: they are of several, or one was scored and never cut.
    """
    noted = known_run(folder)
    trainings = [Training.from_json(training) for training in noted.trainings] if noted else []
    if not any(training.start and training.tokens for training in trainings):
        return ""
    archive, starts = Archive(), set[str]()
    for student in students:
        found = {one.start for one in trainings if one.start and archive.find(one.key(student)) is not None}
        if not found:
            raise RunError(
                f"{student.key} was scored as a slice of a super-network and is not on the front, so it was not cut;"
                " give keys of members of the front"
            )
        starts |= found
    if len(starts) > 1:
        raise RunError("these students start from several super-networks; distil those of each with one call")
    return next(iter(starts))


def winners_order(folder: Path, keys: Sequence[str], tokens: int, **changes: Any) -> Order:
    """Students of a run for `deliver`, on their way in the run: its material, seed and precision.

    Args:
        changes: fields of `Order` and `Material` that are to be other than the run's; None changes nothing.
    """
    run = run_of(folder)
    cards = {winner.architecture: latency_section(winner.latency) for winner in winners(folder, keys)}
    way = (run.seed, precision_of(run, folder))
    order = Order(material(run), cards, tokens, *way, quality=run.quality, start=start_of(folder, [*cards]))
    given = {name: value for name, value in changes.items() if value is not None}
    of_material = {name: given.pop(name) for name in [*given] if name in Material.__dataclass_fields__}
    return replace(order, material=replace(order.material, **of_material), **given)


def distill_winners(
    folder: Path,
    out: Path,
    keys: Sequence[str] = (),
    tokens: int = 2_000_000,
    archive: Archive | None = None,
    progress: Progress = silent,
    **conditions: Unpack[Conditions],
) -> list[Delivery]:
    """Distil students of a finished run fully, from where the run's own training left them, into a folder.

    Args:
        folder: the run's.
        out: where the student goes; of several, the folder of their folders.
        keys: keys of students, which may be shortened; the chosen one where none is given.

    Raises:
        RunError: the folder holds no finished run, or no such student.
        InputError: `out` holds something else.
        TrialError: a training diverges; all others are delivered.
    """
    return deliver(winners_order(folder, keys, tokens), out, archive, progress, **conditions)
