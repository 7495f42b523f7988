"""The loss of a student on held-out blocks: the one quality figure that is comparable across shapes.

Embedding teachers: 1 - Spearman correlation of all pairwise cosines, student against teacher. Masked-LM
and decoder teachers: the cross-entropy of the hidden or next words, the same words for every student.
"""

import hashlib
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from scipy.stats import spearmanr
from torch import Tensor

from distilsearch.architecture import Architecture
from distilsearch.errors import TrialError
from distilsearch.families import family
from distilsearch.home import targets_folder, write_atomically

from .batch import make_batch
from .cache import outputs_key
from .data import BlockArray, Text
from .ending import Ending
from .precision import autocast
from .recipes import View
from .teacher import Teacher

ROWS = 32
MASK = 0.15
CHUNK = 1024  # rows of logits at a time


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
    training = model.training
    model.eval()
    try:
        if teacher.kind == "embedding":
            loss = 1.0 - agreement(
                _embed(model, architecture, ending or teacher.ending, text.heldout, precision),
                teacher_embeddings(teacher, text),
            )
        else:
            loss = _word_loss(teacher, text, model, architecture, precision)
    finally:
        model.train(training)
    if not np.isfinite(loss):
        raise TrialError("the held-out loss is not a number: the student's outputs have diverged or collapsed")
    return loss


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
        embeddings = _embed(teacher.model(), own, teacher.ending, text.heldout, "float32")
        write_atomically(path, save({"embeddings": embeddings.contiguous()}))
        return embeddings


def _embed(model: Any, architecture: Architecture, ending: Ending, blocks: BlockArray, precision: str) -> Tensor:
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


def _word_loss(teacher: Teacher, text: Text, model: Any, architecture: Architecture, precision: str) -> float:
    """Cross-entropy of the masked or next words."""
    total, count = 0.0, 0
    kind, device = family(architecture.family), next(model.parameters()).device
    for start in range(0, len(text.heldout), ROWS):
        batch = make_batch(teacher, text.heldout[start : start + ROWS], View(), MASK, (1 << 30, start)).to(device)
        with torch.inference_mode(), autocast(precision, device.type):
            hidden = kind.encode(model, {"input_ids": batch.input_ids}).last_hidden_state.flatten(0, 1)
            for place in range(0, len(batch.labels), CHUNK):
                chosen = hidden[batch.masked[place : place + CHUNK]]
                logits = kind.decode(model, kind.transform(model, chosen)).float()
                labels = batch.labels[place : place + CHUNK]
                total += float(F.cross_entropy(logits, labels, reduction="sum"))
        count += len(batch.labels)
    return total / count
