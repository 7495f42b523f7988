"""The files of sentence-transformers in a model's folder: read as its version 6.2 reads them, and written.

See `Transformer.load_config`, `Pooling.load_config` and `Dense.load` there. Whatever would change a text's vector and
cannot be carried by a student is refused by its name.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from distilsearch.errors import TeacherError
from distilsearch.home import ensure_folder

from .ending import ACTIVATIONS, Dense, Normalize
from .pooling import MODULES, read_object
from .weights import read_header

TRANSFORMER = "sentence_bert_config.json"
FORMER_TRANSFORMERS = tuple(
    f"sentence_{name}_config.json" for name in ("roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
WRITTEN = "sentence_transformers.models"  # where all versions find the modules
CARRIED: Mapping[str, Any] = {  # of the Transformer module: settings whose only value here is this one; None: any
    "max_seq_length": None,
    "do_lower_case": None,
    "unpad_inputs": None,
    "transformer_task": "feature-extraction",
    "module_output_name": "token_embeddings",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
}
HARMLESS = {"torch_dtype", "dtype", "attn_implementation", "add_pooling_layer"}  # to the vectors
DENSE = {"in_features", "out_features", "bias", "activation_function", "module_input_name", "module_output_name"}


def read_transformer(folder: Path) -> dict[str, Any]:
    """The settings of the Transformer module."""
    path = next((folder / name for name in (TRANSFORMER, *FORMER_TRANSFORMERS) if (folder / name).is_file()), None)
    config: dict[str, Any] = read_object(path) if path else {}
    for name, value in config.items():
        arguments = name.endswith(("_args", "_kwargs")) and isinstance(value, dict)
        if arguments and name.startswith("model_"):
            value = {key: of for key, of in value.items() if key not in HARMLESS}
        usual = name in CARRIED and (CARRIED[name] is None or CARRIED[name] == value)
        if value and not usual:
            raise TeacherError(
                f"{path}: a student cannot carry {name} = {json.dumps(value)}; distil a model that is saved without it"
            )
    length = config.get("max_seq_length")
    if length is not None and (type(length) is not int or length < 1):
        raise TeacherError(f"{path}: max_seq_length should be a positive whole number; got {length!r}")
    return config


def read_module(folder: Path, kind: str, path: str) -> Dense | Normalize:
    """A module after the pooling."""
    place = folder / path / "config.json"
    config: dict[str, Any] = read_object(place) if kind == "Dense" or place.is_file() else {}
    inside = {name: config.get(name) for name in ("module_input_name", "module_output_name")}
    if any(name not in (None, "sentence_embedding") for name in inside.values()):
        raise TeacherError(f"{place}: a student carries modules of sentence embeddings alone; got {inside}")
    return Normalize() if kind == "Normalize" else _dense(place, config)


def _dense(place: Path, config: Mapping[str, Any]) -> Dense:
    activation = str(config.get("activation_function") or "torch.nn.modules.activation.Tanh")
    name = activation.rsplit(".", 1)[-1]
    more = sorted(name for name, value in config.items() if name not in DENSE and value)
    if more or not activation.startswith("torch.nn.") or name not in ACTIVATIONS:
        raise TeacherError(
            f"{place}: a student's Dense module ends with {', '.join(ACTIVATIONS)} and nothing else; got "
            f"{', '.join([*more, activation])}"
        )
    file = place.with_name("model.safetensors")
    try:
        read_header(file)
        weights = load_file(str(file))
        dense = Dense(weights["linear.weight"].float(), _float(weights.get("linear.bias")), name)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise TeacherError(f"{file}: no weights of a Dense module ({error}); save it as safetensors") from error
    if not all(bool(x.isfinite().all()) for x in (dense.weight, dense.bias) if x is not None):
        raise TeacherError(f"{file} holds numbers that are infinite or none, so the teacher itself is broken")
    return dense


def _float(tensor: Any) -> Any:
    return None if tensor is None else tensor.float()


def write_modules(folder: Path, pooling: Mapping[str, Any], modules: tuple[Dense | Normalize, ...]) -> None:
    """Write `modules.json` and a folder for each module but the Transformer, which lies in the folder itself."""
    names = ["Transformer", "Pooling", *(type(module).__name__ for module in modules)]
    paths = ["", *(f"{place}_{name}" for place, name in enumerate(names) if place)]
    for path in paths:
        ensure_folder(folder / path)
    listed = [
        {"idx": place, "name": str(place), "path": path, "type": f"{WRITTEN}.{name}"}
        for place, (path, name) in enumerate(zip(paths, names, strict=True))
    ]
    write_json(folder / MODULES, listed)
    write_json(folder / paths[1] / "config.json", pooling)
    for path, module in zip(paths[2:], modules, strict=True):
        _write_module(folder / path, module)


def _write_module(folder: Path, module: Dense | Normalize) -> None:
    if isinstance(module, Normalize):
        write_json(folder / "config.json", {})
        return
    outputs, inputs = module.weight.shape
    activation = ACTIVATIONS[module.activation]
    write_json(
        folder / "config.json",
        {
            "in_features": inputs,
            "out_features": outputs,
            "bias": module.bias is not None,
            "activation_function": f"{activation.__module__}.{activation.__name__}",
        },
    )
    tensors = {"linear.weight": module.weight.contiguous(), "linear.bias": module.bias}
    save_file({name: x for name, x in tensors.items() if x is not None}, str(folder / "model.safetensors"))


def write_json(path: Path, content: Any) -> None:
    """Write plain JSON, as others would."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
