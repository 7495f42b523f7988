"""What lies beside an exported graph: configuration, tokenizer, the files of sentence-transformers, and a card.

The tokenizer's own file says how texts are cut and padded, and lower-cases where the checkpoint's folder asks for that,
so that `tokenizers` alone reads texts as they are to be read. The card has five lines that run the graph by its runtime
alone, without torch or transformers.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ..students.card import CARD, LIBRARY, LICENCE, TASK, teacher_card
from ..teachers.surroundings import write_surroundings
from ..teachers.teacher import Teacher
from .artefact import DYNAMIC, FILES, IDS, LOGITS, MASK, STATIC, TYPES, VECTORS, Artefact
from .checks import TOLERANCE, lost_words
from .samples import FEWEST_CALIBRATION

TOKENIZER = "tokenizer.json"
FIELDS = {IDS: "ids", MASK: "attention_mask", TYPES: "type_ids"}  # of an encoding of `tokenizers`
PHRASES = ("It has been raining all day.", "The sun is out.")
HOW = {
    DYNAMIC: "dynamic: activations are scaled as they come",
    STATIC: "static: scales of activations were measured on text",
}


def write_beside(checkpoint: Teacher, folder: Path) -> None:
    """Configuration, tokenizer and sentence-transformers files of a checkpoint, into the folder of its graphs."""
    checkpoint.config.save_pretrained(str(folder))
    checkpoint.tokenizer.save_pretrained(str(folder))
    served_tokenizer(checkpoint).save(str(folder / TOKENIZER))
    if checkpoint.kind == "embedding":
        own = checkpoint.surroundings
        write_surroundings(folder, own, own.ending, int(checkpoint.facts.width), own.length)


def served_tokenizer(checkpoint: Teacher) -> Tokenizer:
    """The tokenizer as it reads texts for the graph: cut to the length, padded to the longest of a batch."""
    tokenizer = Tokenizer.from_str(checkpoint.reader.to_str())
    whole = checkpoint.tokenizer
    token = whole.pad_token if whole.pad_token is not None else whole.eos_token
    tokenizer.enable_padding(pad_id=int(whole.convert_tokens_to_ids(token)), pad_token=token)
    tokenizer.enable_truncation(length_of(checkpoint), direction=whole.truncation_side)
    return tokenizer


def length_of(checkpoint: Teacher) -> int:
    """The most tokens of a text, special ones included."""
    return min(checkpoint.surroundings.length, checkpoint.longest)


def write_card(checkpoint: Teacher, folder: Path, artefacts: Sequence[Artefact]) -> None:
    """The checkpoint's own card, and how each of its graphs is run."""
    sections = [section(artefact) for artefact in artefacts]
    (folder / CARD).write_text("\n\n".join([_own_card(checkpoint).rstrip("\n"), *sections]) + "\n", encoding="utf-8")


def section(artefact: Artefact) -> str:
    """What is known of a graph, and the lines that run it."""
    rows = {
        "files": f"{', '.join(artefact.files)}; {artefact.bytes / 1e6:.1f} MB in all",
        "inputs": ", ".join(artefact.inputs),
        "outputs": ", ".join(artefact.outputs),
        "longest text": f"{artefact.length} tokens",
        **checked_rows(artefact),
        "made with": ", ".join(f"{name} {version}" for name, version in artefact.versions.items()),
    }
    if artefact.prompt:
        rows["prompt"] = f"vectors are pooled without {json.dumps(artefact.prompt)}, with which texts are to begin"
    table = ["| | |", "| --- | --- |", *(f"| {name} | {words.replace('|', '/')} |" for name, words in rows.items())]
    title = f"## Served by {artefact.runtime} in {artefact.dtype}"
    return "\n".join([title, "", *table, "", "```python", *lines(artefact), "```"])


def checked_rows(artefact: Artefact) -> dict[str, str]:
    """What a graph was held against, in words."""
    checks = artefact.checks
    if artefact.dtype == "float32":
        apart = ", ".join(f"{name} {value:.2g}" for name, value in checks["differences"].items())
        return {"from torch's, at most": f"{apart} ({TOLERANCE:g} of the largest number is allowed)"}
    rows = {"int8": HOW[artefact.quantised], "lost": f"{checks['lost']:.4f} ({lost_words(artefact.kind)})"}
    for name, other in checks["tried"].items():
        rows[f"{name}, tried"] = f"{other['lost']:.4f} lost, {1e3 * other['seconds']:.3f} ms"
    if "tokens" in checks:
        rows[f"{STATIC}, not tried"] = f"the text holds {checks['tokens']:,} of {FEWEST_CALIBRATION:,} tokens for it"
    return rows


def said(artefact: Artefact) -> str:
    """An artefact in one line of words."""
    what = "; ".join(f"{name}: {words}" for name, words in checked_rows(artefact).items())
    beside = [Path(name).name for name in artefact.files if artefact.folder / name != artefact.file]
    return f"{' and '.join([str(artefact.file), *beside])}: {artefact.bytes / 1e6:.1f} MB in all; {what}"


def lines(artefact: Artefact) -> list[str]:
    """Five lines of Python that run a graph, in its folder."""
    file, answer = FILES[artefact.runtime, artefact.dtype], VECTORS if VECTORS in artefact.outputs else LOGITS
    phrases = [artefact.prompt + phrase for phrase in PHRASES]
    fields = ", ".join(f'"{name}": numpy.array([t.{FIELDS[name]} for t in texts])' for name in artefact.inputs)
    read = f'texts = tokenizers.Tokenizer.from_file("{TOKENIZER}").encode_batch({json.dumps(phrases)})'
    named = "vectors" if answer == VECTORS else "logits"
    if artefact.runtime == "openvino":
        options = '"CPU", {"INFERENCE_PRECISION_HINT": "f32"}'
        opened = f'model = openvino.Core().compile_model("{file}", {options})'
        return ["import numpy, openvino, tokenizers", read, opened, f"inputs = {{{fields}}}",
                f'{named} = model(inputs)["{answer}"]']  # fmt: skip
    opened = f'session = onnxruntime.InferenceSession("{file}")'
    return ["import numpy, onnxruntime, tokenizers", read, opened, f"inputs = {{{fields}}}",
            f'{named} = session.run(["{answer}"], inputs)[0]']  # fmt: skip


def _own_card(checkpoint: Teacher) -> str:
    """The card in a checkpoint's folder; where there is none, a head that says what this is."""
    try:
        return (checkpoint.folder / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        pass
    stated: Mapping[str, Any] = teacher_card(checkpoint.folder)
    rows = [f"library_name: {LIBRARY.get(checkpoint.kind, 'transformers')}", f"pipeline_tag: {TASK[checkpoint.kind]}"]
    rows += [f"{name}: {json.dumps(stated[name])}" for name in LICENCE if isinstance(stated.get(name), str)]
    return "\n".join(["---", *rows, "---", "", f"# {Path(checkpoint.name).name}, exported", ""])
