"""One student in training: its steps and checkpoints, its learning rate, and what keeps it from going astray."""
