"""What is refused before anything heavy is loaded."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from distilsearch.distill.served.asked import check_export, check_ways
from distilsearch.errors import InputError, RunError
from distilsearch.testing.teachers import write_teacher


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("model"), num_hidden_layers=1)


def test_unknown_runtimes_and_precisions_are_named() -> None:
    with pytest.raises(InputError, match="did you mean 'onnxruntime'"):
        check_ways([("onnx-runtime", "float32")], text=True)
    with pytest.raises(InputError, match="onnxruntime serves float32 or int8 here; got 'bfloat16'"):
        check_ways([("onnxruntime", "bfloat16")], text=True)


def test_int8_of_openvino_asks_for_text() -> None:
    with pytest.raises(InputError, match="calibrated on text"):
        check_ways([("openvino", "int8")], text=False)


@pytest.mark.parametrize(
    ("package", "way"),
    [
        ("onnxruntime", ("onnxruntime", "float32")),
        ("openvino", ("openvino", "float32")),
        ("nncf", ("openvino", "int8")),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    package: str, way: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = metadata.version

    def version(name: str) -> Any:
        if name == package:
            raise metadata.PackageNotFoundError(name)
        return there(name)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(InputError, match=rf"{package} is not installed.*distilsearch\[(onnx|openvino)\]"):
        check_ways([way], text=True)


def test_a_place_of_somebody_else_s_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no export of distilsearch"):
        check_export(str(model), tmp_path, [("onnxruntime", "float32")], ())
    with pytest.raises(RunError, match="is the model"):
        check_export(str(model), model, [("onnxruntime", "float32")], ())


def test_loss_that_is_no_number_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="number above 0"):
        check_export(str(model), tmp_path, [("onnxruntime", "float32")], (), float("nan"))


def test_a_mistake_is_told_without_torch(model: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\nfrom distilsearch.cli import app\n"
        f"app(['export', {str(model)!r}, '--out', {str(tmp_path / 'out')!r}, '--dtype', 'int4'])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "serves float32 or int8 here; got 'int4'" in run.stderr
