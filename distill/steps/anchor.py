"""A student handed back between where its training ended and where it began: WiSE-FT's average (arXiv 2109.01903).

Notation
    a          share of the start: 0 hands back what training has made
    s, e       weights at the start and at the end; handed back is e + a (s - e)

Only the student's own weights are averaged. Heads of losses stand beside it and are thrown away.
"""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


class Anchor:
    """The weights that a student starts with, and the share of them that it is handed back with."""

    def __init__(self, parameters: Sequence[Tensor], share: float) -> None:
        self._parameters, self._share = list(parameters), share
        self._start = [parameter.detach().clone() for parameter in parameters] if share else []

    def pull(self) -> None:
        """Go the share of the way back to the start."""
        with torch.no_grad():
            for parameter, start in zip(self._parameters, self._start, strict=False):
                parameter.lerp_(start, self._share)

    @contextlib.contextmanager
    def pulled(self) -> Iterator[None]:
        """The weights as they would be handed back, for as long as they are looked at; then training goes on."""
        ends = [parameter.detach().clone() for parameter in self._parameters] if self._share else []
        self.pull()
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, end in zip(self._parameters, ends, strict=False):
                    parameter.copy_(end)
