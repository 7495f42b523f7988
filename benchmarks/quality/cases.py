"""Teachers, texts and shapes of the questions about quality: those reported, and those that recipes are chosen on.

The two share no book, no shape, and no row of a task (`tasks.reported`, `tasks.chosen_on`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from common import data

from distilsearch.architecture import Architecture
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.families import family

NOVELS = (
    "Charles_Dickens--Hard_Times", "HG_Wells--The_World_Set_Free", "Henry_David_Thoreau--Walden",
    "Jane_Austen--Persuasion", "Jules_Verne--Robur_the_Conqueror", "Mark_Twain--The_Adventures_of_Tom_Sawyer",
)  # fmt: skip
TREATISES = (
    "Aristotle--Poetics", "Carl_von_Clausewitz--On_War", "David_Hume--A_Treatise_of_Human_Nature",
    "Friedrich_Nietzsche--Beyond_Good_and_Evil", "Immanuel_Kant--Critique_of_Pure_Reason",
    "John_Stuart_Mill--On_Liberty",
)  # fmt: skip
STORIES = (
    "Arthur_Conan_Doyle--A_Study_in_Scarlet", "Arthur_Conan_Doyle--The_Sign_of_the_Four",
    "George_Eliot--The_Mill_on_the_Floss", "Fyodor_Dostoyevsky--White_Nights", "Fyodor_Dostoyevsky--Poor_Folk",
    "HG_Wells--The_History_of_Mr_Polly",
)  # fmt: skip
UNSEEN = (
    "Apsley_Cherry-Garrard--The_Worst_Journey_in_the_World", "Charlotte_Bronte--Jane_Eyre",
    "Fyodor_Dostoyevsky--Crime_and_Punishment", "Herman_Melville--Moby-Dick", "Leo_Tolstoy--Anna_Karenina",
    "Mark_Twain--The_Prince_and_the_Pauper",
)  # fmt: skip
NTREX = {"en": "eng-US", "de": "deu", "es": "spa", "fr": "fra", "zh": "zho-CN"}  # by STS-B's names


@dataclass(frozen=True)
class Case:
    """A teacher and a text.

    Args:
        teacher: "quickstart", or a folder among the teachers'.
        text: as a run file names it.
        languages: of STS-B.
        genes: of the student, where they are not the teacher's.
    """

    teacher: str
    text: tuple[str, ...]
    languages: tuple[str, ...] = ("en",)
    prompt: str = ""
    genes: Mapping[str, int] = field(default_factory=dict)

    def opened(self, folders: Path) -> Teacher:
        """The teacher, asked as it is in use."""
        place = self.teacher if self.teacher == "quickstart" else str(folders / self.teacher)
        return load_teacher(place).shown(self.prompt)

    def shaped(self, teacher: Teacher, **genes: int | str) -> Architecture:
        """A student of the teacher's shape but for some genes."""
        facts = teacher.facts
        whole = {"width": facts.width, "heads": facts.heads, "ffn": facts.ffn, "inherit": "even"}
        asked = {name: [value] for name, value in {**whole, **self.genes, **genes}.items()}
        space = family(facts.family).space(asked, facts)
        return space.decode(space.sample(1, np.random.default_rng(0)))[0]


def books(names: tuple[str, ...]) -> tuple[str, ...]:
    """Files of books."""
    return tuple(str(data(f"text/books/{name}.md")) for name in names)


def ntrex() -> tuple[str, ...]:
    """Parallel news in five languages."""
    return tuple(str(data(f"multilingual/ntrex/newstest2019-ref.{name}.txt")) for name in NTREX.values())


def cases() -> dict[str, Case]:
    """All of them, by name; the first four are reported."""
    return {
        "books": Case("quickstart", books(NOVELS)),
        "python": Case("quickstart", ("python-docs",)),
        "news": Case("e5", ntrex(), tuple(NTREX), "query"),
        "novels-e5": Case("e5", books(NOVELS), prompt="query"),
        "treatises": Case("quickstart", books(TREATISES), genes={"ffn": 768}),
        "stories": Case("quickstart", books(STORIES)),
        "wikitext": Case("quickstart", (str(data("text/wikitext2/valid.txt")),)),
    }
