"""Who runs a model on a device, one file each; `RUNTIMES` lists them: what is timed is what the runtime makes of it.

Torch's modes are runtimes of their own, under the names that `Serving.mode` gives them; any other runtime stands under
the name that `Serving.runtime` gives it. What a runtime adds to the stack tells its tables from those of others.
"""

from collections.abc import Callable, Sequence

from distilsearch.errors import DeviceError, unknown
from distilsearch.operators import MODES, PHASES, TORCH, Serving

from ..device import Device, Facts
from .runtime import Host as Host
from .runtime import OwnSentinel as OwnSentinel
from .runtime import Runtime as Runtime


def _eager() -> Runtime:
    from .eager import Eager

    return Eager()


def _compiled() -> Runtime:
    from .compiled import Compiled

    return Compiled()


def _graph() -> Runtime:
    from .graph import Graph

    return Graph()


def _onnxruntime() -> Runtime:
    from .onnxruntime import OnnxRuntime

    return OnnxRuntime()


def _openvino() -> Runtime:
    from .openvino import OpenVino

    return OpenVino()


def _tensorrt() -> Runtime:
    from .tensorrt import TensorRt

    return TensorRt()


RUNTIMES: dict[str, Callable[[], Runtime]] = {
    "eager": _eager,
    "compile": _compiled,
    "graph": _graph,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "tensorrt": _tensorrt,
}
"""How to open each known runtime; opening loads no library."""


def runtime_names() -> list[str]:
    """What `Serving.runtime` may be: torch, and whatever is no mode of torch's."""
    return [TORCH, *(name for name in RUNTIMES if name not in MODES)]


def named(runtime: str, mode: str = "eager") -> Runtime:
    """The runtime of a name, torch's by mode; `InputError` names the known ones."""
    if runtime not in runtime_names():
        raise unknown("runtime", runtime, runtime_names())
    return RUNTIMES[mode if runtime == TORCH else runtime]()


def runtime_of(serving: Serving, device: str, dtypes: Sequence[str]) -> Runtime:
    """The runtime that a serving means on a device, which serves in `dtypes` by itself.

    Raises `InputError` for a runtime nobody knows, `DeviceError` where the device cannot be served so.
    """
    runtime = named(serving.runtime, serving.mode)
    if device not in runtime.devices:
        if serving.runtime != TORCH:
            raise DeviceError(f"{serving.runtime} runs on {' or '.join(runtime.devices)}; got the device {device!r}")
        modes = [mode for mode in MODES if device in RUNTIMES[mode]().devices]
        raise DeviceError(f"the {device} serves {' or '.join(modes)}; got mode {serving.mode!r}")
    served = runtime.dtypes or dtypes
    if serving.dtype not in served:
        who = f"the {device}" if serving.runtime == TORCH else serving.runtime
        others = [name for name in runtime_names() if name != TORCH and serving.dtype in named(name).dtypes]
        more = f" (runtime {' or '.join(map(repr, others))} serves that)" if others else ""
        raise DeviceError(f"{who} serves {' or '.join(served)}; got dtype {serving.dtype!r}{more}")
    if serving.phase not in (phases := getattr(runtime, "phases", PHASES)):
        raise DeviceError(f"{serving.runtime} serves the phase {' or '.join(phases)} here; got {serving.phase!r}")
    return runtime


def stack_of(device: Device, runtime: str = TORCH) -> Facts:
    """What a device's tables of a runtime are told apart by: the device's stack, and what the runtime adds."""
    return {**device.stack(), **named(runtime).facts()}
