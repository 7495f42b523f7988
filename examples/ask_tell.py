"""The engine on any space of one's own: ask, train, tell.

python examples/ask_tell.py
"""

import numpy as np

from distilsearch.engine.engine import Engine
from distilsearch.engine.objectives import Codes, Expensive, Known
from distilsearch.space import Parameter, SearchSpace

DEPTHS, WIDTHS = (2, 3, 4, 6, 8), (64, 128, 192, 256, 384)
space = SearchSpace(
    "generic",
    [Parameter("depth", DEPTHS), Parameter("width", WIDTHS), Parameter("norm", ("layer", "rms"), ordered=False)],
)


def latency_ms(codes: Codes) -> np.ndarray:
    """What the target machine is known to need, from code columns (n, 3)."""
    depth, width = np.array(DEPTHS)[codes[:, 0]], np.array(WIDTHS)[codes[:, 1]]
    return 0.2 + depth * width**2 / 1e5


def train(depth: int, width: int, norm: str) -> float:
    """Stands for hours of training."""
    return 1.0 / depth + 30.0 / width + (0.1 if norm == "layer" else 0.0)


engine = Engine(space, [Expensive("loss"), Known("latency_ms", latency_ms, at_most=8.0)], seed=1)
for _ in range(16):
    (student,) = engine.ask()
    engine.tell(student, {"loss": train(student["depth"], student["width"], student["norm"])})

for outcome in engine.front():
    genes, values = dict(outcome.architecture.values), outcome.values
    print(f"{values['latency_ms']:6.2f} ms  loss {values['loss']:.3f}  {genes}")
