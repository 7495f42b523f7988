"""What a run may spend and has spent: trials, tokens, held-out blocks, and seconds of its minutes, phase by phase."""
