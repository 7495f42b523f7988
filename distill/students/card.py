"""The model card of a student: what it was made of, how, and what is known of it. Only facts, none guessed.

It is also what a student's folder is recognised by: a card says which teacher, text, recipe, seed, precision and
architecture its student is of, so that no other one is written over it.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yaml import YAMLError  # type: ignore[import-untyped]

from distilsearch.architecture import Architecture

from ..quality import LOSS, PARTS, loss_words, some_blocks
from ..teachers.named import QUICKSTART

if TYPE_CHECKING:
    from ..teachers.teacher import Teacher
    from .student import Student

LIBRARY = {"embedding": "sentence-transformers"}
WEIGHTS, TEXT, SEED, TOKENS = "teacher weights", "text", "seed, precision", "trained on"  # rows
TASK = {"embedding": "sentence-similarity", "mlm": "fill-mask", "causal": "text-generation"}


LICENCE = ("license", "license_name", "license_link")  # in the head of a card
QUICKSTART_MODEL = "sentence-transformers/all-MiniLM-L6-v2"  # what the quickstart's package holds, by its sha256
CARD = "README.md"  # its file in a student's folder
Sections = Mapping[str, Mapping[str, Any]]  # of a card: rows by title
TITLE = "# A student of "
OWN_NAME = re.compile(r": [0-9a-f]{12}$")  # the student's, in the title; not in those of 0.1.0
CURVE = "\n## Curve\n"
ORIGIN = "Cut from a super-network"  # a section
ROW = re.compile(r"^\| (.+?) \| (.*) \|$", re.MULTILINE)
RECIPE = re.compile(r"^## Recipe\n\n```json\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


def card(student: "Student") -> str:
    """The text of README.md."""
    teacher, about = student.teacher, student.about
    head = ["---", f"library_name: {LIBRARY.get(teacher.kind, 'transformers')}", f"pipeline_tag: {TASK[teacher.kind]}"]
    head += _origin(teacher)
    name = Path(QUICKSTART_MODEL if teacher.name == QUICKSTART else teacher.name).name
    body = [*head, "---", "", f"{TITLE}{name}: {student.architecture.key}", "", *_table(_facts(student, name))]
    body += ["", "## Architecture", "", *_table({k: str(v) for k, v in sorted(student.architecture.values.items())})]
    if origin := about.get("origin"):
        body += ["", f"## {ORIGIN}", "", *_table(origin)]
    body += ["", "## Curve", "", *_table(_curve(student))]
    if about:
        body += ["", "## Recipe", "", "```json", json.dumps(about["recipe"], indent=1), "```"]
    return "\n".join(body) + "\n"


def _facts(student: "Student", teacher_name: str) -> dict[str, str]:
    """What is known of a student whatever it is for: its teacher, its size, how it was trained, what it came to."""
    teacher, about = student.teacher, student.about
    rows = {
        "teacher": f"{teacher_name} ({teacher.parameters:,} parameters)",
        WEIGHTS: f"sha256 {teacher.weights_sha256}",
        "parameters": f"{student.parameters:,}",
        TOKENS: f"{student.tokens:,} tokens in {student.seconds:.0f} s",
        **{f"accuracy, {PARTS.get(name, name)}": f"{value:.4f}" for name, value in student.parts.items()},
    }
    if math.isfinite(student.loss):  # not known of a sub-network that nobody has scored
        rows["loss"] = f"{student.loss:.4f} ({loss_words(teacher.kind, str(about.get('quality', LOSS)))})"
    if student.probe is not None:
        rows["loss on the probe"] = f"{student.probe.words}; a text that it was not trained on"
    if teacher.prompt:
        rows["prompt"] = json.dumps(teacher.prompt, ensure_ascii=False)
    if about:
        rows |= {
            "recipe": str(about["recipe"]["name"]),
            TEXT: f"sha256 {about['text']}",
            SEED: f"{about['seed']}, {about['precision']}",
        }
        if (share := about.get("share", 1.0)) != 1.0:
            rows["share of the text"] = f"{share:g}"
    return rows


def _curve(student: "Student") -> dict[str, str]:
    """The held-out loss by tokens; of fewer blocks than the last one, with their number."""
    whole = student.about.get("heldout_blocks", 0)
    words = {at: f"; {some_blocks(count, whole)}" for at, count in student.blocks.items()}
    return {f"{tokens:,} tokens": f"{loss:.4f}{words.get(tokens, '')}" for tokens, loss in student.curve}


def _origin(teacher: "Teacher") -> list[str]:
    """What the card's head says of where the student comes from: the teacher's licence, and the published model.

    That is the teacher itself where it is one, else what the teacher's own card says it was made of.
    """
    hub = teacher.name.count("/") == 1 and not teacher.name.startswith((".", "/", "~"))
    stated = teacher_card(teacher.folder)
    base = teacher.name if hub else QUICKSTART_MODEL if teacher.name == QUICKSTART else stated.get("base_model")
    rows = {name: stated.get(name) for name in LICENCE} | {"base_model": base}
    return [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in rows.items() if _words(value)]


def _words(value: Any) -> bool:
    """Whether a value of a card's head is text, or a list of it."""
    return bool(value) and all(isinstance(word, str) for word in (value if isinstance(value, list) else [value]))


def teacher_card(folder: Path) -> dict[str, Any]:
    """The head of the card in a model's folder; empty where there is none, or none that can be read.

    It says nothing of how the model computes, so no teacher is refused for it.
    """
    from huggingface_hub import metadata_load

    try:
        return dict(metadata_load(folder / CARD) or {})
    except (OSError, ValueError, YAMLError):
        return {}


def with_sections(text: str, sections: Sections) -> str:
    """A card with more that is known of its student, such as text sources, latency and scores."""
    lines: list[str] = []
    for title, rows in sections.items():
        lines += ["", f"## {title}", "", *_table({name: str(value) for name, value in rows.items()})]
    before, curve, after = text.partition(CURVE)
    return "\n".join([before.rstrip("\n"), *lines]) + "\n" + curve + after


def identity(weights_sha256: str, text_sha256: str, recipe: Mapping[str, Any], seed: int, precision: str,
             architecture: Architecture) -> dict[str, Any]:  # fmt: skip
    """The lines of a card that say which student it is, without the length of its training."""
    return {
        WEIGHTS: f"sha256 {weights_sha256}",
        TEXT: f"sha256 {text_sha256}",
        SEED: f"{seed}, {precision}",
        "recipe": {name: value for name, value in json.loads(json.dumps(recipe)).items() if name != "name"},
        "architecture": {name: str(value) for name, value in architecture.values.items()},
    }


def read_teacher(folder: Path) -> str:
    """The name of the teacher on the card in a student's folder; empty where none can be read."""
    try:
        lines = (folder / CARD).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    titles = (line.removeprefix(TITLE) for line in lines if line.startswith(TITLE))
    return OWN_NAME.sub("", next(titles, ""))


def read_identity(folder: Path) -> tuple[dict[str, Any], int] | None:
    """The identity and the trained tokens on the card in a student's folder; none where it is not one of ours."""
    try:
        text = (folder / CARD).read_text(encoding="utf-8")
        head, _, genes = text.partition("\n## Architecture\n")
        rows = dict(ROW.findall(head))
        recipe = json.loads(RECIPE.search(text).group(1))  # type: ignore[union-attr]
        plain: dict[str, Any] = {name: rows[name] for name in (WEIGHTS, TEXT, SEED)}
        plain["recipe"] = {name: value for name, value in recipe.items() if name != "name"}
        plain["architecture"] = dict(ROW.findall(genes.partition("\n## ")[0]))
        plain["architecture"].pop("---", None)
        return (plain, int(rows[TOKENS].split()[0].replace(",", ""))) if TITLE in head else None
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def _table(rows: Mapping[str, str]) -> list[str]:
    return ["| | |", "| --- | --- |", *(f"| {name} | {value.replace('|', '/')} |" for name, value in rows.items())]
