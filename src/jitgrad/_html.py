"""HTML for notebooks, whose text is always escaped: elements, tables, trees. Colours are the page's own, so any theme reads well."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape

FAINT = "opacity:.65"  # of the page's own colour, dark or light
_LINE = "1px solid rgba(128,128,128,.4)"
TABLE = "border-collapse:collapse;margin:.2em 0;background:transparent;color:inherit;font:inherit"
_CELL = f"padding:.1em .5em;border:{_LINE};white-space:pre;text-align:"
_MONO = "font-family:monospace;font-size:.9em"


class Html(str):
    """Text that is HTML already; any other text is escaped where it becomes part of an element."""

    __slots__ = ()


def element(tag: str, *content: str, **attributes: str | bool) -> Html:
    """``<tag name="value">content</tag>``; an attribute that is True stands alone, a False one is left out.

    >>> element("b", "a < b", title='"quoted"')
    '<b title="&quot;quoted&quot;">a &lt; b</b>'
    """
    given = "".join(f" {name}" if value is True else f' {name}="{escape(str(value))}"' for name, value in attributes.items() if value)
    return Html(f"<{tag}{given}>{joined(content)}</{tag}>")


def joined(parts: Iterable[str]) -> Html:
    """Parts one after another, each escaped unless it is Html."""
    return Html("".join(p if isinstance(p, Html) else escape(p) for p in parts))


def faint(text: str) -> Html:
    """Text that stands back."""
    return element("span", text, style=FAINT)


def block(*content: str) -> Html:
    """The outermost element of what a notebook shows."""
    return element("div", *content, style=_MONO)


def preformatted(text: str) -> Html:
    """Text whose spaces and line breaks stay."""
    return element("pre", text, style="margin:0;background:transparent;color:inherit")


def table(rows: Sequence[Sequence[str]], columns: Sequence[str], labels: Sequence[str], right: Collection[int] | None = None) -> Html:
    """Cells with a heading for each column and a label before each row; no headings, or no labels, where these are empty.

    Columns in right are aligned there, all of them unless given.
    """

    def side(i: int) -> str:
        return "right" if right is None or i in right else "left"

    head = [element("tr", *([element("th")] if labels else ()), *(_heading(c, side(i)) for i, c in enumerate(columns)))] if columns else []
    body = []
    for n, row in enumerate(rows):
        cells = [element("td", c, style=_CELL + side(i)) for i, c in enumerate(row)]
        body.append(element("tr", *([_heading(labels[n], "right")] if labels else ()), *cells))
    return element("table", *head, *body, style=TABLE)


def _heading(text: str, side: str) -> Html:
    return element("th", text, style=f"padding:.1em .5em;text-align:{side};font-weight:normal;{FAINT}")


def branch(summary: str, children: Sequence[str], opened: bool) -> Html:
    """A line that unfolds into others; a plain line where there are none."""
    if not children:
        return element("div", summary, style="margin-left:1.1em")
    inner = element("div", *children, style=f"margin-left:.4em;padding-left:.8em;border-left:{_LINE}")
    return element("details", element("summary", summary, style="cursor:pointer"), inner, open=opened)
