"""What was exported of a checkpoint: one file of a runtime in one precision, and all that is known of it.

`served.json` lies beside the files with the sha256 of each (weights that lie apart from their graph included); a file
that is not what was written is never opened. Graphs lie where people's servers look for them: `onnx/model.onnx`,
`openvino/openvino_model.xml`, and their int8 versions beside.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from distilsearch import strict
from distilsearch.errors import InputError, RunError, unknown
from distilsearch.home import write_atomically

from ..quality import NAMES

SCHEMA = 1
MANIFEST = "served.json"
FILES: Mapping[tuple[str, str], str] = {  # by runtime and precision
    ("onnxruntime", "float32"): "onnx/model.onnx",
    ("onnxruntime", "int8"): "onnx/model_qint8.onnx",
    ("openvino", "float32"): "openvino/openvino_model.xml",
    ("openvino", "int8"): "openvino/openvino_model_qint8_quantized.xml",
}
FILES_OF: Mapping[str, str] = {"tensorrt": "onnxruntime"}  # runtimes that are served by the files of another
RUNTIMES = tuple(dict.fromkeys(runtime for runtime, _ in FILES))
DTYPES = tuple(dict.fromkeys(dtype for _, dtype in FILES))
STATES, VECTORS, LOGITS, FOLLOWS = "last_hidden_state", "sentence_embedding", "logits", "seq_relationship_logits"
IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
INPUTS, OUTPUTS = (IDS, MASK, TYPES), (STATES, VECTORS, LOGITS, FOLLOWS)
DYNAMIC, STATIC = "dynamic", "static"  # how int8 is made: see `making`
METHODS: Mapping[str, tuple[str, ...]] = {"float32": ("",), "int8": (DYNAMIC, STATIC)}
SERVED = "served"  # the folder of artefacts in or beside a student's own


@dataclass(frozen=True)
class Artefact:
    """An exported file.

    Args:
        folder: where `served.json` lies.
        files: the sha256 of the graph and of what it is stored in beside, by path in the folder.
        source: sha256 of the weights that it was made of.
        kind: of the checkpoint: "embedding", "mlm" or "causal".
        length: the most tokens of a text.
        prompt: the text that vectors are pooled for, which texts are to begin with; "" where none matters.
        quantised: how int8 came about: "dynamic" or "static"; "" for float32.
        checks: what it was held against before it was kept, by name.
        versions: of the packages that made it.
    """

    folder: Path
    runtime: str
    dtype: str
    files: Mapping[str, str]
    source: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    length: int
    prompt: str = ""
    quantised: str = ""
    checks: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What its scores are kept under, such as "onnxruntime-int8"."""
        return named(self.runtime, self.dtype)

    @property
    def file(self) -> Path:
        """The graph."""
        return self.folder / FILES[self.runtime, self.dtype]

    @property
    def bytes(self) -> int:
        """What its files hold."""
        return sum((self.folder / name).stat().st_size for name in self.files)

    def check(self) -> None:
        """Raises a `RunError` where a file is gone, a link, or not what was written."""
        wrong = [name for name, sha256 in self.files.items() if not _same(self.folder / name, sha256)]
        if wrong:
            raise RunError(
                f"{', '.join(str(self.folder / name) for name in wrong)}: not what was exported, and not opened; export"
                " it again"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, without the folder."""
        plain = {name: value for name, value in asdict(self).items() if name != "folder"}
        return plain | {"inputs": list(self.inputs), "outputs": list(self.outputs)}


def named(runtime: str, dtype: str) -> str:
    """A runtime and a precision in one word."""
    return f"{runtime}-{dtype}"


def layout(runtime: str, dtype: str) -> str:
    """The path of a graph in its folder; an `InputError` names the runtimes and precisions that are known."""
    if runtime not in RUNTIMES:
        raise unknown("runtime to export to", runtime, RUNTIMES)
    if dtype not in DTYPES:
        raise InputError(f"{runtime} serves {' or '.join(DTYPES)} here; got {dtype!r}")
    return FILES[runtime, dtype]


def read_artefacts(folder: Path) -> dict[str, Artefact]:
    """The artefacts of a folder by name; empty where there are none. Files are not looked at: see `Artefact.check`.

    Raises:
        RunError: what they are listed in is damaged, or of a newer version.
    """
    path = folder / MANIFEST
    try:
        content = strict.table(strict.read_json(path), "it")
        schema = strict.whole(content["schema"], "schema")
        if schema > SCHEMA:
            raise RunError(f"{path} was written by a newer version of distilsearch; use that one, or export again")
        listed = [_artefact(folder, strict.table(one, "an artefact")) for one in content["artefacts"]]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged ({error}); export the model again") from error
    return {artefact.name: artefact for artefact in listed}


def artefact_of(folder: Path, runtime: str, dtype: str) -> Artefact:
    """One artefact of a folder, its files checked; a `RunError` says what is missing or damaged."""
    layout(runtime, dtype)
    artefacts = read_artefacts(folder)
    if named(runtime, dtype) not in artefacts:
        there = ", ".join(sorted(artefacts)) or "nothing"
        raise RunError(
            f"{folder} holds no export for {runtime} in {dtype} but {there}; make one: `distilsearch export`"
        )
    artefact = artefacts[named(runtime, dtype)]
    artefact.check()
    return artefact


def write_artefacts(folder: Path, artefacts: Sequence[Artefact]) -> None:
    """Write the list of a folder's artefacts."""
    content = {"schema": SCHEMA, "artefacts": [one.to_json() for one in artefacts]}
    write_atomically(folder / MANIFEST, json.dumps(content, indent=1, allow_nan=False) + "\n")


def sha256_of(path: Path) -> str:
    """Of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _artefact(folder: Path, data: Mapping[str, Any]) -> Artefact:
    """One entry, checked: a name that leads out of the folder, or a graph in another place, is refused."""
    known = {one.name for one in fields(Artefact)} - {"folder"}
    if set(data) != known:
        raise ValueError(f"the fields {sorted(set(data) ^ known)} are absent or unknown")
    files = strict.table(data["files"], "files")
    for name, sha256 in files.items():
        if not strict.is_plain(name) or not isinstance(sha256, str) or not strict.SHA256.fullmatch(sha256):
            raise ValueError(f"the file {name!r:.80} has no plain name below its folder, or no sha256")
    words = {name: strict.text(data[name], name) for name in ("runtime", "dtype", "source", "kind", "quantised")}
    if FILES.get((words["runtime"], words["dtype"])) not in files:
        raise ValueError(f"an artefact of {words['runtime']!r:.40} in {words['dtype']!r:.40} has no graph")
    if words["kind"] not in NAMES:
        raise ValueError(f"the kind should be one of {', '.join(NAMES)}; got {words['kind']!r:.40}")
    if words["quantised"] not in METHODS[words["dtype"]]:
        raise ValueError(f"{words['dtype']} is not made by {words['quantised']!r:.40}")
    return Artefact(
        folder=folder,
        files=files,
        inputs=_names(data["inputs"], INPUTS),
        outputs=_names(data["outputs"], OUTPUTS),
        length=strict.whole(data["length"], "length"),
        prompt=strict.text(data["prompt"], "prompt"),
        checks=_checks(strict.table(data["checks"], "checks"), words["dtype"]),
        versions={name: strict.text(one, name) for name, one in strict.table(data["versions"], "versions").items()},
        **words,
    )


def _checks(data: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """What an artefact was held against, as its precision has it."""
    if dtype == "float32":
        apart = strict.table(data["differences"], "differences")
        return {"differences": {name: strict.number(value, name, 0.0) for name, value in apart.items()}}
    tried = {name: strict.table(one, name) for name, one in strict.table(data["tried"], "tried").items()}
    told = {name: {what: strict.number(one[what], what) for what in ("lost", "seconds")} for name, one in tried.items()}
    few = {"tokens": strict.whole(data["tokens"], "tokens")} if "tokens" in data else {}
    return {"lost": strict.number(data["lost"], "lost"), "tried": told, **few}


def _names(data: Any, known: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(data, list) or not data or not all(isinstance(name, str) and name in known for name in data):
        raise ValueError(f"inputs and outputs are lists of {', '.join(known)}; got {data!r:.60}")
    return tuple(data)


def _same(path: Path, sha256: str) -> bool:
    try:
        return path.is_file() and not path.is_symlink() and sha256_of(path) == sha256
    except OSError:
        return False
