"""Serves one model and says how that went; without torch and transformers, unless torch itself is asked for.

Run by `loading` in a process of its own: `python alone.py JSON`.
"""

import csv
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ASKED: dict[str, Any] = json.loads(sys.argv[1])
REFUSED = () if ASKED["runtime"] == "torch" else ("torch", "transformers", "sentence_transformers", "distilsearch")


class Refused:
    """Who asks for one of these packages meets an error; that of telemetry finds none."""

    @staticmethod
    def find_spec(name: str, *_: Any) -> None:
        if name.partition(".")[0] in (*REFUSED, "openvino_telemetry"):
            raise ModuleNotFoundError(f"there is no {name} here", name=name)


sys.meta_path.insert(0, Refused)  # type: ignore[arg-type]
STARTED = time.perf_counter()
import numpy as np  # noqa: E402

Encode = Callable[[Sequence[str]], Any]
FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
ROUNDS, BATCH = 60, 32


def main() -> None:
    """Serve, and print what it took."""
    encode: Encode = {"torch": by_torch, "onnxruntime": by_onnxruntime, "openvino": by_openvino}[ASKED["runtime"]]()
    texts = ["A man is playing a guitar.", "Someone plays music.", "The stock market fell on Monday."]
    vectors = encode(texts)
    first = time.perf_counter() - STARTED
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    memory = int(status["VmHWM"].split()[0]) / 1e3  # of this program alone: `getrusage` counts who started it, too
    long = [" ".join(["music"] * 126)]
    least = min(timed(encode, long) for _ in range(ROUNDS))
    said = {"seconds to first": round(first, 2), "memory MB": round(memory), "ms": round(1e3 * least, 3)}
    print(json.dumps({**said, "STS-B": spearman(encode), "vectors": np.asarray(vectors).tolist()}))


def timed(encode: Encode, texts: Sequence[str]) -> float:
    """Seconds of one call, tokenizer included."""
    start = time.perf_counter()
    encode(texts)
    return time.perf_counter() - start


def by_torch() -> Encode:
    """sentence-transformers in eager torch."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    folder = ASKED["folder"]
    if folder == "quickstart":
        from distilsearch.distill.teachers.teacher import load_teacher

        folder = str(load_teacher("quickstart").folder)
    model = SentenceTransformer(folder, device="cpu", local_files_only=True)
    model.max_seq_length = 128
    return lambda texts: model.encode(list(texts), batch_size=BATCH, show_progress_bar=False)


def by_onnxruntime() -> Encode:
    """onnxruntime alone."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(f"{ASKED['folder']}/{ASKED['file']}", options)
    return alone(
        [one.name for one in session.get_inputs()], lambda given: session.run(["sentence_embedding"], given)[0]
    )


def by_openvino() -> Encode:
    """OpenVINO alone."""
    import openvino

    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    model = openvino.Core().compile_model(f"{ASKED['folder']}/{ASKED['file']}", "CPU", options)
    return alone(
        [one.get_any_name() for one in model.inputs], lambda given: np.array(model(given)["sentence_embedding"])
    )


def alone(names: Sequence[str], run: Callable[[dict[str, Any]], Any]) -> Encode:
    """Texts through `tokenizers` and a runtime, in batches, the longest texts first."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(f"{ASKED['folder']}/tokenizer.json")
    tokenizer.enable_truncation(128)

    def encode(texts: Sequence[str]) -> Any:
        order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        parts = []
        for start in range(0, len(order), BATCH):
            rows = tokenizer.encode_batch([texts[place] for place in order[start : start + BATCH]])
            parts.append(run({name: np.array([getattr(row, FIELDS[name]) for row in rows]) for name in names}))
        made = np.concatenate(parts)
        return made[np.argsort(order)]

    return encode


def spearman(encode: Encode) -> float:
    """Correlation of cosines with the scores of sentence pairs."""
    from scipy.stats import spearmanr

    with open(ASKED["pairs"], newline="", encoding="utf-8") as file:  # noqa: PTH123
        rows = [row for row in csv.reader(file) if len(row) == 3]
    rows = rows[1:] if rows[0][2] == "score" else rows
    left, right = (encode([row[side] for row in rows]) for side in (0, 1))
    left, right = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (np.asarray(left), np.asarray(right)))
    return round(float(spearmanr((left * right).sum(1), [float(row[2]) for row in rows]).statistic), 4)


if __name__ == "__main__":
    main()
