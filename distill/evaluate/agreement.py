"""The held-out loss of a finished student: the figure a search minimises, of the very model that is served.

Embedding teachers: 1 - agreement with the teacher on held-out blocks; others: the cross-entropy of hidden or next
words. What it is held against are the held-out blocks of one text, and the teacher.
"""

from dataclasses import dataclass, replace

from distilsearch.errors import InputError
from distilsearch.families import family

from ..given import check_against
from ..heldout.heldout import heldout_key, heldout_loss
from ..losses import KINDS
from ..teachers.teacher import Teacher, load_teacher
from ..texts.data import Text
from .evaluation import Given, Subject


@dataclass(frozen=True, eq=False)
class Heldout:
    """The held-out loss against a teacher on a text."""

    teacher: Teacher
    text: Text
    name = "heldout"
    kinds = KINDS

    @classmethod
    def of(cls, given: Given) -> "Heldout":
        """Against the teacher and the text that are given."""
        check_against(given.teacher is not None, given.text is not None)
        assert given.teacher is not None
        assert given.text is not None
        return cls(given.teacher, given.text)

    @property
    def heldout(self) -> str:
        """A sha256 of what the teacher says and the text."""
        return heldout_key(self.teacher, self.text)

    def __call__(self, model: Subject) -> dict[str, float]:
        """The loss; lower is better."""
        student = model if isinstance(model, Teacher) else load_teacher(str(model))
        same = student.tokenizer.get_vocab() == self.teacher.tokenizer.get_vocab()
        if student.kind != self.teacher.kind or not same:
            raise InputError(
                f"{student.name} is no student of {self.teacher.name}: expected a {self.teacher.kind} model of the "
                f"teacher's vocabulary, got a {student.kind} model of {'the same' if same else 'another'} one"
            )
        architecture = family(student.facts.family).architecture(student.facts)
        ending = replace(student, prompt=self.teacher.prompt).ending
        return {"loss": heldout_loss(self.teacher, self.text, student.model(), architecture, ending=ending)}
