"""The parts of a page's body: header, tiles, cards, tables and the places of charts.

Every text is escaped where it enters the markup; arguments named `body`, `heads`, `rows` and `cells` are markup
already. What messages put between backticks, as a terminal shows it, is set as code. Wide tables scroll inside their
own frame.
"""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

ENDS = re.compile(r"[/,](?=\S)")
CODE = re.compile(r"`([^`\n]+)`")


def prose(text: str, broken: bool = False) -> str:
    """A message as markup: escaped, what stands between backticks as code.

    Args:
        broken: whether a line may end behind a slash or a comma too.
    """
    escaped = html.escape(text)
    return CODE.sub(r"<code>\1</code>", ENDS.sub(r"\g<0><wbr>", escaped) if broken else escaped)


def header(eyebrow: str, title: str, lead: str) -> str:
    """What stands above all cards."""
    return (
        f'<header><p class="eyebrow">{html.escape(eyebrow)}</p>'
        f'<h1>{html.escape(title)}</h1><p class="lead">{prose(lead)}</p></header>'
    )


def notices(texts: Iterable[str]) -> str:
    """What a reader must know first."""
    return "".join(f'<p class="notice">{prose(text)}</p>' for text in texts)


def tiles(figures: Iterable[tuple[str, str]]) -> str:
    """The most important numbers, each with its words."""
    cells = (
        f'<div class="tile"><b>{html.escape(b)}</b><span>{html.escape(small)}</span></div>' for b, small in figures
    )
    return f'<div class="tiles">{"".join(cells)}</div>'


def card(title: str, text: str, body: str) -> str:
    """One frame with a heading."""
    words = f"<p>{prose(text)}</p>" if text else ""
    return f"<section><h2>{html.escape(title)}</h2>{words}{body}</section>"


def folded(title: str, body: str, is_open: bool = False) -> str:
    """One frame that opens on a click."""
    state = " open" if is_open else ""
    return f"<section><details{state}><summary>{html.escape(title)}</summary>{body}</details></section>"


def pair(cards: Iterable[str]) -> str:
    """Cards side by side, two in a row where the page is wide enough."""
    return f'<div class="pair">{"".join(cards)}</div>'


def chart(name: str, figures: Mapping[str, Any], label: str, empty: str = "", tall: bool = False) -> str:
    """The place of the figure `name`, or the words of `empty` where there is none."""
    if name not in figures:
        return nothing(empty)
    size = "chart tall" if tall else "chart"
    return f'<figure aria-label="{html.escape(label)}"><div id="{name}" class="{size}"></div></figure>'


def nothing(words: str) -> str:
    """Instead of a chart or a table there is none of."""
    return f'<p class="empty">{prose(words)}</p>'


def table(heads: Sequence[str], rows: Sequence[str], label: str, kind: str = "") -> str:
    """A table of `head` and `row` markup; one that is "narrow" is as wide as what stands in it."""
    head = f"<thead><tr>{''.join(heads)}</tr></thead>" if heads else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{html.escape(label)}">'
        f"<table{_class(kind)}>{head}<tbody>{''.join(rows)}</tbody></table></div>"
    )


def head(word: str, kind: str = "") -> str:
    """The heading of a column."""
    return f'<th scope="col"{_class(kind)}>{html.escape(word[:1].upper() + word[1:])}</th>'


def row(cells: Iterable[str], kind: str = "") -> str:
    """A row of cells."""
    return f"<tr{_class(kind)}>{''.join(cells)}</tr>"


def row_head(body: str) -> str:
    """The cell that names its row; `body` is markup."""
    return f'<th scope="row">{body}</th>'


def cell(value: Any, kind: str = "", small: str = "") -> str:
    """One value, with something less important behind it; one of kind "cause" or "words" may take several lines."""
    more = f" <small>{prose(small)}</small>" if small else ""
    return f"<td{_class(kind)}>{prose(str(value), 'words' in kind.split())}{more}</td>"


def code(text: str, folder: str | None = None, badge: str = "") -> str:
    """A name, linked to its folder beside the page where it has one."""
    name = f"<code>{html.escape(text)}</code>"
    if folder:
        name = f'<a href="./{html.escape(quote(folder))}">{name}</a>'
    return name + (f'<span class="badge">{html.escape(badge)}</span>' if badge else "")


def bar(share: float) -> str:
    """A cell with a bar of a share (0 to 1) of its width."""
    return f'<td class="bar"><i style="width:{100 * share:.1f}%"></i></td>'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
