"""The model card of a student: what it was made of, how, and what is known of it. Only facts, none guessed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilsearch.home import write_atomically

if TYPE_CHECKING:
    from .student import Student

LOSS = {
    "embedding": "1 - Spearman correlation of pairwise cosines with the teacher's, held-out text",
    "mlm": "cross-entropy of masked words, held-out text",
    "causal": "cross-entropy of next tokens, held-out text",
}
LIBRARY = {"embedding": "sentence-transformers"}
TASK = {"embedding": "sentence-similarity", "mlm": "fill-mask", "causal": "text-generation"}


def card(student: "Student", extra: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """The text of README.md; `extra` adds sections, such as text sources, latency and scores."""
    teacher, about = student.teacher, student.about
    head = ["---", f"library_name: {LIBRARY.get(teacher.kind, 'transformers')}", f"pipeline_tag: {TASK[teacher.kind]}"]
    if teacher.name.count("/") == 1 and not teacher.name.startswith((".", "/", "~")):
        head.append(f"base_model: {teacher.name}")
    rows = {
        "teacher": f"{Path(teacher.name).name} ({teacher.parameters:,} parameters)",
        "teacher weights": f"sha256 {teacher.weights_sha256}",
        "parameters": f"{student.parameters:,}",
        "trained on": f"{student.tokens:,} tokens in {student.seconds:.0f} s",
        "loss": f"{student.loss:.4f} ({LOSS[teacher.kind]})",
    }
    if about:
        rows |= {
            "recipe": str(about["recipe"]["name"]),
            "text": f"sha256 {about['text']}",
            "seed, precision": f"{about['seed']}, {about['precision']}",
        }
    body = [*head, "---", "", f"# A student of {Path(teacher.name).name}", "", *_table(rows)]
    body += ["", "## Architecture", "", *_table({k: str(v) for k, v in sorted(student.architecture.values.items())})]
    for title, values in (extra or {}).items():
        shown = (
            {key: str(value) for key, value in values.items()} if isinstance(values, Mapping) else {title: str(values)}
        )
        body += ["", f"## {title}", "", *_table(shown)]
    body += ["", "## Curve", "", *_table({f"{tokens:,} tokens": f"{loss:.4f}" for tokens, loss in student.curve})]
    if about:
        body += ["", "## Recipe", "", "```json", json.dumps(about["recipe"], indent=1), "```"]
    return "\n".join(body) + "\n"


def write_card(folder: Path, student: "Student", extra: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the card of a saved student again, with more that is known of it."""
    write_atomically(folder / "README.md", card(student, extra))


def _table(rows: Mapping[str, str]) -> list[str]:
    return ["| | |", "| --- | --- |", *(f"| {name} | {value.replace('|', '/')} |" for name, value in rows.items())]
