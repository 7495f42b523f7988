"""What the command line says of an architecture that is named in part."""

import pytest
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.errors import InputError


def test_an_architecture_is_named_whole() -> None:
    result = CliRunner().invoke(app, ["predict", "layers=2"])
    assert isinstance(result.exception, InputError)
    with pytest.raises(InputError, match=r"needs width, heads, ffn too"):
        raise result.exception
