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
from distilsearch.families.shared import POOLS
from distilsearch.home import ensure_folder

from .checkpoint import read_json
from .ending import ACTIVATIONS, Dense, Normalize
from .weights import read_header

MODULES, TRANSFORMER = "modules.json", "sentence_bert_config.json"
FORMER_TRANSFORMERS = tuple(
    f"sentence_{name}_config.json" for name in ("roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
WRITTEN = "sentence_transformers.models"  # where all versions find the modules
LEGACY_POOLS = {  # the flags of older files, in the order in which several are joined
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
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


def read_modules(folder: Path) -> list[tuple[str, str]]:
    """The kinds of modules and their paths, in order."""
    modules = [(str(module["type"]), str(module["path"])) for module in read_json(folder / MODULES)]
    foreign = [name for name, _ in modules if not name.startswith("sentence_transformers.")]
    kinds = [(name.rsplit(".", 1)[-1], path) for name, path in modules]
    names = [kind for kind, _ in kinds]
    foreign += [kind for kind in names if kind not in ("Transformer", "Pooling", "Normalize", "Dense")]
    if foreign or names[:2] != ["Transformer", "Pooling"] or names.count("Pooling") + names.count("Transformer") > 2:
        raise TeacherError(
            f"{folder}: a student carries Transformer, Pooling, Dense and Normalize modules, in this order; got "
            f"{foreign or names}, without which its vectors would be others; distil a model without them"
        )
    if kinds[0][1] not in ("", "."):
        raise TeacherError(
            f"{folder}: its Transformer lies in {kinds[0][1]}/ and not beside {MODULES}; save the model once with "
            "sentence-transformers 2 or later, or move the files of that folder here and empty its path"
        )
    return kinds


def read_pooling(folder: Path, modules: list[tuple[str, str]]) -> tuple[str, bool]:
    """How tokens are pooled, and whether those of a prompt are."""
    path = folder / modules[1][1] / "config.json"
    config = read_object(path)
    flags = [name for name, on in config.items() if name.startswith("pooling_mode_") and on is True]
    mode = config.get("pooling_mode") or [LEGACY_POOLS.get(flag, flag) for flag in flags] or "mean"
    mode = mode[0] if isinstance(mode, list) and len(mode) == 1 else mode
    if mode not in POOLS:
        raise TeacherError(f"{path}: a student can pool in one way of {', '.join(POOLS)}; got {mode!r}")
    return str(mode), config.get("include_prompt") is not False


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


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; a `TeacherError` where there is none."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise TeacherError(f"{path} should hold a JSON object; save the model again")
    return content


def write_json(path: Path, content: Any) -> None:
    """Write plain JSON, as others would."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
