"""Which cases to measure: the operators and whole students that teach most, and where a first table wants more."""
