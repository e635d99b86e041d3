"""Pointwise kernels, made from the formulas in scalars.py: `add(a, b)` and its like.

Each op has two kernels: `_add(a, b, out)` on flat arrays of one length, and `_add_strided(layout, a, b, out)` for
other layouts, which finds the inputs' elements by index arithmetic, as a card takes no negative strides and no
broadcasts. All are made when first used.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from jitgrad.kernels.cuda.layout import DeviceArray, Shape, contiguous, expanded, flat, new, strided
from jitgrad.kernels.jit import from_source, launch
from jitgrad.kernels.scalars import TABLE, Form, Pointwise, named
from jitgrad.shapes import is_contiguous, memory_span

_BOOL = np.dtype(bool)
_MAX_DIMS = 8  # that a strided kernel walks, after merging

_TEXT = '''\
"""{doc}

Generated from {formula} in scalars.py: the CUDA kernels of {formula} for {dtypes}.
"""

from numba import cuda

from jitgrad.kernels.cuda.formulas import {formula}
from jitgrad.kernels.jit import cuda_jit


@cuda_jit
def _{formula}({params}, out):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = {formula}({elements})


@cuda_jit
def _{formula}_strided(layout, {params}, out):
    i = cuda.grid(1)
    if i < out.size:
        rest = i
        {firsts}
        for d in range(7, -1, -1):  # layout: 8 sizes, then place of the first element and 8 steps of each input
            index = rest % layout[d]
            rest //= layout[d]
            {moves}
        out[i] = {formula}({placed})
'''


def _text(names: tuple[str, ...], doc: str, form: Form) -> str:
    places = [8 + 9 * k for k in range(len(names))]
    return _TEXT.format(
        doc=doc,
        formula=form.formula,
        dtypes=", ".join(form.dtypes),
        params=", ".join(names),
        elements=", ".join(f"{name}[i]" for name in names),
        firsts="\n        ".join(f"at_{name} = layout[{p}]" for name, p in zip(names, places, strict=True)),
        moves="\n            ".join(f"at_{name} += index * layout[{p + 1} + d]" for name, p in zip(names, places, strict=True)),
        placed=", ".join(f"{name}[at_{name}]" for name in names),
    )


@cache
def _module(op: str, formula: str) -> ModuleType:
    """The generated module of one formula."""
    entry = TABLE[op]
    form = next(form for form in entry.forms if form.formula == formula)
    return from_source(_text(entry.parameters, entry.doc, form), f"cuda_{formula}")


def _run(entry: Pointwise, *arrays: DeviceArray) -> DeviceArray:
    """Broadcasts, and calls the flat kernel or the strided one."""
    dtype = arrays[-1].dtype
    form = next((form for form in entry.forms if dtype.name in form.dtypes), None)
    if form is None:
        raise TypeError(f"{entry.name} has no kernel for {dtype.name}")
    module = _module(entry.name, form.formula)
    shape = np.broadcast_shapes(*(tuple(x.shape) for x in arrays))
    y = new(shape, _BOOL if form.output == "b" else dtype)
    if all(tuple(x.shape) == shape and is_contiguous(shape, x.strides, x.dtype.itemsize) for x in arrays):
        launch(getattr(module, f"_{form.formula}"), y.size, *(flat(x) for x in arrays), flat(y))
        return y
    if y.size == 0:
        return y
    wide = [expanded(x, shape) for x in arrays]
    sizes, steps = _merged(shape, [x.strides for x in wide])
    if len(sizes) > _MAX_DIMS:
        return _run(entry, *(contiguous(x) for x in wide))
    layout = list(_eight(sizes, 1))
    memories = []
    for x, strides in zip(wide, steps, strict=True):
        item = x.dtype.itemsize
        low, high = memory_span(sizes, strides, item)
        memories.append(strided(x, ((high - low) // item,), (item,), low))
        layout += [-low // item, *_eight(tuple(s // item for s in strides), 0)]
    launch(getattr(module, f"_{form.formula}_strided"), prod(sizes), tuple(layout), *memories, flat(y))
    return y


def _merged(shape: Shape, strides: list[Shape]) -> tuple[Shape, list[Shape]]:
    """The fewest dims that walk all arrays, and the strides of each array in them."""
    dims: list[tuple[int, ...]] = []  # size, then a stride per array
    for n, *each in zip(shape, *strides, strict=True):
        if n == 1:
            continue
        if dims and all(before == n * stride for before, stride in zip(dims[-1][1:], each, strict=True)):
            dims[-1] = (dims[-1][0] * n, *each)
        else:
            dims.append((n, *each))
    return tuple(d[0] for d in dims), [tuple(d[1 + k] for d in dims) for k in range(len(strides))]


def _eight(values: Shape, filler: int) -> Shape:
    """Padded in front: tuples of one length are one signature."""
    return (filler,) * (_MAX_DIMS - len(values)) + tuple(values)


def _launcher(entry: Pointwise) -> Callable[..., DeviceArray]:
    if len(entry.parameters) == 1:

        def launcher(x: DeviceArray) -> DeviceArray:
            return _run(entry, x)
    elif len(entry.parameters) == 2:

        def launcher(a: DeviceArray, b: DeviceArray) -> DeviceArray:
            return _run(entry, a, b)
    else:

        def launcher(a: DeviceArray, b: DeviceArray, c: DeviceArray) -> DeviceArray:
            return _run(entry, a, b, c)

    return named(launcher, entry)


for _entry in TABLE.values():
    globals()[_entry.name] = _launcher(_entry)


def __getattr__(name: str) -> Any:
    """`_add` and `_add_strided`."""
    formula = name.removeprefix("_").removesuffix("_strided")
    for entry in TABLE.values():
        for form in entry.forms:
            if name.startswith("_") and form.formula == formula:
                return getattr(_module(entry.name, formula), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
