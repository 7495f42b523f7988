"""Secrets in URLs: masked wherever a URL is written or said, and found again in the environment."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.distill.store.depot import Depot
from distilsearch.engine.job.ledger import open_storage
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.runfile.continuing import continued, kept_run, kept_text
from distilsearch.errors import InputError, RunError
from distilsearch.hiding import MASK, PASSWORD, hidden, hidden_in, opened

WORD = "hunter2secret"
URL = f"postgresql://me:{WORD}@127.0.0.1:1/studies?sslpassword={WORD}"
BASE: dict[str, Any] = {"name": "r", "teacher": "t", "text": ["x"], "storage": {"url": URL}}
EXECUTOR = {"name": "ray", "address": f"ray://me:{WORD}@host:1", "depot": f"s3://me:{WORD}@bucket/x?token={WORD}"}

words = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=12)


@given(user=words, word=words.filter(lambda word: word not in "postgresqlhostdb***"), host=words)
def test_a_password_is_masked_in_any_text_around_its_url(user: str, word: str, host: str) -> None:
    text = f"cannot open 'postgresql://{user}:{word}@{host}/db', really"
    assert hidden(text) == f"cannot open 'postgresql://{user}:{MASK}@{host}/db', really"


@pytest.mark.parametrize(
    "url", ["", "sqlite:///a/b.db", "file:///data", "s3://bucket/a:b", "/a/b@c", "postgresql://h/d"]
)
def test_urls_without_secrets_stay_as_they_are(url: str) -> None:
    assert hidden(url) == url == opened(url)


def test_an_error_that_quotes_the_secret_otherwise_is_masked_too() -> None:
    assert WORD not in hidden_in(ValueError(f"user me, password {WORD} and p%40ss p@ss"), URL)
    assert "p@ss" not in hidden_in(ValueError("password p@ss"), "postgresql://me:p%40ss@host/db")


def test_what_a_run_keeps_and_says_holds_no_secret(tmp_path: Path) -> None:
    run = Run.parse(BASE | {"executor": EXECUTOR, "train": {"workers": 1}}, "run.toml")
    (tmp_path / "run.toml").write_text(kept_text(run))
    assert WORD not in (tmp_path / "run.toml").read_text()
    there = kept_run(tmp_path)
    assert there is not None
    assert continued(run, there).storage.url == URL  # the file's own, which differs in nothing that counts
    other = Run.parse(BASE | {"storage": {"url": URL.replace("studies", "others")}}, "run.toml")
    with pytest.raises(RunError, match=r"storage\.url") as caught:
        continued(other, there)
    assert WORD not in str(caught.value)
    with pytest.raises(InputError, match=r"storage\.url") as refused:
        Run.parse(BASE | {"storage": {"url": [URL]}}, "run.toml")
    assert WORD not in str(refused.value)


def test_a_masked_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    masked = hidden("postgresql://me:word@host/db")
    monkeypatch.delenv(PASSWORD, raising=False)
    assert opened(masked) == "postgresql://me@host/db"  # the driver has files of its own
    monkeypatch.setenv(PASSWORD, "p@ss")
    assert opened(masked) == "postgresql://me:p%40ss@host/db"


def test_what_cannot_be_opened_is_named_without_its_secret(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot open the storage") as caught:
        open_storage(URL, tmp_path)
    assert WORD not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(RunError, match=PASSWORD):
        open_storage(hidden(URL), tmp_path)
    with pytest.raises(InputError) as depot:
        Depot(f"nosuch://me:{WORD}@host/x").teacher("0" * 64)
    assert WORD not in str(depot.value)
