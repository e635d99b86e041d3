"""summary: the layers of a model as a table: output shapes, parameters, operations, bytes, times; also where it fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jitgrad import dtypes
from jitgrad._words import listed
from jitgrad.errors import ArgumentError, DTypeError, InputTypeError
from jitgrad.nn._dry import Arguments
from jitgrad.nn.module import Module
from jitgrad.nn.summarizing.measure import Measured, measured
from jitgrad.nn.summarizing.rows import lines, rows_of
from jitgrad.nn.summarizing.text import as_html, as_text, in_bytes, in_seconds, in_short


def summary(
    model: Module, *inputs: Any, dtype: Any = dtypes.float32, time: bool = True, depth: int | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> Summary:  # fmt: skip
    """A table of the model's layers: output shapes, parameters, floating-point operations, bytes, times.

    Parameters
    ----------
    model
        Any module. It runs in the mode that it is in (training, or evaluation), and is afterwards as it was, and so is the
        random generator.
    *inputs
        What its forward takes. A tuple of ints is a shape, and becomes a tensor of random floats, or of zeros for other dtypes;
        anything else is passed as it is. With no inputs (and no kwargs) nothing is run, and only parameters are shown.
    dtype
        Of the inputs given as shapes: one for all, or a list with one for each.
    time
        Whether the model is also run for real, several times in about a second, for the times: medians, without compiling. If
        not, nothing is computed: shapes alone tell the rest. A forward that asks for values needs real runs.
    depth
        Levels of modules below the model that are shown; all unless given.
    kwargs
        Keyword arguments of forward, passed as they are.

    Returns a Summary, which prints as text, shows as a table in notebooks, and has the numbers as attributes.

    Operations are counted by what the model computes, in layers or between them: a multiply and an add are two, so a product of
    matrices (M, K) and (K, N) makes 2 M K N, with or without a bias; an elementwise function makes one for each element, whatever
    it is; pooling and sums one for each element they read; a softmax or a normalization five. Views, copies, casts, indexing
    and arithmetic of ints make none. Activations are the bytes of all that is computed into memory of its own.

    A model that raises is shown up to the layer that failed, which is marked; the exception is in ``.error``.
    Raises InputTypeError for a model that is no Module, ArgumentError for depth and dtype.

    >>> import jitgrad as jg
    >>> from jitgrad import nn
    >>> net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    >>> found = nn.summary(net, (32, 8), time=False)
    >>> found
    layer       class          output    parameters   FLOPs  weights  activations
    Sequential                 (32, 2)          178  10.8 k    712 B      4.35 kB
    ├─ 0        Linear(8, 16)  (32, 16)         144  8.19 k    576 B      2.05 kB
    ├─ 1        ReLU()         (32, 16)                 512               2.05 kB
    └─ 2        Linear(16, 2)  (32, 2)           34  2.05 k    136 B        256 B
    <BLANKLINE>
    parameters   178, all trainable
    weights      712 B
    activations  4.35 kB
    FLOPs        10.8 k, forward in training mode; a multiply and an add are two
    input        (32, 8) float32
    >>> found.total_flops, found.rows[1].shapes
    (10752, ((32, 16),))
    """
    if not isinstance(model, Module):
        raise InputTypeError(f"summary: expected a Module, given {type(model).__name__}.")
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 0):
        raise ArgumentError(f"summary: depth is expected to be an int of at least 0, or None, given {depth!r}.")
    run = measured(model, Arguments(model, inputs, kwargs, dtype, "summary"), time) if inputs or kwargs else None
    return Summary(model, run, depth)


class Summary:
    """What nn.summary found: prints as a table, with the numbers as attributes.

    Attributes
    ----------
    rows
        A Row for each module, depth first, the model's own at first.
    total_parameters, trainable_parameters
        Numbers of elements; what several modules share counts once.
    weight_bytes
        Of parameters and buffers.
    total_flops
        Floating-point operations of one forward; up to the error, where there is one.
    activation_bytes
        Of all that forward computed into memory of its own.
    inputs
        Shapes and dtypes of the inputs, in words.
    seconds
        Of one forward: the median of ``runs`` runs; None where no time was taken.
    error
        What forward raised, or None.
    """

    def __init__(self, model: Module, run: Measured | None, depth: int | None) -> None:
        top, self._tied = rows_of(model, run)
        self.rows = list(top.walk())
        self.total_parameters = top.parameters
        self.trainable_parameters = top.trainable
        self.weight_bytes = top.weight_bytes
        self.total_flops = top.flops
        self.activation_bytes = top.activation_bytes
        self.seconds = top.seconds
        self.runs = 0 if run is None else run.times
        self.inputs = [] if run is None else run.inputs
        self.error = None if run is None else run.error
        self._ran = run is not None
        # The dtype of a shape is a guess of ours, which embeddings do not take.
        self._hint = (
            "; others than floats by dtype=jg.int64" if run is not None and run.guessed and isinstance(run.error, DTypeError) else ""
        )
        self._mode = _mode(model)
        self._lines = list(lines(top, depth, self.error is not None))

    def __repr__(self) -> str:
        return as_text(self._lines, self._totals())

    def _repr_html_(self) -> str:
        return as_html(self._lines, self._totals())

    def _totals(self) -> list[tuple[str, str]]:
        n, trainable = self.total_parameters, self.trainable_parameters
        trained = "all trainable" if trainable == n else f"{trainable:,} trainable, {n - trainable:,} frozen"
        found = [("parameters", f"{n:,}" + (f", {trained}" if n else "")), ("weights", in_bytes(self.weight_bytes))]
        if self._ran:
            until = "up to the error" if self.error is not None else f"forward in {self._mode}"
            found += [
                ("activations", in_bytes(self.activation_bytes)),
                ("FLOPs", f"{in_short(self.total_flops)}, {until}; a multiply and an add are two"),
                ("inputs" if len(self.inputs) > 1 else "input", ", ".join(self.inputs) + self._hint),
            ]
        if self.seconds is not None:
            found.append(("time", f"{in_seconds(self.seconds)}, median of {self.runs} run{'s' * (self.runs > 1)}"))
        if self._tied:
            found.append(("counted once", listed([f"{name} is {first}" for name, first in self._tied], 4)))
        if self.error is not None:
            left = sum(1 for r in self.rows if r.shared is None and not r.reached)
            found += [("not reached", f"{left} module{'s' * (left > 1)}")] if left else []
        return found


def _mode(model: Module) -> str:
    """The mode of a model, and how many modules below it are in the other one."""
    modes = ("training", "evaluation") if model.training else ("evaluation", "training")
    other = sum(m.training != model.training for m in model.modules())
    return f"{modes[0]} mode" + (f", {other} module{'s' * (other > 1)} in {modes[1]}" if other else "")
