"""The map over the vocabulary's table is folded away: what remains is a plain model with the same outputs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from distilsearch.distill.recipes import EMBEDDING
from distilsearch.distill.steps.adapt import AdaptedEmbedding, adapt, fold
from distilsearch.distill.students.student import build_student
from distilsearch.distill.targets.targets import Targets
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.data import Text
from distilsearch.distill.training import distill_student


def test_folding_keeps_the_outputs(teacher: Teacher, text: Text, make_architecture: Callable[..., Any]) -> None:
    model, basis = build_student(teacher, make_architecture(teacher), text)
    ids = Targets(teacher, text, EMBEDDING, "float32").batch(0).input_ids
    before = model(input_ids=ids).last_hidden_state
    adapt(model, teacher.model(), basis)
    names = set(model.state_dict())
    assert isinstance(model.embeddings.word_embeddings, AdaptedEmbedding)
    torch.testing.assert_close(model(input_ids=ids).last_hidden_state, before, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        model.embeddings.word_embeddings.map.mul_(1.5)
    moved = model(input_ids=ids).last_hidden_state
    fold(model)
    assert type(model.embeddings.word_embeddings) is torch.nn.Embedding
    torch.testing.assert_close(model(input_ids=ids).last_hidden_state, moved, rtol=1e-4, atol=1e-5)
    assert set(model.state_dict()) != names


def test_each_way_to_train_embeddings(teacher: Teacher, text: Text, make_architecture: Callable[..., Any]) -> None:
    architecture = make_architecture(teacher)
    start, _ = build_student(teacher, architecture, text)
    table = start.embeddings.word_embeddings.weight
    for mode, moves in (("none", False), ("adapt", True), ("all", True)):
        recipe = replace(EMBEDDING, batch_tokens=256, embeddings=mode)
        student = distill_student(teacher, architecture, text, recipe, 1_000, precision="float32")
        assert torch.equal(student.model.embeddings.word_embeddings.weight, table) != moves
