"""A student's quality in minutes, or fully: teachers, text, targets, recipes and the one training loop."""
