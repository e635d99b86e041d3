"""What an edit has done to a model, line by line: modules that went, came, moved, or have other parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jitgrad._html import Html, element, faint, joined
from jitgrad._words import aligned
from jitgrad.nn._place import short_name
from jitgrad.nn.module import Module
from jitgrad.nn.parameter import Parameter
from jitgrad.nn.surgery._address import places

MOVED_SHOWN = 3  # moves that a diff lists before it says how many more there are
_COLOURS = {"-": "248,81,73", "+": "46,160,67"}  # behind the text, thin enough for a dark page and for a light one


@dataclass(frozen=True, slots=True)
class Entry:
    """A module at a place, as it was when the entry was made."""

    path: str
    module: int  # its id: what is the same object
    layer: str
    full: str  # the layer with all that its repr says
    parameters: str  # names and shapes of its own
    count: int
    frozen: str  # what of them wants no gradient
    shared: str


@dataclass(frozen=True, slots=True)
class Difference:
    """A line of a diff; sign is "-" before, "+" after, ">" moved from a path to another, "~" frozen or trainable again."""

    sign: str
    path: str
    layer: str
    parameters: str
    count: int
    to: str = ""


def entries(model: Module) -> list[Entry]:
    """What stands where in a model."""
    found = []
    first: dict[int, str] = {}
    for path, _, _, m in places(model):
        own = [(name, p) for name, p in m._parameters.items() if p is not None]
        again = first.setdefault(id(m), path)
        frozen, shapes = _frozen(own), ", ".join(f"{name} {tuple(p.shape)}" for name, p in own)
        full = f"{type(m).__name__}({m.extra_repr()})"
        shared = again if again != path else ""
        found.append(Entry(path, id(m), short_name(m), full, shapes, sum(p.numel() for _, p in own), frozen, shared))
    return found


def compare(before: Sequence[Entry], after: Sequence[Entry]) -> list[Difference]:
    """The lines of a diff, in the order of the edited model; what is gone stands where it was."""
    old, new = ({e.path: e for e in entries} for entries in (before, after))
    at = {e.path: i for i, e in enumerate(after)}
    came: dict[tuple[int, str, str, str], list[Entry]] = {}
    for y in after:
        if y.path not in old or _what(old[y.path]) != _what(y):
            came.setdefault(_what(y), []).append(y)
    lines: list[tuple[int, int, Difference]] = []  # the place in the model, and the order of what stands there
    last = -1
    for x in before:
        last = at.get(x.path, last)
        now = new.get(x.path)
        if now is not None and _what(x) == _what(now):
            continue
        if now is not None and _what(x)[:3] == _what(now)[:3]:
            came[_what(now)].remove(now)
            lines.append((last, 1, _line("~", now, now.frozen or "trainable")))
        elif came.get(_what(x)):  # what went here and came there has moved
            to = came[_what(x)].pop(0).path
            lines.append((at[to], 1, _line(">", x, to)))
        else:
            lines.append((last, 3 if now is None else 0, _line("-", x, other=now)))
    lines += [(at[y.path], 2, _line("+", y, other=old.get(y.path))) for entries in came.values() for y in entries]
    return [line for _, _, line in sorted(lines, key=lambda item: item[:2])]


def _frozen(own: Sequence[tuple[str, Parameter]]) -> str:
    names = [name for name, p in own if not p.requires_grad]
    return "" if not names else "frozen" if len(names) == len(own) else f"{', '.join(names)} frozen"


def _what(e: Entry) -> tuple[int, str, str, str]:
    return e.module, e.layer, e.parameters, e.frozen


Tied = list[dict[tuple[Module, str], list[str]]]


def tied(model: Module) -> Tied:
    """Parameters that several modules own: for each its paths, by the module and its name there."""
    owners: dict[int, dict[tuple[Module, str], list[str]]] = {}
    for path, m, name, p in _parameters(model):
        owners.setdefault(id(p), {}).setdefault((m, name), []).append(path)
    return [paths for paths in owners.values() if len(paths) > 1]


def untied(before: Tied, model: Module) -> Iterator[str]:
    """Parameters that were one before modules were replaced, and are several now."""
    now = _parameters(model)
    by_path = {path: p for path, _, _, p in now}
    stands = Counter((m, name) for _, m, name, _ in now)
    for group in before:
        found: dict[str, Parameter | None] = {}
        for (m, name), paths in group.items():  # a module may have moved; where it stands at fewer places, another has come there
            found.update({path: m._parameters[name] if stands[m, name] >= len(paths) else by_path.get(path) for path in paths})
        (first, p), *rest = found.items()
        seen = {id(p), id(None)}
        for path, q in rest:
            if p is not None and id(q) not in seen:
                seen.add(id(q))
                yield f"{path} was also {first}, and no longer is"


def _parameters(model: Module) -> list[tuple[str, Module, str, Parameter]]:
    """Every parameter of every place: its path, its module, its name there."""
    return [(f"{path}.{n}" if path else n, m, n, p) for path, _, _, m in places(model) for n, p in m._parameters.items() if p is not None]


def _line(sign: str, e: Entry, to: str = "", other: Entry | None = None) -> Difference:
    """A line on an entry; beside another that would read the same it says more, where that tells them apart."""
    alike = other is not None and (e.layer, e.parameters) == (other.layer, other.parameters) and e.full != other.full
    layer = e.full if alike else e.layer
    notes = (f" ({e.frozen})" if e.frozen and sign != "~" else "") + (f" (shared with {e.shared or 'the model'})" if e.shared else "")
    return Difference(sign, e.path or "the model", layer + notes, e.parameters, e.count, to)


def shortened(lines: Sequence[Difference]) -> list[Difference | str]:
    """The lines, of many moves in a row the first and a word on the others."""
    short: list[Difference | str] = []
    run = 0
    for i, line in enumerate(lines):
        run = run + 1 if line.sign == ">" else 0
        if run <= MOVED_SHOWN:
            short.append(line)
        elif i + 1 == len(lines) or lines[i + 1].sign != ">":
            short.append(f"{run - MOVED_SHOWN} more have moved likewise, the last from {line.path} to {line.to}")
    return short


def diff_text(lines: Sequence[Difference]) -> list[str]:
    """The lines in columns."""
    cells = [(line.path, line.layer, f"{line.count:,}" if line.count else "", line.parameters) for line in lines if line.sign in "-+"]
    in_columns = iter(aligned(cells, right=(2,)))
    text = []
    for line in shortened(lines):
        if isinstance(line, str):
            text.append(f"    {line}")
        elif line.sign in ">~":
            text.append(f"  {line.sign} {_moved(line)}")
        else:
            text.append(f"  {line.sign} {next(in_columns)}")
    return text


def _moved(line: Difference) -> str:
    return f"{line.path} is now {line.to}: {line.layer}"


def diff_html(lines: Sequence[Difference]) -> list[Html]:
    """The lines as rows of a table, what went on red, what came on green."""
    rows = []
    for line in shortened(lines):
        if isinstance(line, str):
            rows.append(_row(None, "", faint(line)))
        elif line.sign in ">~":
            rows.append(_row(None, line.sign, faint(_moved(line))))
        else:
            rows.append(_row(line.sign, {"-": "\N{MINUS SIGN}"}.get(line.sign, line.sign), line.path, line.layer,
                             f"{line.count:,}" if line.count else "", faint(line.parameters)))  # fmt: skip
    return rows


def _row(sign: str | None, *cells: str) -> Html:
    colour = f"background:rgba({_COLOURS[sign]},.22)" if sign else "background:transparent"
    style = "padding:.1em .6em;text-align:{};border:none;white-space:pre"
    if sign is None:
        return element("tr", element("td", cells[0], style=style.format("left")),
                       element("td", *cells[1:], style=style.format("left"), colspan="4"), style=colour)  # fmt: skip
    aligned = [element("td", joined([cell]), style=style.format("right" if i == 3 else "left")) for i, cell in enumerate(cells)]
    return element("tr", *aligned, style=colour)
