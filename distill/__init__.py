"""A student's quality in minutes, or fully: teachers, text, targets, recipes and the one training loop."""

FLASH_TOKENS = 160_000  # what a trial trains on where nothing else is asked for; here, so that run files load no torch
