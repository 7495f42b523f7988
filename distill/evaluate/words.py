"""How well a model fills in hidden words, or says which comes next: accuracy and perplexity on held-out blocks.

Of a masked-LM model the words are hidden as in pre-training, the same ones for every model; a causal one is asked for
each word after the first. Perplexities of different tokenizers are not comparable, so the model must read the text as
whoever it was cut into blocks for.
"""

import hashlib
from dataclasses import dataclass

from distilsearch.families import family

from ..heldout.words import MASK, words_of
from ..teachers.teacher import Teacher
from ..texts.data import Text
from .evaluation import Given, Subject
from .reading import read_by, reader_of


@dataclass(frozen=True, eq=False)
class WordsKnown:
    """Words of held-out blocks; `reader` is the model whose tokens the text was cut into."""

    reader: Teacher
    text: Text
    name = "words"
    kinds = ("mlm", "causal")

    @classmethod
    def of(cls, given: Given) -> "WordsKnown":
        """On the text that is given."""
        return cls(*reader_of(given, cls.name))

    @property
    def heldout(self) -> str:
        """A sha256 of the text and how its words are hidden."""
        return hashlib.sha256(f"words {self.text.sha256} {MASK}".encode()).hexdigest()

    def __call__(self, model: Subject) -> dict[str, float]:
        """`accuracy`, the share of words that it holds for the likeliest, and `perplexity`."""
        teacher = read_by(model, self.reader, self.text, self.kinds, self.name)
        own = family(teacher.facts.family).architecture(teacher.facts)
        words = words_of(teacher, self.text.heldout, teacher.model(), own)
        return {"accuracy": words.accuracy, "perplexity": words.perplexity}
