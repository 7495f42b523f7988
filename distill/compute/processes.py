"""Where training runs: accelerate's view of devices and processes, made once and the same for every run."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedDataParallelKwargs, LoggerType, broadcast

from distilsearch.errors import DeviceError, InputError

from .asked import check_device_name

SHARDED = {  # what would split a model among processes, and the variable `accelerate launch` asks for it with
    "FSDP": "ACCELERATE_USE_FSDP",
    "DeepSpeed": "ACCELERATE_USE_DEEPSPEED",
    "Megatron-LM": "ACCELERATE_USE_MEGATRON_LM",
    "a parallelism config": "ACCELERATE_USE_PARALLELISM_CONFIG",
}


def check_device(device: str) -> None:
    """A `DeviceError` where a training device is none, or is not there.

    Args:
        device: "auto" (a GPU where there is one), "cpu", "cuda" (the current GPU) or "cuda:N".
    """
    check_device_name(device)
    kind, colon, index = device.partition(":")
    if kind == "cuda" and (count := torch.cuda.device_count()) <= int(index or 0):
        there = f"{count} GPU{'s' if count > 1 else ''}, counted from 0" if count else "no GPU that torch can use"
        raise DeviceError(f"training is to run on {device!r}, and this machine has {there}; choose another device")
    if colon and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise DeviceError(f"each of several processes trains on a GPU of its own; ask for 'cuda', not {device!r}")


def accelerator_for(device: str, trackers: Sequence[str] = (), folder: Path | None = None) -> Accelerator:
    """The accelerator of this process: of one process, or of `accelerate launch`'s several.

    Precision is not its business: autocast covers the student's forward pass and no loss.
    """
    check_device(device)
    _check_processes()
    _check_trackers(trackers)
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)  # accelerate takes the current one
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)  # some losses leave the last layer's output out
    try:
        accelerator = Accelerator(
            cpu=device == "cpu",
            log_with=list(trackers) or None,
            project_dir=str(folder) if folder else None,
            kwargs_handlers=[unused],
            mixed_precision="no",
        )
    except (ValueError, ImportError) as error:
        raise InputError(
            f"accelerate refuses the trackers {list(trackers)} or the device {device!r}: {error}"
        ) from error
    if trackers:
        accelerator.init_trackers("distilsearch")
    return accelerator


def _check_processes() -> None:
    """Refuse processes that would share out the student itself."""
    sharded = [name for name, asked in SHARDED.items() if os.environ.get(asked, "false").lower() == "true"]
    if sharded:
        raise InputError(
            f"training with {' and '.join(sharded)} is not supported: every process keeps the student whole and "
            "computes a share of each batch; run `accelerate config` without it, for data-parallel (DDP) processes"
        )


def _check_trackers(trackers: Sequence[str]) -> None:
    """Refuse trackers that are not installed: accelerate would only warn."""
    there = {"all", *map(str, get_available_trackers())}
    absent = [name for name in trackers if name in map(str, LoggerType) and name not in there]
    if absent:
        raise InputError(f"the trackers {absent} are not installed; install them with pip, or choose others")


def agreed(accelerator: Accelerator, value: Any) -> Any:
    """The JSON value that the main process gives, in all processes."""
    if accelerator.num_processes == 1:
        return value
    content = json.dumps(value).encode() if accelerator.is_main_process else b""
    size = broadcast(torch.tensor([len(content)], device=accelerator.device))
    filled = torch.zeros(int(size), dtype=torch.uint8, device=accelerator.device)
    if accelerator.is_main_process:
        filled = torch.tensor(list(content), dtype=torch.uint8, device=accelerator.device)
    return json.loads(bytes(broadcast(filled).tolist()))
