"""A masked-LM teacher and a Llama teacher, trained here on books, and what their students gain from them.

    python benchmarks/distill_families.py --folder runs/families [--kinds mlm causal] [--teacher-tokens 3000000]

No such teacher can be had offline, so each is first trained by the same loop: a student of everything its random
model has, on the words alone. Then one shape is trained on the same tokens in the same order three times: on the
words alone, distilled from random weights, and distilled from the teacher's. Losses are of held-out blocks. The
distilled student is loaded once more by a process without distilsearch. Interrupted, the script goes on.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import data, record, table
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from distilsearch.architecture import Architecture
from distilsearch.distill.heldout.heldout import heldout_loss
from distilsearch.distill.recipes import Recipe, default_recipe
from distilsearch.distill.students.student import Student
from distilsearch.distill.teachers.teacher import Teacher, load_teacher, quiet
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.distill.texts.sources import documents
from distilsearch.distill.training import distill_student
from distilsearch.families import family

VOCABULARY = 4096
WORDS = Recipe(
    name="words", weights=(("hard", 1.0),), embeddings="all", learning_rate=2e-3, batch_tokens=2048, mask=0.25
)
SPECIAL = {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]", "eos": "[SEP]"}
STUDENTS: dict[str, dict[str, Any]] = {
    "mlm": {"layers": 2, "width": 96, "heads": 3, "ffn": 192},
    "causal": {"layers": 2, "width": 96, "heads": 3, "kv_heads": 1, "head_size": 32, "ffn": 192},
}
STOCK = """
import json, sys, torch
sys.modules["distilsearch"] = None
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM
kind = {"mlm": AutoModelForMaskedLM, "causal": AutoModelForCausalLM}[sys.argv[2]]
with torch.no_grad():
    print(json.dumps(kind.from_pretrained(sys.argv[1])(torch.arange(100, 132)[None]).logits[0, -1].tolist()))
"""


def main() -> None:
    """Train, distil, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", default=["mlm", "causal"])
    parser.add_argument("--teacher-tokens", type=int, default=3_000_000)
    parser.add_argument("--tokens", type=int, default=600_000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [row for kind in options.kinds for row in _kind(kind, options)]
    print(table(rows))
    record("distill_families", rows)


def _kind(kind: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    folder = options.folder / kind
    teacher, text = _teacher(kind, folder, options.teacher_tokens)
    own = family(teacher.facts.family).architecture(teacher.facts)
    fixed = {"kind": kind, "teacher_tokens": options.teacher_tokens, "tokens": options.tokens}
    loss = heldout_loss(teacher, text, teacher.model(), own)
    yield fixed | {"student": "the teacher", "parameters_m": teacher.parameters / 1e6, "loss": loss, "stock": ""}
    taught = replace(default_recipe(kind), batch_tokens=1024)
    alone = replace(WORDS, batch_tokens=1024, learning_rate=taught.learning_rate, mask=taught.mask)
    cases = (
        ("no teacher", alone, "none"),
        ("from random weights", taught, "none"),
        ("from the teacher's", taught, "even"),
    )
    for name, recipe, rule in cases:
        shape = own.values | STUDENTS[kind] | {"inherit": rule}
        student = _student(teacher, text, Architecture(own.family, shape), recipe, options.tokens, folder / name)
        print(kind, name, student.loss, f"{student.tokens / student.seconds:.0f} tokens/s", flush=True)
        same = f"{_difference(student, folder / name / 'student', kind):.1e}" if rule == "even" else ""
        yield fixed | {"student": name, "parameters_m": student.parameters / 1e6, "loss": student.loss, "stock": same}


def _teacher(kind: str, folder: Path, tokens: int) -> tuple[Teacher, Text]:
    """The teacher trained on books; made once."""
    books = str(data("text/books"))
    if not (folder / "random" / "model.safetensors").exists():
        _random(kind, folder / "random", books)
    random = load_teacher(str(folder / "random"))
    text = load_text([books], random, heldout_fraction=0.01, most_tokens=round(1.02 * tokens) + 40_000)
    done = folder / f"teacher-{tokens}"
    if not done.exists():
        own = family(random.facts.family).architecture(random.facts)
        fresh = Architecture(own.family, own.values | {"inherit": "none"})
        _student(random, text, fresh, WORDS, tokens, folder / "training").save(done)
    return load_teacher(str(done)), text


def _student(teacher: Teacher, text: Text, shape: Architecture, recipe: Recipe, tokens: int, folder: Path) -> Student:
    def told(what: str, done: float, total: float) -> None:
        if int(done) % 102_400 < recipe.batch_tokens:
            print(f"{folder}: {done:g} of {total:g} tokens", flush=True)

    student = distill_student(teacher, shape, text, recipe, tokens, folder=folder, checkpoint_seconds=15, progress=told)
    student.save(folder / "student")
    return student


def _difference(student: Student, folder: Path, kind: str) -> float:
    """The largest difference of logits between this process and one without distilsearch."""
    done = subprocess.run([sys.executable, "-c", STOCK, str(folder), kind], capture_output=True, text=True, check=True)
    with torch.no_grad():
        ours = student.model(torch.arange(100, 132)[None]).logits[0, -1]
    return float((ours - torch.tensor(json.loads(done.stdout.splitlines()[-1]))).abs().max())


def _random(kind: str, folder: Path, books: str) -> None:
    """A model of random weights with a tokenizer of the books' words."""
    _tokenizer(folder, books)
    shape: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 192,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "max_position_embeddings": 128,
    }
    grouped = {"num_key_value_heads": 2, "head_dim": 32, "intermediate_size": 512, "eos_token_id": 2}
    torch.manual_seed(0)
    model: Any
    if kind == "mlm":
        model = BertForMaskedLM(BertConfig(**shape, intermediate_size=768))
    else:
        model = LlamaForCausalLM(LlamaConfig(**shape, **grouped))
    with quiet():
        model.save_pretrained(str(folder))


def _tokenizer(folder: Path, books: str, documents_read: int = 100) -> None:
    backend = Tokenizer(models.WordPiece(unk_token=SPECIAL["unk"]))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    names = list(dict.fromkeys(SPECIAL.values()))
    trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=names, show_progress=False)
    read = (text for text, _ in zip(documents([books]), range(documents_read), strict=False))
    backend.train_from_iterator(read, trainer)
    tokens = {f"{name}_token": token for name, token in SPECIAL.items()}
    PreTrainedTokenizerFast(tokenizer_object=backend, **tokens).save_pretrained(str(folder))


if __name__ == "__main__":
    main()
