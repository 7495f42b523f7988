from typing import Any
Executor=Any
open_executor=None
