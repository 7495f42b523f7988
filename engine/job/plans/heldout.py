"""How many held-out blocks the students of a run are measured on, where its file leaves that open.

A loss costs a pass over all of them, at the end of every training: of a large text more than a short training itself.
So a run has as many as take a tenth of its trials, and keeps that number in its folder. It is part of what names a
text: so that what was trained is found, the home's own number counts where it is all of them or next to that one.
Searches that share a study are told losses of one another, so the first of them says for all.
"""

from collections import Counter
from pathlib import Path

from distilsearch.distill import FLASH_TOKENS
from distilsearch.distill.heldout.sparing import STEPS, settled
from distilsearch.distill.steps.runs import EVALUATIONS
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.targets.cache import outputs_key
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.data import MOST_HELDOUT, Text, measured_on
from distilsearch.errors import RunError
from distilsearch.progress import Progress

from ..ledger import Connected, Ledger, open_storage, study_facts
from ..runfile.config import Run
from .budget import USUAL_MINUTES

NEAR = 1.5  # numbers of blocks up to so many times apart cost and tell about as much
HELDOUT = "text_heldout"  # what the ledger of a study that is shared calls it


def settled_heldout(run: Run, teacher: Teacher, text: Text, progress: Progress) -> tuple[Run, Text]:
    """The run with the number of blocks that it measures on, and its text with so many.

    Args:
        text: with all of its held-out blocks, where the run leaves it open.
    """
    if run.text_heldout != "auto":
        return run, text
    whole = len(text.heldout)
    own = _agreed(run, text, progress) if run.storage.url else _of_home(run, teacher, text)
    if (blocks := len(own.heldout)) == whole:
        return run.model_copy(update={"text_heldout": MOST_HELDOUT}), text
    progress(f"students are measured on {blocks:,} of {whole:,} held-out blocks: a trial has few tokens", 0, 0)
    return run.model_copy(update={"text_heldout": blocks}), own


def about_tokens(run: Run) -> int:
    """How long trials are, before there is a plan; 0 where they train nothing."""
    if run.lengths == (0,) and not run.minutes:
        return 0
    return run.train.flash_tokens or round(FLASH_TOKENS * run.minutes / USUAL_MINUTES)


def note_heldout(run: Run, text: Text, ledger: Ledger) -> None:
    """Let whoever comes to share a study know on how many blocks, at most, its students are measured.

    Args:
        text: as the run measures on it.

    Raises:
        RunError: the others' are measured on another number.
    """
    if not run.storage.url:
        return  # its folder says so
    own, all_of_it = run.most_heldout, len(text.heldout) < run.most_heldout
    if (noted := ledger.noted(HELDOUT)) is None:
        ledger.note(HELDOUT, own)
    elif noted != own and not (all_of_it and noted >= len(text.heldout)):
        raise RunError(
            f"the study {run.name!r} is of students that are measured on at most {noted} held-out blocks, and those of"
            f" this search would be on {own}, so that losses could not be compared: search into another folder with"
            f" text_heldout = {noted}, or under another `name`"
        )


def _blocks(run: Run, text: Text) -> int:
    """As many as take a tenth of the run's trials; all of few."""
    return settled(about_tokens(run), len(text.heldout), text.block, len(EVALUATIONS) - 1)


def _agreed(run: Run, text: Text, progress: Progress) -> Text:
    """A text as those measure on it who share the run's study, whatever their homes hold.

    A study of earlier versions says nothing of it: where it has trials, these were measured on all.
    """
    storage = open_storage(run.storage.url, Path(), progress)
    try:
        facts, trials = study_facts(storage, run.name)
    finally:
        if isinstance(storage, Connected):
            storage.close()
    return measured_on(text, int(facts.get(HELDOUT, MOST_HELDOUT if trials else _blocks(run, text))))


def _of_home(run: Run, teacher: Teacher, text: Text) -> Text:
    """A text measured on about as many blocks as a trial pays for, or on all: that of which the home has most students.

    Of a run that trains nothing it may be any number.
    """
    blocks, name = _blocks(run, text), outputs_key(teacher)
    students = Counter(trial.training.text for trial in Archive().trials() if trial.training.teacher == name)
    any_number, elsewhere = not (run.trials or run.minutes), students.keys() - {text.sha256}  # each costs a hash
    others = [step for step in STEPS if any_number or blocks <= NEAR * step <= NEAR**2 * blocks] if elsewhere else []
    texts = [*(measured_on(text, most) for most in (blocks, *others)), text]
    return max(texts, key=lambda one: students[one.sha256])  # the first one of equals
