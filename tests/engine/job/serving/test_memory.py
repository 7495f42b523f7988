"""Memory of students: weights, caches and the largest activations; a fast path for millions beside one for each."""

import numpy as np
import pytest
import torch

from distilsearch.architecture import Architecture
from distilsearch.engine.job.machines.limits import limits_of, within
from distilsearch.engine.job.runfile.sections import TargetSection
from distilsearch.engine.job.serving.memory import memory_counts, memory_mb
from distilsearch.engine.job.serving.served import ServedSpace
from distilsearch.families import FAMILIES, family
from distilsearch.lowering import operators, parameter_count
from distilsearch.operators import DTYPE_BYTES, Serving
from distilsearch.space import SearchSpace

SERVINGS = (Serving(), Serving(4, 32, "bfloat16"), Serving(2, 16, "float16"))
GENES = {"layers": [1, 2], "width": [64, 128], "heads": [4], "ffn": [128, 256], "inherit": ["even"]}


def students(name: str) -> tuple[SearchSpace, np.ndarray]:
    space = family(name).space({})
    return space, space.sample(20, np.random.default_rng(0))


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_memory_counts_millions_is_that_of_each(name: str) -> None:
    space, rows = students(name)
    phases = ("prefill", "decode") if name == "llama" else ("encode",)
    for serving in (Serving(s.batch, s.sequence, s.dtype, phase) for s in SERVINGS for phase in phases):
        fast = memory_counts(space, serving)(rows)
        assert fast.tolist() == pytest.approx([memory_mb(a, serving) for a in space.decode(rows)])


def test_activations_grow_with_batch_and_tokens_and_weights_do_not() -> None:
    space, rows = students("bert")
    for student in space.decode(rows[:5]):
        weights = parameter_count(student) * 4 / 1e6
        one, four, long = (memory_mb(student, Serving(*shape)) - weights for shape in ((1, 64), (4, 64), (1, 256)))
        assert four == pytest.approx(4 * one)
        assert long == pytest.approx(4 * one)
        assert one > 0
        half = memory_mb(student, Serving(1, 64, "bfloat16"))
        assert half == pytest.approx((weights + one) / 2)


def test_what_is_counted_of_a_layer_is_what_its_largest_product_reads_and_writes() -> None:
    """The oracle runs the model, and looks at each linear layer."""
    genes = {"layers": 2, "width": 64, "heads": 4, "ffn": 256, "head": "embedding", "inherit": "even"}
    space = family("bert").space({name: [value] for name, value in genes.items() if name != "head"})
    (student,) = space.decode(space.grid(10)[:1])
    serving, seen = Serving(2, 16), [0]
    model = family("bert").build(student).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda _, given, out: seen.append(given[0].numel() + out.numel()))
    with torch.inference_mode():
        model(input_ids=torch.ones(2, 16, dtype=torch.long))
    largest = max(o.activations for o, _ in operators(student, serving) if o.kind == "linear")
    assert largest >= max(seen)
    assert memory_mb(student, serving) >= (4 * parameter_count(student) + 4 * max(seen)) / 1e6


def test_the_limit_is_kept_by_the_precisions_that_keep_it() -> None:
    section = TargetSection(serving={"dtype": ["float32", "bfloat16"], "batch": 4}, memory_mb=60.0)
    served = ServedSpace.extend(family("bert").space(GENES), [section])
    (limit,) = limits_of([section], served)
    rows = served.space.grid(1_000)
    for member, megabytes in zip(served.space.decode(rows), limit.bounds(rows), strict=True):
        student, serving = served.split(member)
        assert megabytes == pytest.approx(memory_mb(student, serving))
        assert within(section, student, serving) == (megabytes <= 60.0)
    kept = {served.split(a)[1].dtype for a in served.space.decode(rows[limit.within(rows)])}
    assert "bfloat16" in kept
    weights = TargetSection(memory_mb=1.0, memory_counts="weights")
    tiny = Architecture("bert", dict(served.split(served.space.decode(rows[:1])[0])[0].values))
    assert not within(weights, tiny, Serving())
    assert DTYPE_BYTES["float32"] * parameter_count(tiny) > 1e6
