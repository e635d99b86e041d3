"""HTML for notebooks, whose text is always escaped: elements, tables, trees. Colours are the page's own, so any theme reads well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

FAINT = "opacity:.65"  # of the page's own colour, dark or light
_LINE = "1px solid rgba(128,128,128,.4)"
_CELL = f"padding:.1em .5em;text-align:right;border:{_LINE};white-space:pre"
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


def table(rows: Sequence[Sequence[str]], columns: Sequence[str], labels: Sequence[str]) -> Html:
    """Cells with a heading for each column and a label before each row; no headings, or no labels, where these are empty."""
    head = [element("tr", *([element("th")] if labels else ()), *(_heading(c) for c in columns))] if columns else []
    body = [
        element("tr", *([_heading(labels[i])] if labels else ()), *(element("td", cell, style=_CELL) for cell in row))
        for i, row in enumerate(rows)
    ]
    return element("table", *head, *body, style="border-collapse:collapse;margin:.2em 0;background:transparent;color:inherit;font:inherit")


def _heading(text: str) -> Html:
    return element("th", text, style=f"padding:.1em .5em;text-align:right;font-weight:normal;{FAINT}")


def branch(summary: str, children: Sequence[str], opened: bool) -> Html:
    """A line that unfolds into others; a plain line where there are none."""
    if not children:
        return element("div", summary, style="margin-left:1.1em")
    inner = element("div", *children, style=f"margin-left:.4em;padding-left:.8em;border-left:{_LINE}")
    return element("details", element("summary", summary, style="cursor:pointer"), inner, open=opened)
