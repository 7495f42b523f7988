"""The devices that can be profiled, one file each; `DEVICES` lists them.

A new device is one file with a class that fulfils `profiling.device.Device`, and one line here.
"""

from collections.abc import Callable

from distilsearch.errors import DeviceError, unknown

from ..device import Device


def _xla() -> Device:
    from .xla import XlaDevice

    return XlaDevice()


def _cuda() -> Device:
    from .cuda import CudaDevice

    return CudaDevice()


def _cpu() -> Device:
    from .cpu import CpuDevice

    return CpuDevice()


DEVICES: dict[str, Callable[[], Device]] = {"xla": _xla, "cuda": _cuda, "cpu": _cpu}
"""How to open each known device, best first for `auto`; opening raises `DeviceError` where it is not there."""


def open_device(name: str | Device = "auto") -> Device:
    """The device of that name; `auto` takes the first of `DEVICES` that is there.

    Raises `InputError` for a name nobody knows, `DeviceError` for a device that this machine has not.
    """
    if not isinstance(name, str):
        return name
    if name != "auto":
        if name not in DEVICES:
            raise unknown("device", name, [*DEVICES, "auto"])
        return _opened(name)
    for candidate in DEVICES:
        try:
            return DEVICES[candidate]()
        except DeviceError:
            continue
    raise DeviceError(f"none of the devices {', '.join(DEVICES)} is there")


def _opened(name: str) -> Device:
    try:
        return DEVICES[name]()
    except DeviceError as error:
        there = ", ".join(available_devices()) or "none"
        raise DeviceError(f"the device {name!r} is not there ({error}); there are: {there}") from error


def available_devices() -> list[str]:
    """Names of the devices that this machine has, best first."""
    names = []
    for name, opening in DEVICES.items():
        try:
            opening()
        except DeviceError:
            continue
        names.append(name)
    return names
