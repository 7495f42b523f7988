"""Find the distilled students that are best in both quality and serving latency.

The public names are loaded when first used, so that `import distilsearch` is instant and loads neither torch nor
xgboost.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .architecture import Architecture as Architecture
    from .errors import DistilSearchError as DistilSearchError
    from .operators import Operator as Operator
    from .operators import Serving as Serving
    from .space import Constraint as Constraint
    from .space import Parameter as Parameter
    from .space import SearchSpace as SearchSpace

__version__ = "0.1.0"

_HOMES = {
    "Architecture": "architecture",
    "Constraint": "space",
    "DistilSearchError": "errors",
    "Operator": "operators",
    "Parameter": "space",
    "SearchSpace": "space",
    "Serving": "operators",
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
