"""A student's quality in minutes, or fully: teachers, text, targets, recipes and the one training loop."""

PRECISION_NAMES = {"bfloat16": "bf16", "torch.bfloat16": "bf16", "fp32": "float32", "float": "float32"}  # said, meant
FLASH_TOKENS = 160_000  # what a trial trains on where nothing else is asked for; here, so that run files load no torch
