"""From a result to a page for the browser.

Notable: the page is a pure function of the result, so the same result gives the same bytes, and a result written long
ago can be shown again. It is put together of `SECTIONS` and knows none of them.
"""

from itertools import groupby

from distilsearch.page.parts import pair
from distilsearch.page.plots import Figure
from distilsearch.page.shell import document

from .readings import Reading
from .schema import ResultFile
from .sections import SECTIONS

FOOTER = "<footer>Made by distilsearch from result.json. This page holds all it needs.</footer>"


def render(result: ResultFile) -> str:
    """The page as text; it makes no network request and needs no other file."""
    reading = Reading(result)
    sections = [section for build in SECTIONS if (section := build(reading)) is not None]
    figures: dict[str, Figure] = {name: figure for section in sections for name, figure in section.figures.items()}
    parts: list[str] = []
    for paired, group in groupby(sections, key=lambda section: section.paired):
        bodies = [section.body for section in group]
        parts += [pair(bodies)] if paired else bodies
    return document(f"{result.name} · distilsearch", "\n".join([*parts, FOOTER]), figures)
