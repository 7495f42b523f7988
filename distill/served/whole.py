"""A checkpoint as one module that gives what its users are served: states, vectors and logits, by name.

An embedding model gives the states of all tokens and each text's vector, pooled and normalised as its folder says:
sentence-transformers pools the states by itself, a client of a runtime alone does not. A masked-LM model gives logits,
and where its files hold a head for next sentences, that head's; a decoder gives the logits of every token, and keeps no
cache between calls.

Notation
    n, s       texts, tokens a text
    w, o, v    width of the states, of the vectors; words of the vocabulary
"""

from typing import Any

import torch
from torch import Tensor, nn

from distilsearch.errors import InputError
from distilsearch.families import family

from ..students.judge import Judge, judge_of
from ..teachers.teacher import Teacher
from .artefact import FOLLOWS, IDS, LOGITS, MASK, STATES, TYPES, VECTORS

EXAMPLE = (2, 16)  # texts and tokens of the inputs that a graph is traced with; no dimension of it is kept


class Whole(nn.Module):
    """A model with what follows it. Inputs (n, s) int64, in the order of `inputs`; outputs in that of `outputs`."""

    def __init__(self, checkpoint: Teacher) -> None:
        super().__init__()
        if checkpoint.kind not in ("embedding", "mlm", "causal"):
            raise InputError(
                f"{checkpoint.name} is a model of kind {checkpoint.kind!r}, which is not served as a graph; export an"
                " embedding, masked-LM or causal one"
            )
        self.kind, self.ending = checkpoint.kind, checkpoint.ending
        self.model = checkpoint.model("cpu")
        self._family = family(checkpoint.facts.family)
        self.judge: Judge | None = judge_of(checkpoint) if checkpoint.kind == "mlm" else None
        self.inputs = (IDS, MASK, TYPES) if checkpoint.facts.types > 1 else (IDS, MASK)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what it gives."""
        if self.kind == "embedding":
            return STATES, VECTORS
        return (LOGITS,) if self.judge is None else (LOGITS, FOLLOWS)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Any:
        """States (n, s, w) and vectors (n, o); or logits (n, s, v), and of next sentences (n, 2) where it has them."""
        given = {IDS: input_ids, MASK: attention_mask} | ({} if token_type_ids is None else {TYPES: token_type_ids})
        hidden = self._family.encode(self.model, given).last_hidden_state
        if self.kind == "embedding":
            return hidden, self.ending.vectors(hidden, attention_mask)
        logits = self._family.decode(self.model, self._family.transform(self.model, hidden))
        return (logits,) if self.judge is None else (logits, self.judge(hidden[:, 0]))

    def example(self) -> dict[str, Tensor]:
        """Inputs to trace it with: two texts, the second one shorter."""
        n, s = EXAMPLE
        mask = torch.ones(n, s, dtype=torch.int64)
        mask[1, s // 2 :] = 0
        given = {IDS: torch.arange(n * s).reshape(n, s) % 5 + 5, MASK: mask, TYPES: torch.zeros_like(mask)}
        return {name: given[name] for name in self.inputs}
