"""Students as they are served: which combinations there are, what a student loses in each, and what it takes."""
