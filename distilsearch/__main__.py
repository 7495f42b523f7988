"""`python -m distilsearch` is the command `distilsearch`."""

from .cli import main

main()
