"""Fine-tuning a stock checkpoint on rows with labels: transformers' own model for sequences, with a fresh head.

Any family that transformers has such a model for serves: encoders with or without a head, and decoders, whose last
token decides. What of the model's surroundings says how text is read holds here too (lower-casing, its longest input),
but no prompt: the model learns its task anew. Dropout is the same for all models, since students are saved without.

Everything follows from a seed: the fresh head, the order of rows, dropout. Batches are of rows of similar length, so
that a CPU does not spend its time on padding.

Notation
    n   rows        s   tokens of the longest row of a batch        o   outputs: one a class, or the score alone
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss
from transformers import AutoModelForSequenceClassification
from transformers.utils import logging as transformers_logging

from distilsearch.arrays import FloatArray
from distilsearch.errors import TeacherError, TrialError

from ..teachers.teacher import Teacher, quiet
from .glue_files import Examples

WARM_UP, DECAY, CLIP = 0.1, 0.01, 1.0  # share of the steps; of weights; the largest norm of a gradient
WINDOW = 16  # batches whose rows are sorted by length together


Told = Callable[[float], None]
"""Is told the share of a training that is done; it may take its time, or raise `Interrupted`."""


def silent_of(share: float) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Schedule:
    """How a model is fine-tuned: AdamW, a rate that rises for a tenth of the steps and then falls to nothing."""

    rate: float
    epochs: int
    batch: int
    dropout: float


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows as a model reads them: token ids and types, one list a row, and labels (n,)."""

    ids: Sequence[Sequence[int]]
    types: Sequence[Sequence[int]]
    labels: FloatArray
    pad: int

    def batch(self, rows: npt.NDArray[np.int64]) -> dict[str, Tensor]:
        """Ids, types and mask (n, s) of some rows."""
        longest = max(len(self.ids[row]) for row in rows)
        ids = torch.full((len(rows), longest), self.pad, dtype=torch.int64)
        types, mask = torch.zeros_like(ids), torch.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : len(self.ids[row])] = torch.tensor(self.ids[row])
            types[place, : len(self.ids[row])] = torch.tensor(self.types[row])
            mask[place, : len(self.ids[row])] = 1
        return {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each row (n,)."""
        return np.array([len(ids) for ids in self.ids])


def tokens(teacher: Teacher, examples: Examples, length: int) -> Rows:
    """Rows in a model's tokens: two sentences as its tokenizer pairs them, the longer one cut first.

    A decoder's tokenizer pairs none, so there they are two lines of one text.
    """
    reader = Tokenizer.from_str(teacher.reader.to_str())  # its own: cutting is switched on in place
    reader.enable_truncation(min(length, teacher.longest), strategy="longest_first")
    lined = teacher.kind == "causal"
    texts: list[Any] = ["\n".join(row) if lined or len(row) == 1 else row for row in examples.texts]
    encodings = reader.encode_batch_fast(texts)
    pad = teacher.tokenizer.pad_token_id
    return Rows(
        ids=[encoding.ids for encoding in encodings],
        types=[encoding.type_ids for encoding in encodings],
        labels=examples.labels,
        pad=int(pad if pad is not None else teacher.tokenizer.eos_token_id or 0),
    )


def fine_tuned(
    teacher: Teacher, rows: Rows, outputs: int, schedule: Schedule, seed: int, told: Told = silent_of
) -> Any:
    """A model with a fresh head, trained on rows; `told` is called before each step.

    Raises:
        TeacherError: transformers has no such model for its checkpoint.
        TrialError: the loss is no number any more.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _classifier(teacher, outputs, rows.pad, schedule.dropout).train()
        order = np.random.default_rng(seed)
        epochs = [batches(rows.lengths, schedule.batch, order) for _ in range(schedule.epochs)]
        _train(model, rows, [batch for epoch in epochs for batch in epoch], schedule.rate, told)
    return model.eval()


def answers(model: Any, rows: Rows, batch: int = 64, told: Told = silent_of) -> Tensor:
    """What a model gives for each row (n, o); `told` is called before each batch."""
    order = np.argsort(rows.lengths, kind="stable")
    with torch.inference_mode():
        parts: list[Tensor] = []
        for start in range(0, len(order), batch):
            told(1.0)
            parts.append(_given(model, rows.batch(order[start : start + batch])))
    return torch.cat(parts)[torch.from_numpy(np.argsort(order))].clone()


def loss_of(outputs: Tensor, labels: FloatArray) -> Tensor:
    """Cross-entropy of classes; of scores the mean squared error."""
    if outputs.shape[1] == 1:
        return mse_loss(outputs[:, 0], torch.from_numpy(labels).float())
    return cross_entropy(outputs, torch.from_numpy(labels).long())


def batches(lengths: npt.NDArray[np.int64], size: int, order: np.random.Generator) -> list[npt.NDArray[np.int64]]:
    """Every row once, in batches of similar length and random order: numbers of rows, `size` or fewer a batch."""
    rows = order.permutation(len(lengths))
    cut: list[npt.NDArray[np.int64]] = []
    for start in range(0, len(rows), size * WINDOW):
        window = rows[start : start + size * WINDOW]
        window = window[np.argsort(lengths[window], kind="stable")]
        cut += [window[i : i + size] for i in range(0, len(window), size)]
    return [cut[place] for place in order.permutation(len(cut))]


@contextlib.contextmanager
def threads(count: int | None) -> Iterator[None]:
    """So many threads of torch within; as it is where none are named."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _classifier(teacher: Teacher, outputs: int, pad: int, dropout: float) -> Any:
    verbosity = transformers_logging.get_verbosity()
    settings: dict[str, Any] = {"num_labels": outputs, "pad_token_id": pad}
    settings |= {"hidden_dropout_prob": dropout} if hasattr(teacher.config, "hidden_dropout_prob") else {}
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # that its head is fresh is meant
    try:
        with quiet():
            return AutoModelForSequenceClassification.from_pretrained(
                str(teacher.folder),
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                **settings,
            )
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise TeacherError(
            f"{teacher.name} cannot be fine-tuned: transformers loads no sequence classifier from {teacher.folder}"
            f" ({error})"
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)


def _train(model: Any, rows: Rows, steps: Sequence[npt.NDArray[np.int64]], rate: float, told: Told) -> None:
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": DECAY},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=rate)
    rise = max(1, round(WARM_UP * len(steps)))
    for step, batch in enumerate(steps):
        told(step / len(steps))
        share = min((step + 1) / rise, (len(steps) - step) / max(1, len(steps) - rise))
        for group in optimiser.param_groups:
            group["lr"] = rate * share
        loss = loss_of(_given(model, rows.batch(batch)), rows.labels[batch])
        if not torch.isfinite(loss):
            raise TrialError(f"fine-tuning at the learning rate {rate:g} diverged after {step} steps: the loss is none")
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()


def _given(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """The outputs (n, o) of a model for a batch, whichever of the inputs it takes."""
    if int(getattr(model.config, "type_vocab_size", 0) or 0) < 2:
        inputs = {name: value for name, value in inputs.items() if name != "token_type_ids"}
    outputs: Tensor = model(**inputs).logits
    return outputs.float()
