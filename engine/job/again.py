"""The report of a run, written again from its result; students that have gone from its folder are brought back.

Nothing heavy is loaded unless a student is missing: then the shared trials are looked through for the very training
that the result tells of.
"""

from pathlib import Path

from distilsearch.places import own_run

from ..report.files import read_result, write_report, write_result
from ..report.schema import Member, ResultFile
from .exports import STUDENTS, absent, copy_student, foreign, remarks


def report_again(folder: Path) -> tuple[ResultFile, list[str]]:
    """Write the report of a run; its result, and what is to be known of its students.

    Raises:
        RunError: the folder holds no finished run, or cannot be written.
    """
    own_run(folder)
    result = read_result(folder)
    missing = [member for member in absent(folder, result.front) if not foreign(folder / STUDENTS / member.key)]
    if back := restored(folder, missing) if missing else []:
        front = tuple(
            member.model_copy(update={"student": f"{STUDENTS}/{member.key}"}) if member.key in back else member
            for member in result.front
        )
        result = result.model_copy(update={"front": front})
        write_result(result, folder)
    else:
        write_report(result, folder)
    place = folder / STUDENTS
    said = [f"the student {key} had gone from {place}; it was copied from the shared trials" for key in back]
    return result, [*said, *remarks(folder, result)]


def restored(folder: Path, members: list[Member]) -> list[str]:
    """Copy members whose training is among the shared trials into a run's folder again; their keys."""
    from distilsearch.distill.archive import Archive

    archive, keys = Archive(), []
    trials = {(trial.architecture, trial.tokens, trial.loss): trial for trial in archive.trials()}
    for member in members:
        trial = trials.get((member.architecture, member.tokens or 0, member.loss))
        if trial is not None and archive.intact(trial):
            copy_student(trial.student, folder / STUDENTS / member.key, member.served)
            keys.append(member.key)
    return keys
