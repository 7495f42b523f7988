"""Whether bfloat16 pays on this machine: measured, once for a home.

The answer is part of a student's key. So the first one is kept until hardware or torch change: if it changed with the
load of the machine, one command would not find what another has trained.
"""

import contextlib
import functools
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from distilsearch import strict
from distilsearch.home import file_lock, home, write_atomically

from .asked import PRECISIONS, precision_named

SHORT = 256  # tokens up to which attention maps are made whole
WORTH = 1.15  # bf16 rounds; it must be this much faster to be chosen


def resolve_precision(precision: str, device: str = "cpu") -> str:
    """ "float32" or "bf16"; "auto" picks the one that a short probe has found to be faster here."""
    precision = precision_named(precision)
    return _settled(device) if precision == "auto" else precision


def autocast(precision: str, device: str = "cpu") -> contextlib.AbstractContextManager[Any]:
    """The autocast context of a resolved precision."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")


class Bfloat16Kernels(TorchFunctionMode):
    """What autocast leaves slow on CPUs, within a bfloat16 model.

    Attention leaves the fused kernel, whose bfloat16 backward is many times slower than its float32 one: of short
    sequences the maps are made whole, with bfloat16 products (8 x 128 to 64 x 16 tokens, 12 heads of 32: 2.4 to 11 ms
    forward and backward, against 4.6 to 28 ms in float32); of others it runs in float32. And an input that several
    projections share, as queries, keys and values do, is rounded once; autocast rounds it for each.
    """

    def __init__(self) -> None:
        super().__init__()
        self._input: Any = None
        self._rounded: Any = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Other kernels for attention and for projections."""
        options = kwargs or {}
        if func is torch.nn.functional.linear and args[0].dtype == torch.float32 and torch.is_autocast_enabled("cpu"):
            return func(self._round(args[0]), *args[1:], **options)
        if func is torch.nn.functional.scaled_dot_product_attention and args[0].dtype == torch.bfloat16:
            return _attention(func, args, options)
        return func(*args, **options)

    def _round(self, x: Any) -> Any:
        if x is not self._input:
            self._input, self._rounded = x, x.bfloat16()
        return self._rounded


def _attention(func: Any, args: Any, options: dict[str, Any]) -> Any:
    query, key, value, *more = args
    plain = not more and not any(given for name, given in options.items() if name not in ("attn_mask", "scale"))
    if plain and options.get("attn_mask") is None and query.shape[-2] <= SHORT:
        scaled = query * (options.get("scale") or query.shape[-1] ** -0.5)  # here, not on the larger maps
        maps = (scaled @ key.transpose(-2, -1)).float().softmax(-1)  # (b, heads, s, s)
        return maps.to(value.dtype) @ value
    mask = options.get("attn_mask")
    if mask is not None and mask.is_floating_point():
        options = {**options, "attn_mask": mask.float()}
    with torch.autocast("cpu", enabled=False):
        return func(*(x.float() for x in args[:3]), *more, **options).to(query.dtype)


def kernels(precision: str, device: str = "cpu") -> contextlib.AbstractContextManager[Any]:
    """A context for training beside autocast: `Bfloat16Kernels` where they pay, else one that does nothing."""
    if precision == "bf16" and device == "cpu":
        return Bfloat16Kernels()
    return contextlib.nullcontext()


def _settled(device: str) -> str:
    """What the first probe on this hardware, with this torch, has said, in all processes of a home."""
    machine = json.dumps([device, _hardware(device), torch.backends.cpu.get_cpu_capability(), torch.__version__])
    path = home() / "precision" / f"{hashlib.sha256(machine.encode()).hexdigest()[:32]}.json"
    with file_lock(path.with_suffix(".lock")):  # two probes at once would disturb each other
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            settled = strict.read_json(path)["precision"]
            if settled in PRECISIONS:
                return str(settled)
        answer = _faster(device)
        write_atomically(path, json.dumps({"precision": answer, "machine": json.loads(machine)}))
    return answer


def _hardware(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    return ""


@functools.cache
def _faster(device: str) -> str:
    generator = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(384, 1536)
    inputs = torch.randn(1024, 384, generator=generator).to(device)
    layer = layer.to(device)
    times: dict[str, float] = dict.fromkeys(PRECISIONS, float("inf"))
    for _ in range(8):
        for precision in PRECISIONS:
            times[precision] = min(times[precision], _step_seconds(layer, inputs, precision, device))
    return "bf16" if times["bf16"] * WORTH < times["float32"] else "float32"


def _step_seconds(layer: torch.nn.Linear, inputs: torch.Tensor, precision: str, device: str) -> float:
    start = time.perf_counter()
    for _ in range(3):
        with autocast(precision, device):
            loss = layer(inputs).square().mean()
        torch.autograd.grad(loss, layer.weight)[0].sum().item()
    return time.perf_counter() - start
