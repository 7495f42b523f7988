"""Latency tables: raw rounds as the truth, the figures derived from them, where tables are kept, how they travel."""
