"""How many held-out blocks the students of a run are measured on, where its file leaves that open.

A loss costs a pass over all of them, at the end of every training: of a large text more than a short training itself.
So a run has as many as take a tenth of its trials, and keeps that number in its folder. It is part of what names a
text: a text of which the home has students, measured on all, stays what it is.
"""

from distilsearch.distill import FLASH_TOKENS
from distilsearch.distill.cache import outputs_key
from distilsearch.distill.runs import EVALUATIONS
from distilsearch.distill.sparing import settled
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.data import MOST_HELDOUT, Text, measured_on
from distilsearch.progress import Progress

from ..runfile.config import Run
from .budget import USUAL_MINUTES


def settled_heldout(run: Run, teacher: Teacher, text: Text, progress: Progress) -> tuple[Run, Text]:
    """The run with the number of blocks that it measures on, and its text with so many.

    Args:
        text: with all of its held-out blocks, where the run leaves it open.
    """
    if run.text_heldout != "auto":
        return run, text
    tokens, whole = about_tokens(run), len(text.heldout)
    blocks = settled(tokens, whole, text.block, len(EVALUATIONS) - 1)
    shared = bool(run.storage.url)  # several searches of one study have homes of their own, and must measure alike
    if blocks < whole and (shared or not _measured(teacher, text)):
        progress(f"students are measured on {blocks:,} of {whole:,} held-out blocks: a trial has few tokens", 0, 0)
        return run.model_copy(update={"text_heldout": blocks}), measured_on(text, blocks)
    return run.model_copy(update={"text_heldout": MOST_HELDOUT}), text


def about_tokens(run: Run) -> int:
    """How long trials are, before there is a plan; 0 where they train nothing."""
    if run.lengths == (0,) and not run.minutes:
        return 0
    return run.train.flash_tokens or round(FLASH_TOKENS * run.minutes / USUAL_MINUTES)


def _measured(teacher: Teacher, text: Text) -> bool:
    """Whether the home has students of a text that were measured on all it holds out."""
    names = (outputs_key(teacher), text.sha256)
    return any((trial.training.teacher, trial.training.text) == names for trial in Archive().trials())
