"""Trained students by content: found, claimed, kept, shared between machines, handed out."""
