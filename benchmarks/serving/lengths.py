"""Do requests as they come take what their few lengths say?

From benchmarks/:

    python -m serving.lengths [--requests queries.txt ...] [--students 4] [--threads 1] [--runtime torch] [--rounds 8]

Requests are STS-B's test sentences, one a line, and paragraphs of a novel, unless files of them are named. A space is
profiled over their lengths as a user would; then held-out students are timed on the lengths of 40 requests drawn evenly
from the sorted ones, one after the other, every length once a round in random order. "nodes" is the weighted mean of
the same students timed at the nodes, which is what a search measures, and "predicted" is what it is told before: mean,
median, 99th percentile, and the shortest node. Rows are median and largest errors against the 40 requests, `too high`
the median of the signed ones; `slower` is how many times slower than in the profile the sentinel ran meanwhile, which
predictions cannot know. Before that, signed errors of predictions are printed by student and node.
"""

import argparse
import csv
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import data, record, table
from predictor_students import space_of

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.distill.teachers.teacher import load_teacher
from distilsearch.distill.texts.requests import lengths_of, requests_in, requests_of
from distilsearch.length_nodes import request_lengths
from distilsearch.operators import TORCH, Serving
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.profiling import Device, open_device, profile
from distilsearch.profiling.clock import SystemClock, undisturbed, visit, warm_up

NOVEL = "text/books/Charlotte_Bronte--Jane_Eyre.md"
SENTENCES = "multilingual/stsb/stsb-en-test.csv"
DRAWN = 40
FIGURES = ("mean", "p50", "p99", "shortest")
CLOSE = 0.1


def requests(named: list[str]) -> dict[str, list[int]]:
    """Lengths of the requests of each source, by its name."""
    teacher = load_teacher("quickstart")
    if named:
        return {Path(file).name: lengths_of(requests_in(file), teacher) for file in named}
    with data(SENTENCES).open(encoding="utf-8", newline="") as file:
        sentences = [sentence for pair in csv.reader(file) for sentence in pair[:2]]
    paragraphs = requests_of([str(data(NOVEL))])
    return {"STS-B's sentences": lengths_of(sentences, teacher), "a novel": lengths_of(paragraphs, teacher)}


def timed(
    device: Device, serving: Serving, student: Architecture, lengths: list[int], rounds: int
) -> tuple[dict[int, float], float]:
    """Milliseconds of a student at each length, side by side; and seconds of the sentinel between rounds."""
    ready, calm = {}, list[float]()
    with device.session(serving):
        warm_up(sentinel := device.sentinel(serving), SystemClock())
        for length in lengths:
            ready[length] = device.prepare(student, serving.at(length))
            warm_up(ready[length], SystemClock())
        rng, seconds = np.random.default_rng(0), {length: list[float]() for length in lengths}
        for _ in range(rounds):
            for length in rng.permutation(lengths).tolist():
                seconds[length].append(visit(ready[length]))
            calm.append(visit(sentinel))
    return {length: 1e3 * undisturbed(times) for length, times in seconds.items()}, undisturbed(calm)


def figures(at: FloatArray, weights: FloatArray, p50: float, p99: float, shortest: float) -> FloatArray:
    """Mean, median, 99th percentile and shortest (4,)."""
    return np.array([float(at @ weights), p50, p99, shortest])


def errors(name: str, ours: FloatArray, truth: FloatArray) -> dict[str, Any]:
    """Median and largest relative error of each figure (students, 4), and the share of means that are close."""
    apart = np.abs(ours / truth - 1)
    row: dict[str, Any] = {"by": name, "students": len(truth), "mean within 10 %": float((apart[:, 0] < CLOSE).mean())}
    row |= {"mean too high": float(np.median(ours[:, 0] / truth[:, 0] - 1))}
    for place, figure in enumerate(FIGURES):
        row |= {f"{figure} error": float(np.median(apart[:, place])), f"{figure} worst": float(apart[:, place].max())}
    return row


def signed(
    students: list[Architecture], nodes: tuple[int, ...], ours: FloatArray, truth: FloatArray
) -> list[dict[str, Any]]:
    """Signed errors of predictions (students, nodes) in percent."""
    percent = 100 * (ours / truth - 1)
    genes = ("layers", "width", "heads", "ffn")
    return [
        {"student": " x ".join(str(one[gene]) for gene in genes)}
        | {f"{length}": f"{error:+.0f}" for length, error in zip(nodes, row, strict=True)}
        for one, row in zip(students, percent, strict=True)
    ]


def rows_of(source: str, lengths: list[int], chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """What nodes and predictions say, against requests themselves."""
    nodes = request_lengths(lengths)
    serving = Serving(threads=chosen.threads, runtime=chosen.runtime, lengths=nodes)
    device, space = open_device("cpu"), space_of("quickstart")
    with tempfile.TemporaryDirectory() as folder:
        known = profile(space, device, serving, store=Path(folder))
    seen = {row.architecture for row in known.models}
    drawn = space.decode(space.sample(20 * chosen.students, np.random.default_rng(chosen.seed)))
    students = [one for one in dict.fromkeys(drawn) if one not in seen][: chosen.students]
    sample = np.sort(lengths)[np.linspace(0, len(lengths) - 1, DRAWN).round().astype(int)]
    every = sorted({*nodes.nodes, *map(int, sample)})
    alike = np.full(len(sample), 1 / len(sample))
    truth, measured, at_nodes, calm, least = [], [], [], list[float](), nodes.nodes[0]
    for one in students:
        ms, sentinel = timed(device, serving, one, every, chosen.rounds)
        at = np.array([ms[int(length)] for length in sample])
        truth.append(figures(at, alike, float(np.quantile(at, 0.5)), float(np.quantile(at, 0.99)), ms[least]))
        own = np.array([ms[length] for length in nodes.nodes])
        at_nodes.append(own)
        measured.append(figures(own, np.array(nodes.weights), ms[nodes.p50], ms[nodes.p99], ms[least]))
        calm.append(sentinel)
    predictor = LatencyPredictor.fit(known)
    by_node = [predictor.predict(students, serving.at(length)).mean_ms for length in nodes.nodes]
    print(table(signed(students, nodes.nodes, np.stack(by_node, axis=1), np.array(at_nodes))))
    told, shortest = predictor.predict(students, serving), predictor.predict(students, serving.at(least)).mean_ms
    assert told.p50_ms is not None  # of many lengths there are all three
    assert told.p99_ms is not None
    predicted = np.stack([told.mean_ms, told.p50_ms, told.p99_ms, shortest], axis=1)
    slower = float(np.median(calm)) / known.meta.sentinel_seconds[str(chosen.threads)]
    about = {"requests": source, "lengths": nodes.words, "nodes": len(nodes.nodes), "runtime": chosen.runtime}
    about |= {"slower": slower}
    compared = {"nodes": np.array(measured), "predicted": predicted}
    return [about | errors(name, ours, np.array(truth)) for name, ours in compared.items()]


def main() -> None:
    """Print and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", nargs="*", default=[], help="files of requests, one a line")
    parser.add_argument("--students", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runtime", default=TORCH)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1, help="which students are held out")
    chosen = parser.parse_args()
    facts = open_device("cpu").facts()
    rows = [row for source, lengths in requests(chosen.requests).items() for row in rows_of(source, lengths, chosen)]
    print(table(rows), f"\n\non {' '.join(facts['isa'])}")
    name = "serving_lengths" + f"_{chosen.runtime}" * (chosen.runtime != TORCH)
    record(name, [{"machine": facts["model"], "isa": facts["isa"]} | row for row in rows])


if __name__ == "__main__":
    main()
