"""What the command line says of an architecture that is named in part."""

import pytest
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.cli_distill import only
from distilsearch.errors import InputError
from distilsearch.families import family


def test_an_architecture_is_named_whole() -> None:
    result = CliRunner().invoke(app, ["predict", "layers=2"])
    assert isinstance(result.exception, InputError)
    with pytest.raises(InputError, match=r"needs width, heads, ffn too"):
        raise result.exception


def test_the_example_of_an_architecture_is_one() -> None:
    refused = CliRunner().invoke(app, ["predict", "layers=3", "width=384"]).exception
    example = str(refused).partition("such as ")[2].split()
    assert example[:2] == ["layers=3", "width=384"]
    assert only(family("bert"), example)["width"] == 384
