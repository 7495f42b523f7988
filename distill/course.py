"""What students learn from, and for how long: the loaded values, of which a `Training` holds the keys."""

from dataclasses import dataclass

from accelerate import Accelerator

from distilsearch.errors import InputError

from .compute.precision import resolve_precision
from .compute.processes import accelerator_for, agreed
from .job import Training
from .quality import LOSS, check_quality
from .recipes import Recipe
from .targets.targets import batch_rows
from .teachers.teacher import Teacher
from .texts.data import Text


@dataclass(frozen=True, eq=False)
class Course:
    """What students learn from, and for how long: loaded values, with the precision resolved."""

    teacher: Teacher
    text: Text
    recipe: Recipe
    tokens: int
    seed: int
    precision: str
    share: float = 1.0  # of the text's training blocks
    quality: str = LOSS
    start: str = ""  # the super-network that students are cut from; the teacher where there is none

    def __post_init__(self) -> None:
        teacher, recipe = self.teacher, self.recipe
        check_quality(self.quality, teacher.name, teacher.kind, recipe.name, dict(recipe.weights))

    @classmethod
    def resolved(
        cls,
        teacher: Teacher,
        text: Text,
        recipe: Recipe,
        tokens: int,
        seed: int,
        precision: str,
        device: str,
        share: float = 1.0,
        quality: str = LOSS,
    ) -> "Course":
        """A course whose precision, where it is "auto", is the faster one on a training device."""
        if tokens < 1:
            raise InputError(f"the budget must be at least one token, got {tokens}")
        agreed = agreed_precision(precision, accelerator_for(device))
        return cls(teacher, text, recipe, tokens, seed, agreed, share, quality)

    @classmethod
    def of(cls, teacher: Teacher, text: Text, recipe: Recipe, training: Training) -> "Course":
        """The course of a training whose material has been loaded; an `InputError` where it is of other material."""
        own = (training.tokens, training.seed, training.precision, training.share, training.quality, training.start)
        course = cls(teacher, text, recipe, *own)
        if course.training != training:
            raise InputError("the training is of another teacher, text or recipe than those that came with it")
        return course

    @property
    def training(self) -> Training:
        """The identity that students of this course share; with an architecture it gives a student's key."""
        own = (self.tokens, self.seed, self.precision, self.share, self.quality)
        return Training.of(self.teacher, self.text, self.recipe, *own).starting(self.start)

    @property
    def step_tokens(self) -> int:
        """Tokens of one step."""
        return batch_rows(self.text, self.recipe, self.share) * self.text.block

    @property
    def steps(self) -> int:
        """Whole steps nearest to the tokens; none where a student is to be as it is cut."""
        return max(1, round(self.tokens / self.step_tokens)) if self.tokens else 0


def agreed_precision(precision: str, accelerator: Accelerator) -> str:
    """The precision that the main process resolves, for all: a probe may find another one in each."""
    resolved: str = agreed(accelerator, resolve_precision(precision, accelerator.device.type))
    return resolved
