"""What a model folder is, told from its files alone: no weight is loaded, and no code of its own is run.

Models are kept in many shapes, of which one is read here: config.json and safetensors. Whatever else a folder holds
is named, with the step that makes a teacher of it.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from distilsearch import strict
from distilsearch.errors import TeacherError

from .weights import Header as Header
from .weights import read_header

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt")
MOST_NAMED = 5
FORMATS: Mapping[str, tuple[str, str]] = {  # by a file's ending: what it is, and how it becomes a teacher
    ".gguf": (
        "a GGUF file, which is made for llama.cpp",
        "name the transformers model that it was converted from",
    ),
    ".onnx": ("an exported ONNX graph", "name the transformers model that it was exported from"),
    ".xml": ("an exported OpenVINO graph", "name the transformers model that it was exported from"),
    ".h5": ("TensorFlow weights", "name a copy of the model that has safetensors"),
    ".msgpack": ("Flax weights", "name a copy of the model that has safetensors"),
    ".engine": ("a TensorRT engine", "name the transformers model that it was built from"),
}


def model_folder(path: Path) -> Path:
    """The folder itself, if it has a configuration; a `TeacherError` says what it is instead, and what to do."""
    if path.is_file():
        raise TeacherError(f"{path} is {_file_kind(path)}; a teacher is the folder of a transformers model")
    _check_links(path)
    _refuse_adapter(path)
    if not (path / CONFIG).is_file():
        raise TeacherError(f"{path} is not a model: {_without_config(path)}")
    return path


def _check_links(folder: Path) -> None:
    """Refuse links that lead out of a model's folder, but for those of a hub cache into its own blobs.

    A stranger's folder could name any file of this machine so. The folder itself may be a link.
    """
    root = folder.resolve()
    within = [root] + ([root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [])
    for link in strict.links(root):
        target = link.resolve()
        needed = target.is_file() or (target / CONFIG).is_file()  # other folders, as a trainer's logs, are not read
        if needed and not any(place in target.parents for place in within):
            raise TeacherError(
                f"{link} is a symbolic link to {target}, outside of the model's folder; put the file itself there"
            )


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files of a model folder, in order; a `TeacherError` when it holds none."""
    if (folder / WEIGHTS).is_file():  # where both are, transformers reads this one
        return (folder / WEIGHTS,)
    index = folder / INDEX
    if index.is_file():
        content = read_json(index)
        shards = content.get("weight_map") if isinstance(content, dict) else None
        names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else []
        if outside := [name for name in names if not strict.is_plain(name)]:
            raise TeacherError(
                f"{index} names {outside[0]!r:.80}, which is no plain name below {folder}; download the model again"
            )
        missing = [name for name in names if not (folder / name).is_file()]
        if missing or not names:
            raise TeacherError(f"{folder} lacks the weight files its index names: {missing}; download it again")
        return tuple(folder / name for name in names)
    raise TeacherError(f"{folder} holds {_without_weights(folder)}")


def headers(weights: tuple[Path, ...]) -> dict[str, Header]:
    """Every tensor of some safetensors files by its name; a `TeacherError` where one cannot be read."""
    tensors: dict[str, Header] = {}
    for path in weights:
        try:
            tensors |= read_header(path)
        except (ValueError, OSError) as error:
            raise TeacherError(f"{path} is not a safetensors file: {error}; download the model again") from error
    return tensors


def count_parameters(tensors: Mapping[str, Header]) -> int:
    """Weights that the files hold; positions' numbers are none."""
    return sum(math.prod(header.shape) for name, header in tensors.items() if "position_ids" not in name)


def check_finite(weights: tuple[Path, ...]) -> None:
    """A `TeacherError` where a weight is infinite or not a number: whatever is computed with it is neither."""
    for path in weights:
        with safe_open(str(path), framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                tensor = file.get_tensor(name)
                # the sum takes a thirtieth of the time; it may overflow where no weight does
                if not tensor.is_floating_point() or tensor.sum().isfinite():
                    continue
                if count := int((~tensor.isfinite()).sum()):
                    raise TeacherError(
                        f"{path}: {count} of the {tensor.numel()} numbers of {name} are infinite or not a number, so "
                        "the teacher itself is broken; take an earlier checkpoint, or download it again"
                    )


def read_json(path: Path) -> Any:
    """JSON from a file of the model; a `TeacherError` says why it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TeacherError(f"{os.fspath(path)} cannot be read as JSON: {error}") from error


def _refuse_adapter(folder: Path) -> None:
    if not (folder / "adapter_config.json").is_file():
        return
    content = read_json(folder / "adapter_config.json")
    content = content if isinstance(content, dict) else {}
    name = content.get("base_model_name_or_path") or content.get("model_name")
    base = repr(name) if name else "another model"
    beside = " beside a model" if (folder / CONFIG).is_file() else ", not a model"
    auto = "AutoPeftModelForCausalLM" if content.get("task_type") == "CAUSAL_LM" else "AutoPeftModel"
    raise TeacherError(
        f"{folder} holds an adapter of {base}{beside}; merge the two and name the merged folder: "
        f"from peft import {auto}; {auto}.from_pretrained({str(folder)!r}).merge_and_unload()"
        ".save_pretrained('merged'), and save the tokenizer there too"
    )


def _without_config(folder: Path) -> str:
    """What a folder without a configuration is, and what to do."""
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return f"it is empty (no {CONFIG}); name the folder of a transformers model"
    if "modules.json" in names and (folder / "0_Transformer" / CONFIG).is_file():
        return (
            f"it has no {CONFIG} but a sentence-transformers model of an old layout, its transformer in 0_Transformer/;"
            " write it anew and name the new folder: from sentence_transformers import SentenceTransformer; "
            f"SentenceTransformer({str(folder)!r}).save('new')"
        )
    if "model_index.json" in names:
        return f"it has no {CONFIG} but a model_index.json, as diffusers writes it; teachers are language models"
    within = [path.relative_to(folder).as_posix() for path in _models_within(folder)]
    if within:
        return f"it has no {CONFIG}, but models lie within: {_listed(within)}; name one of these folders"
    for ending, (what, step) in FORMATS.items():
        if any(name.endswith(ending) for name in names):
            return f"it has no {CONFIG} but {what}; {step}"
    return f"it has no {CONFIG}; it holds {_listed(names)}; name the folder of a transformers model"


def _models_within(folder: Path) -> Iterator[Path]:
    """Folders of transformers models up to three levels below, such as checkpoints and a hub cache's snapshots."""
    for pattern in ("*", "*/*", "*/*/*"):
        for path in sorted(folder.glob(f"{pattern}/{CONFIG}")):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError):
                continue
            if isinstance(content, dict) and "model_type" in content:
                yield path.parent


def _without_weights(folder: Path) -> str:
    """What a model folder has in place of its safetensors files, and what to do."""
    files = sorted(path.relative_to(folder).as_posix() for path in (*folder.glob("*"), *folder.glob("onnx/*")))
    pickled = [name for name in files if name.endswith(PICKLED) and name not in ("training_args.bin", "optimizer.pt")]
    if pickled:
        return f"only {_listed(pickled)}, which may hide code; {_rewritten(folder)}"
    others = [name for name in files if name.endswith(".safetensors")]
    if others:
        return f"no {WEIGHTS} but {_listed(others)}; if that is the whole model, name the file {WEIGHTS}"
    for ending, (what, step) in FORMATS.items():
        if any(name.endswith(ending) for name in files):
            return f"{what} and no {WEIGHTS}; {step}"
    if "snapshots" in folder.parts:
        return (
            f"no weights: the hub has no {WEIGHTS} of it (other files are not fetched, since they may hide code); "
            f"download it whole with `hf download`, and in that folder {_rewritten(folder)}"
        )
    return f"no weights; it holds {_listed(files)}; save the model as {WEIGHTS} first"


def _rewritten(folder: Path) -> str:
    """The two lines that write a model's weights as safetensors, where whoever runs them trusts the files."""
    content = read_json(folder / CONFIG)
    named = (content.get("architectures") if isinstance(content, dict) else None) or ["AutoModel"]
    place = repr(str(folder))
    return (
        f"save the model as {WEIGHTS} first, if you trust the files: from transformers import {named[0]}; "
        f"{named[0]}.from_pretrained({place}).save_pretrained({place})"
    )


def _file_kind(path: Path) -> str:
    for ending, (what, step) in FORMATS.items():
        if path.name.endswith(ending):
            return f"{what} ({step})"
    return "a file"


def _listed(names: list[str]) -> str:
    """A few names, and how many more there are.

    >>> _listed(list("abcdefg"))
    'a, b, c, d, e and 2 more'
    """
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
