"""The head that judges whether one text follows another, as BERT's own checkpoints keep it: pooler and relation.

It is trained beside a student that only fills in words; `whole` makes of both the stock model that has both.

Notation
    n          pairs of texts
    w, v       width of the student, of the teacher
    logits     (n, 2): that the second text follows the first, that it does not (the order of transformers)
"""

import copy
import warnings
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from ..teachers.checkpoint import headers, weight_files

if TYPE_CHECKING:
    from ..teachers.teacher import Teacher

INITIAL = 0.02  # standard deviation of BERT's initial weights
POOLER, RELATION = "pooler.dense.", "cls.seq_relationship."  # in the names of parameters


class Judge(nn.Module):
    """First tokens' states (n, w) -> logits (n, 2); `dense` is None where the type of model has no such layer."""

    def __init__(self, dense: nn.Linear | None, relation: nn.Linear) -> None:
        super().__init__()
        self.dense, self.relation = dense, relation

    @classmethod
    def undecided(cls, width: int) -> "Judge":
        """One that is to be trained; at first it holds both for as likely. The same at every call."""
        dense, relation = nn.Linear(width, width), nn.Linear(width, 2)
        with torch.no_grad():
            dense.weight.normal_(0, INITIAL, generator=torch.Generator().manual_seed(0))
            for parameter in (dense.bias, relation.weight, relation.bias):
                parameter.zero_()
        return cls(dense, relation)

    def forward(self, first: Tensor) -> Tensor:
        """Logits."""
        pooled = first if self.dense is None else torch.tanh(self.dense(first))
        made: Tensor = self.relation(pooled)
        return made

    def cut(self, basis: Tensor) -> "Judge":
        """The same for a student whose directions are the columns of `basis` (v, w): what tells most of the pooled."""
        if self.dense is None:
            return Judge(None, _linear(self.relation.weight @ basis, self.relation.bias))
        weight, width = self.relation.weight, basis.shape[1]
        tells = (weight[0] - weight[1]).abs() * self.dense.weight.norm(dim=1)
        kept = tells.argsort(descending=True, stable=True)[:width].sort().values
        dense = _linear(self.dense.weight[kept] @ basis, self.dense.bias[kept])
        return Judge(dense, _linear(weight[:, kept], self.relation.bias))


def judge_of(teacher: "Teacher") -> Judge | None:
    """The head that a masked-LM model's own files hold; none where they hold no such head."""
    files = weight_files(teacher.folder)
    parts = {part: _tensors(files, part) for part in (POOLER, RELATION)}
    width = teacher.facts.width
    relation = parts[RELATION]
    if set(relation) != {"weight", "bias"} or relation["weight"].shape != (2, width):
        return None
    pooler = parts[POOLER] if getattr(teacher.config, "classifier_activation", True) else {}
    dense = _linear(pooler["weight"], pooler["bias"]) if set(pooler) == {"weight", "bias"} else None
    return Judge(dense, _linear(relation["weight"], relation["bias"])).requires_grad_(False)


def whole(model: Any, judge: Judge) -> Any:
    """The stock model with the words' head and this one; the model itself where its type has no such model."""
    from transformers import AutoModelForPreTraining

    config = copy.deepcopy(model.config)
    if judge.dense is None and hasattr(
        config, "classifier_activation"
    ):  # as MobileBERT says that there is no such layer
        config.classifier_activation = False
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # a MobileBERT as wide as its embeddings has a table without columns of its own
        warnings.filterwarnings("ignore", "Initializing zero-element tensors", UserWarning)
        stock: Any = AutoModelForPreTraining.from_config(config)  # type: ignore[no-untyped-call]
    heads = {name: part for name in stock.state_dict() for part in (POOLER, RELATION) if part in name}
    if RELATION not in heads.values() or (POOLER in heads.values()) != (judge.dense is not None):
        return model
    own = {POOLER: judge.dense, RELATION: judge.relation}
    tensors = {name: getattr(own[part], name.rpartition(".")[2]) for name, part in heads.items()}
    left = stock.load_state_dict({**model.state_dict(), **tensors}, strict=False)
    assert not left.missing_keys, left.missing_keys
    return stock.eval()


def _tensors(files: Any, part: str) -> dict[str, Tensor]:
    """Of a head's layer the weight and the bias, by these names."""
    found: dict[str, Tensor] = {}
    for path in files:
        names = [name for name in headers((path,)) if part in name]
        with safe_open(str(path), framework="pt") as file:
            found |= {name.rpartition(".")[2]: file.get_tensor(name).float() for name in names}
    return found


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    return linear
