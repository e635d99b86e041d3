"""Pointwise kernels, made from the formulas in scalars.py: `add(a, b)` and its like.

For each op there are `_add(a, b, out)` on 1-D contiguous arrays and the launcher `add(a, b)`, which takes any shapes that
broadcast and any strides. It calls a NumPy ufunc made of a compiled loop, or for large arrays that loop on all threads (large.py).
All of it is compiled when first used; the generated source can be read in the cache directory, under `generated`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import prod
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
from numpy import asarray, ndarray

from jitgrad.kernels import scalars
from jitgrad.kernels.cpu import large, pointwise_source
from jitgrad.kernels.cpu.ufunc import addresses, make_ufunc
from jitgrad.kernels.jit import PARALLEL_MIN, from_source, pays
from jitgrad.kernels.scalars import TABLE, Form, Pointwise, named
from jitgrad.shapes import broadcast_shapes

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
    """What a ufunc does, by the njit form on contiguous arrays, and on one thread."""
    run = getattr(_module(entry.name, form.formula), f"_{form.formula}")
    output = _BOOL if form.output == "b" else dtype

    def call(*arrays: ndarray) -> ndarray:
        y = np.empty(np.broadcast_shapes(*(x.shape for x in arrays)), output)
        flat = [(x if x.shape == y.shape and x.flags.carray else np.broadcast_to(x, y.shape).copy()).reshape(-1) for x in arrays]
        with np.errstate(all="ignore"):  # matters where the njit form is plain Python
            run(*flat, y.reshape(-1))
        return y

    return call


_SLOW = set(scalars.BASE) - {"floor", "fabs"}  # base functions that take longer than memory
_SIDE_BY_SIDE = 16384  # elements of a row and its copies
_SHORT = 64  # elements of a row, up to which calls for each take longer than copies, on threads


@cache
def _slow(name: str) -> bool:
    """Whether a formula, or one that it calls, calls a slow base function."""
    code = getattr(scalars, name).__code__
    return any(n in _SLOW or (n != name and isinstance(getattr(scalars, n, None), FunctionType) and _slow(n)) for n in code.co_names)


def _least(entry: Pointwise) -> int:
    """Elements from which threads pay, unless NumPy would call the loop row by row."""
    return PARALLEL_MIN if _slow(entry.name) else 2 * PARALLEL_MIN


def _large(loop: Any, least: int, *arrays: ndarray) -> ndarray | None:
    """The result where it is worked out better than by one call of the ufunc: on threads, or with copies of a short row."""
    if loop not in addresses:
        return None
    address, dtypes, dtype = addresses[loop]
    shape, strides, rows = (), (), False
    for x in arrays:
        if x.size != 1:
            rows = rows or (shape != () and (x.shape != shape or x.strides != strides))
            shape, strides = x.shape, x.strides
    size = prod(broadcast_shapes(*[x.shape for x in arrays]) if rows else shape)
    if size < (PARALLEL_MIN if rows else least) or any(x.dtype != d or type(x) is not ndarray for x, d in zip(arrays, dtypes, strict=True)):
        return None
    threads = pays(size, PARALLEL_MIN)
    if rows and len(arrays) == 2 and (y := _with_row(loop, threads, *arrays)) is not None:
        return y
    return large.run(address, dtype, arrays) if threads else None


def _with_row(loop: Any, threads: bool, a: ndarray, b: ndarray) -> ndarray | None:
    """A large contiguous array and one short row, where a and b are that.

    The loop would be called once for each row of a. With copies of b side by side it is called for many rows at once.
    """
    C, most = b.shape[-1] if b.ndim else 0, _SHORT if threads else _SIDE_BY_SIDE // 2
    if not (b.ndim <= a.ndim > 1 and b.size == C == a.shape[-1] and 0 < C <= most and a.flags.c_contiguous):
        return None
    address, _, dtype = addresses[loop]
    y = np.empty(a.shape, dtype)
    rows, many = a.size // C, _SIDE_BY_SIDE // C
    even = rows - rows % many
    copies = np.empty((many, C), b.dtype)
    copies[:] = b
    flat, out = a.reshape(rows, C), y.reshape(rows, C)
    if even:
        parts = flat[:even].reshape(-1, many * C), copies.reshape(-1), out[:even].reshape(-1, many * C)
        if threads:
            large.run(address, dtype, parts[:2], parts[2])
        else:
            loop(*parts)
    loop(flat[even:].reshape(-1), copies[: rows - even].reshape(-1), out[even:].reshape(-1))
    return y


# Three launchers by number of inputs: with *args a call would take a tenth longer. A launcher's `loops` are those it has used, for
# callers that know that one of them will do, and its `bools` the places of inputs that are bool whatever the dtype of the last.


def _unary(entry: Pointwise) -> Callable[..., ndarray]:
    loops: dict[np.dtype, Callable[..., Any]] = {}
    least = _least(entry)

    def launch(x: ndarray) -> ndarray:
        try:
            loop = loops[x.dtype]
        except KeyError:
            loop = loops[x.dtype] = _loop(entry, x.dtype)
        if x.size >= least and (y := _large(loop, least, x)) is not None:
            return y
        y = loop(x)
        return y if type(y) is ndarray else asarray(y)

    launch.loops = loops  # type: ignore[attr-defined]
    return launch


def _binary(entry: Pointwise) -> Callable[..., ndarray]:
    loops: dict[np.dtype, Callable[..., Any]] = {}
    least = _least(entry)

    def launch(a: ndarray, b: ndarray) -> ndarray:
        try:
            loop = loops[b.dtype]
        except KeyError:
            loop = loops[b.dtype] = _loop(entry, b.dtype)
        if (a.size >= PARALLEL_MIN or b.size >= PARALLEL_MIN or (a.shape != b.shape and a.size * b.size >= PARALLEL_MIN)) and (
            y := _large(loop, least, a, b)
        ) is not None:
            return y
        y = loop(a, b)
        return y if type(y) is ndarray else asarray(y)

    launch.loops = loops  # type: ignore[attr-defined]
    return launch


def _ternary(entry: Pointwise) -> Callable[..., ndarray]:
    loops: dict[np.dtype, Callable[..., Any]] = {}
    least = _least(entry)

    def launch(a: ndarray, b: ndarray, c: ndarray) -> ndarray:
        try:
            loop = loops[c.dtype]
        except KeyError:
            loop = loops[c.dtype] = _loop(entry, c.dtype)
        if max(a.size, b.size, c.size) >= PARALLEL_MIN and (y := _large(loop, least, a, b, c)) is not None:
            return y
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
    """`_add`, for code that calls it from a kernel of its own."""
    formula = name.removeprefix("_")
    for entry in TABLE.values():
        for form in entry.forms:
            if name.startswith("_") and form.formula == formula:
                return getattr(_module(entry.name, formula), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
