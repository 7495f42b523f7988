"""The contract of every runtime. Inherit it and give the fixture `runtime`:

    class TestMine(RuntimeContract):
        @pytest.fixture
        def runtime(self): return Mine()

It is tried on the CPU; one that runs elsewhere gives the fixture `device` too.
"""

import json
from typing import Any

import numpy as np
import pytest

from ..families import family
from ..operators import Operator, Serving
from ..profiling import open_device
from ..profiling.clock import visit, warm_up
from ..profiling.device import Prepared, Unsupported, Work
from ..profiling.devices import DEVICES
from ..profiling.runtimes import Runtime
from .devices import GENES, OPERATORS, clock_of, linear


class RuntimeContract:
    """What devices and tables rely on in a runtime."""

    @pytest.fixture
    def runtime(self) -> Runtime:
        """The runtime."""
        raise NotImplementedError("give the fixture `runtime`: your runtime")

    @pytest.fixture
    def device(self, runtime: Runtime) -> Any:
        """A device that it runs on."""
        if "cpu" not in runtime.devices:
            pytest.skip(f"it runs on {' or '.join(runtime.devices)}, not here")
        return open_device("cpu")

    @pytest.fixture
    def serving(self) -> Serving:
        """Short input on one thread."""
        return Serving(sequence=8, threads=1)

    def ready(self, runtime: Runtime, device: Any, work: Work, serving: Serving) -> Prepared:
        """Work, ready to be timed; within a session of the device."""
        prepared = runtime.prepare(work, device, serving)
        warm_up(prepared, clock_of(device), at_most=0.1)
        return prepared

    def test_what_it_says_of_itself_is_plain_and_stays_the_same(self, runtime: Runtime) -> None:
        assert runtime.devices
        assert set(runtime.devices) <= set(DEVICES)
        assert set(runtime.dtypes) <= {"float32", "bfloat16", "int8"}
        assert json.loads(json.dumps(runtime.facts())) == runtime.facts()
        assert runtime.prepare_seconds > 0

    def test_threads_are_as_before_afterwards(self, runtime: Runtime) -> None:
        import torch

        before = torch.get_num_threads()
        with runtime.threads(1):
            pass
        assert torch.get_num_threads() == before

    @pytest.mark.parametrize("signature", OPERATORS)
    def test_every_kind_of_operator_runs_or_is_refused(
        self, runtime: Runtime, device: Any, serving: Serving, signature: str
    ) -> None:
        with device.session(serving):
            try:
                prepared = self.ready(runtime, device, Operator.parse(signature), serving)
            except Unsupported as error:
                pytest.skip(str(error))
            assert 0 < visit(prepared) < 1

    def test_a_whole_model_runs(self, runtime: Runtime, device: Any, serving: Serving) -> None:
        space = family("bert").space(GENES)
        with device.session(serving):
            for model in space.decode(space.sample(2, np.random.default_rng(0))):
                assert 0 < visit(self.ready(runtime, device, model, serving)) < 1

    def test_probes_run(self, runtime: Runtime, device: Any, serving: Serving) -> None:
        with device.session(serving):
            for probe in device.probes(serving):
                assert runtime.prepare(probe, device, serving).seconds(2) > 0

    def test_more_work_takes_longer(self, runtime: Runtime, device: Any, serving: Serving) -> None:
        with device.session(serving):
            small, large = (self.ready(runtime, device, linear(n, n), serving) for n in (32, 2048))
            assert visit(large) > visit(small)
            assert large.seconds(40) > 4 * large.seconds(2)
