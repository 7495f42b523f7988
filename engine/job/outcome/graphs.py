"""After the result: the students that are handed back, as files of the runtimes that a run's `[export]` names, and of
the one that each was chosen for.

Each lies in `served/` within its student's folder, a copy of what is kept beside its trial: a run that is called again
makes none of them twice. One that cannot be made costs nobody else anything: the result says why.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from distilsearch.distill.served.artefact import FILES_OF, SERVED, Artefact, read_artefacts
from distilsearch.distill.served.asked import Way
from distilsearch.distill.served.kept import served
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.store.trial import Trial
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.data import Text
from distilsearch.errors import DistilSearchError, Interrupted, RunError
from distilsearch.home import replace_folder
from distilsearch.operators import TORCH, Serving
from distilsearch.places import EXPORT, own_folder
from distilsearch.progress import Between, Progress, nothing

from ...report import schema
from ...report.files import write_result
from ..runfile.sections import ExportSection
from .result import Result

if TYPE_CHECKING:
    from ..preparing.prepare import Prepared
    from ..runfile.config import Run


def as_files(
    prepared: "Prepared", archive: Archive, result: Result, progress: Progress, between: Between = nothing
) -> Result:
    """The result with the files that its students are served from, written."""
    made = exported(result, prepared.run.export, archive, prepared.teacher, prepared.text, progress, between)
    return Result(made.folder, write_result(made.file, made.folder))


def exports(run: "Run") -> bool:
    """Whether students of a run are to be files of another runtime."""
    return bool(run.export.ways) or any(target.runtimes != (TORCH,) for target in run.target)


def exported(
    result: Result,
    section: ExportSection,
    archive: Archive,
    teacher: Teacher,
    text: Text,
    progress: Progress,
    between: Between = nothing,
) -> Result:
    """The result with the files of its front's students; those whose trial is gone have none, which is said.

    Args:
        teacher, text: the run's own: int8 is calibrated on what students learn from.
        between: called before each file; where it raises `Interrupted`, those of earlier students are kept.
    """
    members: list[schema.Member] = []
    warnings: list[str] = []
    for done, member in enumerate(result.front):
        progress("exporting students", done, len(result.front))
        place, ways = result.folder / (member.student or ""), _ways(result, member, section)
        if not ways:
            members.append(member)
            continue
        try:
            if not member.student:
                raise RunError("its student is not in the run's folder")
            artefacts = _into(place / SERVED, _trial(archive, member), ways, teacher, text, between)
            entries = tuple(_entry(result.folder, artefact) for artefact in artefacts)
            members.append(member.model_copy(update={"artefacts": entries}))
        except Interrupted:
            raise
        except DistilSearchError as error:
            members.append(member)
            warnings.append(f"{member.key} was not exported: {error}")
    progress("exporting students", len(result.front), len(result.front))
    told = {"front": tuple(members), "warnings": (*result.file.warnings, *warnings)}
    return replace(result, file=result.file.model_copy(update=told))


def _ways(result: Result, member: schema.Member, section: ExportSection) -> tuple[Way, ...]:
    """What a member is exported for: what the run asks for of all, and how it is served itself where that is a file."""
    own = [Serving.from_json({**target.serving, **member.served}) for target in result.file.targets]
    files = [(FILES_OF.get(one.runtime, one.runtime), one.dtype) for one in own if one.runtime != TORCH]
    return tuple(dict.fromkeys((*section.ways, *files)))


def _into(
    place: Path, trial: Trial, ways: Sequence[Way], teacher: Teacher, text: Text, between: Between
) -> list[Artefact]:
    """The artefacts of a trial's student, copied into a folder that is absent or ours."""
    own_folder(place, EXPORT)
    made = served(trial.student, ways, teacher, text, between=between)
    if any(artefact.source != made[0].source for artefact in _listed(place)):
        shutil.rmtree(place)
    fresh = place.with_name(f".{place.name}.new")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(made[0].folder, fresh)
        replace_folder(fresh, place)
    except OSError as error:
        raise RunError(f"cannot copy it to {place}: {error}; free space") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    copied = [replace(artefact, folder=place) for artefact in made]
    for artefact in copied:
        artefact.check()
    return copied


def _trial(archive: Archive, member: schema.Member) -> Trial:
    trial = archive.find(member.trial) if member.trial else None
    if trial is None or not archive.intact(trial):
        raise RunError("its trial is not in the shared home of this machine, or damaged")
    return trial


def _listed(place: Path) -> Iterable[Artefact]:
    try:
        return read_artefacts(place).values()
    except RunError:
        return ()


def _entry(folder: Path, artefact: Artefact) -> schema.ArtefactEntry:
    checks = artefact.checks
    return schema.ArtefactEntry(
        runtime=artefact.runtime,
        dtype=artefact.dtype,
        file=artefact.file.relative_to(folder).as_posix(),
        bytes=artefact.bytes,
        quantised=artefact.quantised,
        lost=checks.get("lost"),
        difference=max(checks["differences"].values()) if "differences" in checks else None,
    )
