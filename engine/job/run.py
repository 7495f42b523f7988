"""The main job, a list of phases: profile, predict, propose, distil, measure, refine, finish.

Everything is kept the moment it is known: trials in the ledger and by content, timings in the table. So the same
call continues a run that was killed, and loses at most the trials in flight.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from distilsearch.architecture import Architecture
from distilsearch.distill.archive import Archive
from distilsearch.errors import InputError
from distilsearch.families import family
from distilsearch.home import write_atomically
from distilsearch.lowering import FloatArray, tabulate
from distilsearch.operators import Serving
from distilsearch.progress import Progress, silent
from distilsearch.space import Codes, SearchSpace

from ..engine import Engine
from ..objectives import Expensive
from ..pool import bred
from ..report.report import write_report
from .config import Run
from .environment import environment
from .executors import Executor, open_executor
from .finish import finish, measure_front, with_final
from .imports import imported
from .jobs import Profile, TeacherLoss
from .ledger import Ledger, open_storage
from .machines import Profiled
from .phases import Phases
from .prepare import Prepared, prepare
from .presets import PRESETS
from .resolve import resolve
from .result import Result, conclude
from .search import Search
from .source import SOURCES

LIMIT_DRAWS = 20_000
