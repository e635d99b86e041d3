"""A summary's lines as text and as HTML: one table of columns, numbers in short, what failed under its line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jitgrad._html import FAINT, TABLE, Html, block, element
from jitgrad._words import aligned
from jitgrad.autograd import raised_at
from jitgrad.errors import JitgradError, NoDataError
from jitgrad.nn.summarizing.rows import Row, Shown

_METRIC = ("", "k", "M", "G", "T", "P")
_CELL = "padding:.05em .6em;border:0;white-space:pre;"
_BAR = "background:linear-gradient(to left,rgba(80,140,230,.28) {0:.1f}%,transparent {0:.1f}%);"  # grows from the right, under the number
_FAILED = "color:#d33;"  # seen on dark and on light pages


def _scaled(value: float, units: Sequence[str], whole: bool) -> str:
    """Three digits and the unit that suits; counts below 1,000 are whole."""
    at = 0
    while value >= 999.5 and at < len(units) - 1:
        value /= 1000
        at += 1
    digits = 0 if whole and at == 0 else 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {units[at]}".rstrip()


def in_short(count: int) -> str:
    """``27.1 M``."""
    return _scaled(count, _METRIC, True)


def in_bytes(count: int) -> str:
    """``27.1 MB``: 1 kB is 1,000 bytes."""
    return _scaled(count, [f"{m}B" for m in _METRIC], True)


def in_seconds(seconds: float) -> str:
    """``27.1 ms``."""
    return _scaled(seconds * 1e6, ("us", "ms", "s"), False)


class _Column(NamedTuple):
    title: str
    text: Callable[[Shown], str]
    amount: Callable[[Row], float] | None = None  # of number columns: what the bar in HTML shows


def _amount(title: str, amount: Callable[[Row], float], words: Callable[[int], str]) -> _Column:
    return _Column(title, lambda line: words(int(amount(line.row))) if amount(line.row) else "", amount)


_COLUMNS = (
    _Column("layer", lambda line: line.tree + line.name),
    _Column("class", lambda line: line.layer),
    _Column("output", lambda line: "failed" if line.row.error is not None else line.row.output),
    _amount("parameters", lambda row: row.parameters, "{:,}".format),
    _amount("FLOPs", lambda row: row.flops, in_short),
    _amount("weights", lambda row: row.weight_bytes, in_bytes),
    _amount("activations", lambda row: row.activation_bytes, in_bytes),
    _Column("time", lambda line: "" if line.row.seconds is None else in_seconds(line.row.seconds), lambda row: row.seconds or 0.0),
)
_CALLS = _Column("calls", lambda line: str(line.row.calls or ""), lambda row: 0)


def _columns(lines: Sequence[Shown]) -> list[_Column]:
    """Those that say something; how often each was called where one was more than once."""
    found = [c for c in _COLUMNS if any(c.text(line) for line in lines)]
    if any(line.row.calls > 1 for line in lines):
        found.insert([c.title for c in found].index("output") + 1, _CALLS)
    return found


def _complaint(line: Shown) -> list[str]:
    """What was raised in this line's module: the message, where, and the line of the program."""
    error = line.row.error
    if error is None:
        return []
    what, fix, place = (*error.parts(), error.place) if isinstance(error, JitgradError) else (str(error), "", "")
    first, *rest = f"{type(error).__name__}: {what}".split("\n")
    if place:
        rest.append(f"in {place}")
    if (at := raised_at(error)) is not None:
        rest.append(f"at {at}")
    if fix:
        rest.append(fix)
    if isinstance(error, NoDataError):
        rest.append("time=True runs the model for real, which tells the rest.")
    return [f"✗ {first}", *(f"  {words}" for words in rest)]


def as_text(lines: Sequence[Shown], totals: Sequence[tuple[str, str]]) -> str:
    """Columns side by side, then the totals."""
    columns = _columns(lines)
    table = [[c.title for c in columns], *([c.text(line) for c in columns] for line in lines)]
    texts = aligned(table, [i for i, c in enumerate(columns) if c.amount])
    found = texts[:1]
    for text, line in zip(texts[1:], lines, strict=True):
        found += [text, *(line.below + words for words in _complaint(line))]
    return "\n".join([*found, "", *aligned(totals)])


def as_html(lines: Sequence[Shown], totals: Sequence[tuple[str, str]]) -> Html:
    """The same as a table, in which each number has a bar as long as its part of the whole."""
    columns = _columns(lines)
    body = [element("tr", *(element("th", c.title, style=f"{_CELL}{_side(c)}font-weight:normal;{FAINT}") for c in columns))]
    for line in lines:
        failed = _FAILED if line.row.error is not None else ""
        body.append(
            element(
                "tr", *(element("td", c.text(line), style=_CELL + _side(c) + _bar(c, line.row, lines[0].row) + failed) for c in columns)
            )
        )
        if words := _complaint(line):
            text = "\n".join(line.below + w for w in words)
            body.append(
                element(
                    "tr", element("td", text, colspan=str(len(columns)), style=f"{_CELL}white-space:pre-wrap;text-align:left;{_FAILED}")
                )
            )
    foot = [element("tr", *(element("td", t, style=f"{_CELL}text-align:left;{f}") for t, f in ((n, FAINT), (w, "")))) for n, w in totals]
    return block(element("table", *body, style=TABLE), element("table", *foot, style=TABLE))


def _side(column: _Column) -> str:
    return "text-align:right;" if column.amount else "text-align:left;"


def _bar(column: _Column, row: Row, top: Row) -> str:
    if column.amount is None or row is top or not (whole := column.amount(top)):
        return ""
    return _BAR.format(min(100.0, 100 * column.amount(row) / whole)) if column.amount(row) else ""
