"""Other optimisers, used as their documentation says, on the same problems and initial designs.

Where a peer cannot be told that the space is a table, or proposes what was evaluated already, the nearest free row is
evaluated, and the peer learns that row's own genes. In the space too large to list a repeat costs nothing and is told
again; after 50 in a row a random architecture is taken.

Every method is a function (problem, seed, budget) -> evaluated codes with the seconds of each proposal, as a generator.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from search.problems import Codes, Floats, Problem

Evaluated = Iterator[tuple[Codes, float]]  # one row (1, d), seconds of the proposal
Method = Callable[[Problem, int, int], Evaluated]
REPEATS = 50
GRID = 20_000
SHORT = 1_000


def told_of(problem: Problem, seed: int) -> Callable[[Codes], Floats]:
    """Told objectives (n, 2) of codes: the same for the same row and seed, whoever asks."""

    def told(codes: Codes) -> Floats:
        ids = problem.space.indices(codes, problem.space.names)
        noisy = [
            problem.told(row[None], np.random.default_rng([seed, int(i)]))[0] for row, i in zip(codes, ids, strict=True)
        ]
        return np.column_stack([noisy, problem.cost(codes)])

    return told


def random(problem: Problem, seed: int, budget: int) -> Evaluated:
    """Distinct uniform draws."""
    for row in problem.initial(seed, budget):
        yield row[None], 0.0


class Free:
    """Which rows are still free, and the nearest one to any codes."""

    def __init__(self, problem: Problem, first: Codes, rng: np.random.Generator) -> None:
        self.space, self.rng = problem.space, rng
        self.seen = {row.tobytes() for row in first}
        self.rows = problem.space.grid(GRID) if problem.space.size <= GRID else None
        self.ordered = np.array([p.ordered for p in problem.space.parameters])
        self.reach = np.array([max(len(p.choices) - 1, 1) for p in problem.space.parameters])

    def nearest(self, codes: Codes) -> Codes:
        """The row (1, d) to evaluate for a proposal (1, d); in a large space, itself even if it is not free."""
        codes = self.space.canonical(codes)
        if self.rows is None:
            return codes
        self.rows = self.rows[[row.tobytes() not in self.seen for row in self.rows]]
        gap = np.abs(self.rows - codes) / self.reach
        gap = np.where(self.ordered, gap, gap > 0).sum(axis=1)
        return self.rows[[int(np.argmin(gap + 1e-9 * self.rng.random(len(gap))))]]

    def take(self, row: Codes) -> bool:
        """Whether it was free; now it is not."""
        key = row[0].tobytes()
        if key in self.seen:
            return False
        self.seen.add(key)
        return True

    def random(self) -> Codes:
        """A free row."""
        while True:
            row = self.space.sample(1, self.rng)
            if row[0].tobytes() not in self.seen:
                return row


# Optuna


def optuna(kind: str) -> Method:
    """TPE, GP or NSGA-II sampler; ordered genes are integers, others categorical."""

    def run(problem: Problem, seed: int, budget: int) -> Evaluated:
        import optuna as library
        from optuna.distributions import CategoricalDistribution, IntDistribution

        library.logging.set_verbosity(library.logging.ERROR)
        warnings.simplefilter("ignore")
        noisy = problem.name == "macro"
        samplers: dict[str, Callable[[], Any]] = {
            "tpe": lambda: library.samplers.TPESampler(seed=seed, multivariate=True),
            "gp": lambda: library.samplers.GPSampler(seed=seed, deterministic_objective=not noisy),
            "nsga2": lambda: library.samplers.NSGAIISampler(seed=seed, population_size=20),
        }
        study = library.create_study(directions=["minimize", "minimize"], sampler=samplers[kind]())
        spaces = {
            p.name: IntDistribution(0, len(p.choices) - 1)
            if p.ordered
            else CategoricalDistribution(range(len(p.choices)))
            for p in problem.space.parameters
        }
        told, first = told_of(problem, seed), problem.initial(seed)

        def tell(row: Codes, trial: Any) -> None:
            values = told(row)[0].tolist()
            if kind == "nsga2" and trial is not None:  # its generations live in the trial itself
                study.tell(trial, values)
                return
            if trial is not None:
                study.tell(trial, state=library.trial.TrialState.FAIL)
            params = dict(zip(problem.space.names, row[0].tolist(), strict=True))
            study.add_trial(library.trial.create_trial(params=params, distributions=spaces, values=values))

        for row in first:
            if kind == "nsga2":
                study.enqueue_trial(dict(zip(problem.space.names, row.tolist(), strict=True)))
                tell(row[None], study.ask(spaces))
            else:
                tell(row[None], None)
            yield row[None], 0.0
        free = Free(problem, first, np.random.default_rng([3, seed]))
        for _ in range(budget - len(first)):
            start = time.perf_counter()
            for attempt in range(REPEATS + 1):
                trial = study.ask(spaces)
                asked = np.array([[trial.params[n] for n in problem.space.names]], dtype=np.int16)
                row = free.nearest(asked) if attempt < REPEATS else free.random()
                tell(row, trial)
                if free.take(row):
                    break
            yield row, time.perf_counter() - start

    return run


# BoTorch


class Columns:
    """Codes as inputs of BoTorch models: ordered genes from 0 to 1, one-hot others; and back to a row's identity."""

    def __init__(self, problem: Problem) -> None:
        self.parameters = problem.space.parameters

    def __call__(self, codes: Codes) -> torch.Tensor:
        parts: list[Floats] = []
        for gene, parameter in enumerate(self.parameters):
            column, count = codes[:, gene], len(parameter.choices)
            parts.append(column[:, None] / (count - 1.0) if parameter.ordered else np.eye(count)[column])
        return torch.from_numpy(np.column_stack(parts))

    def codes(self, x: torch.Tensor) -> Codes:
        """Codes (n, d) of inputs (n, p)."""
        table, start, columns = x.detach().numpy(), 0, []
        for parameter in self.parameters:
            count = len(parameter.choices)
            width = 1 if parameter.ordered else count
            part = table[:, start : start + width]
            columns.append(np.rint(part[:, 0] * (count - 1)) if parameter.ordered else part.argmax(axis=1))
            start += width
        return np.column_stack(columns).astype(np.int16)


def qlognehvi(known: bool) -> Method:
    """A SingleTaskGP per objective, or the exact cost as a deterministic model; qLogNEHVI over the discrete space."""

    def run(problem: Problem, seed: int, budget: int) -> Evaluated:
        told, columns, codes = told_of(problem, seed), Columns(problem), problem.initial(seed)
        for row in codes:
            yield row[None], 0.0
        torch.manual_seed(seed)
        free = Free(problem, codes, np.random.default_rng([3, seed]))
        while len(codes) < budget:
            start = time.perf_counter()
            row = _propose(problem, columns, codes, told(codes), free, known)
            row = row if free.take(row) else free.random()
            codes = np.concatenate([codes, row])
            yield row, time.perf_counter() - start

    return run


def _propose(problem: Problem, columns: Columns, codes: Codes, values: Floats, free: Free, known: bool) -> Codes:
    from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import ModelList, ModelListGP, SingleTaskGP
    from botorch.models.deterministic import GenericDeterministicModel
    from botorch.models.transforms import Standardize
    from botorch.optim import optimize_acqf_discrete, optimize_acqf_discrete_local_search
    from botorch.sampling.get_sampler import get_sampler
    from gpytorch.mlls import ExactMarginalLogLikelihood

    warnings.simplefilter("ignore")
    x, y = columns(codes), torch.from_numpy(-values)
    models: list[Any] = []
    for objective in range(1 if known else 2):
        model = SingleTaskGP(x, y[:, [objective]], outcome_transform=Standardize(m=1))
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        models.append(model)
    joined: Any = ModelListGP(*models) if not known else None
    if known:

        def cost(at: torch.Tensor) -> torch.Tensor:
            flat = at.reshape(-1, at.shape[-1])
            found = torch.from_numpy(-problem.cost(columns.codes(flat)))
            return found.reshape(*at.shape[:-1], 1)

        joined = ModelList(*models, GenericDeterministicModel(cost, num_outputs=1))

    def acquisition(samples: int) -> Any:
        sampler = get_sampler(joined.posterior(x[:1]), torch.Size([samples]))
        corner = (-np.array(problem.reference)).tolist()
        return qLogNoisyExpectedHypervolumeImprovement(
            joined, corner, x, sampler=sampler, prune_baseline=True, cache_root=not known
        )

    if free.rows is not None:  # all rows with few samples, the best of them with the documented number
        pool = problem.space.grid(GRID)
        choices = columns(pool[[row.tobytes() not in free.seen for row in pool]])
        with torch.no_grad():
            screen = acquisition(16)
            rough = torch.cat([screen(part[:, None]) for part in choices.split(256)])
        best = choices[rough.topk(min(SHORT, len(choices))).indices]
        found, _ = optimize_acqf_discrete(acquisition(128), q=1, choices=best, max_batch_size=256)
    else:
        levels = [torch.linspace(0, 1, len(p.choices)).double() for p in problem.space.parameters]
        found, _ = optimize_acqf_discrete_local_search(
            acquisition(128), q=1, discrete_choices=levels, num_restarts=20, raw_samples=1024, X_avoid=x
        )
    return problem.space.canonical(columns.codes(found))


# Ax


def ax(problem: Problem, seed: int, budget: int) -> Evaluated:
    """Ax's client with its own choice of generation strategy."""
    import logging

    from ax.api.client import Client
    from ax.api.configs import ChoiceParameterConfig

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    told, first = told_of(problem, seed), problem.initial(seed)
    client = Client(random_seed=seed)
    client.configure_experiment(
        parameters=[
            ChoiceParameterConfig(p.name, list(range(len(p.choices))), parameter_type="int", is_ordered=p.ordered)
            for p in problem.space.parameters
        ]
    )
    corner = problem.reference
    client.configure_optimization("-loss, -cost", outcome_constraints=[f"loss <= {corner[0]}", f"cost <= {corner[1]}"])
    client.configure_generation_strategy(initialization_budget=0, initialize_with_center=False)

    def tell(row: Codes) -> None:
        index = client.attach_trial(dict(zip(problem.space.names, row[0].tolist(), strict=True)))
        loss, cost = told(row)[0].tolist()
        client.complete_trial(index, {"loss": loss, "cost": cost})

    for row in first:
        tell(row[None])
        yield row[None], 0.0
    free = Free(problem, first, np.random.default_rng([3, seed]))
    for _ in range(budget - len(first)):
        start = time.perf_counter()
        ((index, parameters),) = client.get_next_trials(max_trials=1).items()
        row = free.nearest(np.array([[parameters[n] for n in problem.space.names]], dtype=np.int16))
        client.mark_trial_abandoned(index)
        row = row if free.take(row) else free.random()
        free.take(row)
        tell(row)
        yield row, time.perf_counter() - start


PEERS: dict[str, Method] = {
    "random": random,
    "optuna-tpe": optuna("tpe"),
    "optuna-nsga2": optuna("nsga2"),
    "optuna-gp": optuna("gp"),
    "botorch": qlognehvi(known=False),
    "botorch-known": qlognehvi(known=True),
    "ax": ax,
}
