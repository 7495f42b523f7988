"""What docs/extending.md shows works as it stands: outside of the tree, in driver and children, under our contracts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
BLOCKS = {name: text for _, name, text in re.findall(r"```(python|toml)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder outside of the tree with every file of the page."""
    folder = tmp_path / "site"
    folder.mkdir()
    for name, text in BLOCKS.items():
        (folder / name).write_text(text)
    return folder


def _run(site: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command of somebody who has the page's modules on the path."""
    own = {"PYTHONPATH": str(site), "DISTILSEARCH_HOME": str(site / "home"), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=site, env=os.environ | own, capture_output=True, text=True, timeout=500
    )


def test_the_examples_keep_the_contracts_of_their_kinds(site: Path) -> None:
    done = _run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", ".")
    assert done.returncode == 0, done.stdout
