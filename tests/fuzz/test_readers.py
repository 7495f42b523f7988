"""Every reader against mutations of its good file: it reads, or refuses by an error of ours, and touches nothing else.

`benchmarks/fuzz.py` does the same with as many inputs as there is time for, in processes of their own.
"""

import random
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from distilsearch.home import home
from distilsearch.testing.readers import INSIDE, READERS, Reader, tried, watched, world

SAMPLES = Path(__file__).parents[1] / "old" / "0.1.0"
FEW, MORE = 5, 10  # inputs: of readers that load a model or a study, and of others
HEAVY = ("student", "student of 0.1.0", "teacher folder", "journal", "super-network", "packed text")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a home, and files that nobody may touch."""
    monkeypatch.setenv("DISTILSEARCH_HOME", str(world(tmp_path) / "home"))
    home()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, about what they are given
        yield tmp_path


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_the_good_file_is_read(reader: Reader, place: Path) -> None:
    reader.make(SAMPLES, place / INSIDE)
    reader.seal(place / INSIDE)
    reader.read(place / INSIDE)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_mutations_are_read_or_refused(reader: Reader, place: Path) -> None:
    @settings(
        max_examples=FEW if reader.name in HEAVY else MORE,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    @given(seed=st.integers(0, 2**32 - 1))
    def check(seed: int) -> None:
        finding = tried(reader, SAMPLES, place, random.Random(seed))
        if finding is not None:
            raise AssertionError(f"{finding.what} (seed {seed})") from finding.error

    check()


def test_a_file_beside_the_named_folder_is_seen_when_it_is_touched(place: Path) -> None:
    with watched(place) as touched:
        (place / "outside.txt").read_bytes()
        (place / INSIDE).mkdir()
    assert touched == ["outside.txt"]
