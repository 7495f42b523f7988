"""Measuring the cases of a plan: on a quiet machine, in sweeps of random order, and again where figures alarm."""
