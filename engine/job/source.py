from typing import Any
TrialSource=Any
SOURCES={}
