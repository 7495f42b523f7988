"""How fast a machine trains: steps of a stand-in as small as a student, forward, backward and AdamW.

Whether two trainings of one thread make more than one of two is asked of the machine with these steps, before any
teacher or text is loaded.
"""

import time
from typing import Any

import torch
from torch import Tensor, nn

from distilsearch.distill.compute.precision import autocast, kernels, resolve_precision
from distilsearch.distill.compute.processes import accelerator_for
from distilsearch.progress import Between

LAYERS, WIDTH, HEADS, FFN = 2, 256, 4, 768
BATCH, SEQUENCE = 8, 128  # tokens of a step: as many as recipes take
WARM_UP = 2


def probed(device: str, seconds: float, precision: str, between: Between) -> dict[str, Any]:
    """The precision that was asked for, resolved here, and steps and tokens a second with it."""
    place = accelerator_for(device).device.type
    chosen = resolve_precision(precision, place)
    step = StandIn(place, chosen).step
    for _ in range(WARM_UP):
        step()
    started, steps = time.perf_counter(), 0
    while steps == 0 or time.perf_counter() - started < seconds:
        step()
        steps += 1
        between()
    rate = steps / (time.perf_counter() - started)
    return {"precision": chosen, "steps_per_second": rate, "tokens_per_second": rate * BATCH * SEQUENCE}


class StandIn:
    """A training of random tokens."""

    def __init__(self, device: str, precision: str) -> None:
        self._device, self._precision = device, precision
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layers = [nn.TransformerEncoderLayer(WIDTH, HEADS, FFN, 0.0, batch_first=True) for _ in range(LAYERS)]
            self._model = nn.Sequential(*layers).to(device)
            self._inputs = torch.randn(BATCH, SEQUENCE, WIDTH).to(device)
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=1e-4, fused=True)

    def step(self) -> None:
        """One optimiser step, to its end."""
        self._optimizer.zero_grad(set_to_none=True)
        with kernels(self._precision, self._device), autocast(self._precision, self._device):
            outputs: Tensor = self._model(self._inputs)
        loss = outputs.float().square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        loss.item()  # waits for the device
