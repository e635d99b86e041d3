"""The table of a model's layers, whose numbers are keys in every function of surgery."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from jitgrad import dtypes
from jitgrad._html import block, faint, table
from jitgrad._words import aligned, listed
from jitgrad.errors import OutOfRangeError, UnknownPathError
from jitgrad.nn._dry import Arguments, traced
from jitgrad.nn._hidden import warn_of_hidden
from jitgrad.nn._paths import did_you_mean
from jitgrad.nn._place import short_name
from jitgrad.nn._trace import Trace
from jitgrad.nn._tree import count, every_parameter
from jitgrad.nn.module import Module
from jitgrad.nn.surgery._address import layers
from jitgrad.nn.surgery._fit import shapes_text


@dataclass(frozen=True, slots=True)
class Row:
    """A layer: its number, where it stands, and what it is; output is "" unless the model has been run."""

    index: int
    path: str
    module: Module
    layer: str
    parameters: int
    output: str
    shared: str

    def __repr__(self) -> str:
        return "  ".join(w for w in (str(self.index), self.path, self.layer, f"{self.parameters:,}", self.output, self.shared) if w)


class Table(Sequence[Row]):
    """The layers of a model in order: ``table[4].path``, ``table["fc"]``, ``len(table)``; printed it is a table."""

    def __init__(self, model: Module, rows: Sequence[Row], with_output: bool) -> None:
        self._rows = tuple(rows)
        self._title = type(model).__name__
        self._with_output = with_output
        self.parameters = count(every_parameter(model.modules()))
        self._outside = self.parameters - count(every_parameter(row.module for row in rows))

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    @overload
    def __getitem__(self, index: int | str) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, index: int | slice | str) -> Row | tuple[Row, ...]:
        """A row by its number, negative ones from the end, or by its path; for a slice a tuple of rows."""
        if isinstance(index, str):
            return self._by_path(index)
        if not isinstance(index, slice) and hasattr(index, "__index__") and not -len(self) <= index < len(self):
            raise OutOfRangeError(f"layer {index} is out of range: {self._title} has {_several(len(self), 'layer')}.")
        return self._rows[index]

    def _by_path(self, path: str) -> Row:
        found = next((r for r in self._rows if r.path == path), None)
        if found is not None:
            return found
        inside = [r.path for r in self._rows if r.path.startswith(f"{path}.")]
        if inside:
            raise UnknownPathError(f"{path!r} is no layer of {self._title}, and has no row; its layers have: {listed(inside)}.")
        guess = did_you_mean(path, [r.path for r in self._rows])
        raise UnknownPathError(f"there is no layer {path!r} in {self._title}.{guess}")

    def _columns(self) -> list[str]:
        return ["path", "layer", "parameters", *(["output"] if self._with_output else [])]

    def _cells(self) -> list[list[str]]:
        rows = []
        for r in self._rows:
            cells = [r.path + (f" ({r.shared})" if r.shared else ""), r.layer, f"{r.parameters:,}" if r.parameters else ""]
            rows.append([*cells, r.output] if self._with_output else cells)
        return rows

    def _total(self) -> str:
        outside = f", {self._outside:,} of them in blocks themselves" if self._outside else ""
        return f"{self._title}: {_several(len(self), 'layer')}, {_several(self.parameters, 'parameter')}{outside}"

    def __repr__(self) -> str:
        rows = [["", *self._columns()], *([str(r.index), *cells] for r, cells in zip(self._rows, self._cells(), strict=True))]
        return "\n".join([*aligned(rows, right=(0, 3)), self._total()])

    def _repr_html_(self) -> str:
        return block(table(self._cells(), self._columns(), [str(r.index) for r in self._rows], right=(2,)), faint(self._total()))


def _several(n: int, what: str) -> str:
    return f"{n:,} {what}" + "s" * (n != 1)


def index(model: Module, *inputs: Any, dtype: Any = dtypes.float32, kwargs: Mapping[str, Any] | None = None) -> Table:
    """The numbered table of a model's layers, depth first: path, layer, parameters and, with inputs, output shapes.

    Parameters
    ----------
    model
        Any model. A layer is a module with nothing below it that is no empty container; one that stands at several places has a row
        for each, and its parameters are in the total once.
    *inputs
        Arguments of the model, where a tuple of ints is a shape: it runs on shapes alone (with values where its forward asks for them).
    dtype
        Of inputs given as shapes: one for all, or a list with one for each.
    kwargs
        Keyword arguments of the model's forward, passed as they are.

    The numbers are keys in get, replace and all other functions here, until the next edit.

    >>> from jitgrad import nn
    >>> from jitgrad.nn import surgery
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 1)))
    >>> surgery.index(net, (5, 2))
       path  layer         parameters  output
    0  0     Linear(2, 3)           9  (5, 3)
    1  1.0   ReLU()                    (5, 3)
    2  1.1   Linear(3, 1)           4  (5, 1)
    Sequential: 3 layers, 13 parameters
    >>> surgery.index(net)[-1].path
    '1.1'
    """
    found = layers(model)
    warn_of_hidden(model)  # layers in plain lists, which have no row
    run = bool(inputs or kwargs)
    outputs = _outputs(model, Arguments(model, inputs, kwargs, dtype, "index")) if run else {}
    paths: dict[int, list[str]] = {}
    for p in found:
        paths.setdefault(id(p.module), []).append(p.path)
    rows = []
    for i, (path, _, _, m) in enumerate(found):
        others = [p for p in paths[id(m)] if p != path]
        output = ", ".join(outputs.get(id(m), ["not called"])) if run else ""
        rows.append(Row(i, path, m, short_name(m), count(every_parameter([m])), output, f"shared with {listed(others)}" if others else ""))
    return Table(model, rows, run)


def _outputs(model: Module, given: Arguments) -> dict[int, list[str]]:
    """The output shapes of each module's calls, by its id."""
    trace, error = traced(model, given)
    if error is not None:
        raise error
    return _by_module(trace)


def _by_module(trace: Trace) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for call in trace.calls:
        shapes = found.setdefault(id(call.module), [])
        if (text := shapes_text(call.output)) not in shapes:
            shapes.append(text)
    return found
