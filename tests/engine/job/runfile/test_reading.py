"""Run files as editors, systems and people leave them: read, or refused in the words of who wrote them."""

import codecs
import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilsearch.distill.compute.precision import resolve_precision
from distilsearch.distill.texts.sources import documents
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.runfile.continuing import kept_run
from distilsearch.engine.job.runfile.reading import read_toml, run_name
from distilsearch.errors import InputError
from distilsearch.operators import Serving

LEAST = 'teacher = "quickstart"\ntext = ["python-docs"]\n'


def _file(folder: Path, content: str | bytes, name: str = "run.toml") -> Path:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("my run.toml", "my-run"),
        ("_draft.toml", "draft"),
        ("-x.toml", "x"),
        (".toml", "toml"),
        ("пуск.toml", "run"),
        ("été 2026.toml", "t-2026"),
        ("a[1].toml", "a-1-"),
        ("v1.2_b.toml", "v1.2_b"),
        ("((())).toml", "run"),
    ],
)
def test_every_file_names_a_run(tmp_path: Path, file: str, name: str) -> None:
    assert Run.read(_file(tmp_path, LEAST, file)).name == name
    assert run_name(name) == name


@pytest.mark.parametrize("name", ["my run", "", "../up", "-x", "été", "a/b"])
def test_a_name_that_is_none_is_answered_with_one_that_is(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"^name: expected letters, digits .* such as '[A-Za-z0-9].*'; got "):
        Run.read(_file(tmp_path, f"name = '{name}'\n{LEAST}"))


@pytest.mark.parametrize(
    "content",
    [codecs.BOM_UTF8 + LEAST.encode(), LEAST.replace("\n", "\r\n").encode(), ("# été\n" + LEAST).encode()],
    ids=["byte-order mark", "ends of lines of Windows", "letters beyond ASCII"],
)
def test_what_editors_leave_is_read(tmp_path: Path, content: bytes) -> None:
    assert Run.read(_file(tmp_path, content)).teacher == "quickstart"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LEAST.encode("utf-16"), "is UTF-16, and a run file is plain UTF-8 text"),
        (b"\x1f\x8b\x08\x00", r"is compressed \(gzip\)"),
        (b"# caf\xe9\n" + LEAST.encode(), "line 1 is no UTF-8 text; save the file as UTF-8"),
        (b"", "is empty; a run needs at least teacher and text"),
        (b"# nothing yet\n", "is empty"),
        (rb'teacher = "C:\models\bert"', "not valid TOML: .* single quotes, or write / for"),
        (rb'teacher = "C:\Users\me\bert"', "not valid TOML: .* single quotes, or write / for"),
        (rb'text = ["D:\data\*.txt"]', "not valid TOML: .* single quotes, or write / for"),
        (rb'teacher = "C:\new\bert"', r"control character in teacher \('C:\\new\\x08ert'\); in double quotes"),
        (rb'text = ["x", "D:\texts"]', r"control character in text \('D:\\texts'\)"),
        (b'[train]\nrecipe = "C:\\tmp\\fast.toml"', r"control character in train.recipe"),
        (b'teacher = "x', "not valid TOML"),
    ],
)
def test_what_cannot_be_read_says_so_in_words_of_its_own(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=f"run.toml .*{message}"):
        Run.read(_file(tmp_path, content))


def test_a_windows_path_in_single_quotes_stays_as_it_is(tmp_path: Path) -> None:
    assert read_toml(_file(tmp_path, r"teacher = 'C:\new\bert'"))["teacher"] == r"C:\new\bert"


@pytest.mark.parametrize("folder", ["data [v2]", "[abc]", "x[!a]y", "a*b", "what?", "[[]"])
@pytest.mark.parametrize("place", ["*.txt", "**/*.txt", ".", "a[1].txt"])
def test_brackets_in_the_names_of_folders_mean_themselves(tmp_path: Path, folder: str, place: str) -> None:
    inner = tmp_path / folder / "texts"
    inner.mkdir(parents=True)
    (inner / "a[1].txt").write_text("some words")
    path = _file(tmp_path / folder, f"teacher = 'quickstart'\ntext = ['texts/{place}']\n")
    (text,) = Run.read(path).text
    assert [*documents([text])] == ["some words"]
    assert [*documents([str(inner / place)])] == ["some words"]


ALL_AT_ONCE = """
teacher = "quickstart"
text = ["python-docs"]
trails = 3
trials = "12"
preset = "defualt"
[space]
layer = [1]
widht = [128]
heads = ["many"]
[train]
flash_token = 1
precision = "fp8"
finish = "fornt"
[[target]]
latency_mss = 5
serving = { bach = 1, sequense = 2 }
[strategy]
name = "ehvi"
drawss = 3
"""


def test_all_mistakes_of_a_file_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        Run.read(_file(tmp_path, ALL_AT_ONCE))
    for said in (
        "trails: unknown key 'trails': did you mean 'trials'?",
        "trials: expected a whole number, without quotes; got '12'",
        "unknown preset 'defualt': did you mean 'default'?",
        "'layer': did you mean 'layers'?",
        "'widht': did you mean 'width'?",
        "heads must be a positive whole number; got 'many'",
        "'flash_token': did you mean 'flash_tokens'?",
        "train.precision: it should be 'auto', 'float32' or 'bf16'; got 'fp8'",
        "(did you mean 'front'?); got 'fornt'",
        "'latency_mss': did you mean 'latency_ms'?",
        "unknown serving key 'bach': did you mean 'batch'?",
        "unknown serving key 'sequense': did you mean 'sequence'?",
        "'drawss': did you mean 'draws'?",
    ):
        assert said in str(refused.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("latency_ms = 5", r"unknown key 'latency_ms' here: did you mean 'latency_ms' in \[\[target\]\]\?"),
        ("latency_mss = 5", r"unknown key 'latency_mss' here: did you mean 'latency_ms' in \[\[target\]\]\?"),
        ("flash_tokens = 5", r"did you mean 'flash_tokens' in \[train\]\?"),
        ("cache_limit_gb = 5", r"did you mean 'cache_limit_gb' in \[storage\]\?"),
        ("[train]\ntrials = 5", r"did you mean 'trials' in the top of the file\?"),
        ("trials = 4.5", "trials: expected a whole number; got 4.5"),
        ("text_temperature = 'hot'", "text_temperature: expected a number; got 'hot'"),
        ("target = 3", "target: expected a list in brackets; got 3"),
        ("train = 3", "train: expected a table of keys; got 3"),
        ("plugins = 3", "plugins: expected a list in brackets; got 3"),
        ("teacher = 3", "teacher: expected a word in quotes; got 3"),
    ],
)
def test_what_stands_in_the_wrong_place_or_kind_is_answered_in_words(tmp_path: Path, line: str, message: str) -> None:
    least = LEAST if not line.startswith("teacher") else LEAST.partition("\n")[2]
    with pytest.raises(InputError, match=message):
        Run.read(_file(tmp_path, f"{least}{line}\n"))


@pytest.mark.parametrize(("said", "meant"), [("bf16", "bfloat16"), ("fp32", "float32"), ("torch.bfloat16", "bfloat16")])
def test_precisions_have_one_name_each(said: str, meant: str) -> None:
    least = {"teacher": "x", "text": "y"}
    served = Run.parse(least | {"target": [{"serving": {"dtype": said}}]})
    assert served == Run.parse(least | {"target": [{"serving": {"dtype": meant}}]})
    assert Serving(dtype=said) == Serving(dtype=meant)
    trained = Run.parse(least | {"train": {"precision": said}})
    assert trained.train.precision == {"bfloat16": "bf16"}.get(meant, meant)
    assert resolve_precision(said) == trained.train.precision
    with pytest.raises(InputError, match="needs one or more different choices"):
        Run.parse(least | {"target": [{"serving": {"dtype": [said, meant]}}]})


def test_a_run_file_is_remarked_upon(tmp_path: Path) -> None:
    run = Run.read(_file(tmp_path, f"{LEAST}[space]\nwidth = [100, 128]\nheads = [8]\n"))
    (remark,) = run.remarks
    assert remark.startswith("width = 100 is left out: heads must divide width")


GOOD = f"""# été
name = "mine"
{LEAST}trials = 12
[space]
layers = [1, 2]
[train]
recipe = 'C:\\mine.toml'
[[target]]
serving = {{ batch = 1, dtype = "float32" }}
""".encode()


@given(st.integers(0, len(GOOD)), st.binary(max_size=6), st.integers(0, 12))
@settings(deadline=None, max_examples=60)
def test_a_file_that_is_damaged_anywhere_is_read_or_refused(at: int, put: bytes, over: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = _file(Path(folder), GOOD[:at] + put + GOOD[at + over :])
        with contextlib.suppress(InputError):
            Run.read(path)
        with contextlib.suppress(InputError):
            kept_run(Path(folder))
        assert [p.name for p in Path(folder).iterdir()] == ["run.toml"]
