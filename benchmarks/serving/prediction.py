"""Predicted against measured latency of held-out students in the runtimes of exported files.

From benchmarks/:

    python -m serving.prediction [--space quickstart] [--students 60] [--threads 1] [--work DIR]

For each of onnxruntime and OpenVINO, in float32 and int8, what `predictor_students.py` does for torch: profile the
space as a user would, then time the profile and the held-out students side by side. Rows: the predictor, the plain sum
of operators, FLOPs, and one half of the rounds against the other. `profile_seconds` is what profiling took, once.
"""

import tempfile
from pathlib import Path
from typing import Any

from common import record, table
from predictor_students import arguments, run

REGIMES = [(runtime, dtype) for runtime in ("onnxruntime", "openvino") for dtype in ("float32", "int8")]
SHOWN = ("predictor", "n", "median", "p90", "within_10")


def main() -> None:
    """Print and keep the result; regimes that `--work` holds already are not timed again."""
    chosen = arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work, rows = chosen.work or Path(folder), list[dict[str, Any]]()
        for chosen.runtime, chosen.dtype in REGIMES:
            chosen.work = work / f"{chosen.space}-{chosen.runtime}-{chosen.dtype}-{chosen.threads}"
            rows += (here := run(chosen))
            about = {name: value for name, value in here[0].items() if name not in here[-1]}
            print(f"\n{chosen.runtime} {chosen.dtype}: {about}\n{table([{n: r[n] for n in SHOWN} for r in here])}")
            record(f"serving_prediction_{chosen.space}_{chosen.threads}", rows)  # what there is, should the rest fail


if __name__ == "__main__":
    main()
