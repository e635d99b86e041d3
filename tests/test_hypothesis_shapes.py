"""Hypothesis: shape arithmetic, broadcasting, views and indexing against NumPy (and torch's rule where that differs).

HYPOTHESIS_PROFILE=thorough runs 2,000 examples each in place of 100.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp
from op_case import host

import jitgrad as jg
from jitgrad import shapes
from jitgrad.errors import OutOfRangeError, ShapeError

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def numbers(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(prod(shape), dtype=np.float64).reshape(shape)


@st.composite
def laid_out(draw: st.DrawFn, min_dims: int = 0) -> np.ndarray:
    """An array with numbers 0, 1, 2 ... seen through transposes, steps, negative strides and broadcasts."""
    x = numbers(draw(hnp.array_shapes(min_dims=min_dims, max_dims=4, min_side=0, max_side=5)))
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["permute", "step", "reverse", "one"]))
        if kind == "permute":
            x = x.transpose(draw(st.permutations(range(x.ndim))))
        elif kind == "one":
            x = x[None] if draw(st.booleans()) else x[..., None]
        elif x.ndim:
            step = slice(None, None, -1 if kind == "reverse" else 2)
            dim = draw(st.integers(0, x.ndim - 1))
            x = x[(slice(None),) * dim + (step,)]
    return x


# ---- broadcasting
@given(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, max_side=4))
def test_broadcast_shapes(given_shapes: Any) -> None:
    assert shapes.broadcast_shapes(*given_shapes.input_shapes) == given_shapes.result_shape


@given(SHAPES, SHAPES)
def test_broadcast_agrees_with_numpy_on_errors(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    try:
        want = np.broadcast_shapes(a, b)
    except ValueError:
        with pytest.raises(ShapeError, match="do not broadcast"):
            shapes.broadcast_shapes(a, b)
        with pytest.raises(ShapeError, match="do not broadcast"):
            jg.from_numpy(numbers(a)) + jg.from_numpy(numbers(b))
    else:
        assert shapes.broadcast_shapes(a, b) == want


@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4))
def test_broadcast_values_and_gradients(given_shapes: Any) -> None:
    """x * y, and gradients summed back over what was broadcast."""
    a, b = (numbers(s) + 1 for s in given_shapes.input_shapes)
    x, y = jg.tensor(a, requires_grad=True), jg.tensor(b, requires_grad=True)
    z = x * y
    np.testing.assert_array_equal(host(z), a * b)
    z.sum().backward()
    for t, own, other in ((x, a, b), (y, b, a)):
        spread = np.broadcast_to(other, given_shapes.result_shape)
        lead = tuple(range(spread.ndim - own.ndim))
        kept = tuple(i for i in range(own.ndim) if own.shape[i] == 1)
        want = spread.sum(lead).sum(kept, keepdims=True) if spread.ndim else spread
        assert t.grad is not None
        np.testing.assert_array_equal(host(t.grad), np.broadcast_to(want, own.shape))


@given(laid_out(), hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4))
def test_expand(x: np.ndarray, target: tuple[int, ...]) -> None:
    try:
        want = np.broadcast_to(x, target)
    except ValueError:
        with pytest.raises(ShapeError):
            jg.from_numpy(x).expand(target)
    else:
        y = jg.from_numpy(x).expand(target)
        np.testing.assert_array_equal(host(y), want)


# ---- reshape and strides
@st.composite
def reshapes(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, ...]]:
    """An array, and a shape with as many elements."""
    x = draw(laid_out())
    sizes, rest = [], x.size
    while rest > 1 and draw(st.booleans()):
        n = draw(st.sampled_from([d for d in range(1, rest + 1) if rest % d == 0]))
        sizes.append(n)
        rest //= n
    sizes += [rest] if rest != 1 or draw(st.booleans()) else []
    for _ in range(draw(st.integers(0, 2))):
        sizes.insert(draw(st.integers(0, len(sizes))), 1)
    return x, tuple(sizes)


@given(reshapes())
def test_reshape_is_numpys(case: tuple[np.ndarray, tuple[int, ...]]) -> None:
    """Values always; a view exactly where NumPy can make one without a copy, with strides that read the same memory."""
    x, target = case
    t = jg.from_numpy(x)
    np.testing.assert_array_equal(host(t.reshape(target)), x.reshape(target))
    geometry = shapes.reshape_geometry(x.shape, x.strides, x.itemsize, target)
    try:
        free = x.view()
        free.shape = target  # raises where a copy would be needed
    except AttributeError:
        assert geometry is None
        with pytest.raises(ShapeError, match="without a copy"):
            t.view(target)
    else:
        assert geometry is not None, f"{x.shape} {x.strides} -> {target}"
        shape, strides, offset = geometry
        assert (shape, offset) == (target, 0)
        np.testing.assert_array_equal(np.lib.stride_tricks.as_strided(x, shape, strides), x.reshape(target))
        assert t.view(target)._base is t


@given(SHAPES, st.lists(st.integers(-2, 6), max_size=4).map(tuple))
def test_inferred_shape(shape: tuple[int, ...], target: tuple[int, ...]) -> None:
    """-1 and errors as in NumPy, but that sizes below -1 are refused."""
    try:
        want = numbers(shape).reshape(target).shape
    except ValueError:
        with pytest.raises(ShapeError, match="cannot reshape"):
            shapes.inferred_shape(shape, target)
    else:
        if min(target, default=0) >= -1:
            assert shapes.inferred_shape(shape, target) == want


@given(laid_out())
def test_contiguity(x: np.ndarray) -> None:
    assert shapes.is_contiguous(x.shape, x.strides, x.itemsize) == x.flags.c_contiguous
    fresh = np.empty(x.shape)
    if x.size:
        assert shapes.contiguous_strides(x.shape, 8) == fresh.strides
    low, high = shapes.memory_span(x.shape, x.strides, x.itemsize)
    start = x.__array_interface__["data"][0]
    first, last = np.lib.array_utils.byte_bounds(x)
    if x.size:
        assert (start + low, start + high) == (first, last)
    y = jg.from_numpy(x).contiguous()
    assert y.array.flags.c_contiguous
    np.testing.assert_array_equal(host(y), x)


@given(laid_out(), st.data())
def test_permute_flatten_squeeze(x: np.ndarray, data: st.DataObject) -> None:
    t = jg.from_numpy(x)
    order = data.draw(st.permutations(range(x.ndim)))
    signed = [d - x.ndim if data.draw(st.booleans()) else d for d in order]
    np.testing.assert_array_equal(host(t.permute(signed)), x.transpose(order))
    np.testing.assert_array_equal(host(t.squeeze()), x.squeeze())
    np.testing.assert_array_equal(host(t.flatten()), x.reshape(-1))
    if x.ndim:
        first = data.draw(st.integers(0, x.ndim - 1))
        last = data.draw(st.integers(first, x.ndim - 1))
        want = x.reshape(*x.shape[:first], prod(x.shape[first : last + 1]), *x.shape[last + 1 :])
        np.testing.assert_array_equal(host(t.flatten(first, last)), want)


@given(laid_out(), st.data())
def test_reductions_over_any_dims(x: np.ndarray, data: st.DataObject) -> None:
    dims = data.draw(st.lists(st.integers(-x.ndim, x.ndim - 1), unique_by=lambda d: d % x.ndim, min_size=1)) if x.ndim else []
    keep = data.draw(st.booleans())
    t = jg.from_numpy(x)
    np.testing.assert_allclose(host(t.sum(dims, keep)), x.sum(tuple(dims) or None, keepdims=keep))
    if x.size:
        np.testing.assert_array_equal(host(t.amax(dims, keep)), x.max(tuple(dims) or None, keepdims=keep))


# ---- indexing
BASIC = hnp.basic_indices


@given(laid_out(), st.data())
def test_basic_indexing(x: np.ndarray, data: st.DataObject) -> None:
    """NumPy's view, on the same memory; the gradient is 1 where elements were taken."""
    key = data.draw(BASIC(x.shape, allow_newaxis=True, allow_ellipsis=True, max_dims=6))
    t = jg.from_numpy(x)
    y = t[key]
    want = x[key]
    np.testing.assert_array_equal(host(y), want)
    assert y._is_view()
    if want.size:
        assert np.shares_memory(y.array, x)
    g = jg.tensor(x, requires_grad=True)
    g[key].sum().backward()
    ones = np.zeros(x.shape)
    ones[key] = 1
    assert g.grad is not None
    np.testing.assert_array_equal(host(g.grad), ones)


@given(laid_out(), st.data())
def test_basic_assignment(x: np.ndarray, data: st.DataObject) -> None:
    key = data.draw(BASIC(x.shape, allow_newaxis=False, allow_ellipsis=True))
    a, t = x.copy(), jg.tensor(x)
    a[key] = -1
    t[key] = -1
    np.testing.assert_array_equal(host(t), a)
    values = np.asarray(-numbers(np.shape(a[key])) - 5)
    a[key] = values
    t[key] = jg.tensor(values)
    np.testing.assert_array_equal(host(t), a)


@st.composite
def advanced(draw: st.DrawFn) -> tuple[np.ndarray, tuple[Any, ...]]:
    """An array without empty dims, and a key of slices, None, ints and at least one index array or mask."""
    x = numbers(draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)))
    index_shape = draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=1, max_side=3))
    key: list[Any] = []
    d, some = 0, False
    while d < x.ndim:
        kind = draw(st.sampled_from(["index", "index", "slice", "int", "none", "stop"]))
        n = x.shape[d]
        if kind == "stop" and some:
            break
        if kind == "index" or (kind != "none" and not some and d == x.ndim - 1):
            shape = tuple(m if draw(st.booleans()) else 1 for m in index_shape)
            key.append(draw(hnp.arrays(np.int64, shape, elements=st.integers(-n, n - 1))))
            some = True
        elif kind == "none":
            if len(key) > 6:
                continue
            key.append(None)
            continue
        elif kind == "int":
            key.append(draw(st.integers(-n, n - 1)))
        else:
            key.append(draw(st.slices(n)))
        d += 1
    return x, tuple(key)


def select_first(x: np.ndarray, key: tuple[Any, ...]) -> tuple[np.ndarray, tuple[Any, ...]]:
    """PyTorch's rule in NumPy's terms: ints (and 0-d index arrays) select before index arrays index."""
    d = 0
    rest: list[Any] = []
    for k in key:
        if isinstance(k, (int, np.integer)) or (isinstance(k, np.ndarray) and k.ndim == 0):
            x = np.take(x, int(k), axis=d)
            continue
        rest.append(k)
        d += k is not None
    return x, tuple(rest)


@given(advanced())
def test_advanced_indexing(case: tuple[np.ndarray, tuple[Any, ...]]) -> None:
    """Values and gradients (added up where an element is taken twice) of any mixture of keys."""
    x, key = case
    rest, rest_key = select_first(x, key)
    want = rest[rest_key]
    t = jg.tensor(x, requires_grad=True)
    y = t[tuple(jg.tensor(k) if isinstance(k, np.ndarray) else k for k in key)]
    np.testing.assert_array_equal(host(y), want)
    y.sum().backward()
    counts = np.zeros(x.shape)
    places = numbers(x.shape).astype(np.int64)
    taken, taken_key = select_first(places, key)
    np.add.at(counts.reshape(-1), taken[taken_key].ravel(), 1)
    assert t.grad is not None
    np.testing.assert_array_equal(host(t.grad), counts)


@given(advanced())
def test_advanced_assignment(case: tuple[np.ndarray, tuple[Any, ...]]) -> None:
    x, key = case
    places, places_key = select_first(numbers(x.shape).astype(np.int64), key)
    where = places[places_key]
    t = jg.tensor(x)
    t[tuple(jg.tensor(k) if isinstance(k, np.ndarray) else k for k in key)] = -1.0
    want = x.copy()
    want.reshape(-1)[where.ravel()] = -1.0
    np.testing.assert_array_equal(host(t), want)


@given(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4), st.data())
def test_masks(shape: tuple[int, ...], data: st.DataObject) -> None:
    x = numbers(shape)
    mask = data.draw(hnp.arrays(np.bool_, shape[: data.draw(st.integers(1, len(shape)))]))
    t = jg.tensor(x)
    np.testing.assert_array_equal(host(t[jg.tensor(mask)]), x[mask])
    t[jg.tensor(mask)] = 7.0
    x[mask] = 7.0
    np.testing.assert_array_equal(host(t), x)
    np.testing.assert_array_equal(host(jg.nonzero(jg.tensor(mask))), np.argwhere(mask))


@given(SHAPES, st.lists(st.integers(-6, 6), max_size=5))
def test_int_keys_out_of_range(shape: tuple[int, ...], key: list[int]) -> None:
    x = numbers(shape)
    try:
        want = x[tuple(key)]
    except IndexError:
        with pytest.raises(OutOfRangeError):
            jg.from_numpy(x)[tuple(key)]
    else:
        np.testing.assert_array_equal(host(jg.from_numpy(x)[tuple(key)]), want)


# ---- joining, windows
@given(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3), st.data())
def test_cat_and_stack(shape: tuple[int, ...], data: st.DataObject) -> None:
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    sizes = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    arrays = [numbers((*shape[: dim % len(shape)], n, *shape[dim % len(shape) + 1 :])) for n in sizes]
    np.testing.assert_array_equal(host(jg.cat([jg.tensor(a) for a in arrays], dim)), np.concatenate(arrays, dim))
    alike = [arrays[0], arrays[0] + 1]
    np.testing.assert_array_equal(host(jg.stack([jg.tensor(a) for a in alike], dim)), np.stack(alike, dim))


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3))
def test_window_counts(size: int, kernel: int, stride: int, padding: int, dilation: int) -> None:
    """conv_size counts the windows that fit; pool_size in ceil_mode also those that begin before the right padding."""
    reach = dilation * (kernel - 1) + 1
    padding = min(padding, kernel // 2)  # as the ops demand
    starts = range(-padding, size + padding - reach + 1, stride)
    if size + 2 * padding >= reach:
        assert shapes.conv_size(size, kernel, stride, padding, dilation) == len(starts)
        assert shapes.pool_size(size, kernel, stride, padding, dilation, False) == len(starts)
        ceil = shapes.pool_size(size, kernel, stride, padding, dilation, True)
        assert len(starts) <= ceil <= len(starts) + 1
        assert (ceil - 1) * stride < size + padding
