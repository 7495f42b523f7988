"""Text as strangers have it: read for what it is, or refused by name; what was left out is counted and told."""

import ast
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.account import Account
from distilsearch.distill.texts.data import load_text
from distilsearch.distill.texts.sources import documents, python_docs
from distilsearch.errors import TextError

SECRET = "Zanzibar"  # stands in for what a user would not want to see in a log


def read(*sources: Path | str, column: str = "text") -> tuple[list[str], tuple[str, ...]]:
    """The documents of sources, and the notes on them."""
    account = Account(column)
    return list(documents([str(source) for source in sources], column, account)), account.notes()


def parquet(rows: dict[str, list[Any]]) -> Callable[[Path], None]:
    return lambda path: pq.write_table(pa.table(rows), path)


# What a file may be


def test_folders_globs_and_json_lines(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a.md").write_text("first")
    (tmp_path / "c.jsonl").write_text(json.dumps({"text": "third"}) + "\n\n" + json.dumps("fourth") + "\n")
    (tmp_path / "d.png").write_bytes(b"\0")
    assert list(documents([str(tmp_path)])) == ["first", "second", "third", "fourth"]
    assert list(documents([str(tmp_path / "*.txt")])) == ["second"]
    (tmp_path / "f.jsonl").write_text('{"text": "fifth\u2028line\x85end"}\r\n"sixth"\r\n', encoding="utf-8", newline="")
    assert list(documents([str(tmp_path / "f.jsonl")])) == ["fifth\u2028line\x85end", "sixth"]


def test_the_python_documentation_is_english_and_its_order_fixed() -> None:
    first = list(python_docs())
    assert sum(map(len, first)) > 1_000_000
    assert any("dictionary" in part for part in first)
    assert any(str(ast.get_docstring(ast.parse(Path(ast.__file__).read_bytes())))[:60] in part for part in first)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfaaa bbb\n",
        "aaa bbb\n".encode("utf-16"),
        "\ufeffaaa bbb\n".encode("utf-16-be"),
        "aaa bbb\n".encode("utf-32"),
        gzip.compress(b"aaa bbb\n"),
        gzip.compress("aaa bbb\n".encode("utf-16")),
        b"\xef\xbb\xbfaaa \xef\xbb\xbfbbb\n",
    ],
    ids=["mark", "utf-16", "utf-16-be", "utf-32", "gzip", "gzip of utf-16", "joined files"],
)
@pytest.mark.parametrize("name", ["a.txt", "A.TXT", "a.md.gz", "plain"])
def test_marks_encodings_and_gzip_are_read(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert read(tmp_path / name) == (["aaa bbb\n"], ())


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"a\0b\0\1\2\0", "binary"),
        (b"%PDF-1.7 x", "a PDF: extract its text"),
        (b"PK\x03\x04rest", "a zip archive, as Word and Excel"),
        (b"BZh91AY", "compressed by bzip2"),
        (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
        (b"PAR1...", "a Parquet file under another name"),
        (b"\x1f\x8bno gzip", "compressed by gzip and damaged"),
        (b"\x80\x04\x95.", "a pickle, which is never opened"),
        (b"caf\xe9 caf\xe9", "not UTF-8 text .*iconv -f WINDOWS-1252.*byte 3"),
        (b"\xff\xfe\xfa", "not the UTF-16 text that its byte-order mark promises"),
        ("plain words".encode("utf-16-le"), "UTF-16 text without a byte-order mark"),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(TextError, match=f"a.txt is {what}"):
        read(tmp_path / "a.txt")


ARRAY = json.dumps([{"text": "aaa"}, {"text": "bbb"}], indent=1)
LINES = '{"text": "aaa"}\n{"text": "bbb"}\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", ARRAY),
        ("a.JSON", json.dumps(["aaa", "bbb"])),
        ("a.json", LINES),
        ("a.json", json.dumps({"version": 1, "data": [{"text": "aaa"}, {"text": "bbb"}]})),
        ("a.json", json.dumps({"text": {"0": "aaa", "1": "bbb"}, "id": {"0": 1, "1": 2}})),
        ("a.json", json.dumps({"text": ["aaa", "bbb"]})),
        ("a.jsonl", ARRAY),
        ("a.jsonl", json.dumps(["aaa", "bbb"])),
        ("a.ndjson", LINES),
        ("a.JSONL", "\ufeff" + LINES.replace("\n", "\r\n")),
        ("a.csv", "id,text\n1,aaa\n2,bbb\n"),
        ("a.CSV", '\ufeff"text" , id\r\n"aaa",1\r\nbbb,2\r\n'),
        ("a.tsv", "text\tid\naaa\t1\nbbb\t2\n"),
    ],
)
def test_rows_are_read_by_their_text_column(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content.encode()))
    assert read(tmp_path / name) == (["aaa", "bbb"], ())
    assert read(tmp_path / f"{name}.gz") == (["aaa", "bbb"], ())


def test_another_column_may_hold_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": 1, "body": "aaa"}\n')
    (tmp_path / "b.csv").write_text("text,body\nx,bbb\n")
    (tmp_path / "c.json").write_text('[{"body": "ccc"}]')
    parquet({"body": ["ddd"], "text": ["y"]})(tmp_path / "d.parquet")
    assert read(tmp_path, column="body") == (["aaa", "bbb", "ccc", "ddd"], ())


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"messages": [{"role": "user", "content": "aaa"}, {"role": "assistant", "content": "bbb"}]}, "aaa\nbbb"),
        ({"conversations": [{"from": "human", "value": "aaa"}, {"from": "gpt", "value": "bbb"}]}, "aaa\nbbb"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "aaa"}, {"type": "image_url"}]}]},
            "aaa",
        ),
        ({"messages": [{"role": "assistant", "content": None}, {"role": "tool", "content": "bbb"}]}, "bbb"),
        ([{"role": "user", "content": "aaa"}], "aaa"),
        ({"text": "aaa", "messages": [{"content": "bbb"}]}, "aaa"),
    ],
)
def test_what_a_chat_says_is_joined(tmp_path: Path, row: Any, text: str) -> None:
    for name, content in (("a.jsonl", f"{json.dumps(row)}\n" * 2), ("a.json", json.dumps([row, row]))):
        (tmp_path / name).write_text(content)
        assert read(tmp_path / name) == ([text, text], ())


def test_chats_in_parquet_are_joined(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "aaa"}, {"role": "assistant", "content": "bbb"}]
    parquet({"messages": [chat, None, chat]})(tmp_path / "a.parquet")
    texts, notes = read(tmp_path / "a.parquet")
    assert texts == ["aaa\nbbb"] * 2
    assert len(notes) == 1


def test_half_a_surrogate_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a \\ud800 b"}\n{"text": "\\ud83d\\ude00"}\n')
    assert read(tmp_path / "a.jsonl")[0] == ["a ? b", "\U0001f600"]


# Rows without text

HOLES = {
    "a.jsonl": '{"text": "aaa"}\n{"text": null}\n{"text": "bbb"}\n{"id": 3}\n"ccc"\n',
    "b.jsonl": '{"text": "aaa"}\n{"text": 5}\n{"text": "bbb"}\n{"text": "cut of\n"ccc"\n',
    "c.jsonl": '{"text": ["x"]}\n{"text": "aaa"}\n{"text": "bbb"}\nnull\n"ccc"\n',
    "d.json": '[{"text": "aaa"}, {"text": null}, {"text": "bbb"}, {}, "ccc"]',
    "e.csv": "text,id\naaa,1\n,2\nbbb,3\n , 4\nccc,5\n",
    "f.tsv": "id\ttext\n1\taaa\n2\n3\tbbb\n4\t\n5\tccc\n",
}


@pytest.mark.parametrize("name", HOLES)
def test_rows_without_text_are_skipped_and_counted(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(HOLES[name])
    note = f"2 of 5 rows of {path} hold no text in 'text' and were skipped"
    assert read(path) == (["aaa", "bbb", "ccc"], (note,))


def test_parquet_and_datasets_keep_the_same_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"text": ["aaa", None, "bbb", None, "ccc"], "n": [1, 2, 3, 4, 5]}
    parquet(rows)(tmp_path / "a.parquet")
    texts, notes = read(tmp_path / "a.parquet")
    stream = datasets.Dataset.from_dict(rows).to_iterable_dataset()
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **o: stream)
    assert read("owner/name")[0] == texts == ["aaa", "bbb", "ccc"]
    assert notes == (f"2 of 5 rows of {tmp_path / 'a.parquet'} hold no text in 'text' and were skipped",)
    assert read("owner/name")[1] == ("2 of 5 rows of the dataset 'owner/name' hold no text in 'text' and were skipped",)
    with pytest.raises(TextError, match="5 of 5 rows of the dataset"):
        read("owner/name", column="n")
    with pytest.raises(TextError, match=r"no column 'body'; it has text, n; name the one .* text_column"):
        read("owner/name", column="body")


def test_a_stream_of_rows_without_text_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless() -> Any:
        while True:
            yield {"text": None}

    stream = datasets.IterableDataset.from_generator(endless)
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **o: stream)
    with pytest.raises(TextError, match="1,000 of 1,000 rows of the dataset"):
        read("owner/name")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "aaa"}\n{"id": 1}\n{"id": 2}\n', "2 of 3 rows of .* hold no text in 'text'"),
        ("a.jsonl", '{"words": "Zanzibar"}\n', "no column 'text' that holds text; it has words; name the column"),
        ("a.json", '[{"words": 1}, {"more": 2}]', "it has words, more"),
        ("a.json", '{"words": "Zanzibar"}', "it has words"),
        ("a.csv", "id,words\n1,Zanzibar\n", "it has id, words"),
        ("a.csv", "text;id\nZanzibar;1\n", "parted by semicolons"),
        ("a.csv", "A tale of Zanzibar, and of more than that.\nZanzibar\n", "looks like text and not like names"),
        ("a.csv", "text\n\n,\n,,Zanzibar\n", "line 4 has 3 cells, the header 1"),
        ("a.csv", 'text\n"Zanzibar\n', "cannot be read as CSV"),
        ("a.jsonl", "Zanzibar {\n", "line 1 is not JSON"),
        ("a.json", '\n{"text": "Zanzibar" // note\n}\n', "line 2 is not JSON"),
        ("a.json", "[" * 100_000, "line 1 is not JSON"),
    ],
)
def test_files_without_text_are_refused_and_not_quoted(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(TextError, match=message) as caught:
        read(tmp_path / name)
    assert SECRET not in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_parquet_files_without_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "A.PARQUET"
    parquet({"words": ["first"]})(path)
    with pytest.raises(TextError, match="no column 'text' that holds text; it has words"):
        read(path)
    parquet({"text": [1, 2]})(path)
    with pytest.raises(TextError, match="2 of 2 rows"):
        read(path)
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])
    pq.write_table(pa.table({"text": broken}), path)
    with pytest.raises(TextError, match="in its column 'text' that is not UTF-8"):
        read(path)
    path.write_bytes(b"no parquet")
    with pytest.raises(TextError, match="not a readable Parquet"):
        read(path)


# Folders


def test_what_a_folder_holds_beside_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name, content in {
        "a.txt": "aaa", "b.json": '[{"text": "bbb"}]', "sub/C.CSV": "text\nccc\n", "settings.json": '{"tabs": 4}',
        "sub/broken.json": "{ // note", "numbers.csv": "x,y\n1,2\n", "a.png": "x", "b.png": "x", "LICENSE": "words",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(content)
    texts, notes = read(tmp_path)
    assert sorted(texts) == ["aaa", "bbb", "ccc"]
    named = (
        "1 without suffix, 2 .png, numbers.csv (no 'text'), settings.json (no 'text'), sub/broken.json (not readable)"
    )
    assert notes == (f"passed over in the folder {tmp_path}: {named}",)


def test_a_folder_without_text_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(TextError, match=r"holds no .* file with text \(it holds 1 .docx\)"):
        read(tmp_path)
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(TextError, match=r"it holds 1 .docx, settings.json \(no 'text'\)"):
        read(tmp_path)


def test_a_damaged_text_in_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("aaa")
    (tmp_path / "b.txt").write_bytes(b"\xfa\xff")
    with pytest.raises(TextError, match=r"b.txt is not UTF-8"):
        read(tmp_path)


def test_notes_are_told_also_where_the_text_is_cached(tmp_path: Path, teacher: Teacher, text_file: Path) -> None:
    words = text_file.read_text()
    (tmp_path / "a.jsonl").write_text(f'{{"id": 1}}\n{json.dumps(words)}\n')
    (tmp_path / "b.txt").write_text(words[:2_000])
    (tmp_path / "c.png").write_text("x")
    said: list[str] = []
    for _ in range(2):
        text = load_text([str(tmp_path)], teacher, block=32, progress=lambda what, done, total: said.append(what))
    assert said == [*text.notes, *text.notes]
    assert said[0].startswith("1 of 2 rows")
    assert said[1].endswith("1 .png")
    (tmp_path / "d.mp3").write_text("x")
    assert load_text([str(tmp_path)], teacher, block=32).notes[1].endswith("1 .mp3, 1 .png")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(["a.txt", "a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a.gz"]), st.binary(max_size=80))
def test_no_file_gives_a_traceback(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    try:
        texts, _ = read(tmp_path / name)
    except TextError as error:
        said = str(error)
    else:
        said = name + "".join(texts).encode().decode()
    assert name in said


MUTATED = st.tuples(st.sampled_from([*HOLES]), st.integers(0, 60), st.sampled_from('"{}[],:\n\\\t;x\0'))


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(MUTATED)
def test_one_changed_character_gives_no_traceback(tmp_path: Path, change: tuple[str, int, str]) -> None:
    name, place, sign = change
    content = HOLES[name]
    (tmp_path / name).write_text(content[:place] + sign + content[place + 1 :])
    said = name
    try:
        read(tmp_path / name)
    except TextError as error:
        said = str(error)
    assert name in said
