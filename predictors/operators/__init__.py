"""Seconds of single operators: the roofline first, then trees on what it leaves; and their plain sums."""
