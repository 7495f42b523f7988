"""Search problems with a known answer: every objective can be looked up, so that hours of training take no time.

    hwgpt-a100, hwgpt-cpu   perplexity of 10,000 GPT sub-networks against measured latency; the rows are the space,
                            and their parameters and multiplications are known, as for every family of this project
    hwgpt-a100-full         all 1e12 sub-networks, both objectives by a model fitted to the rows
    macro                   error of 6,561 networks against FLOPs; a told value is one of three training runs
    dtlz2                   DTLZ2 in 6 variables of 5 levels, its first objective known
    quickstart-flash        72 students of the quickstart, each distilled once with the flash schedule (`flash.py`)

Both objectives are to be minimised; the hypervolume's corner is the worst of the space (of many draws of it).
"""

import csv
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from common import RESULTS, data

from distilsearch.engine.job.loop.proposing import size_features
from distilsearch.engine.objectives import hypervolume, nondominated
from distilsearch.operators import Serving
from distilsearch.space import Codes, Constraint, Parameter, SearchSpace, Size

Floats = npt.NDArray[np.float64]
Rng = np.random.Generator
INITIAL = 10
GRID = 20_000


class TableSpace(SearchSpace):
    """Exactly the architectures of a table, as its rows of codes (n, d)."""

    def __init__(self, parameters: list[Parameter], rows: Codes) -> None:
        self.rows = np.unique(rows, axis=0).astype(np.int16)
        super().__init__("generic", parameters)

    @cached_property
    def size(self) -> Size:
        """The number of rows."""
        return Size(len(self.rows))

    def grid(self, limit: int) -> Codes:
        """The rows."""
        return self.rows

    def sample(self, n: int, rng: Rng) -> Codes:
        """Rows, with repeats."""
        return self.rows[rng.integers(len(self.rows), size=n)]

    def valid(self, codes: Codes) -> npt.NDArray[np.bool_]:
        """Which codes are rows."""
        ids = self.indices(self.rows, self.names)
        return np.isin(self.indices(codes, self.names), ids)


@dataclass(frozen=True)
class Problem:
    """A space, its true objectives (codes -> (n, 2): expensive, known), and what a told value looks like."""

    name: str
    space: SearchSpace
    truth: Callable[[Codes], Floats]
    told: Callable[[Codes, Rng], Floats]  # noisy expensive values (n,)
    reference: tuple[float, float]
    best: float  # largest hypervolume
    sizes: Callable[[Codes], Floats] | None = None  # logarithms of parameters and multiplications (n, 2)

    def cost(self, codes: Codes) -> Floats:
        """The known objective (n,)."""
        return self.truth(codes)[:, 1]

    def initial(self, seed: int, n: int = INITIAL) -> Codes:
        """The initial design of a seed, the same for everybody: distinct uniform draws."""
        codes = self.space.sample(4 * n, np.random.default_rng([97, seed]))
        _, first = np.unique(codes, axis=0, return_index=True)
        return codes[np.sort(first)[:n]]

    def shares(self, codes: Codes) -> list[float]:
        """Share of the largest hypervolume after each of the evaluated rows, by true values."""
        points = self.truth(codes)
        return [hypervolume(points[: i + 1], self.reference) / self.best for i in range(len(points))]


def _lookup(space: SearchSpace, codes: Codes, values: Floats) -> Callable[[Codes], Floats]:
    ids = space.indices(codes, space.names)
    order = np.argsort(ids)
    ids, values = ids[order], values[order]
    return lambda asked: values[np.searchsorted(ids, space.indices(asked, space.names))]


def of_table(name: str, parameters: list[Parameter], codes: Codes, values: Floats) -> Problem:
    space = TableSpace(parameters, codes)
    truth = _lookup(space, codes, values)
    corner = values.max(axis=0)
    best = hypervolume(values, corner)
    return Problem(name, space, truth, lambda c, rng: truth(c)[:, 0], (corner[0], corner[1]), best)


# HW-GPT-Bench-S

LAYERS = 12
HWGPT = [
    Parameter("width", (192, 384, 768)),
    Parameter("layers", (10, 11, 12)),
    *(Parameter(f"heads{i}", (4, 8, 12)) for i in range(LAYERS)),
    *(Parameter(f"ratio{i}", (2, 3, 4)) for i in range(LAYERS)),
    Parameter("bias", (0, 1)),
]


def _hwgpt_rows(columns: list[str]) -> tuple[Codes, Floats]:
    with gzip.open(data("latency/hwgpt_s.csv.gz"), "rt") as file:
        rows = list(csv.DictReader(file))
    codes = []
    for row in rows:
        heads = [int(v) for v in row["n_head"].split("-")]
        ratios = [int(v) for v in row["mlp_ratio"].split("-")]
        pad = [0] * (LAYERS - len(heads))
        codes.append(
            [(192, 384, 768).index(int(row["embed_dim"])), len(heads) - 10, *(h // 4 - 1 for h in heads), *pad,
             *(r - 2 for r in ratios), *pad, int(row["bias"])]
        )  # fmt: skip
    return np.array(codes, dtype=np.int16), np.array([[float(row[c]) for c in columns] for row in rows])


def hwgpt(device: str) -> Problem:
    """The 10,000 rows against one device's latency."""
    column = {"a100": "lat_a100", "cpu": "lat_cpu_alldlc"}[device]
    codes, values = _hwgpt_rows(["ppl", column, "params", "macs"])
    made = of_table(f"hwgpt-{device}", HWGPT, codes, values[:, :2])
    return replace(made, sizes=_lookup(made.space, codes, np.log(values[:, 2:])))


def hwgpt_full() -> Problem:
    """Every sub-network: logarithms of both objectives by ridge over the genes and their products with width."""
    codes, values = _hwgpt_rows(["ppl", "lat_a100"])
    active = {
        f"{kind}{i}": Constraint(("layers",), lambda layers, i=i: i < layers)  # type: ignore[misc]
        for kind in ("heads", "ratio")
        for i in range(10, LAYERS)
    }
    space = SearchSpace("generic", HWGPT, active=active)
    x = _products(codes)
    weights = np.linalg.solve(x.T @ x + 0.1 * np.eye(x.shape[1]), x.T @ np.log(values))
    truth = lambda c: np.exp(_products(c) @ weights)  # noqa: E731
    front = _true_front(space, truth)
    corner = truth(codes).max(axis=0)
    best = hypervolume(truth(front), corner)
    return Problem("hwgpt-a100-full", space, truth, lambda c, rng: truth(c)[:, 0], (corner[0], corner[1]), best)


def _products(codes: Codes) -> Floats:
    """One-hot genes, and their products with width; a layer that is not there has no columns."""
    there = np.arange(LAYERS) < (10 + codes[:, 1])[:, None]
    genes = [np.eye(3)[codes[:, 1]], np.eye(2)[codes[:, -1]]]
    for i in range(LAYERS):
        genes += [np.eye(3)[codes[:, c]] * there[:, [i]] for c in (2 + i, 2 + LAYERS + i)]
    flat = np.column_stack(genes)
    width = np.eye(3)[codes[:, 0]]
    return np.column_stack([flat * width[:, [w]] for w in range(3)] + [width])


def _true_front(space: SearchSpace, truth: Callable[[Codes], Floats]) -> Codes:
    """The front as well as an evolution with free evaluations finds it."""
    rng = np.random.default_rng(0)
    codes = space.sample(20_000, rng)
    for _ in range(300):
        front = codes[nondominated(truth(codes))]
        parents = front[rng.integers(len(front), size=(2, 2_000))]
        crossed = np.where(rng.random(parents[0].shape) < 0.5, *parents)
        moved = space.neighbours(np.concatenate([crossed, parents[0]]), rng)
        codes = np.unique(np.concatenate([front, moved, space.canonical(crossed)]), axis=0)
    return codes[nondominated(truth(codes))]


# Others to compare on


def macro() -> Problem:
    """NAS-Bench-Macro: three kinds of block in eight places; error of one training run is told, the mean counts."""
    rows = json.loads(data("nas/nas-bench-macro_cifar10.json").read_text())
    codes = np.array([[int(c) for c in key] for key in rows], dtype=np.int16)
    flops = np.array([row["flops"] / 1e6 for row in rows.values()])
    runs = np.array([row["test_acc"] for row in rows.values()])
    space = TableSpace([Parameter(f"block{i}", (0, 1, 2), ordered=False) for i in range(8)], codes)
    values = np.column_stack([100.0 - runs.mean(axis=1), flops])
    truth, each = _lookup(space, codes, values), _lookup(space, codes, 100.0 - runs)
    corner = values.max(axis=0)

    def told(asked: Codes, rng: Rng) -> Floats:
        return each(asked)[np.arange(len(asked)), rng.integers(3, size=len(asked))]

    return Problem("macro", space, truth, told, (corner[0], corner[1]), hypervolume(values, corner))


def discretised(name: str, d: int, levels: int, function: Callable[[Floats], Floats]) -> Problem:
    choices = tuple(np.linspace(0, 1, levels).tolist())
    space = SearchSpace("generic", [Parameter(f"x{i}", choices) for i in range(d)])
    truth = lambda codes: function(codes / (levels - 1.0))  # noqa: E731
    values = truth(space.grid(2_000_000))
    corner = values.max(axis=0) + 0.01
    best = hypervolume(values[nondominated(values)], corner)
    return Problem(name, space, truth, lambda c, rng: truth(c)[:, 0], (corner[0], corner[1]), best)


def _dtlz2(x: Floats) -> Floats:
    g = ((x[:, 1:] - 0.5) ** 2).sum(axis=1)
    angle = x[:, 0] * np.pi / 2
    return np.column_stack([(1 + g) * np.sin(angle), (1 + g) * np.cos(angle)]) + 0.01


def quickstart_flash() -> Problem:
    """Held-out loss after flash distillation against predicted latency; the table is this repository's own."""
    path = RESULTS / "search_flash.jsonl"
    if not path.exists():
        raise SystemExit(f"there is no {path} yet; `python -m search.flash` in benchmarks/ makes it")
    from search.flash import GENES, flash_space

    rows = [json.loads(line) for line in path.open()]
    space = flash_space()
    members = {tuple(a[gene] for gene in GENES): a for a in space.decode(space.grid(GRID))}
    students = [members[tuple(row["genes"].values())] for row in rows]
    values = np.array([[row["loss"], row["latency_ms"]] for row in rows])
    varied = [gene for gene in GENES if len({row["genes"][gene] for row in rows}) > 1]
    made = tabulated("quickstart-flash", [{gene: row["genes"][gene] for gene in varied} for row in rows], values)
    codes = np.array([[p.choices.index(row["genes"][p.name]) for p in made.space.parameters] for row in rows])
    return replace(made, sizes=_lookup(made.space, codes, size_features(space, Serving())(space.encode(students))))


def tabulated(name: str, rows: list[dict[str, float | str]], values: Floats) -> Problem:
    """A table problem out of named genes; of equal rows the first one counts."""
    parameters = []
    for gene in rows[0]:
        choices = sorted({row[gene] for row in rows})  # type: ignore[type-var]
        parameters.append(Parameter(gene, tuple(choices), ordered=not isinstance(choices[0], str)))
    codes = np.array([[p.choices.index(row[p.name]) for p in parameters] for row in rows], dtype=np.int16)
    unique, first = np.unique(codes, axis=0, return_index=True)
    return of_table(name, parameters, unique, values[first])


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "hwgpt-a100": lambda: hwgpt("a100"),
    "hwgpt-cpu": lambda: hwgpt("cpu"),
    "hwgpt-a100-full": hwgpt_full,
    "macro": macro,
    "dtlz2": lambda: discretised("dtlz2", 6, 5, _dtlz2),
    "quickstart-flash": quickstart_flash,
}
