"""The loss of a student on held-out blocks: the one quality figure that is comparable across shapes.

Embedding teachers: 1 - Spearman correlation of all pairwise cosines, student against teacher. Masked-LM
and decoder teachers: the cross-entropy of the hidden or next words, the same words for every student. Where the
quality is "accuracy": 1 - the mean of the accuracies of hidden words and of next sentences, each also told by itself.
"""

import hashlib
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from scipy.stats import spearmanr
from torch import Tensor

from distilsearch.architecture import Architecture
from distilsearch.errors import TrialError
from distilsearch.families import family
from distilsearch.home import targets_folder, write_atomically

from ..compute.precision import autocast
from ..quality import ACCURACY, LOSS, NEXT_SENTENCE, WORDS, Held, accuracy_loss
from ..students.judge import Judge, judge_of
from ..targets.cache import outputs_key
from ..teachers.ending import Ending
from ..teachers.teacher import Teacher
from ..texts.data import BlockArray, Text
from .pairs import fitted_judge, judged
from .words import ROWS, words_of


def heldout_loss(
    teacher: Teacher,
    text: Text,
    model: Any,
    architecture: Architecture,
    precision: str = "float32",
    ending: Ending | None = None,
) -> float:
    """The loss of a student's model; lower is better. A `TrialError` when it is not a number.

    Args:
        ending: of an embedding student; the teacher's where none is given.
    """
    return held_out(teacher, text, model, architecture, precision, ending).loss


def held_out(
    teacher: Teacher,
    text: Text,
    model: Any,
    architecture: Architecture,
    precision: str = "float32",
    ending: Ending | None = None,
    judge: Judge | None = None,
    most: int | None = None,
    also: Collection[int] = (),
) -> Held:
    """The loss of a student's model on held-out blocks; with a judge of pairs, its accuracies make it.

    Args:
        most: of the blocks, the first ones; all where it is None.
        also: numbers of blocks, fewer than those, whose first ones are told by themselves too.

    Raises:
        TrialError: it is not a number.
    """
    training = model.training
    model.eval()
    try:
        if judge is not None:
            held = _accuracies(teacher, text.heldout[:most], model, architecture, precision, judge)
            first = {
                n: _accuracies(teacher, text.heldout[:n], model, architecture, precision, judge).loss for n in also
            }
        elif teacher.kind == "embedding":
            own = embeddings_of(model, architecture, ending or teacher.ending, text.heldout[:most], precision)
            theirs = teacher_embeddings(teacher, text)
            held = Held(1.0 - agreement(own, theirs[: len(own)]))
            first = {n: 1.0 - agreement(own[:n], theirs[:n]) for n in also}
        else:
            held = Held(words_of(teacher, text.heldout[:most], model, architecture, precision).loss)
            first = {n: words_of(teacher, text.heldout[:n], model, architecture, precision).loss for n in also}
    finally:
        model.train(training)
    if not np.isfinite([held.loss, *first.values()]).all():
        raise TrialError("the held-out loss is not a number: the student's outputs have diverged or collapsed")
    return replace(held, first=first)


def teacher_held_out(teacher: Teacher, text: Text, quality: str = LOSS) -> Held:
    """The teacher's own loss; one without a head that judges pairs is lent one, which is said."""
    own, judge, said = family(teacher.facts.family).architecture(teacher.facts), None, ""
    if quality == ACCURACY:
        judge = judge_of(teacher)
        if judge is None:
            judge, blocks = fitted_judge(teacher, text)
            said = (
                f"the teacher has no head that tells next sentences: its accuracy in that is of one fitted on its first"
                f" token's state in {blocks:,} blocks of the training text, the model itself left as it is"
            )
    return replace(held_out(teacher, text, teacher.model(), own, judge=judge), said=said)


def _accuracies(
    teacher: Teacher, blocks: BlockArray, model: Any, architecture: Architecture, precision: str, judge: Judge
) -> Held:
    """A model that says nothing but NaN knows some words by chance, so its cross-entropy is looked at as well."""
    words = words_of(teacher, blocks, model, architecture, precision)
    follows = judged(teacher, blocks, model, architecture, judge, precision)
    parts = {WORDS: words.accuracy, NEXT_SENTENCE: follows.accuracy}
    return Held(accuracy_loss(parts) if np.isfinite(words.loss) else float("nan"), parts)


def heldout_key(teacher: Teacher, text: Text) -> str:
    """A sha256 of what a loss is held against: what the teacher says, and the text."""
    return hashlib.sha256(f"{outputs_key(teacher)} {text.sha256}".encode()).hexdigest()


def agreement(student: Tensor, teacher: Tensor) -> float:
    """Spearman correlation of the pairwise cosines of unit embeddings (h, w) against (h, v)."""
    upper = np.triu_indices(len(student), 1)
    ours, theirs = ((e.float() @ e.float().T).numpy()[upper] for e in (student, teacher))
    if not np.isfinite(ours).all() or np.ptp(ours) == 0:
        return float("nan")
    return float(spearmanr(ours, theirs).statistic)


def teacher_embeddings(teacher: Teacher, text: Text) -> Tensor:
    """The teacher's embeddings of the held-out blocks (h, v); cached."""
    content = f"2 {outputs_key(teacher)} {text.sha256}"
    path = targets_folder() / f"heldout-{hashlib.sha256(content.encode()).hexdigest()[:32]}.safetensors"
    try:
        with safe_open(str(path), framework="pt") as file:
            cached: Tensor = file.get_tensor("embeddings")
            return cached
    except (OSError, SafetensorError):
        own = family(teacher.facts.family).architecture(teacher.facts)
        embeddings = embeddings_of(teacher.model(), own, teacher.ending, text.heldout, "float32")
        write_atomically(path, save({"embeddings": embeddings.contiguous()}))
        return embeddings


def embeddings_of(model: Any, architecture: Architecture, ending: Ending, blocks: BlockArray, precision: str) -> Tensor:
    """(h, o) unit embeddings of blocks (h, block), as they are served."""
    encode, device = family(architecture.family).encode, next(model.parameters()).device
    parts = []
    with torch.inference_mode(), autocast(precision, device.type):
        for start in range(0, len(blocks), ROWS):
            ids = torch.from_numpy(blocks[start : start + ROWS].astype(np.int64)).to(device)
            mask = torch.ones_like(ids)
            hidden = encode(model, {"input_ids": ids, "attention_mask": mask}).last_hidden_state
            parts.append(ending.units(hidden, mask).cpu())
    return torch.cat(parts).clone()
