"""No test fails because the machine is busy: Hypothesis neither times examples nor how fast they are drawn."""

from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
