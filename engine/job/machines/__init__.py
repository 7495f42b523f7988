"""The machines students are served on: declared, then profiled; their limits, and what others measured there."""
