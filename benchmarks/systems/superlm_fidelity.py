"""Do a super-network's scores, without retraining, order sub-networks as distilling each of them alone does?

From benchmarks/:

    python -m systems.superlm_fidelity --folder DIR [--only minilm] [--teachers TEACHERS] [--parts small]
        [--students 16] [--tokens 80000] [--super-tokens 320000] [--rules sandwich nested] [--threads 2]

Students are drawn at random from a sub-space, by a seed that nothing was tuned on, and each is distilled alone from the
teacher. Against their held-out losses stand three orders of the same students: the trained super-network's, that of
slices of the super-network as it is cut from the teacher, before any training, and the number of parameters. Spearman
correlations have 90 % intervals over students (bootstrap). A step of the sandwich trains four sub-networks, so the
super-network's default of 320,000 tokens of text trains as many tokens as 16 students of 80,000. What has ended is kept
in DIR: a second call goes on.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import record, table
from scipy.stats import spearmanr
from systems.teachers import CASES, Case, tiny

from distilsearch.architecture import Architecture
from distilsearch.distill.compute.precision import resolve_precision
from distilsearch.distill.job import Training
from distilsearch.distill.recipes import Recipe, default_recipe
from distilsearch.distill.supernets.subspaces import space_of, subspaces
from distilsearch.distill.supernets.superlm import SuperLM, train_superlm
from distilsearch.distill.supernets.training import SuperTraining
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.distill.training import distill_student
from distilsearch.lowering import parameter_count
from distilsearch.space import SearchSpace

DRAWS = 2_000


def main() -> None:
    """Train what is missing, print a row for each sub-space and rule, record them all."""
    asked = _asked()
    torch.set_num_threads(asked.threads)
    asked.folder.mkdir(parents=True, exist_ok=True)
    case = tiny(asked.folder) if asked.only == "tiny" else CASES[asked.only]
    teacher = load_teacher(case.place(asked.teachers)).shown(str(case.top.get("prompt", "")))
    most = case.top.get("text_tokens")
    text = load_text(case.sources, teacher, most_tokens=None if most is None else int(most))
    rows = [row for part in asked.parts for row in _part(part, case, teacher, text, asked)]
    print(table(rows))
    if asked.only != "tiny":
        print(record(f"systems_superlm_fidelity_{asked.only}", rows))


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--teachers", type=Path, default=Path("teachers"), help="the folder of the teachers' folders")
    parser.add_argument("--only", choices=[*CASES, "tiny"], default="minilm")
    parser.add_argument("--parts", nargs="+", default=["small"], help="sub-spaces: tiny, small, base")
    parser.add_argument("--students", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=80_000)
    parser.add_argument("--super-tokens", type=int, default=320_000)
    parser.add_argument("--rules", nargs="+", default=["sandwich"])
    parser.add_argument("--seed", type=int, default=1511)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def _part(part: str, case: Case, teacher: Teacher, text: Text, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each rule, of one sub-space."""
    recipe, precision = default_recipe(teacher.kind), resolve_precision("auto")
    space = space_of(subspaces((part,), "bert", {}, teacher.facts), "bert", {}, teacher.facts)
    students = space.decode(space.sample(8 * asked.students, np.random.default_rng(asked.seed)))
    students = list(dict.fromkeys(students))[: asked.students]
    folder = asked.folder / case.name / part
    alone = [_alone(one, teacher, text, recipe, precision, folder, asked.tokens) for one in students]
    truth = [one["loss"] for one in alone]
    sizes = [-float(parameter_count(one)) for one in students]
    common = {
        "teacher": case.name,
        "sub-space": part,
        "members": int(space.size),
        "students": len(students),
        "tokens each": asked.tokens,
        "seconds alone": round(sum(one["seconds"] for one in alone)),
        "parameters": _spearman(sizes, truth, asked.seed),
    }
    for rule in asked.rules:
        kept = _Kept(teacher, text, recipe, precision, space, rule, folder)
        cut, trained = (kept.losses(tokens, students) for tokens in (0, asked.super_tokens))
        yield common | {
            "rule": rule,
            "super tokens": asked.super_tokens,
            "super seconds": round(trained["seconds"]),
            "scoring seconds": round(trained["scoring"]),
            "super-network": _spearman(trained["losses"], truth, asked.seed),
            "untrained slices": _spearman(cut["losses"], truth, asked.seed),
            "loss of its best": _regret(trained["losses"], truth),
            "losses": [round(value, 4) for value in trained["losses"]],
            "losses of slices": [round(value, 4) for value in cut["losses"]],
            "losses alone": [round(value, 4) for value in truth],
        }


def _alone(
    student: Architecture, teacher: Teacher, text: Text, recipe: Recipe, precision: str, folder: Path, tokens: int
) -> dict[str, float]:
    """Loss and seconds of one student distilled alone; kept."""
    file = folder / f"{student.key}-{tokens}.json"
    if not file.exists():
        place = folder / student.key
        place.mkdir(parents=True, exist_ok=True)
        done = distill_student(teacher, student, text, recipe, tokens, precision=precision, folder=place)
        print(f"{student.key}: {done.loss:.4f} after {tokens:,} tokens, {done.seconds:.0f} s", flush=True)
        file.write_text(json.dumps({"loss": done.loss, "seconds": done.seconds}))
    kept: dict[str, float] = json.loads(file.read_text())
    return kept


class _Kept:
    """Super-networks of one sub-space and rule, trained once, and their scores."""

    def __init__(
        self, teacher: Teacher, text: Text, recipe: Recipe, precision: str, space: SearchSpace, rule: str, folder: Path
    ) -> None:
        self.teacher, self.text, self.recipe, self.space = teacher, text, recipe, space
        self.training = Training.of(teacher, text, recipe, 0, 0, precision)
        self.rule, self.folder = rule, folder

    def losses(self, tokens: int, students: Sequence[Architecture]) -> dict[str, Any]:
        """Held-out losses of sub-networks, seconds of the training and of the scoring; kept."""
        place = self.folder / f"{self.rule}-{tokens}"
        file = place / "scores.json"
        if not file.exists():
            model = self._trained(tokens, place)
            started = time.perf_counter()
            losses = model.losses(students, self.teacher, self.text)
            scoring = time.perf_counter() - started
            file.write_text(json.dumps({"losses": losses, "seconds": model.seconds, "scoring": scoring}))
        kept: dict[str, Any] = json.loads(file.read_text())
        return kept

    def _trained(self, tokens: int, place: Path) -> SuperLM:
        training = SuperTraining.of(self.training.at(tokens), self.space, self.teacher, self.rule)
        place.mkdir(parents=True, exist_ok=True)
        return train_superlm(self.teacher, self.text, self.space, self.recipe, training, place)


def _spearman(guess: Sequence[float], truth: Sequence[float], seed: int) -> str:
    """The rank correlation and its 90 % interval over students."""
    one, other = np.array(guess), np.array(truth)
    rng, values = np.random.default_rng(seed), []
    for _ in range(DRAWS):
        drawn = rng.integers(len(one), size=len(one))
        if np.ptp(one[drawn]) > 0 and np.ptp(other[drawn]) > 0:
            values.append(spearmanr(one[drawn], other[drawn]).statistic)
    low, high = np.quantile(values, [0.05, 0.95])
    return f"{spearmanr(one, other).statistic:.3f} ({low:.2f} to {high:.2f})"


def _regret(guess: Sequence[float], truth: Sequence[float]) -> str:
    """The loss alone of the student that the super-network calls best, and the least one."""
    return f"{truth[int(np.argmin(guess))]:.4f}, least {min(truth):.4f}"


if __name__ == "__main__":
    main()
