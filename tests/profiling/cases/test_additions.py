"""What is timed beyond the first choice lies where the machine surprises, and at the edges of tiles."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from distilsearch.families import family
from distilsearch.operators import Operator, Serving
from distilsearch.profiling import profile
from distilsearch.profiling.cases.additions import surprising, tile_edges
from distilsearch.profiling.cases.plan import choose, space_operators

Fake = Callable[..., Any]
SERVING = Serving(sequence=8, threads=1)


def wide_space() -> Any:
    sizes = {"width": list(range(64, 512, 32)), "ffn": list(range(128, 1024, 64))}
    return family("bert").space({**sizes, "layers": [1], "heads": [4], "vocabulary": [100]})


def cliff(work: Any) -> float:
    """Three times as slow past an output width of 512."""
    return 3.0 if isinstance(work, Operator) and int(work.sizes.get("outputs", 0)) > 512 else 1.0


def test_surprises_are_looked_into(store: Path, make_fake: Fake) -> None:
    device = make_fake(noise=0.0)
    true = device.true_seconds
    device.true_seconds = lambda work, serving: cliff(work) * true(work, serving)
    found = [o for o in space_operators(wide_space(), SERVING) if o.kind == "linear"]
    timed = choose(found, 40)
    table = profile(timed, device, SERVING, store, clock=device.clock)
    spare = [o for o in found if o not in set(timed)]
    picked = surprising(table, device.regime(SERVING), spare, 10)
    near = sum(400 <= int(o.sizes["outputs"]) <= 700 for o in picked)
    all_near = sum(400 <= int(o.sizes["outputs"]) <= 700 for o in spare) / len(spare)
    assert len(picked) == len(set(picked)) == 10
    assert near / len(picked) > all_near


def test_edges_only_where_a_space_leaves_gaps() -> None:
    found = space_operators(wide_space(), SERVING)
    assert tile_edges(found, found) == []
    edges = tile_edges(found, choose(found, 30))
    widths = {int(o.sizes["width"]) for o in edges if o.kind == "norm"}
    outputs = {int(o.sizes["outputs"]) for o in edges if o.kind == "linear"}
    assert {65, 129, 257} <= widths
    assert {256, 257, 512, 513} <= outputs


def test_a_thinned_space_gets_both_once(store: Path, make_fake: Fake) -> None:
    device = make_fake()
    table = profile(wide_space(), device, SERVING, store, models=0, most_operators=40, clock=device.clock)
    assert 44 <= len(table.operators) <= 52
    assert any(int(r.operator.sizes.get("outputs", 0)) in (257, 513) for r in table.operators)
    again = make_fake()
    profile(wide_space(), again, SERVING, store, models=0, most_operators=40, clock=again.clock)
    assert not again.prepared
