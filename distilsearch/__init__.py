"""Find the distilled students that are best in both quality and serving latency.

The public names are loaded when first used, so that `import distilsearch` is instant and loads neither torch nor
xgboost.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .architecture import Architecture as Architecture
    from .distill.job import Training as Training
    from .distill.recipes import Recipe as Recipe
    from .distill.store.archive import Archive as Archive
    from .distill.students.student import Student as Student
    from .distill.teachers.teacher import Teacher as Teacher
    from .distill.teachers.teacher import load_teacher as load_teacher
    from .distill.texts.data import load_text as load_text
    from .distill.training import distill_student as distill_student
    from .engine.engine import Engine as Engine
    from .engine.job.commands.ranks import rank_fidelity as rank_fidelity
    from .engine.job.outcome.result import Result as Result
    from .engine.job.outcome.winners import distill_winners as distill_winners
    from .engine.job.run import search as search
    from .engine.job.runfile.config import Run as Run
    from .engine.objectives import Expensive as Expensive
    from .engine.objectives import Known as Known
    from .engine.objectives import Limit as Limit
    from .engine.objectives import Outcome as Outcome
    from .errors import DistilSearchError as DistilSearchError
    from .families import family as family
    from .operators import Operator as Operator
    from .operators import Serving as Serving
    from .predictors.latency import LatencyPredictor as LatencyPredictor
    from .predictors.pairs.pairs import PairPredictor as PairPredictor
    from .predictors.prediction import Prediction as Prediction
    from .profiling.collect import measure as measure
    from .profiling.collect import profile as profile
    from .profiling.tables.table import LatencyTable as LatencyTable
    from .space import Constraint as Constraint
    from .space import Parameter as Parameter
    from .space import SearchSpace as SearchSpace

__version__ = "0.2.0"

_HOMES = {
    "Architecture": "architecture",
    "Archive": "distill.store.archive",
    "Constraint": "space",
    "distill_student": "distill.training",
    "distill_winners": "engine.job.outcome.winners",
    "DistilSearchError": "errors",
    "Engine": "engine.engine",
    "Expensive": "engine.objectives",
    "family": "families",
    "Known": "engine.objectives",
    "Limit": "engine.objectives",
    "LatencyPredictor": "predictors.latency",
    "LatencyTable": "profiling.tables.table",
    "load_teacher": "distill.teachers.teacher",
    "load_text": "distill.texts.data",
    "measure": "profiling.collect",
    "Operator": "operators",
    "Outcome": "engine.objectives",
    "PairPredictor": "predictors.pairs.pairs",
    "Parameter": "space",
    "Prediction": "predictors.prediction",
    "profile": "profiling.collect",
    "rank_fidelity": "engine.job.commands.ranks",
    "Recipe": "distill.recipes",
    "Result": "engine.job.outcome.result",
    "Run": "engine.job.runfile.config",
    "search": "engine.job.run",
    "SearchSpace": "space",
    "Serving": "operators",
    "Student": "distill.students.student",
    "Teacher": "distill.teachers.teacher",
    "Training": "distill.job",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'distilsearch' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
