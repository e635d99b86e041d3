"""The rows of a summary: one for each module, with what was counted inside it, and equal neighbours as one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from jitgrad.nn._place import short_name
from jitgrad.nn._trace import tensors_in
from jitgrad.nn.containers import ModuleDict, ModuleList
from jitgrad.nn.module import Module
from jitgrad.nn.parameter_containers import BufferDict, BufferList, ParameterDict, ParameterList
from jitgrad.nn.summarizing.flops import flops, new_bytes
from jitgrad.nn.summarizing.measure import Measured

if TYPE_CHECKING:
    from jitgrad.nn._trace import Call
    from jitgrad.shapes import Size


# Lists and dicts: that they were not called says nothing.
_NOT_TO_BE_CALLED = {c.forward for c in (Module, ModuleList, ModuleDict, ParameterList, ParameterDict, BufferList, BufferDict)}


@dataclass(frozen=True)
class Row:
    """One module of a model; the numbers are those of the module and all below it.

    Attributes
    ----------
    path
        Dotted path in the model; empty for the model itself.
    layer
        Class and arguments, as ``Linear(10, 20)``.
    shapes
        Of the output Tensors of the last call.
    output
        The same in words, those of all calls where they differ.
    parameters, trainable
        Numbers of elements; a parameter that is used in several places counts in the first.
    weight_bytes
        Of parameters and buffers.
    flops
        Floating-point operations of all calls.
    activation_bytes
        Of all that operations inside computed into memory of their own.
    seconds
        Of all calls, the median of several runs; None where no time was taken.
    calls
        How often it was called.
    shared
        The path of the first place, where the module stands in several; the numbers are there only.
    error
        What was raised in this module.
    children
        The rows below this one.
    """

    path: str
    layer: str
    shapes: tuple[Size, ...] = ()
    output: str = ""
    parameters: int = 0
    trainable: int = 0
    weight_bytes: int = 0
    flops: int = 0
    activation_bytes: int = 0
    seconds: float | None = None
    calls: int = 0
    shared: str | None = None
    error: Exception | None = None
    children: tuple[Row, ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        """The last step of the path."""
        return self.path.rpartition(".")[2]

    @property
    def reached(self) -> bool:
        """Whether this module, or one below it, was called."""
        return any(r.calls or r.error is not None for r in self.walk())

    def walk(self) -> Iterator[Row]:
        """This row and all below it, depth first."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass
class _Count:
    """What happened in the calls of one module, without those inside them."""

    calls: list[Call] = field(default_factory=list)
    flops: int = 0
    bytes: int = 0


class _Counter:
    def __init__(self, run: Measured | None) -> None:
        self.counts: dict[int, _Count] = {}
        self.tied: list[tuple[str, str]] = []  # names of tensors that stand in several modules, and where they were first
        self._tensors: dict[int, str] = {}
        self._places: dict[int, str] = {}
        self.run = run
        self._failed = None if run is None else run.failed
        if run is not None:
            for call in run.trace.calls:
                self._of(call.module).calls.append(call)
            for op in run.trace.ops:
                count = self._of(run.trace.model if op.call is None else op.call.module)
                count.flops += flops(op)
                count.bytes += new_bytes(op)

    def _of(self, module: Module) -> _Count:
        return self.counts.setdefault(id(module), _Count())

    def row(self, path: str, module: Module) -> Row:
        if id(module) in self._places:
            return Row(path, short_name(module), shared=self._places[id(module)])
        self._places[id(module)] = path
        count = self._of(module)
        parameters, trainable, size = self._own_tensors(path, module)
        below = [self.row(f"{path}.{n}" if path else n, m) for n, m in module._modules.items() if m is not None]
        called = bool(count.calls)
        return Row(
            path, short_name(module),
            shapes=tuple(t.shape for t in tensors_in(count.calls[-1].output)) if called else (),
            output=self._output(module, count, below),
            parameters=parameters + sum(r.parameters for r in below),
            trainable=trainable + sum(r.trainable for r in below),
            weight_bytes=size + sum(r.weight_bytes for r in below),
            flops=count.flops + sum(r.flops for r in below),
            activation_bytes=count.bytes + sum(r.activation_bytes for r in below),
            seconds=self._seconds(path, below),
            calls=len(count.calls),
            error=self.run.error if self.run is not None and self._failed is module else None,
            children=tuple(below),
        )  # fmt: skip

    def _own_tensors(self, path: str, module: Module) -> tuple[int, int, int]:
        parameters = trainable = size = 0
        for table in (module._parameters, module._buffers):
            for name, t in table.items():
                full = f"{path}.{name}" if path else name
                if t is None:
                    continue
                if id(t) in self._tensors:
                    self.tied.append((full, self._tensors[id(t)]))
                    continue
                self._tensors[id(t)] = full
                size += t.nbytes
                if table is module._parameters:
                    parameters += t.numel()
                    trainable += t.numel() if t.requires_grad else 0
        return parameters, trainable, size

    def _output(self, module: Module, count: _Count, below: list[Row]) -> str:
        if self.run is None:
            return ""
        if not count.calls:
            told = type(module).forward in _NOT_TO_BE_CALLED or any(r.reached or r.shared is not None for r in below)
            return "" if told else "not called"
        words = list(dict.fromkeys(_words(c.output) for c in count.calls if c.error is None))
        return _first(words, ", then ")

    def _seconds(self, path: str, below: list[Row]) -> float | None:
        if self.run is None or not self.run.times:
            return None
        own = self.run.seconds.get(path)
        found = [r.seconds for r in below if r.seconds is not None]
        return own if own is not None else sum(found) if found else None


def _words(output: Any) -> str:
    words = [f"{t.shape}" + ("" if t.dtype.name == "float32" else f" {t.dtype.name}") for t in tensors_in(output)]
    if not words:
        return type(output).__name__ if output is not None else "None"
    return _first(words, ", ")


def _first(words: list[str], between: str) -> str:
    """Three, as cells are narrow, and the number of the others."""
    return between.join(words[:3]) + (f", {len(words) - 3} more" if len(words) > 3 else "")


def rows_of(model: Module, run: Measured | None) -> tuple[Row, list[tuple[str, str]]]:
    """The model's row, and the tensors that stand in several modules: name and first name."""
    counter = _Counter(run)
    return counter.row("", model), counter.tied


@dataclass(frozen=True)
class Shown:
    """A row as it is shown: with the beginning of its line of the tree, and how many equal ones it stands for."""

    tree: str
    name: str
    layer: str
    row: Row
    below: str  # the tree beside what is said under it


def lines(row: Row, depth: int | None, failed: bool) -> Iterator[Shown]:
    """The lines of a model's row and of those below it, equal neighbours in a list as one; what an error kept from running is left out."""
    told = {r.path for r in row.walk() if r.reached or not failed}
    yield Shown("", row.layer, "", row, "│  " if _shown(row, depth, told) else "")
    yield from _below(row, "", depth, told)


def _shown(row: Row, depth: int | None, told: set[str]) -> list[Row]:
    return [c for c in row.children if c.path in told or c.shared in told] if depth != 0 else []


def _below(row: Row, tree: str, depth: int | None, told: set[str]) -> Iterator[Shown]:
    children = _shown(row, depth, told)
    groups: list[list[Row]] = []
    for child in children:
        if groups and _alike(groups[-1][-1], child):
            groups[-1].append(child)
        else:
            groups.append([child])
    for group in groups:
        first, last = group[0], group is groups[-1]
        name, n = first.name, len(group)
        shown = first if n == 1 else _sum(group)
        layer = first.layer + (f" (shared with {first.shared})" if first.shared is not None else "")
        below = tree + ("   " if last else "│  ")
        deeper = None if depth is None else depth - 1
        goes_on = bool(_shown(first, deeper, told))
        if n > 1:
            name, layer = f"{name}-{group[-1].name}", f"{n} x {layer}" + (", each:" if goes_on else "")
        yield Shown(tree + ("└─ " if last else "├─ "), name, layer, shown, below + "│  " * goes_on)
        yield from _below(first if n == 1 else _mean(group), below, deeper, told)


def _alike(a: Row, b: Row) -> bool:
    return a.name.isdigit() and b.name.isdigit() and _looks(a, top=True) == _looks(b, top=True)


def _looks(row: Row, top: bool = False) -> Any:
    """All that two rows must have in common to be shown as one."""
    numbers = (row.parameters, row.trainable, row.weight_bytes, row.flops, row.activation_bytes, row.calls)
    shared = row.shared if top else row.shared is not None
    name = "" if top else row.name
    return (name, row.layer, row.output, numbers, shared, row.error is None, tuple(map(_looks, row.children)))


def _sum(group: list[Row]) -> Row:
    """One row for several: numbers add up, but how often each was called."""
    names = ("parameters", "trainable", "weight_bytes", "flops", "activation_bytes")
    seconds = [r.seconds for r in group if r.seconds is not None]
    return replace(group[0], seconds=sum(seconds) if seconds else None, **{k: sum(getattr(r, k) for r in group) for k in names})


def _mean(group: list[Row]) -> Row:
    """The first of several alike, with the mean of their times, here and below."""
    seconds = [r.seconds for r in group if r.seconds is not None]
    below = tuple(_mean(list(same)) for same in zip(*(r.children for r in group), strict=True))
    return replace(group[0], seconds=sum(seconds) / len(seconds) if seconds else None, children=below)
