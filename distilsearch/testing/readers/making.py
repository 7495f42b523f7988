"""Good files, to be mutated: copies of samples, or a text as it is."""

import shutil
from collections.abc import Callable
from pathlib import Path


def copied(*parts: str) -> Callable[[Path, Path], object]:
    """A folder of the samples."""
    return lambda samples, folder: shutil.copytree(samples.joinpath(*parts), folder)


def made_csv(text: str) -> Callable[[Path, Path], object]:
    """A CSV file of that text."""

    def make(samples: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "file.csv").write_text(text)

    return make


def made_json(*parts: str) -> Callable[[Path, Path], object]:
    """One JSON file of the samples."""

    def make(samples: Path, folder: Path) -> None:
        folder.mkdir()
        shutil.copy(samples.joinpath(*parts), folder / "file.json")

    return make
