"""Faults at random moments of short runs, for the tests and `benchmarks/faults.py`."""
