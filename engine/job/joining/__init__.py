"""A run seen from outside: where it stands, and how to work on it beside its driver."""
