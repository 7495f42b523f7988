"""A tiny module as it is served: exported, in int8, run by each runtime; what cannot be is refused in plain words."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from distilsearch.artefacts import libraries, onnx, openvino
from distilsearch.artefacts.running import RUNNERS, Runner, opened
from distilsearch.errors import InputError

AXES = {name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")}
OUTPUTS = ("hidden", "embedding")


class Tiny(nn.Module):
    """Looks tokens up, mixes them, and averages the unmasked ones."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.up = nn.Embedding(50, 32), nn.Linear(32, 64)
        self.norm, self.down = nn.LayerNorm(64), nn.Linear(64, 16)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.down(self.norm(nn.functional.gelu(self.up(self.tokens(input_ids)))))
        mask = attention_mask.unsqueeze(-1).to(x.dtype)
        return x, (x * mask).sum(1) / mask.sum(1)


def tokens(batch: int, sequence: int, seed: int = 0) -> dict[str, torch.Tensor]:
    ids = torch.randint(50, (batch, sequence), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    mask[0, sequence // 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def arrays(inputs: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in inputs.items()}


def samples() -> Iterator[dict[str, np.ndarray]]:
    return (arrays(tokens(2, 8, seed)) for seed in range(8))


@pytest.fixture(scope="module")
def module() -> Tiny:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tiny().eval()


@pytest.fixture(scope="module")
def exported(module: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the module as each runtime reads it."""
    folder = tmp_path_factory.mktemp("exported")
    onnx.to_onnx(module, tokens(2, 8), folder / "model.onnx", outputs=OUTPUTS, dynamic=AXES)
    openvino.to_openvino(folder / "model.onnx", folder / "model.xml")
    return folder


def run(file: Path, runtime: str, inputs: dict[str, torch.Tensor]) -> list[np.ndarray]:
    runner = opened(file, runtime, threads=1)
    answers = runner(arrays(inputs))
    runner.close()
    runner.close()
    assert list(answers) == list(OUTPUTS)
    return list(answers.values())


def farthest(answers: list[np.ndarray], module: Tiny, inputs: dict[str, torch.Tensor]) -> float:
    with torch.no_grad():
        expected = module(**inputs)
    return max(float(np.abs(a - b.numpy()).max()) for a, b in zip(answers, expected, strict=True))


@pytest.mark.parametrize(
    ("runtime", "name"), [("onnxruntime", "model.onnx"), ("openvino", "model.onnx"), ("openvino", "model.xml")]
)
@pytest.mark.parametrize("shape", [(2, 8), (1, 1), (3, 5)])
def test_a_file_answers_as_torch_does_at_any_batch_and_length(
    exported: Path, module: Tiny, runtime: str, name: str, shape: tuple[int, int]
) -> None:
    inputs = tokens(*shape, seed=1) if shape != (1, 1) else {name: torch.ones(1, 1, dtype=torch.long) for name in AXES}
    assert farthest(run(exported / name, runtime, inputs), module, inputs) < 1e-5


@pytest.mark.parametrize("static", [False, True])
def test_an_onnx_file_runs_in_int8(exported: Path, module: Tiny, tmp_path: Path, static: bool) -> None:
    onnx.quantised(exported / "model.onnx", tmp_path / "small.onnx", samples=samples() if static else None)
    inputs = tokens(2, 8, seed=99)
    off = farthest(run(tmp_path / "small.onnx", "onnxruntime", inputs), module, inputs)
    assert 1e-5 < off < 0.1
    assert [path.name for path in tmp_path.iterdir()] == ["small.onnx"]


def test_a_file_says_nothing_of_the_machine_that_made_it(exported: Path) -> None:
    assert b"site-packages" not in (exported / "model.onnx").read_bytes()
    assert str(Path(__file__).parent).encode() not in (exported / "model.onnx").read_bytes()


def test_an_openvino_model_runs_in_int8(exported: Path, module: Tiny, tmp_path: Path) -> None:
    openvino.quantised(exported / "model.xml", tmp_path / "small.xml", samples=samples())
    inputs = tokens(2, 8, seed=99)
    assert 1e-5 < farthest(run(tmp_path / "small.xml", "openvino", inputs), module, inputs) < 0.1
    assert sorted(tmp_path.iterdir()) == sorted(openvino.parts_of(tmp_path / "small.xml"))


def test_an_answer_outlives_the_next_run_and_the_runner(exported: Path) -> None:
    for runtime in RUNNERS:
        runner: Runner = opened(exported / "model.onnx", runtime, threads=1)
        first = runner(arrays(tokens(1, 8)))["embedding"]
        copied = first.copy()
        runner(arrays(tokens(1, 8, seed=1)))
        runner.close()
        assert np.array_equal(first, copied)


def test_large_weights_lie_beside_the_file_and_go_with_it(
    module: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "INSIDE_BYTES", 100)
    file = tmp_path / "model.onnx"
    onnx.to_onnx(module, tokens(2, 8), file, outputs=OUTPUTS, dynamic=AXES)
    assert sorted(tmp_path.iterdir()) == onnx.parts_of(file) == [file, tmp_path / "model.onnx.data"]
    inputs = tokens(2, 8)
    assert farthest(run(file, "onnxruntime", inputs), module, inputs) < 1e-5
    onnx.quantised(file, tmp_path / "small" / "model.onnx")
    run(tmp_path / "small" / "model.onnx", "onnxruntime", inputs)


class Strange(nn.Module):
    """Ends in what ONNX has no operator for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


def test_what_onnx_cannot_express_is_named_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ONNX cannot express this model .*bessel_j0"):
        onnx.to_onnx(Strange().eval(), {"x": torch.ones(2)}, tmp_path / "model.onnx", outputs=("y",))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x07" * 50])
def test_damaged_and_foreign_files_are_refused_with_their_name(tmp_path: Path, content: bytes) -> None:
    for runtime, name in (("onnxruntime", "a.onnx"), ("openvino", "a.onnx"), ("openvino", "a.xml")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: .* load this file"):
            opened(tmp_path / name, runtime, threads=1)


def test_what_is_no_onnx_is_not_quantised(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no model")
    for samples in (None, [{"x": np.ones(2)}]):
        with pytest.raises(InputError, match=r"a.onnx: this is no ONNX file"):
            onnx.quantised(tmp_path / "a.onnx", tmp_path / "small.onnx", samples=samples)


def test_wrong_questions_are_answered_in_words(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'onnxruntime'"):
        opened(exported / "model.onnx", "onnxrt", threads=1)
    with pytest.raises(InputError, match="there is no file"):
        opened(tmp_path / "none.onnx", "onnxruntime", threads=1)
    with pytest.raises(InputError, match="at least one thread"):
        opened(exported / "model.onnx", "onnxruntime", threads=0)
    with pytest.raises(InputError, match="there are none"):
        onnx.quantised(exported / "model.onnx", tmp_path / "small.onnx", samples=[])
    with pytest.raises(InputError, match="there are none"):
        openvino.quantised(exported / "model.xml", tmp_path / "small.xml", samples=[])
    with pytest.raises(InputError, match=r"is named \*\.xml"):
        openvino.to_openvino(exported / "model.onnx", tmp_path / "model.ir")
    assert not list(tmp_path.iterdir())


def test_a_missing_library_is_named_with_what_installs_it(
    exported: Path, tmp_path: Path, module: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(libraries.metadata, "version", missing)
    for extra, call in {
        "onnx": lambda: onnx.to_onnx(module, tokens(1, 4), tmp_path / "m.onnx", outputs=OUTPUTS),
        "openvino": lambda: openvino.to_openvino(exported / "model.onnx", tmp_path / "m.xml"),
    }.items():
        with pytest.raises(InputError, match=rf"pip install 'distilsearch\[{extra}\]'"):
            call()
    with pytest.raises(InputError, match=r"onnxruntime is not installed, .*distilsearch\[onnx\]"):
        opened(exported / "model.onnx", "onnxruntime", threads=1)


OFFLINE = """
import logging, os, pathlib, sys
from distilsearch.artefacts import onnx, openvino
from distilsearch.artefacts.running import opened
import numpy as np

opened_sockets = []
def watch(event, args):
    if event.startswith("socket."):
        opened_sockets.append(event)
        raise OSError("no network here")
sys.addaudithook(watch)

folder = pathlib.Path(sys.argv[1])
inputs = {name: np.ones((1, 8), np.int64) for name in ("input_ids", "attention_mask")}
openvino.to_openvino(folder / "model.onnx", folder / "again.xml")
openvino.quantised(folder / "again.xml", folder / "small.xml", samples=[inputs] * 2)
onnx.quantised(folder / "model.onnx", folder / "small.onnx")
opened(folder / "small.onnx", "onnxruntime", 1)(inputs)
opened(folder / "small.xml", "openvino", 1)(inputs)
assert "openvino_telemetry" not in sys.modules
assert logging.getLoggerClass() is logging.Logger
assert "ORT_DISABLE_TELEMETRY" not in os.environ
handles = [os.readlink(handle) for handle in pathlib.Path("/proc/self/fd").iterdir() if handle.exists()]
assert not opened_sockets and not any("socket:" in handle for handle in handles), (opened_sockets, handles)
"""


def test_nothing_reaches_the_network_nor_writes_to_the_home_folder(exported: Path, tmp_path: Path) -> None:
    """OpenVINO, NNCF and onnxruntime would report their use: an event at their import, and one a call."""
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(exported)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())
