"""What comes of a run: who is on the front, who is chosen and trained further, and what is written of it."""
