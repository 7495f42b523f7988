"""Latency and quality of students that nobody has run, learnt from tables, from measured models and from trials."""
