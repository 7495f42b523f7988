"""Held-out losses: of a teacher's purpose, of hidden words, of pairs of texts; on as little text as will do."""
