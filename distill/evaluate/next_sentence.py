"""How well a model tells whether a text goes on: the halves of held-out blocks, of which every second pair is none.

It is asked of the head in the model's own folder, as BERT's pre-training leaves it (`AutoModelForPreTraining`);
students of a recipe that weighs `next_sentence` have one. Who knows nothing is right of one pair in two.
"""

import hashlib
from dataclasses import dataclass

from distilsearch.errors import InputError
from distilsearch.families import family

from ..heldout.pairs import check_pairs, judged
from ..students.judge import judge_of
from ..teachers.teacher import Teacher
from ..texts.data import Text
from .evaluation import Given, Subject
from .reading import read_by, reader_of


@dataclass(frozen=True, eq=False)
class NextSentence:
    """Pairs of held-out blocks; `reader` is the model whose tokens the text was cut into."""

    reader: Teacher
    text: Text
    name = "next_sentence"
    kinds = ("mlm",)

    @classmethod
    def of(cls, given: Given) -> "NextSentence":
        """On the text that is given; a `TextError` where it has no next sentences."""
        reader, text = reader_of(given, cls.name)
        check_pairs(text)
        return cls(reader, text)

    @property
    def heldout(self) -> str:
        """A sha256 of the text and what is asked of it."""
        return hashlib.sha256(f"next sentence {self.text.sha256}".encode()).hexdigest()

    def __call__(self, model: Subject) -> dict[str, float]:
        """`accuracy`; an `InputError` where the model's files hold no such head."""
        teacher = read_by(model, self.reader, self.text, self.kinds, self.name)
        judge = judge_of(teacher)
        if judge is None:
            raise InputError(
                f"{teacher.name} holds no head that tells next sentences (cls.seq_relationship): name a model that was"
                " saved with it, such as a student of the recipe mobilebert"
            )
        own = family(teacher.facts.family).architecture(teacher.facts)
        return {"accuracy": judged(teacher, self.text.heldout, teacher.model(), own, judge).accuracy}
