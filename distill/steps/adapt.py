"""Word embeddings that learn as a whole: the teacher's frozen table times one small trained matrix.

A short run meets few of the vocabulary's words. A matrix over the whole table moves those it never sees along
with those it does, costs a fraction of the table's own gradient, and is folded into the table at the end: the
saved student is stock. Where a model's table is, transformers says of every model; whether a map can stand for it, its
family (`Family.words_mapped`).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class AdaptedEmbedding(torch.nn.Module):
    """ids -> table[ids] @ map: `table` (vocabulary, v) stays, `map` (v, w) is trained."""

    table: Tensor

    def __init__(self, table: Tensor, basis: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table, persistent=False)
        self.map = torch.nn.Parameter(basis.clone())

    def forward(self, ids: Tensor) -> Tensor:
        """(n, s) ids -> (n, s, w)."""
        return F.embedding(ids, self.table) @ self.map


def adapt(model: Any, teacher: Any, basis: Tensor) -> None:
    """Put the teacher's table and a trainable map in place of the student's own word embeddings."""
    table = teacher.get_input_embeddings().weight.detach()
    model.set_input_embeddings(AdaptedEmbedding(table, basis))


def fold(model: Any) -> None:
    """Put a plain embedding back, with the map multiplied into its table; a model without a map stays."""
    adapted = model.get_input_embeddings()
    if isinstance(adapted, AdaptedEmbedding):
        with torch.no_grad():
            table = adapted.table @ adapted.map
        padding = model.config.pad_token_id
        model.set_input_embeddings(torch.nn.Embedding(len(table), table.shape[1], padding_idx=padding, _weight=table))


def word_table(model: Any) -> Tensor | None:
    """The parameter (vocabulary, w) that words are looked up in; none while a map stands in its place."""
    table: Tensor | None = getattr(model.get_input_embeddings(), "weight", None)
    return table
