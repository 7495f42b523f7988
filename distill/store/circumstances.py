"""What a training ran on: kept with each trial, no part of its key.

Students of one key are equal bit for bit only where threads and ISA are equal: else sums are taken in another order.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from accelerate import Accelerator

PACKAGES = ("distilsearch", "torch", "transformers", "accelerate")


def circumstances(accelerator: Accelerator, accumulate: int) -> dict[str, Any]:
    """Plain JSON: threads, ISA, device, processes, parts of a batch, and versions."""
    return {
        "threads": torch.get_num_threads(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "device": device_name(accelerator.device),
        "processes": accelerator.num_processes,
        "accumulate": accumulate,
        "versions": versions(),
    }


def versions() -> dict[str, str | None]:
    """Of the packages that a training's bits depend on."""
    return {package: _version(package) for package in PACKAGES}


def device_name(device: torch.device) -> str:
    """The device, and which one it is where it has a name."""
    return f"{device.type} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
