"""Texts: read from whatever holds them, and cut into blocks of tokens."""
