"""Tokens a second of one training on the GPU of this machine, or on its CPU, in float32 and bfloat16.

`python distill_devices.py --device auto|cpu [--threads 8] [--seconds 8]` distils a 2 x 384 student of a random
6 x 384 teacher, on Python's documentation unless told otherwise, with cached targets and with the live teacher, and
writes results/distill_devices_*.jsonl. One device a process: accelerate decides once.
"""

import argparse
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import record, table
from transformers import BertConfig, BertModel, BertTokenizer

from distilsearch.architecture import Architecture
from distilsearch.distill.compute import precision as precisions
from distilsearch.distill.compute.processes import accelerator_for
from distilsearch.distill.recipes import EMBEDDING
from distilsearch.distill.steps.runs import Run
from distilsearch.distill.targets.targets import CACHE_LIMIT, Targets
from distilsearch.distill.teachers.teacher import load_teacher
from distilsearch.distill.texts.data import load_text
from distilsearch.distill.texts.sources import documents
from distilsearch.distill.training import start
from distilsearch.families import family

MANY = 10**9  # tokens: a schedule that does not end within the benchmark
WORDS = 30_522
WARM_STEPS = 12


def write_teacher(folder: Path, text: list[str]) -> Path:
    """A random BERT of the shape of the quickstart's teacher that knows the most frequent words of a text."""
    counts: dict[str, int] = {}
    for word in re.findall(r"[a-z]+|[^\sa-z]", " ".join(documents(text)).lower()):
        counts[word] = counts.get(word, 0) + 1
    words = sorted(counts, key=lambda word: -counts[word])
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words][:WORDS]
    BertTokenizer(vocab={word: i for i, word in enumerate(vocabulary)}).save_pretrained(str(folder))
    sizes = {"num_hidden_layers": 6, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=WORDS, **sizes)).save_pretrained(str(folder))
    return folder


def speed(run: Run, seconds: float) -> float:
    """Tokens a second of a run, its first steps left out; the loss is read after each step, so each is waited for."""
    for step in range(WARM_STEPS):
        run.advance(run.parts(step))
    begun, step = time.perf_counter(), WARM_STEPS
    while time.perf_counter() - begun < seconds:
        run.step = step % WARM_STEPS  # these targets are cached
        run.advance(run.parts(run.step))
        step += 1
    return (step - WARM_STEPS) * run.step_tokens / (time.perf_counter() - begun)


def main() -> None:
    """Print and keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--text", nargs="+", default=["python-docs"])
    parser.add_argument("--teacher", type=Path, help="folder of the random teacher, kept")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    accelerator = accelerator_for(asked.device)
    kind = accelerator.device.type
    machine = torch.cuda.get_device_name() if kind == "cuda" else f"cpu, {asked.threads} threads"
    with tempfile.TemporaryDirectory() as folder:
        place = asked.teacher or Path(folder)
        teacher = load_teacher(str(place if (place / "config.json").exists() else write_teacher(place, asked.text)))
        text = load_text(asked.text, teacher)
        own = dict(family("bert").architecture(teacher.facts).values) | {"layers": 2, "ffn": 768}
        student, rows = Architecture("bert", own), list[dict[str, Any]]()
        for precision in precisions.PRECISIONS:
            for name, limit in (("cached targets", CACHE_LIMIT), ("live teacher", 0)):
                targets = Targets(teacher, text, EMBEDDING, precision, cache_limit=limit)
                run = start(teacher, student, text, EMBEDDING, MANY, 0, precision, accelerator, targets=targets)
                rate = round(speed(run, asked.seconds))
                rows.append({"machine": machine, "precision": precision, "how": name, "tokens_per_second": rate})
                print(rows[-1], flush=True)
    chosen = precisions.resolve_precision("auto", kind)
    record(f"distill_devices_{kind}", [row | {"auto": chosen, "batch": EMBEDDING.batch_tokens} for row in rows])
    print(table(rows), f"\nauto chooses {chosen}")


if __name__ == "__main__":
    main()
