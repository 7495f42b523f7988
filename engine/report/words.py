"""The words for what a result says: numbers that may be missing, genes, students and machines.

Notable: what is not there is a dash, never a zero or an empty cell.
"""

import math
from collections.abc import Collection, Iterable, Mapping

from distilsearch.request_lengths import RequestLengths

from .schema import ONE_LABEL, SPREAD, Entry, MachineEntry, Scalar, StudentEntry

GENE_WORDS = {"ffn": "FFN", "kv_heads": "KV heads"}
METRIC_WORDS = {"mcc": "MCC", "f1": "F1"}
DASH = "–"


def milliseconds(value: float | None) -> str:
    """Three significant digits, such as "3.10"."""
    if value is None:
        return DASH
    return f"{value:.0f}" if value >= 100 else f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def roughly(value: float) -> str:
    """One significant digit, for what is known to be disturbed, such as "≈20", "≈0.9"; from 1 to 2 halves: "≈1.5"."""
    unit = 10.0 ** math.floor(math.log10(value))
    step = unit / 2 if value < 2 * unit else unit
    return f"≈{float(f'{round(value / step) * step:.2g}'):g}"


def count(value: float | None) -> str:
    """A number of parameters or tokens, such as "8.3 M"."""
    if value is None:
        return DASH
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.{1 if value / limit < 100 else 0}f} {unit}"
    return f"{value:.0f}"


def duration(value: float | None) -> str:
    """Seconds in words, such as "4 min 05 s"."""
    if value is None:
        return DASH
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def percent(value: float | None) -> str:
    """A share or relative error, such as "3.1 %"."""
    return DASH if value is None else f"{100 * value:.{0 if value >= 0.995 else 1}f}\u00a0%"


def score(value: float | None) -> str:
    """A quality or a correlation, three decimals."""
    return DASH if value is None else f"{value:.3f}"


def score_words(values: Mapping[str, float]) -> dict[str, str]:
    """Scores by name in words, each with its standard deviation where there is one.

    >>> score_words({"f1": 0.8512, "f1_sd": 0.0123, "accuracy": 0.79})
    {'f1': '0.851 ± 0.012', 'accuracy': '0.790'}
    """
    spreads = {f"{name}{SPREAD}": name for name in values}
    return {
        name: score(value) + (f" ± {score(values[name + SPREAD])}" if name + SPREAD in values else "")
        for name, value in values.items()
        if name not in spreads and name != ONE_LABEL
    }


def counted(amount: int, noun: str) -> str:
    """Such as "1 trial", "3 trials"."""
    return f"{amount} {noun}{'' if amount == 1 else 's'}"


def sentence(words: str) -> str:
    """With a capital at its beginning."""
    return words[:1].upper() + words[1:]


def gene_word(gene: str) -> str:
    """A gene as people write it."""
    return GENE_WORDS.get(gene, gene.replace("_", " "))


def metric_word(name: str) -> str:
    """The name of a score as people write it."""
    return METRIC_WORDS.get(name, name.replace("_", " "))


def shape(entry: Entry, genes: Iterable[str]) -> str:
    """The architecture in a few characters, such as "2/384/12/1536"."""
    values = entry.architecture.values
    return "/".join(str(values.get(gene, DASH)) for gene in genes) or DASH


def short_name(entry: StudentEntry) -> str:
    """The architecture in plain words: "2 layers × 384", or its key in spaces without layers."""
    values = entry.architecture.values
    if "layers" not in values or "width" not in values:
        return f"student {entry.key}"
    return f"{values['layers']} layer{'' if values['layers'] == 1 else 's'} × {values['width']}"


def served_words(served: Mapping[str, Scalar]) -> str:
    """What of the serving was chosen for a student, such as "onnxruntime, int8"."""
    names = sorted(served, key=lambda name: (name != "runtime", name))
    return ", ".join(str(served[name]) for name in names if served[name] is not None)


def teacher_served(machine: MachineEntry | None) -> str:
    """How the teacher is served, where students have several ways: "torch, float32"; a dash if nobody knows."""
    return f"{machine.serving.get('runtime', 'torch')}, {machine.serving.get('dtype', DASH)}" if machine else DASH


def lengths_of(machine: MachineEntry | None) -> RequestLengths | None:
    """The lengths of the requests that a machine serves; None where all have one. `InputError` where it is damaged."""
    line = machine.serving.get("lengths") if machine else None
    return RequestLengths.parse(str(line)) if line else None


def machine_words(machine: MachineEntry, searched: Collection[str] = ()) -> str:
    """A machine and its way of serving, such as "cpu, batch 1, sequence 128, float32, 2 threads".

    Args:
        searched: what of the serving is not the machine's own, since students have several; torch's mode goes with it.
    """
    left = {*searched, *(("mode",) if searched else ())}
    serving = {name: value for name, value in machine.serving.items() if name not in left}
    words = [machine.device]
    words += [f"{name} {serving[name]}" for name in ("batch", "sequence") if serving.get(name)]
    words += ["padded"] if serving.get("padded") else []
    if lengths := lengths_of(machine):
        words.append(f"{'padded to' if serving.get('batch') != 1 else 'requests of'} {lengths.words}")
    words += [str(serving[name]) for name in ("runtime", "dtype", "mode", "phase") if serving.get(name)]
    threads = serving.get("threads")
    words += [counted(threads, "thread")] if isinstance(threads, int) and threads else []
    if machine.limit_ms and machine.limit_ms > 0:
        words.append(f"limit {milliseconds(machine.limit_ms)} ms" + (f" ({machine.limit})" if machine.limit else ""))
    return ", ".join(words)
