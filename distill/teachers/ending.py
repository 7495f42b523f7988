"""What follows the transformer of an embedding model: the pooling of its tokens' states, and the modules after it.

A student's ending is its teacher's: only the first Dense module is cut, to read the student's directions instead of the
teacher's. It is not trained, the transformer before it is.

Notation
    n, s       texts, tokens a text
    v, w       width of the teacher, of the student
    i, o       what a Dense module reads and gives
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distilsearch.families.shared import pooled_tokens

ACTIVATIONS: Mapping[str, type[nn.Module]] = {  # that a Dense module may have, by their class names
    cls.__name__: cls for cls in (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid)
}


@dataclass(frozen=True, eq=False)
class Normalize:
    """The module that gives every vector unit length."""

    def __call__(self, vectors: Tensor) -> Tensor:
        """(n, o) -> (n, o)."""
        return F.normalize(vectors, dim=-1)


@dataclass(frozen=True, eq=False)
class Dense:
    """A linear module and what it ends with, of `ACTIVATIONS`."""

    weight: Tensor  # (o, i)
    bias: Tensor | None  # (o,)
    activation: str = "Tanh"

    def __call__(self, vectors: Tensor) -> Tensor:
        """(n, i) -> (n, o)."""
        weight, bias = (x if x is None else x.to(vectors.device) for x in (self.weight, self.bias))
        made: Tensor = ACTIVATIONS[self.activation]()(F.linear(vectors, weight, bias))  # type: ignore[arg-type]
        return made

    def cut(self, basis: Tensor) -> "Dense":
        """The same for a student whose directions are the columns of `basis` (v, w)."""
        return replace(self, weight=(self.weight @ basis.to(self.weight)).contiguous())


@dataclass(frozen=True, eq=False)
class Ending:
    """From the states of a text's tokens to its vector.

    Args:
        pooling: one of `families.shared.POOLS`.
        modules: what follows the pooling, in order.
        truncate: how many of the vector's first numbers count; None for all.
        skip: how many first tokens are left out of the pooling: those of a prompt that is not pooled.
    """

    pooling: str = "mean"
    modules: tuple[Dense | Normalize, ...] = (Normalize(),)
    truncate: int | None = None
    skip: int = 0

    @property
    def projects(self) -> bool:
        """Whether vectors are in a space of their own, and not in the directions of the transformer's states."""
        return self.truncate is not None or any(isinstance(module, Dense) for module in self.modules)

    @property
    def width(self) -> int | None:
        """The width that it reads; None where it reads any."""
        return next((int(module.weight.shape[1]) for module in self.modules if isinstance(module, Dense)), None)

    def vectors(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """(n, o) vectors of the states (n, s, w) of texts with their mask (n, s), or of texts without padding."""
        made = self._pooled(hidden, mask)
        for module in self.modules:
            made = module(made)
        return made[:, : self.truncate]

    def units(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """The same in float32, of unit length: what cosines are taken of."""
        made = self._pooled(hidden, mask).float()
        last = bool(self.modules) and isinstance(self.modules[-1], Normalize)  # once is enough
        for module in self.modules[:-1] if last else self.modules:
            made = module(made)
        return F.normalize(made[:, : self.truncate], dim=-1)

    def cut(self, basis: Tensor) -> "Ending":
        """The ending of a student whose directions are the columns of `basis` (v, w)."""
        if self.width is None or unturned(basis):
            return self
        place = next(i for i, module in enumerate(self.modules) if isinstance(module, Dense))
        first = self.modules[place]
        assert isinstance(first, Dense)
        return replace(self, modules=(*self.modules[:place], first.cut(basis), *self.modules[place + 1 :]))

    def _pooled(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None and self.pooling == "mean":
            return hidden[:, self.skip :].mean(1)
        mask = torch.ones(hidden.shape[:2], dtype=torch.long, device=hidden.device) if mask is None else mask
        made: Tensor = pooled_tokens(hidden, mask, self.pooling, self.skip)
        return made


def unturned(basis: Tensor) -> bool:
    """Whether a basis (v, w) is the teacher's own coordinates, as they stand."""
    return basis.shape[0] == basis.shape[1] and torch.equal(basis, torch.eye(len(basis)).to(basis))


PLAIN = Ending()
"""The mean of all tokens, of unit length."""
