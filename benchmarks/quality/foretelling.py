"""Does the untrained cut's loss help the surrogate? Some students are told, the others foretold, with it and without.

    python -m quality.foretelling --folder DIR          # in benchmarks/; the folder that quality.judges has filled

Students of the default recipe, in the space of their own genes; the column beside sizes is the logarithm of what each
loses as it is cut.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import record, table
from scipy.stats import rankdata

from distilsearch.arrays import FloatArray
from distilsearch.predictors.surrogate.accuracy import fit_surrogate
from distilsearch.predictors.surrogate.encoding import Encoding
from distilsearch.space import Codes, Parameter, SearchSpace

from .judges import FRESH, LONG, OTHER, SHORT, rows_of

DRAWS = 20
TOLD = (6, 9, 12)


def students_of(folder: Path) -> list[dict[int, dict[str, Any]]]:
    """The rows of each student of the default recipe, by length, whose long training has ended."""
    by: dict[str, dict[int, dict[str, Any]]] = {}
    for row in rows_of(folder):
        if row["part"] in ("chosen", "test") and row["kind"] != OTHER:
            by.setdefault(row["pupil"], {})[row["tokens"]] = row
    return [lengths for lengths in by.values() if LONG in lengths]


def coded(names: Sequence[str]) -> tuple[SearchSpace, Codes]:
    """The space of students by their names, such as "2x384/768 0,5 embedding", and their codes in it."""
    values = []
    for name in names:
        shape, start, _ = name.split()
        layers, _, rest = shape.partition("x")
        width, _, ffn = rest.partition("/")
        values.append((int(layers), int(width), int(ffn), start))
    genes = ("layers", "width", "ffn", "inherit")
    choices = [tuple(sorted(set(column))) for column in zip(*values, strict=True)]
    parameters = [Parameter(g, c, ordered=g != "inherit") for g, c in zip(genes, choices, strict=True)]
    codes = [[p.choices.index(v) for p, v in zip(parameters, row, strict=True)] for row in values]
    return SearchSpace("generic", parameters), np.array(codes, dtype=np.int16)


def errors(space: SearchSpace, codes: Codes, columns: FloatArray, y: FloatArray, told: int) -> tuple[float, float]:
    """Mean rank correlation, and mean error of the logarithm, of those who were not told."""
    ranks, misses = [], []
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(len(y))
        own, rest = order[:told], order[told:]
        encoding = Encoding.of(space, columns[own])
        features = encoding(codes[own], columns[own])
        fitted = fit_surrogate(features, y[own], encoding.groups, further=columns.shape[1])
        mean, _ = fitted.marginals(encoding(codes[rest], columns[rest]))
        guess = fitted.warp.inverse(mean.double().numpy())
        ranks.append(np.corrcoef(rankdata(guess), rankdata(y[rest]))[0, 1])
        misses.append(np.abs(guess - y[rest]).mean())
    return float(np.nanmean(ranks)), float(np.mean(misses))


def main() -> None:
    """Print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    torch.set_num_threads(1)
    students = students_of(parser.parse_args().folder)
    rows = []
    for start in ("inherited and random", "inherited"):
        some = [one for one in students if start != "inherited" or one[0]["pupil"].split()[1] != FRESH]
        space, codes = coded([one[0]["pupil"] for one in some])
        size = np.log([[one[0]["parameters"]] for one in some])
        both = np.hstack([size, np.log([[one[0]["loss"]] for one in some])])
        for tokens in (SHORT, LONG):
            y = np.log([one[tokens]["loss"] for one in some])
            for told in TOLD:
                for name, columns in (("size", size), ("size and untrained cut", both)):
                    spearman, miss = errors(space, codes, columns, y, told)
                    facts = {"start": start, "n": len(some), "loss after": tokens, "told": told, "columns": name}
                    rows.append({**facts, "spearman": round(spearman, 3), "error of the logarithm": round(miss, 3)})
    print(table(rows))
    record("quality_foretelling", rows)


if __name__ == "__main__":
    main()
