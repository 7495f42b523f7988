"""How weak is a masked-LM teacher that one core trains in minutes? A small BERT with both heads, on books.

    python -m systems.train_teacher --out FOLDER [--minutes 15] [--threads 1] [--fresh]

No pretrained masked LM can be had offline, so this one is trained first, with plain transformers: a WordPiece
vocabulary of the books' own, `BertForPreTraining`, 25 % of the words hidden, and half of the second segments taken
from elsewhere. Its encoder begins as that of the quickstart's embedding teacher (the vectors of its words, or the mean
of a word's pieces): from random weights, `--fresh`, little more is learnt in these minutes than how often words occur.
The last twentieth of every book is held out; its accuracy and perplexity (15 % hidden, as published models are judged)
say how weak the teacher is and are kept in FOLDER/teacher.json. Minutes are those of the processor, so that other work
on the machine costs time and no quality; the rate falls with the share of them that is gone. Killed, the same command
goes on from its last checkpoint.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import data, record, table
from safetensors import safe_open
from safetensors.torch import save
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import BertConfig, BertForPreTraining, PreTrainedTokenizerFast

from distilsearch.distill.teachers.teacher import load_teacher
from distilsearch.home import write_atomically

SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
PAD, UNK, CLS, SEP, MASK = range(5)
HELD, HIDDEN, SEGMENT = 0.05, 0.25, 62  # share of a book, share of words, words of one of two segments
BATCH, RATE, WARM = 16, 5e-4, 0.03  # pairs, peak rate, share of the minutes over which it rises
SAVE = 30.0  # processor seconds between checkpoints
QUICK = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "attn_implementation": "eager"}


def main() -> None:
    """Train what is missing, judge the teacher, print and record how weak it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--fresh", action="store_true", help="from random weights, of --layers and --width")
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--books", type=int, default=0, help="only so many, for a trial")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    asked.out.mkdir(parents=True, exist_ok=True)
    if not (asked.out / "teacher.json").exists():
        made = _teacher(asked)
        (asked.out / "teacher.json").write_text(json.dumps(made))
    row = json.loads((asked.out / "teacher.json").read_text())
    print(table([row]))
    record("systems_teacher", [row])


def _teacher(asked: argparse.Namespace) -> dict[str, Any]:
    files = sorted(data("text/books").glob("*.md"))[: asked.books or None]
    tokenizer = _tokenizer(asked.out, files, asked.vocabulary)
    train, held = _words(asked.out, files, tokenizer)
    torch.manual_seed(0)
    model = _fresh(len(tokenizer), asked.layers, asked.width) if asked.fresh else _begun(tokenizer)
    steps, seconds = _train(model, train, asked)
    model.save_pretrained(asked.out)
    tokenizer.save_pretrained(asked.out)
    return {
        "teacher": f"{model.config.num_hidden_layers} x {model.config.hidden_size}",
        "begun": "at random" if asked.fresh else "as all-MiniLM-L6-v2",
        "parameters": sum(p.numel() for p in model.parameters()),
        "minutes": seconds / 60,
        "tokens": steps * BATCH * (2 * SEGMENT + 3),
        **_judged(model, held),
    }


def _fresh(vocabulary: int, layers: int, width: int, ffn: int = 0, size: int = 32) -> Any:
    """Random weights. Few tokens need no dropout; maps made whole take bfloat16 products, which is twice as fast."""
    shape = {"hidden_size": width, "num_hidden_layers": layers, "intermediate_size": ffn or 4 * width}
    config = BertConfig(vocab_size=vocabulary, num_attention_heads=width // size, pad_token_id=PAD, **shape, **QUICK)
    config.max_position_embeddings = 128
    return BertForPreTraining(config)


def _begun(tokenizer: Any) -> Any:
    """The quickstart's encoder under heads that are random, with vectors for this vocabulary."""
    own = load_teacher("quickstart")
    layers, width, ffn = (
        getattr(own.config, name) for name in ("num_hidden_layers", "hidden_size", "intermediate_size")
    )
    model, weights = _fresh(len(tokenizer), layers, width, ffn), own.model().state_dict()
    words, known = weights["embeddings.word_embeddings.weight"], own.tokenizer.get_vocab()
    rows = torch.zeros(len(tokenizer), width)
    for piece, place in tokenizer.get_vocab().items():
        parts = own.tokenizer.encode(piece.removeprefix("##"), add_special_tokens=False)
        rows[place] = words[known.get(piece, parts)].reshape(-1, width).mean(0)
    weights["embeddings.word_embeddings.weight"] = rows
    weights["embeddings.position_embeddings.weight"] = weights["embeddings.position_embeddings.weight"][:128]
    model.bert.load_state_dict(weights, strict=False)
    return model


def _tokenizer(out: Path, files: list[Path], size: int) -> PreTrainedTokenizerFast:
    """WordPiece over the books, lower-cased, framed as BERT frames one text or two; made once."""
    if (out / "tokenizer.json").exists():
        return PreTrainedTokenizerFast.from_pretrained(out)
    backend = Tokenizer(models.WordPiece(unk_token=SPECIAL["unk"]))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    special = list(SPECIAL.values())
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    backend.train([str(file) for file in files], trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    names = {f"{name}_token": token for name, token in SPECIAL.items()}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=128, **names)
    tokenizer.save_pretrained(out)
    return tokenizer


def _words(out: Path, files: list[Path], tokenizer: Any) -> tuple[Tensor, Tensor]:
    """Segments (n, 62) of every book's first nineteen twentieths, and of the rest; neighbours follow each other."""
    file = out / "words.npz"
    if not file.exists():
        parts: dict[str, list[Any]] = {"train": [], "held": []}
        for book in files:
            text = " ".join(book.read_text(encoding="utf-8").split())
            ids = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
            segments = np.array(ids[: len(ids) // SEGMENT * SEGMENT], np.int32).reshape(-1, SEGMENT)
            last = round(len(segments) * HELD)
            parts["train"].append(segments[: len(segments) - last])
            parts["held"].append(segments[len(segments) - last :])
        np.savez(file, **{name: np.concatenate(pieces) for name, pieces in parts.items()})
    kept = np.load(file)
    return torch.from_numpy(kept["train"]).long(), torch.from_numpy(kept["held"]).long()


def _batches(segments: Tensor, hidden: float, seed: int, begin: int = 0) -> Iterator[dict[str, Tensor]]:
    """Batches without end, the same for the same seed: step after step, so that a run may begin anywhere."""
    step = begin
    while True:
        dice = torch.Generator().manual_seed(seed * 1_000_003 + step)
        first = torch.randint(len(segments) - 1, (BATCH,), generator=dice)
        other = torch.rand(BATCH, generator=dice) < 0.5
        second = torch.where(other, torch.randint(len(segments), (BATCH,), generator=dice), first + 1)
        yield _framed(segments[first], segments[second], other, hidden, dice)
        step += 1


def _framed(a: Tensor, b: Tensor, other: Tensor, hidden: float, dice: torch.Generator) -> dict[str, Tensor]:
    """`[CLS] a [SEP] b [SEP]` with a share of the words hidden: 80 % masked, 10 % exchanged, 10 % as they are."""
    end = torch.full((len(a), 1), SEP)
    ids = torch.cat([torch.full_like(end, CLS), a, end, b, end], 1)  # (n, 127)
    kinds = torch.zeros_like(ids)
    kinds[:, a.shape[1] + 2 :] = 1
    chosen = (torch.rand(ids.shape, generator=dice) < hidden) & (ids != CLS) & (ids != SEP)
    how = torch.rand(ids.shape, generator=dice)
    shown = ids.masked_fill(chosen & (how < 0.8), MASK)
    exchanged = chosen & (how >= 0.9)
    shown = torch.where(exchanged, torch.randint(5, int(ids.max()) + 1, ids.shape, generator=dice), shown)
    return {"input_ids": shown, "token_type_ids": kinds, "chosen": chosen, "words": ids[chosen], "other": other.long()}


def _losses(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Logits of the hidden words alone (k, v), since all of them would cost most of a step, and of the pairs (n, 2)."""
    with torch.autocast("cpu", torch.bfloat16):
        states = model.bert(batch["input_ids"], token_type_ids=batch["token_type_ids"])
        words = model.cls.predictions(states.last_hidden_state[batch["chosen"]])
        return words.float(), model.cls.seq_relationship(states.pooler_output).float()


def _train(model: Any, segments: Tensor, asked: argparse.Namespace) -> tuple[int, float]:
    """Train until the minutes are gone; (steps, processor seconds), those of earlier calls counted."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    file, step, before = asked.out / "training.safetensors", 0, 0.0
    if file.exists():
        step, before = _restored(file, model, optimiser)
    model.train()
    begun = saved = time.process_time()
    for batch in _batches(segments, HIDDEN, 0, step):
        seconds = before + time.process_time() - begun
        gone = seconds / (60 * asked.minutes)
        if gone >= 1:
            break
        optimiser.param_groups[0]["lr"] = RATE * min(gone / WARM + 1e-3, 1.0, (1 - gone) / (1 - WARM) + 1e-3)
        words, pairs = _losses(model, batch)
        loss = torch.nn.functional.cross_entropy(words, batch["words"])
        (loss + torch.nn.functional.cross_entropy(pairs, batch["other"])).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        step += 1
        if time.process_time() - saved > SAVE:
            saved = time.process_time()
            _kept(file, model, optimiser, step, seconds)
            print(f"{seconds / 60:.1f} min, step {step}, masked-LM loss {loss.item():.2f}", flush=True)
    return step, before + time.process_time() - begun


def _kept(file: Path, model: Any, optimiser: torch.optim.Optimizer, step: int, seconds: float) -> None:
    """Weights and moments by name, and how far the training is."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        moments = {f"{moment}/{name}": value for moment, value in optimiser.state[parameter].items()}
        tensors |= {f"model/{name}": parameter.detach(), **moments}
    write_atomically(file, save(tensors, {"step": str(step), "seconds": str(seconds)}))


def _restored(file: Path, model: Any, optimiser: torch.optim.Optimizer) -> tuple[int, float]:
    """Take up what `_kept` has written; (steps, processor seconds) so far."""
    with safe_open(str(file), framework="pt") as kept:
        names, about = set(kept.keys()), kept.metadata()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(kept.get_tensor(f"model/{name}"))
                moments = {m: f"{m}/{name}" for m in ("step", "exp_avg", "exp_avg_sq")}
                state = {m: kept.get_tensor(key) for m, key in moments.items() if key in names}
                if state:
                    optimiser.state[parameter] = state
    return int(about["step"]), float(about["seconds"])


@torch.inference_mode()
def _judged(model: Any, segments: Tensor, batches: int = 60) -> dict[str, float]:
    """Held-out masked-LM accuracy, perplexity and next-sentence accuracy, 15 % of the words hidden."""
    model.eval()
    right, loss, count, follows = 0, 0.0, 0, 0.0
    for _, batch in zip(range(batches), _batches(segments, 0.15, 1), strict=False):
        words, pairs = _losses(model, batch)
        right += int((words.argmax(1) == batch["words"]).sum())
        loss += torch.nn.functional.cross_entropy(words, batch["words"], reduction="sum").item()
        count += len(words)
        follows += (pairs.argmax(1) == batch["other"]).float().mean().item() / batches
    return {"word accuracy": right / count, "perplexity": math.exp(loss / count), "next-sentence accuracy": follows}


if __name__ == "__main__":
    main()
