"""One tiny embedding model, exported in every way by a process-wide refusal of sockets."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.distill.served.artefact import FILES
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.testing.teachers import write_teacher


@contextlib.contextmanager
def without_network() -> Iterator[list[str]]:
    """Whoever opens a connection or asks for a name meets an error, and is listed."""
    asked: list[str] = []

    def refuse(*arguments: Any, **_: Any) -> Any:
        asked.append(repr(arguments[-1]))
        raise OSError("there is no network here")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto", "sendmsg"):
            patch.setattr(socket.socket, name, refuse)
        for name in ("getaddrinfo", "gethostbyname", "create_connection"):
            patch.setattr(socket, name, refuse)
        yield asked


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """A tiny embedding model of one layer."""
    return load_teacher(str(write_teacher(tmp_path_factory.mktemp("model"), num_hidden_layers=1)))


@pytest.fixture(scope="session")
def exported(model: Teacher, text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder it is exported to, and who asked for the network meanwhile."""
    folder = tmp_path_factory.mktemp("exported") / "out"
    with pytest.MonkeyPatch.context() as patch, without_network() as asked:
        patch.setenv("DISTILSEARCH_HOME", str(tmp_path_factory.mktemp("home")))
        words = [
            word
            for runtime, dtype in (("onnxruntime", "float32"), ("openvino", "int8"))
            for word in ("--runtime", runtime, "--dtype", dtype)
        ]
        done = CliRunner().invoke(
            app, ["export", str(model.folder), "--out", str(folder), "--text", str(text_file), *words]
        )
    assert done.exit_code == 0, done.output
    assert "\nimport numpy, onnxruntime, tokenizers\ntexts = " in done.stdout  # as it is pasted
    assert all(str(folder / file) in done.stdout for file in FILES.values())
    return folder, asked
