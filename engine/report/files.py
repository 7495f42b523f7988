"""`result.json` and `report.html` of a run's folder: read and written here alone."""

import json
import math
from pathlib import Path

from distilsearch import strict
from distilsearch.errors import RunError
from distilsearch.home import write_atomically
from distilsearch.places import PAGE, own_file

from .budgets import with_answers
from .checking import SEARCH_AGAIN
from .report import render
from .schema import ResultFile

RESULT, REPORT = "result.json", "report.html"


def read_result(folder: Path) -> ResultFile:
    """The result of a run's folder; figures that are no numbers (an old NaN) are absent.

    Raises:
        RunError: there is none, it is damaged, or a newer version wrote it.
    """
    path = folder / RESULT
    try:
        text = strict.read_bytes(path).decode("utf-8")
        data = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
        json.dumps(data, ensure_ascii=False).encode()  # half a character cannot be shown
        data = strict.printable(data)
    except FileNotFoundError:
        if not folder.exists():
            raise RunError(f"there is no folder {folder}; name that of a run") from None
        raise RunError(
            f"there is no result in {folder}: its run has not ended; go on with `distilsearch search` and its run file"
            f" (`distilsearch status {folder}` says where it stands)"
        ) from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}; name the folder of a run") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({error}); {SEARCH_AGAIN}") from None
    return with_answers(ResultFile.from_json(data, str(path)))  # files of older versions have none


def write_result(result: ResultFile, folder: Path) -> ResultFile:
    """Write the result of a run and its report, each whole or not at all; the result with its answers, as written."""
    result = with_answers(result)
    write_atomically(folder / RESULT, json.dumps(result.to_json(), indent=1, allow_nan=False))
    write_report(result, folder)
    return result


def write_report(result: ResultFile, folder: Path) -> Path:
    """Write the self-contained page of a result into a run's folder; its path."""
    write_atomically(own_file(folder / REPORT, PAGE), render(result))
    return folder / REPORT


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None
