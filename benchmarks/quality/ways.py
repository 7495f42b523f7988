"""The ways to a student that are compared: ours by a recipe, no training, sentence-transformers' and model2vec's.

Each gives what encodes texts, and the processor seconds that its training took. Teacher, text, tokens and thread are
equal; of the rest, sentence-transformers has what its example of distillation by layer reduction
(examples/sentence_transformer/training/distillation/model_distillation.py) has: MSELoss on sentences, batches of 64,
1e-4 after a tenth of the steps, one epoch.
"""

import os
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from quality.tasks import Encode
from torch import Tensor

from distilsearch.architecture import Architecture
from distilsearch.distill.evaluate.embedding import encode
from distilsearch.distill.recipes import Recipe
from distilsearch.distill.students.student import Student, build_student
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.data import Text
from distilsearch.distill.training import distill_student
from distilsearch.families import family

KEPT = {1: (5,), 2: (0, 3), 3: (0, 2, 4), 4: (0, 1, 3, 4)}  # layers of six, spread as the example spreads them
SHORTEST = 4  # words of a sentence
DIRECTIONS, SMOOTH, VOCABULARY_BATCH = 256, 1e-4, 256  # model2vec's defaults


@dataclass(frozen=True)
class Setting:
    """What every way is given."""

    teacher: Teacher
    text: Text
    architecture: Architecture
    tokens: int
    seed: int
    recipe: Recipe


@dataclass(frozen=True)
class Made:
    """What a way makes, and what its training has cost."""

    encode: Encode
    seconds: float = 0.0  # of the processor
    loss: float | None = None  # held-out
    layers: str = ""


def untrained(at: Setting) -> Made:
    """The student as it is cut."""
    return Made(_reads(_cut(at)))


def ours(at: Setting) -> Made:
    """A student by a recipe, its teacher asked live."""
    started = time.process_time()
    order = (at.teacher, at.architecture, at.text, at.recipe, at.tokens, at.seed, "float32")
    student = distill_student(*order, cache_limit=0)
    return Made(_reads(student), time.process_time() - started, student.loss)


def theirs(at: Setting) -> Made:
    """sentence-transformers as documented, on the layers that its example would keep."""
    model = _loaded(at)
    inner = model[0].auto_model
    layers = _kept(int(at.architecture["layers"]), len(inner.encoder.layer))
    inner.encoder.layer = torch.nn.ModuleList([inner.encoder.layer[i] for i in layers])
    inner.config.num_hidden_layers = len(layers)
    return _fitted(at, model, ", ".join(map(str, layers)))


def theirs_on_ours(at: Setting) -> Made:
    """The same on the layers, heads and units that our student has."""
    from sentence_transformers import SentenceTransformer

    with tempfile.TemporaryDirectory() as folder:
        return _fitted(at, SentenceTransformer(str(_cut(at).save(f"{folder}/cut")), device="cpu"), "")


def static(at: Setting) -> Made:
    """model2vec's static vectors of the teacher's word pieces, without any training.

    By its 0.10 (model2vec/distill, MIT): each piece alone through the teacher, 256 principal directions, weights
    a / (a + p) for Zipf's p of its place in the vocabulary; a text is the mean of its pieces. The package itself needs
    transformers below 5.4.
    """
    started = time.process_time()
    special = set(at.teacher.tokenizer.all_special_ids)
    names = at.teacher.tokenizer.convert_ids_to_tokens(range(len(at.teacher.tokenizer)))
    pieces = [i for i, name in enumerate(names) if i not in special and not re.fullmatch(r"\[unused\d+\]", name)]
    table = torch.zeros(len(names), DIRECTIONS)
    vectors = _alone(at.teacher, pieces)
    centred = (vectors - vectors.mean(0)).double()
    _, directions = torch.linalg.eigh(centred.T @ centred)
    zipf = 1 / torch.arange(2, len(pieces) + 2).double()
    weights = SMOOTH / (SMOOTH + zipf / zipf.sum())
    table[pieces] = ((centred @ directions[:, -DIRECTIONS:]) * weights[:, None]).float()

    def read(texts: Sequence[str]) -> Tensor:
        rows = at.teacher.reader.encode_batch_fast(list(texts), add_special_tokens=False)
        return torch.stack([table[row.ids].sum(0) / max(1, len(row.ids)) for row in rows])

    return Made(read, time.process_time() - started, layers="static")


WAYS: dict[str, Callable[[Setting], Made]] = {
    "untrained": untrained,
    "ours": ours,
    "sentence-transformers": theirs,
    "sentence-transformers, our layers": theirs_on_ours,
    "model2vec": static,
}


def _kept(layers: int, of: int) -> tuple[int, ...]:
    """Which layers the example would keep: 1, 4, 7 and 10 of twelve are its own."""
    return KEPT[layers] if of == 6 else tuple(int((i + 0.5) * of / layers) for i in range(layers))


def _cut(at: Setting) -> Student:
    model, basis = build_student(at.teacher, at.architecture, at.text, at.seed)
    return Student(at.architecture, model.eval(), at.teacher, 0, (), 0, 0, cut=at.teacher.ending.cut(basis))


def _reads(student: Student | Teacher) -> Encode:
    return lambda texts: encode(student, texts)


def _alone(teacher: Teacher, pieces: Sequence[int]) -> Tensor:
    """(n, v) the teacher's mean states of word pieces, each framed and alone."""
    before, after = teacher.frame
    rows = torch.tensor([[*before, piece, *after] for piece in pieces])
    read, parts = family(teacher.facts.family).encode, []
    with torch.inference_mode():
        for start in range(0, len(rows), VOCABULARY_BATCH):
            batch = rows[start : start + VOCABULARY_BATCH]
            parts.append(read(teacher.model("cpu"), {"input_ids": batch}).last_hidden_state.mean(1))
    return torch.cat(parts).clone()


def _loaded(at: Setting) -> Any:
    """The teacher as sentence-transformers has it."""
    from sentence_transformers import SentenceTransformer

    own = family(at.teacher.facts.family).architecture(at.teacher.facts)
    with tempfile.TemporaryDirectory() as folder:
        whole = Student(own, at.teacher.model("cpu"), at.teacher, 0, (), 0, 0, cut=at.teacher.ending)
        return SentenceTransformer(str(whole.save(f"{folder}/teacher")), device="cpu")


def _fitted(at: Setting, model: Any, layers: str) -> Made:
    """A student of sentence-transformers, trained on the sentences of the blocks that ours learns from."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.losses import MSELoss

    os.environ.setdefault("WANDB_DISABLED", "true")
    started, prompt = time.process_time(), at.teacher.prompt
    sentences = _sentences(at)
    labels = torch.nn.functional.normalize(encode(at.teacher, sentences).float(), dim=-1).numpy()
    rows = Dataset.from_dict({"sentence": [prompt + s for s in sentences], "label": list(labels)})
    with tempfile.TemporaryDirectory() as folder:
        asked = SentenceTransformerTrainingArguments(
            output_dir=folder, num_train_epochs=1, per_device_train_batch_size=64, learning_rate=1e-4,
            warmup_ratio=0.1, seed=at.seed, save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True,
        )  # fmt: skip
        SentenceTransformerTrainer(model=model, args=asked, train_dataset=rows, loss=MSELoss(model)).train()
    seconds = time.process_time() - started
    model.eval()

    def read(texts: Sequence[str]) -> Tensor:
        return torch.from_numpy(model.encode([prompt + t for t in texts], batch_size=64, show_progress_bar=False))

    return Made(read, seconds, layers=layers)


def _sentences(at: Setting) -> list[str]:
    """Sentences of the training blocks in their order, up to as many tokens as all ways learn from."""
    blocks = at.text.train[: max(1, round(at.tokens / at.text.block))]
    whole = at.teacher.tokenizer.batch_decode(np.asarray(blocks), skip_special_tokens=True)
    parts = [part.strip() for text in whole for part in re.split(r"(?<=[.!?;])\s+", text)]
    return [part for part in parts if len(part.split()) >= SHORTEST]
