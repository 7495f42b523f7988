"""Where a training begins: what it goes on from is said by whoever trains; here, why it goes on from nothing."""

from dataclasses import asdict

from distilsearch.architecture import Architecture

from ..job import Training
from .archive import Archive

NAMED = {"text": "text", "recipe": "recipe", "seed": "seed", "precision": "precision", "share": "share of the text",
         "quality": "quality", "start": "super-network", "prompt": "prompt", "tokenizer": "tokenizer",
         "frame": "frame"}  # fmt: skip


def anew(archive: Archive, training: Training, architecture: Architecture) -> str:
    """Why a student starts anew though it was trained for less before; "" where it was not, or goes on.

    Of several former trainings the one that differs in least, and of these the longest, is named.
    """
    if archive.of(training, architecture) is not None or archive.trunks(training, architecture):
        return ""
    former = [
        (len(differing := _differing(trial.training, training)), -trial.tokens, differing)
        for trial in archive.trials()
        if trial.architecture == architecture
        and trial.training.teacher == training.teacher
        and trial.training.tokens < training.tokens
    ]
    if not former:
        return ""
    _, tokens, differing = min(former)
    why = f"had another {' and another '.join(differing)}" if differing else "left nothing to go on from"
    return f"{architecture.key} is trained from its start: its training on {-tokens:,} tokens {why}"


def _differing(one: Training, other: Training) -> list[str]:
    theirs = asdict(other)
    return [NAMED.get(name, name) for name, value in asdict(one).items() if name != "tokens" and value != theirs[name]]
