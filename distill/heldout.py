"""The loss of a student on held-out blocks: the one quality figure that is comparable across shapes.

Embedding teachers: 1 - Spearman correlation of all pairwise cosines, student against teacher. Masked-LM
teachers: the cross-entropy of the hidden words, the same words for every student.
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

from .data import BlockArray, Text
from .precision import autocast
from .recipes import View
from .targets import make_batch
from .teacher import Teacher

ROWS = 32
MASK = 0.15


def heldout_loss(
    teacher: Teacher, text: Text, model: Any, architecture: Architecture, precision: str = "float32"
) -> float:
    """The loss of a student's model; lower is better. A `TrialError` when it is not a number."""
    training = model.training
    model.eval()
    try:
        if teacher.kind == "embedding":
            loss = 1.0 - agreement(
                _embed(model, architecture, text.heldout, precision), teacher_embeddings(teacher, text)
            )
        else:
            loss = _masked_loss(teacher, text, model, precision)
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
    content = f"1 {teacher.weights_sha256} {text.sha256} {teacher.pooling}"
    path = targets_folder() / f"heldout-{hashlib.sha256(content.encode()).hexdigest()[:32]}.safetensors"
    try:
        with safe_open(str(path), framework="pt") as file:
            known: Tensor = file.get_tensor("embeddings")
            return known
    except (OSError, SafetensorError):
        own = family(teacher.facts.family).architecture(teacher.facts)
        found = _embed(teacher.model(), own, text.heldout, "float32")
        write_atomically(path, save({"embeddings": found.contiguous()}))
        return found


def _embed(model: Any, architecture: Architecture, blocks: BlockArray, precision: str) -> Tensor:
    """(h, w) embeddings of blocks (h, block), as they are served."""
    serve = family(architecture.family).serve
    parts = []
    with torch.inference_mode(), autocast(precision):
        for start in range(0, len(blocks), ROWS):
            ids = torch.from_numpy(blocks[start : start + ROWS].astype(np.int64))
            parts.append(serve(model, architecture, ids, torch.ones_like(ids)).float())
    return torch.cat(parts).clone()


def _masked_loss(teacher: Teacher, text: Text, model: Any, precision: str) -> float:
    total, count = 0.0, 0
    for start in range(0, len(text.heldout), ROWS):
        batch = make_batch(teacher, text.heldout[start : start + ROWS], View(), MASK, (1 << 30, start))
        with torch.inference_mode(), autocast(precision):
            hidden = model.base_model(input_ids=batch.input_ids).last_hidden_state
            logits = model.cls.predictions(hidden.flatten(0, 1)[batch.masked])
        total += float(F.cross_entropy(logits.float(), batch.labels, reduction="sum"))
        count += len(batch.labels)
    return total / count
