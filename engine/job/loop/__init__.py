"""The search loop: ask the engine, submit, enter what has landed, tell."""
