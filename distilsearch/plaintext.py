"""Text files as people have them: with byte-order marks, in UTF-16 or UTF-32, compressed by gzip.

What is none of these is named, so that nobody has to guess what "binary" means. An error says which file, and never
quotes what stands in it.
"""

import codecs
import gzip
import zlib
from pathlib import Path

from .errors import DistilSearchError, InputError

MARKS = (  # the longer ones first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
GZIP = b"\x1f\x8b"
FOREIGN = {  # by what a file of the kind begins with
    b"%PDF": "a PDF: extract its text first, such as with pdftotext",
    b"PK\x03\x04": "a zip archive, as Word and Excel files are too: unpack it, or save it as plain text or CSV",
    b"BZh": "compressed by bzip2: unpack it, or compress it with gzip",
    b"\xfd7zXZ\x00": "compressed by xz: unpack it, or compress it with gzip",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it, or compress it with gzip",
    b"7z\xbc\xaf": "a 7-Zip archive: unpack it",
    b"PAR1": "a Parquet file under another name: call it .parquet",
    b"ARROW1": "an Arrow file: write it as Parquet or JSON lines",
    b"SQLite format 3": "an SQLite database: export its text as CSV or JSON lines",
    b"\xd0\xcf\x11\xe0": "an old Word or Excel file: save it as plain text or CSV",
    b"\x80\x04\x95": "a pickle, which is never opened: write it as JSON lines",
}
MARK = "\ufeff"


def read_text(path: Path, error: type[DistilSearchError] = InputError) -> str:
    """The text of a file, without byte-order marks; ends of lines stay as they are.

    Args:
        error: what is raised where the file cannot be read, or is no text; the message says what it is instead.
    """
    try:
        content = path.read_bytes()
    except OSError as cause:
        raise error(f"cannot read {path}: {cause.strerror or cause}") from cause
    if content.startswith(GZIP):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as cause:
            raise error(f"{path} is compressed by gzip and damaged; fetch or compress it again") from cause
    return decoded(content, path, error)


def decoded(content: bytes, path: Path, error: type[DistilSearchError] = InputError) -> str:
    """The text that bytes of a file mean; see `read_text`.

    >>> decoded("word".encode("utf-16"), Path("notes.txt"))
    'word'
    """
    for start, what in FOREIGN.items():
        if content.startswith(start):
            raise error(f"{path} is {what}")
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "")
    if not encoding and b"\0" in content:
        raise error(f"{path} is {_of_nuls(content)}")
    try:
        text = content.decode(encoding or "utf-8")
    except UnicodeDecodeError as cause:
        if encoding:
            what = f"not the {encoding[:6].upper()} text that its byte-order mark promises"
        else:
            what = "not UTF-8 text (Latin-1 or Windows-1252, perhaps: `iconv -f WINDOWS-1252 -t UTF-8`)"
        raise error(f"{path} is {what}; byte {cause.start} makes no sense: convert or leave it out") from cause
    if "\0" in text:
        raise error(f"{path} is binary (it holds NUL characters); name text files")
    return text.replace(MARK, "")  # joined files carry one where each began


def _of_nuls(content: bytes) -> str:
    """What a file with NUL bytes and without a mark is: every second byte of UTF-16 is one, where letters are Latin."""
    even, odd = content[:4096:2].count(0), content[1:4096:2].count(0)
    half = len(content[:4096]) / 2
    if max(even, odd) > 0.7 * half and min(even, odd) < 0.1 * half:
        return "UTF-16 text without a byte-order mark, by its looks: convert it with `iconv -f UTF-16LE -t UTF-8`"
    return "binary (it holds NUL bytes); name text files"
