"""The students that a run hands back, copied into its folder: stock checkpoints that outlive the shared trials."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distilsearch.distill.card import CARD, with_sections
from distilsearch.errors import RunError
from distilsearch.home import replace_folder
from distilsearch.places import STUDENT, own_folder

STUDENTS = "students"


def export_students(
    folder: Path, checkpoints: Mapping[str, Path], served: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, str]:
    """Copy students into a run's folder, each whole or not at all.

    Args:
        folder: the run's.
        checkpoints: the folders to copy, by the key of the pair (student, served).
        served: how the pairs are served, where that was chosen, by the same keys; their cards say so. Weights are as
            they were trained: whoever serves them converts them.

    Returns:
        Their new folders by key, relative to the run's; without those whose checkpoint is gone.

    Raises:
        RunError: one cannot be copied, or something else lies in its place.
    """
    present = {key: checkpoint for key, checkpoint in checkpoints.items() if checkpoint.is_dir()}
    for key, checkpoint in present.items():
        _copy(checkpoint, folder / STUDENTS / key, (served or {}).get(key, {}))
    return {key: f"{STUDENTS}/{key}" for key in present}


def _copy(source: Path, target: Path, served: Mapping[str, Any]) -> None:
    target = own_folder(target, STUDENT)
    fresh = target.with_name(f".{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        shutil.copytree(source, fresh)
        if served:
            _say_how(fresh / CARD, served)
        replace_folder(fresh, target)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise RunError(f"cannot copy a student to {target}: {error}; free space and search again") from error


def _say_how(card: Path, served: Mapping[str, Any]) -> None:
    note = {**served, "weights": "as trained; to be converted by whoever serves them so"}
    card.write_text(with_sections(card.read_text(encoding="utf-8"), {"Served as": note}), encoding="utf-8")
