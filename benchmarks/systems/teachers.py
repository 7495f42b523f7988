"""The three teachers of the comparison: what each is, on which text it teaches, and what its students are scored on.

STS-B's sentences are never trained on. All but "minilm" are folders that are made first:

    python -m systems.train_teacher --out FOLDER          (mlm)
    make_teachers.py e5 FOLDER --text NTREX --languages eng deu spa fra zho          (e5)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import DATA, data

LANGUAGES = {"eng-US": "en", "deu": "de", "spa": "es", "fra": "fr", "zho-CN": "zh"}  # NTREX's names and STS-B's


@dataclass(frozen=True)
class Case:
    """A teacher of the comparison.

    Attributes:
        kind: "embedding" or "mlm".
        text: files under the published data, or "python-docs".
        languages: of STS-B, that its students are scored in.
        worst: the loss of the corner that hypervolumes are measured from; its other side is the teacher's latency.
        shape: layers, width, heads and FFN, that hand-made shapes are proportions of.
        top: further keys of the run file.
        where: what a run file calls it; empty: the folder of its name among the teachers'.
        sequence: tokens that are served, and timed.
    """

    name: str
    kind: str
    text: tuple[str, ...]
    worst: float
    shape: tuple[int, int, int, int]
    languages: tuple[str, ...] = ()
    top: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""
    sequence: int = 128

    @property
    def sources(self) -> list[str]:
        """The text, as a run file names it; the script ends where it is absent."""
        return [one if one == "python-docs" else str(data(one)) for one in self.text]

    def pairs(self, part: str) -> dict[str, Path]:
        """STS-B's "dev" or "test" by language."""
        return {language: data(f"multilingual/stsb/stsb-{language}-{part}.csv") for language in self.languages}

    def place(self, folders: Path) -> str:
        """What a run file calls the teacher; a folder that is absent ends the script with the reason."""
        if self.where:
            return self.where
        folder = folders / self.name
        if not (folder / "model.safetensors").exists():
            raise SystemExit(f"the teacher {self.name} should lie in {folder}; see {__file__} for how it is made")
        return str(folder)


NTREX = tuple(f"multilingual/ntrex/newstest2019-ref.{name}.txt" for name in LANGUAGES)

CASES = {
    case.name: case
    for case in (
        Case(
            "minilm",
            "embedding",
            ("python-docs", "text/books"),
            worst=0.6,
            shape=(6, 384, 12, 1536),
            languages=("en",),
            top={"text_tokens": 600_000},  # of each of the two
            where="quickstart",
        ),
        Case(
            "e5",
            "embedding",
            NTREX,
            worst=0.6,
            shape=(12, 384, 12, 1536),
            languages=tuple(LANGUAGES.values()),
            top={"prompt": "query"},
        ),
        Case("mlm", "mlm", ("text/books",), worst=7.5, shape=(6, 384, 12, 1536), top={"text_tokens": 2_000_000}),
    )
}


def tiny(folder: Path) -> Case:
    """A random teacher on made-up text, so that every step of the script can be tried in seconds."""
    from distilsearch.testing.teachers import write_teacher, write_text

    place = folder / "tiny-teacher"
    if not (place / "model.safetensors").exists():
        place.mkdir(parents=True, exist_ok=True)
        write_teacher(place)
        write_text(place / "words.txt", count=12_000)
    languages = ("en",) if DATA.exists() else ()
    text = (str(place / "words.txt"),)
    return Case("tiny", "embedding", text, 1.0, (3, 64, 4, 128), languages, where=str(place), sequence=64)
