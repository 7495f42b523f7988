"""What students learn from, by the names that users give; opened and checked once."""

from collections.abc import Sequence
from dataclasses import dataclass

from distilsearch.progress import Progress, silent

from .heldout.pairs import check_pairs
from .recipes import AUTO, Recipe, recipe_for
from .targets.targets import shows_pairs
from .teachers.teacher import Teacher, load_teacher
from .texts.data import MOST_HELDOUT, Text, load_text
from .texts.probe import Probe, load_probe
from .texts.readers import TEXT
from .texts.sources import AUTO as BY_RULE


@dataclass(frozen=True)
class Material:
    """A teacher, texts and a recipe, as they are named in run files and commands."""

    teacher: str
    text: Sequence[str]
    recipe: str = AUTO  # or a name, or a file
    text_temperature: float = 1.0  # above 1 it evens out the texts, one a language
    text_tokens: int | None = None  # of each text
    text_block: int | None = None  # tokens of a block; by default the teacher decides
    text_column: str = TEXT  # where rows of tables and of JSON hold it
    prompt: str = ""  # the name of one that an embedding teacher has, which every text is shown with
    probe_text: Sequence[str] = (BY_RULE,)  # what `load_probe` is asked for; never learnt
    text_heldout: int = MOST_HELDOUT  # blocks that students are measured on, at most

    def opened(self, progress: Progress = silent) -> tuple[Teacher, Text, Recipe]:
        """Teacher, text and recipe, loaded; an `InputError` says what is wrong with one."""
        progress("reading teacher and text", 0, 2)
        teacher = load_teacher(self.teacher).shown(self.prompt)
        chosen = recipe_for(teacher.kind, self.recipe)
        progress("reading teacher and text", 1, 2)
        text = load_text(
            self.text,
            teacher,
            self.text_block,
            temperature=self.text_temperature,
            most_tokens=self.text_tokens,
            column=self.text_column,
            progress=progress,
            most_heldout=self.text_heldout,
        )
        if shows_pairs(chosen):
            check_pairs(text)
        progress("reading teacher and text", 2, 2)
        return teacher, text, chosen

    def probe(self, teacher: Teacher, text: Text, progress: Progress = silent) -> Probe:
        """The probe of students that learn the text; a `TextError` says what is wrong with one that was asked for."""
        return load_probe(self.probe_text, self.text, teacher, text, self.text_column, progress)
