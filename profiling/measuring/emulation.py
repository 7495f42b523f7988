"""Is a dtype one of the device's own, or emulated? Nothing about a processor is remembered: the peak kernel is asked.

A processor without bfloat16 runs it all the same, some times slower than float32: tables and students of it take that
much longer, which nobody wants who has not been told.
"""

from dataclasses import replace

from distilsearch.operators import TORCH, Serving

from ..clock import Clock, visit, warm_up
from ..device import Device, Unsupported

EMULATED = 1.2  # times slower than float32: a dtype of its own kernels is faster, or as fast
PLAIN = "float32"


def times_slower(device: Device, serving: Serving, clock: Clock) -> float:
    """Seconds of a FLOP of the peak kernel over those in float32; 1 where the serving's dtype cannot be asked."""
    if serving.dtype == PLAIN or serving.runtime != TORCH:
        return 1.0
    try:
        own, plain = (_seconds_a_flop(device, each, clock) for each in (serving, replace(serving, dtype=PLAIN)))
    except (Unsupported, MemoryError):
        return 1.0
    return own / plain


def _seconds_a_flop(device: Device, serving: Serving, clock: Clock) -> float:
    """Of the device's peak probes the fastest."""
    eager = replace(serving, mode="eager")  # nobody waits for a compiler here
    with device.session(eager):
        fastest = float("inf")
        for probe in device.probes(eager):
            if probe.name == "peak":
                prepared = device.prepare(probe, eager)
                warm_up(prepared, clock)
                fastest = min(fastest, visit(prepared) / probe.flops)
    return fastest


def warning(device: Device, serving: Serving, clock: Clock) -> str:
    """What to say before a dtype is timed that the device only emulates; empty where it does not."""
    slower = times_slower(device, serving, clock)
    if slower < EMULATED:
        return ""
    return (
        f"{serving.dtype} is slow on this {device.name}, {slower:.1f} times slower than {PLAIN} (it seems to be"
        f" emulated): profiling takes as much longer, and students are served so; serve in {PLAIN}, or limit it by"
        " profile_minutes in [[target]] (--budget of `profile`)"
    )
