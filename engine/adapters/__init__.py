"""The engine in the words of other tools."""
