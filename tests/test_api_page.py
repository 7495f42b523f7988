"""What docs/api.md shows is what is there: its examples run in order, and its signatures are the code's."""

import inspect
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

import distilsearch
from distilsearch.engine.adapters.optuna_sampler import DistilSampler

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SIGNATURES = [line for block in BLOCKS if block.startswith("# signatures\n") for line in block.splitlines()[1:]]
(TABLE,) = (ROOT / "tests" / "old" / "0.1.0" / "tables").glob("*/*")


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(TABLE, tmp_path / "table")
    monkeypatch.chdir(tmp_path)
    page: dict[str, Any] = {}
    with warnings.catch_warnings():
        for block in BLOCKS:
            if not block.startswith("# signatures"):
                exec(block, page)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 8
    assert "memory_mb" in "".join(lines)


@pytest.mark.parametrize("line", SIGNATURES)
def test_the_signature_is_the_codes(line: str) -> None:
    match = re.fullmatch(r"([\w.]+)\((.*)\)", line)
    assert match is not None
    thing: Any = {"DistilSampler": DistilSampler}.get(match[1])
    if thing is None:
        first, *rest = match[1].split(".")
        thing = getattr(distilsearch, first)
        for name in rest:
            thing = getattr(thing, name)
    parameters = list(inspect.signature(thing).parameters.values())
    method = "." in match[1] and not inspect.ismethod(thing)
    written = _written(parameters[1:] if method else parameters)
    shown = [word for word in re.split(r", (?![^()]*\))", match[2]) if word]
    open_ = shown[-1:] == ["..."]
    shown = shown[:-1] if open_ else shown
    same = [
        word == whole or word == whole.partition("=")[0] + "=..." for word, whole in zip(shown, written, strict=False)
    ]
    assert all(same), written
    assert open_ or len(shown) == len(written), written


def _written(parameters: list[inspect.Parameter]) -> list[str]:
    """Parameters as a page shows them."""
    words: list[str] = []
    for p in parameters:
        if p.kind is p.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        words.append(p.name if p.default is p.empty else f"{p.name}={p.default!r}".replace("'", '"'))
    return words


@pytest.mark.parametrize("path", re.findall(r"\]\(((?!http)[^)]+)\)", PAGE))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / "docs" / path).exists()
