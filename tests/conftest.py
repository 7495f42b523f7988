"""No test fails or waits because the machine is busy: Hypothesis times no examples, nobody waits for quiet."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

os.environ.setdefault("DISTILSEARCH_PATIENCE", "0")  # also of the processes that tests start
