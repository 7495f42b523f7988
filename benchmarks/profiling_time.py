"""How long a table takes: the quickstart's space and one of at least a million architectures, first and second time.

`python profiling_time.py [--device cpu] [--threads 2] [--space quickstart|large] [--runtime openvino --dtype int8]`
writes results/profiling_time*.jsonl.
`PJRT_DEVICE=CPU ../.venv-xla/bin/python profiling_time.py --device xla` says how much of the time is compilation.
"""

import argparse
import tempfile
import time
from pathlib import Path

from common import record, table
from profiling_repeatability import quickstart_space

from distilsearch.families import family
from distilsearch.operators import Serving
from distilsearch.profiling import measure, profile
from distilsearch.space import SearchSpace


def large_space() -> SearchSpace:
    """At least a million valid architectures."""
    sizes = {"layers": list(range(1, 13)), "width": list(range(64, 769, 8)), "ffn": list(range(128, 4097, 8))}
    return family("bert").space({**sizes, "heads": [1, 2, 3, 4, 6, 8, 12, 16, 24], "inherit": ["even"]})


SPACES = {"quickstart": quickstart_space, "large": large_space}


def compile_seconds(device: str) -> float:
    """Seconds that XLA has compiled for so far; 0 where nothing is compiled."""
    if device != "xla":
        return 0.0
    from distilsearch.profiling.devices import xla_loop

    return xla_loop.compile_seconds()


def timed(name: str, space: SearchSpace, device: str, serving: Serving) -> dict[str, object]:
    """Profile twice into an empty store; then the ten students of the quickstart's measurement."""
    with tempfile.TemporaryDirectory() as store:
        seconds, compiled = [], []
        for _ in range(2):
            start = time.perf_counter()
            found = profile(space, device, serving, Path(store))
            seconds.append(time.perf_counter() - start)
            compiled.append(compile_seconds(device))
        students = space.decode(space.grid(10**6)[:: max(1, int(space.size) // 10)][:10]) if space.size < 10**5 else []
        start = time.perf_counter()
        if students:
            measure(students, device, serving, Path(store))
        measuring = round(time.perf_counter() - start, 1) if students else None
    return {
        "space": name,
        "device": device,
        "architectures": int(space.size),
        "operators timed": len(found.operators),
        "models timed": len(found.models),
        "first s": round(seconds[0], 1),
        "of it compiling s": round(compiled[0], 1),
        "second s": round(seconds[1], 2),
        "measure 10 s": measuring,
        "noise floor": round(found.meta.noise_floor, 4),
        "additivity error": round(found.meta.additivity_error, 4),
    }


def main() -> None:
    """Print and keep the rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--space", choices=SPACES)
    parser.add_argument("--runtime", default="torch")
    parser.add_argument("--dtype", default="float32")
    asked = parser.parse_args()
    threads = asked.threads if asked.device == "cpu" else None
    serving = Serving(threads=threads, runtime=asked.runtime, dtype=asked.dtype)
    names = [asked.space] if asked.space else list(SPACES)
    rows = [timed(name, SPACES[name](), asked.device, serving) for name in names]
    usual = {"cpu", "torch", "float32", None}
    marks = [mark for mark in (asked.device, asked.space, asked.runtime, asked.dtype) if mark not in usual]
    record("_".join(["profiling_time", *marks]), rows)
    print(table(rows))


if __name__ == "__main__":
    main()
