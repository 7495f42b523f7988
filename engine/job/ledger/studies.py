"""The study of a run: found, or begun with the names of its objectives.

A journal takes the two in two lines. Who is killed between them leaves a study without names, which goes on: whoever
enters the first trial names its objectives.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from distilsearch.errors import RunError

from .alone import alone

NAMES = "study:metric_names"  # where Optuna looks for the names of objectives


def study_of(storage: BaseStorage, name: str, objectives: Sequence[str]) -> int:
    """The id of a study, which is begun where there is none; looking for one that is there writes nothing."""
    with contextlib.suppress(KeyError):
        return storage.get_study_id_from_name(name)

    def begin() -> int:
        study = storage.create_new_study([StudyDirection.MINIMIZE] * len(objectives), name)
        give_names(storage, study, objectives)
        return study

    try:
        return alone(storage, None, begin)
    except optuna.exceptions.DuplicatedStudyError:  # another process was quicker
        return storage.get_study_id_from_name(name)


def give_names(storage: BaseStorage, study: int, objectives: Sequence[str]) -> None:
    """Name the objectives of a study."""
    storage.set_study_system_attr(study, NAMES, list(objectives))


def unnamed(storage: BaseStorage, study: int, name: str, objectives: Sequence[str]) -> tuple[str, ...]:
    """The names that a study still lacks; none where it has them. A `RunError` where it is of other objectives."""
    there = storage.get_study_system_attrs(study).get(NAMES)
    if there == list(objectives):
        return ()
    as_many = len(storage.get_study_directions(study)) == len(objectives)
    if there is None and as_many and storage.get_n_trials(study) == 0:
        return tuple(objectives)
    raise RunError(f"the study {name!r} has the objectives {there}, not {list(objectives)}")


def study_facts(storage: BaseStorage, name: str) -> tuple[dict[str, Any], int]:
    """What is noted of a study, and how many trials it has; nothing of one that nobody has begun."""
    try:
        study = storage.get_study_id_from_name(name)
    except KeyError:
        return {}, 0
    return storage.get_study_user_attrs(study), len(storage.get_all_trials(study, deepcopy=False))
