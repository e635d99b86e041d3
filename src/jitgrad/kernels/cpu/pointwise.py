"""Pointwise kernels, made from the formulas in scalars.py: `add(a, b)` and its like.

For each op there are `_add(a, b, out)` and `_add_parallel(a, b, out)` on 1-D contiguous arrays and the launcher
`add(a, b)`, which takes any shapes that broadcast and any strides. Small and strided arrays go through a NumPy ufunc
made of a compiled loop, large contiguous ones through the parallel form. All of it is compiled when first used; the
generated source can be read in the cache directory, under `generated`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy import asarray, ndarray

from jitgrad.kernels.cpu import pointwise_source
from jitgrad.kernels.cpu.ufunc import make_ufunc
from jitgrad.kernels.jit import PARALLEL_MIN, from_source, pays
from jitgrad.kernels.scalars import TABLE, Form, Pointwise, named

_BOOL = np.dtype(bool)


@cache
def _module(op: str, formula: str) -> ModuleType:
    """The generated module of one formula."""
    entry = TABLE[op]
    form = next(form for form in entry.forms if form.formula == formula)
    return from_source(pointwise_source.text(entry, form), formula)


def _form(entry: Pointwise, dtype: np.dtype) -> Form:
    for form in entry.forms:
        if dtype.name in form.dtypes:
            return form
    raise TypeError(f"{entry.name} has no kernel for {dtype.name}")


def _loop(entry: Pointwise, dtype: np.dtype) -> Callable[..., Any]:
    """What the launcher of an op calls for one dtype."""
    form = _form(entry, dtype)
    if make_ufunc is None:
        return _plain(entry, form, dtype)
    inputs = [_BOOL if kind == "b" else dtype for kind in form.inputs]
    output = _BOOL if form.output == "b" else dtype
    loop = getattr(_module(entry.name, form.formula), f"{form.formula}_loop")
    return make_ufunc(loop, entry.name, dtype, inputs, output)


def _plain(entry: Pointwise, form: Form, dtype: np.dtype) -> Callable[..., Any]:
    """What a ufunc does, by the njit form on contiguous copies."""
    run = getattr(_module(entry.name, form.formula), f"_{form.formula}")
    output = _BOOL if form.output == "b" else dtype

    def call(*arrays: ndarray) -> ndarray:
        y = np.empty(np.broadcast_shapes(*(x.shape for x in arrays)), output)
        flat = [np.broadcast_to(x, y.shape).copy().ravel() for x in arrays]
        with np.errstate(all="ignore"):  # matters where the njit form is plain Python
            run(*flat, y.reshape(-1))
        return y

    return call


def _large(entry: Pointwise, dtype: np.dtype, *arrays: ndarray) -> ndarray | None:
    """The parallel form, where the arrays fit it."""
    shape = arrays[0].shape
    for x in arrays:
        flags = x.flags
        if x.shape != shape or not (flags.c_contiguous and flags.writeable):
            return None
    if not pays(arrays[0].size):
        return None
    form = _form(entry, dtype)
    run = getattr(_module(entry.name, form.formula), f"_{form.formula}_parallel")
    y = np.empty(shape, _BOOL if form.output == "b" else dtype)
    run(*(x.reshape(-1) for x in arrays), y.reshape(-1))
    return y


_SIDE_BY_SIDE = 16384  # elements of a row and its copies


def _with_row(loop: Any, a: ndarray, b: ndarray) -> ndarray | None:
    """A large contiguous array and one short row, where a and b are that.

    NumPy would call the loop once for each row of a. With copies of b side by side it is called for many rows at once.
    """
    C = b.shape[-1] if b.ndim else 0
    if not (a.ndim > 1 and b.size == C == a.shape[-1] and 1 < 2 * C <= _SIDE_BY_SIDE and a.flags.c_contiguous) or make_ufunc is None:
        return None
    y = np.empty(a.shape, loop.types[0][-1])
    rows, many = a.size // C, _SIDE_BY_SIDE // C
    even = rows - rows % many
    copies = np.empty((many, C), b.dtype)
    copies[:] = b
    flat, out = a.reshape(rows, C), y.reshape(rows, C)
    loop(flat[:even].reshape(-1, many * C), copies.reshape(-1), out[:even].reshape(-1, many * C))
    if even < rows:
        loop(flat[even:], b.reshape(-1), out[even:])
    return y


# Three launchers by number of inputs: with *args a call would take a tenth longer. A launcher's `loops` are those it has used, for
# callers that know that one of them will do, and its `bools` the places of inputs that are bool whatever the dtype of the last.


def _unary(entry: Pointwise) -> Callable[..., ndarray]:
    loops: dict[np.dtype, Callable[..., Any]] = {}

    def launch(x: ndarray) -> ndarray:
        if x.size >= PARALLEL_MIN and (y := _large(entry, x.dtype, x)) is not None:
            return y
        try:
            loop = loops[x.dtype]
        except KeyError:
            loop = loops[x.dtype] = _loop(entry, x.dtype)
        y = loop(x)
        return y if type(y) is ndarray else asarray(y)

    launch.loops = loops  # type: ignore[attr-defined]
    return launch


def _binary(entry: Pointwise) -> Callable[..., ndarray]:
    loops: dict[np.dtype, Callable[..., Any]] = {}

    def launch(a: ndarray, b: ndarray) -> ndarray:
        if a.size >= PARALLEL_MIN and (y := _large(entry, b.dtype, a, b)) is not None:
            return y
        try:
            loop = loops[b.dtype]
        except KeyError:
            loop = loops[b.dtype] = _loop(entry, b.dtype)
        if a.size >= PARALLEL_MIN and a.dtype == b.dtype and (y := _with_row(loop, a, b)) is not None:
            return y
        y = loop(a, b)
        return y if type(y) is ndarray else asarray(y)

    launch.loops = loops  # type: ignore[attr-defined]
    return launch


def _ternary(entry: Pointwise) -> Callable[..., ndarray]:
    loops: dict[np.dtype, Callable[..., Any]] = {}

    def launch(a: ndarray, b: ndarray, c: ndarray) -> ndarray:
        if a.size >= PARALLEL_MIN and (y := _large(entry, c.dtype, a, b, c)) is not None:
            return y
        try:
            loop = loops[c.dtype]
        except KeyError:
            loop = loops[c.dtype] = _loop(entry, c.dtype)
        y = loop(a, b, c)
        return y if type(y) is ndarray else asarray(y)

    launch.loops = loops  # type: ignore[attr-defined]
    return launch


def _launcher(entry: Pointwise) -> Callable[..., ndarray]:
    launch = (_unary, _binary, _ternary)[len(entry.parameters) - 1](entry)
    launch.bools = [i for i, kind in enumerate(entry.forms[0].inputs[:-1]) if kind == "b"]  # type: ignore[attr-defined]
    return named(launch, entry)


for _entry in TABLE.values():
    globals()[_entry.name] = _launcher(_entry)


def __getattr__(name: str) -> Any:
    """`_add` and `_add_parallel`, for code that calls them from a kernel of its own."""
    formula = name.removeprefix("_").removesuffix("_parallel")
    for entry in TABLE.values():
        for form in entry.forms:
            if name.startswith("_") and form.formula == formula:
                return getattr(_module(entry.name, formula), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
