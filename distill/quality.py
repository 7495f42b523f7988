"""What the held-out loss of a student is: by the kind of its teacher, or by what a run asks its search to minimise.

"loss" is what the kind of teacher has (see `heldout`). "accuracy" is 1 - the mean of two accuracies on held-out blocks,
AutoDistill's quality (arXiv 2201.08539): of hidden words, and of whether a block's second half follows its first.
Nothing here loads torch: run files are checked by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from distilsearch.errors import InputError, unknown

QUALITIES = ("loss", "accuracy")
LOSS = "loss"  # what a search minimises where nothing else was asked for
ACCURACY = "accuracy"
WORDS, NEXT_SENTENCE = "words", "next_sentence"  # the parts of an accuracy; the second is also the loss it needs
NAMES = {"embedding": "agreement", "mlm": "masked-LM loss", "causal": "next-token loss"}
ACCURACY_NAME = "accuracy of words and next sentences"
UPWARDS = (NAMES["embedding"], ACCURACY_NAME)  # those of which more is better: 1 - loss
PARTS = {WORDS: "masked words", NEXT_SENTENCE: "next sentences"}  # in words
LONG = {
    "embedding": "1 - Spearman correlation of pairwise cosines with the teacher's, held-out text",
    "mlm": "cross-entropy of masked words, held-out text",
    "causal": "cross-entropy of next tokens, held-out text",
}
LONG_ACCURACY = "1 - accuracy of words and next sentences, held-out text"


@dataclass(frozen=True)
class Held:
    """A loss on held-out blocks, to be minimised, and the parts that it was made of, where it was.

    `said` is what a reader must know of how it was taken; `first` the loss on so many of the first blocks alone.
    """

    loss: float
    parts: Mapping[str, float] = field(default_factory=dict)
    said: str = ""
    first: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Bought:
    """A loss or score before the first step of a training and after the last, on what has the key `heldout`.

    `before` is None where nobody took it, or it was no number; `rising`: more is better; `where`: what `before` was
    taken on, in words, where that is less than what `after` was.
    """

    heldout: str
    before: float | None
    after: float
    rising: bool = False
    where: str = ""

    @property
    def gain(self) -> float | None:
        """By how much it has become better; negative where it has become worse."""
        if self.before is None:
            return None
        return self.after - self.before if self.rising else self.before - self.after

    @property
    def words(self) -> str:
        """Such as "0.2100 (0.2345 before training)"."""
        where = f", {self.where}" if self.where else ""
        return f"{self.after:.4f}" + ("" if self.before is None else f" ({self.before:.4f} before training{where})")


def some_blocks(count: int | None, whole: int) -> str:
    """On how many held-out blocks a loss was taken; "" where that is all of them, or not known.

    >>> some_blocks(44, 190), some_blocks(44, 0), some_blocks(None, 190)
    ('on 44 of 190 held-out blocks', 'on 44 held-out blocks', '')
    """
    if count is None or count >= whole > 0:
        return ""
    return f"on {count:,} of {whole:,} held-out blocks" if whole else f"on {count:,} held-out blocks"


def quality_name(kind: str, quality: str = LOSS) -> str:
    """What `Held.loss` is, in a few words: by itself, or 1 - it for those in `UPWARDS`."""
    return ACCURACY_NAME if quality == ACCURACY else NAMES[kind]


def loss_words(kind: str, quality: str = LOSS) -> str:
    """What `Held.loss` is, for a card."""
    return LONG_ACCURACY if quality == ACCURACY else LONG[kind]


def parts_words(parts: Mapping[str, float]) -> str:
    """What a loss was made of, in brackets; nothing where it is a figure by itself.

    >>> parts_words({"words": 0.5, "next_sentence": 0.75}), parts_words({})
    (' (1 - accuracy of masked words 0.5000, next sentences 0.7500)', '')
    """
    listed = ", ".join(f"{PARTS.get(name, name)} {value:.4f}" for name, value in parts.items())
    return f" (1 - accuracy of {listed})" if parts else ""


def accuracy_loss(parts: Mapping[str, float]) -> float:
    """1 - the mean of the two accuracies."""
    return 1.0 - (parts[WORDS] + parts[NEXT_SENTENCE]) / 2


def check_quality(quality: str, teacher: str, kind: str, recipe: str, weights: Mapping[str, float]) -> None:
    """An `InputError` where students of a kind of teacher, trained by a recipe, have no such quality."""
    if quality not in QUALITIES:
        raise unknown("quality", quality, QUALITIES)
    if quality == LOSS:
        return
    if kind != "mlm":
        raise InputError(
            f'quality = "{quality}" is that of hidden words and next sentences, and {teacher} is of kind {kind!r}, '
            f'whose students fill in no words: take a masked-LM teacher, or quality = "{LOSS}"'
        )
    if not weights.get(NEXT_SENTENCE):
        raise InputError(
            f'quality = "{quality}" asks whether sentences follow each other, and nothing in the recipe {recipe!r} '
            f'trains students to tell: choose the recipe "mobilebert", or add {NEXT_SENTENCE} to its weights'
        )
