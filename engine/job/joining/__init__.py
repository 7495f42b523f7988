"""A run seen from outside: who drives it, what he is at, where it stands, and how to work on it beside him."""
