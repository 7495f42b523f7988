"""A dtype that the device only emulates is warned of before it is timed, as a probe finds and nobody remembers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distilsearch.operators import Serving
from distilsearch.profiling import profile
from distilsearch.profiling.device import Probe, Unsupported
from distilsearch.profiling.measuring.emulation import times_slower, warning
from distilsearch.space import SearchSpace

Fake = Callable[..., Any]
HALF = Serving(sequence=8, threads=1, dtype="bfloat16")


def taking(device: Any, times: float) -> Any:
    """The device with a bfloat16 so many times slower than its float32."""
    prepare = device.prepare

    def prepared(work: Any, serving: Serving) -> Any:
        ready = prepare(work, serving)
        ready.true *= times if serving.dtype == "bfloat16" else 1.0
        return ready

    device.prepare = prepared
    return device


@pytest.mark.parametrize("times", [0.3, 1.0, 1.1, 1.5, 4.0, 6.0])
def test_the_probe_finds_how_much_slower_it_is(make_fake: Fake, times: float) -> None:
    device = taking(make_fake(), times)
    assert times_slower(device, HALF, device.clock) == pytest.approx(times, rel=0.05)
    assert bool(warning(device, HALF, device.clock)) == (times > 1.2)


def test_what_cannot_be_asked_is_not_warned_of(make_fake: Fake) -> None:
    device = make_fake(unsupported=lambda work: isinstance(work, Probe))
    with pytest.raises(Unsupported):
        device.prepare(device.probes(HALF)[0], HALF)
    assert warning(device, HALF, device.clock) == ""
    assert warning(make_fake(), Serving(runtime="onnxruntime"), device.clock) == ""


def test_profiling_says_so_once_before_it_begins(space: SearchSpace, store: Path, make_fake: Fake) -> None:
    told: list[str] = []
    for _ in range(2):
        device = taking(make_fake(), 6.0)
        profile(space, device, HALF, store, models=0, clock=device.clock, progress=lambda *said: told.append(said[0]))
    (at,) = [i for i, what in enumerate(told) if "bfloat16 is slow on this fake, 6." in what]
    assert "timing" not in told[:at]
    plain = make_fake()
    plainly = Serving(sequence=8, threads=1)
    profile(space, plain, plainly, store, models=0, clock=plain.clock, progress=lambda *said: told.append(said[0]))
    assert sum("is slow on this" in what for what in told) == 1
