"""Views, creation, joining, normalisation and indexing on the CPU against plain NumPy."""

from __future__ import annotations

import gc
import os
from typing import Any

import numpy as np
import pytest
from kernel_samples import DTYPES, FLOATS, LAYOUTS, check, check_signatures, sample, tolerance

from jitgrad.kernels.cpu import cat, create, index, norm, reduce, views

pytestmark = pytest.mark.filterwarnings("error")  # kernels never warn

# views


def geometries(x: np.ndarray) -> list[np.ndarray]:
    """Views of x that NumPy itself makes."""
    found = [x, x.transpose(), x[None], np.broadcast_to(x, (3, *x.shape))]
    if x.ndim and x.size:
        found += [x[::-1], x[..., ::-2], x[1:], x[..., 1:2], x[-1], x[:0]]
    return found


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_as_strided(layout: str, dtype: np.dtype) -> None:
    x = sample((2, 3, 4), dtype, layout)
    for want in geometries(x):
        offset = want.__array_interface__["data"][0] - x.__array_interface__["data"][0]
        got = views.as_strided(x, want.shape, want.strides, offset if want.size else 0)
        assert type(got) is np.ndarray and got.dtype == x.dtype
        np.testing.assert_array_equal(got, want)
        assert got.size == 0 or np.shares_memory(got, x)
        assert x.flags.writeable or not got.flags.writeable


def test_as_strided_of_odd_arrays() -> None:
    scalar = np.array(3.0)
    assert views.as_strided(scalar, (2,), (0,), 0).tolist() == [3.0, 3.0]
    assert views.as_strided(np.empty((0, 3)), (3, 0), (8, 8), 8).shape == (3, 0)
    assert views.as_strided(np.empty((4, 0))[::2], (0,), (8,), 24).shape == (0,)
    from_bytes = np.frombuffer(bytes(range(16)), np.uint8)[::2]
    assert views.as_strided(from_bytes, (4,), (-2,), 6).tolist() == [6, 4, 2, 0]
    kept_order = np.arange(24.0).reshape(2, 3, 4).transpose(0, 2, 1).copy("K")  # owns memory that is neither C nor F
    np.testing.assert_array_equal(views.as_strided(kept_order, (4, 2), kept_order.strides[1::-1], 0), kept_order[:, :, 0].T)
    part = np.arange(8.0)[2:4]
    assert views.as_strided(part, (4,), (8,), 8).tolist() == [3.0, 4.0, 5.0, 6.0]  # beyond x, within its memory


def test_as_strided_keeps_memory_and_writes_through() -> None:
    for make in (
        lambda: np.arange(1000.0),
        lambda: np.arange(2000.0)[::2],
        lambda: np.arange(1000.0).reshape(10, 100)[:, ::-1],
    ):
        x = make()
        want = x.ravel()[:3].copy()
        y = views.as_strided(x, (3,), x.strides[-1:], 0)
        y[0] = want[0] = -7
        assert x.flat[0] == -7
        del x
        gc.collect()
        np.testing.assert_array_equal(y, want)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_clone_cast_copy(layout: str, dtype: np.dtype) -> None:
    x = sample((3, 4), dtype, layout)
    y = views.clone(x)
    check(y, x)
    assert y.flags.writeable and not np.shares_memory(x, y)
    for other in DTYPES:
        want = x.astype(np.int64).astype(other) if dtype.kind == "f" and other.kind in "iu" else x.astype(other)
        got = views.cast(x, other)
        check(got, want)
        assert not np.shares_memory(x, got)
    dst = np.zeros((2, 3, 4), dtype)[:, ::-1]
    views.copy_(dst, x)
    np.testing.assert_array_equal(dst, np.broadcast_to(x, (2, 3, 4)))


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="uncompiled, NumPy scalars warn")
def test_cast_of_what_does_not_fit() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e300, -1.5])
    for source in (x, views.cast(x, FLOATS[0]), views.cast(x, np.dtype(np.float16))):
        for dtype in DTYPES:
            views.cast(source, dtype)
    np.testing.assert_array_equal(views.cast(x, FLOATS[0]), [np.nan, np.inf, -np.inf, np.inf, -1.5])
    assert views.cast(np.array([np.nan, 0.0, -0.0, 0.1]), np.dtype(np.bool_)).tolist() == [True, False, False, True]
    assert views.cast(np.array(2.7), np.dtype(np.int64)).shape == ()
    assert views.cast(np.array([-1.5, 255.9]), np.dtype(np.uint8)).tolist() == [255, 255]


def test_copy_overlapping() -> None:
    x = np.arange(6.0)
    views.copy_(x[1:], x[:-1])
    assert x.tolist() == [0, 0, 1, 2, 3, 4]
    views.copy_(x, x[::-1])
    assert x.tolist() == [4, 3, 2, 1, 0, 0]


GRAD_CASES = [  # x_shape, x_strides, shape, strides, offset, in elements
    ((4,), (1,), (2,), (2,), 1),
    ((4,), (1,), (3, 2), (1, 1), 0),
    ((2, 3), (3, 1), (3, 2), (1, 3), 0),
    ((2, 3), (1, 2), (2, 2), (2, 1), 1),
    ((2, 3), (3, 1), (2, 2), (-3, -1), 5),
    ((2, 3), (3, 1), (5, 2, 2), (0, 3, 1), 1),
    ((3,), (2,), (5,), (1,), 0),
    ((3,), (1,), (2, 2), (2, 1), 1),
    ((), (), (3,), (0,), 0),
    ((4,), (1,), (), (), 2),
    ((4,), (1,), (0, 3), (3, 1), 0),
    ((0, 2), (2, 1), (0,), (1,), 0),
    ((3, 1), (1, 1), (2, 2), (1, 1), 0),
    ((2, 2), (-2, -1), (3,), (1,), -3),
]


@pytest.mark.parametrize("dtype", [*FLOATS, np.dtype(np.float16)], ids=str)
@pytest.mark.parametrize("case", GRAD_CASES, ids=str)
def test_as_strided_grad(case: tuple, dtype: np.dtype) -> None:
    x_shape, x_strides, shape, strides, offset = case
    g = sample(shape, dtype) if shape == () else sample(shape, dtype, "negative")
    memory: dict[int, float] = {}
    for i in np.ndindex(shape):
        at = offset + sum(k * s for k, s in zip(i, strides, strict=True))
        memory[at] = memory.get(at, 0.0) + float(g[i])
    want = np.zeros(x_shape, dtype)
    for i in np.ndindex(x_shape):
        want[i] = memory.get(sum(k * s for k, s in zip(i, x_strides, strict=True)), 0.0)
    item = dtype.itemsize
    got = views.as_strided_grad(g, x_shape, tuple(item * s for s in x_strides), shape, tuple(item * s for s in strides), item * offset)
    check(got, want, 2e-3 if item == 2 else tolerance(dtype))


def test_as_strided_grad_of_shared_elements() -> None:
    got = views.as_strided_grad(np.ones((2, 3)), (2, 3), (0, 8), (2, 3), (0, 8), 0)
    check(got, np.ones((2, 3)))  # each memory cell gets 2, in equal parts for its two elements


def test_as_strided_scatter() -> None:
    x = sample((2, 3))
    got = views.as_strided_scatter(x, np.array([7.0, 8.0], np.float32), (2,), (-12,), 16)
    want = x.copy()
    want[::-1, 1] = [7.0, 8.0]
    check(got, want)


# create, cat


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_create(dtype: np.dtype) -> None:
    assert create.empty((2, 0), dtype).shape == (2, 0)
    check(create.full((), 1, dtype), np.ones((), dtype))
    check(create.full((2, 3), 0, dtype), np.zeros((2, 3), dtype))
    if dtype.kind != "b":
        check(create.arange(3, -1, 4, dtype), np.array([3, 2, 1, 0]).astype(dtype))
        check(create.arange(0, 1, 0, dtype), np.zeros(0, dtype))
    if dtype.kind == "f":
        assert np.signbit(create.full((2,), -0.0, dtype)).all()
        check(create.full((2,), np.nan, dtype), np.full(2, np.nan, dtype))
        check(create.full((2,), -1e300, dtype), np.array([-1e300] * 2) if dtype.itemsize == 8 else np.full(2, -np.inf, dtype))
        check(create.arange(0.5, 0.1, 5, dtype), (0.5 + 0.1 * np.arange(5)).astype(dtype))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_cat(layout: str) -> None:
    arrays = [sample((2, 3, 4), layout=layout), sample((2, 3, 4), layout=layout, seed=1)]
    for dim in range(3):
        check(cat.cat(tuple(arrays), dim), np.concatenate(arrays, dim))
    check(cat.cat((arrays[0][:0], arrays[1]), 0), arrays[1])


# norm

NORM_CASES = [
    ("layer_norm", (4, 6), (6,)), ("layer_norm", (4, 6), (4, 6)), ("layer_norm", (2, 3, 40, 5), (40, 5)), ("layer_norm", (3, 1), (1,)),
    ("layer_norm", (150, 100), (100,)), ("layer_norm", (3, 5000), (5000,)),
    ("batch_norm", (4, 6), ()), ("batch_norm", (201, 33), ()), ("batch_norm", (2, 3, 4), ()), ("batch_norm", (2, 3, 40, 70), ()),
    ("batch_norm", (3, 1, 1), ()),
]  # fmt: skip


class Naive:
    """Normalization of x over the dims of a row or a channel, and its gradients."""

    def __init__(self, op: str, x: np.ndarray, wanted: tuple[int, ...], w: np.ndarray, b: np.ndarray) -> None:
        rows = op == "layer_norm"
        self.dims = tuple(range(x.ndim - len(wanted), x.ndim)) if rows else (0, *range(2, x.ndim))
        self.rest = tuple(range(x.ndim - len(wanted))) if rows else self.dims  # over which weights are shared
        self.w = w.astype(np.float64).reshape(wanted if rows else (-1, *(1,) * (x.ndim - 2)))
        x = x.astype(np.float64)
        self.mean, self.var = x.mean(self.dims, keepdims=True), x.var(self.dims, keepdims=True)
        self.rstd = 1 / np.sqrt(self.var + 1e-5)
        self.xhat = (x - self.mean) * self.rstd
        self.y = self.xhat * self.w + b.reshape(self.w.shape)
        self.stats = np.stack([self.mean.ravel(), (self.rstd if rows else self.var).ravel()])

    def grads(self, g: np.ndarray) -> list[np.ndarray]:
        g = g.astype(np.float64)
        h = g * self.w
        gx = self.rstd * (h - h.mean(self.dims, keepdims=True) - self.xhat * (h * self.xhat).mean(self.dims, keepdims=True))
        return [gx, (g * self.xhat).sum(self.rest), g.sum(self.rest)]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(("op", "shape", "wanted"), NORM_CASES, ids=str)
def test_norms(op: str, shape: tuple[int, ...], wanted: tuple[int, ...], dtype: np.dtype) -> None:
    for layout in LAYOUTS:
        x, g = sample(shape, dtype, layout), sample(shape, dtype, layout, seed=1)
        vector = wanted or shape[1:2]
        w, b = sample(vector, dtype, seed=2), sample(vector, dtype, seed=3)
        naive, more = Naive(op, x, wanted, w, b), (wanted, 1e-5) if wanted else (1e-5,)
        flat = naive.var.min() < 1e-3  # little variance: rstd magnifies rounding
        tol = 1e-2 if flat else 30 * tolerance(dtype)
        y, *_, stats = getattr(norm, op)(x, w, b, *more)
        check(y, naive.y.astype(dtype), tol)
        check(stats, naive.stats.astype(dtype), tol)
        for given in (w, None):
            if given is None:
                naive.w = np.ones_like(naive.w)
            wants = naive.grads(g)
            for got, want in zip(getattr(norm, op + "_grad")(g, x, given, naive.stats.astype(dtype), *more), wants, strict=True):
                check(got, want.astype(dtype), tol * max(1, np.abs(want).max()))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_prepared_forms_do_what_launchers_do(dtype: np.dtype) -> None:
    x, g, w, b = sample((5, 7), dtype), sample((5, 7), dtype, seed=1), sample(7, dtype, seed=2), sample(7, dtype, seed=3)
    stats = norm.layer_norm(x, w, b, (7,), 1e-5)[1]
    calls: list[tuple[Any, tuple[Any, ...], tuple[Any, ...]]] = [
        (norm.layer_norm, (x, w, b), ((7,), 1e-5)),
        (norm.layer_norm_grad, (g, x, w, stats), ((7,), 1e-5)),
        (cat.cat, ((x, g),), (0,)),
        (cat.cat, ((x[None], g[None]),), (1,)),
    ]
    for dim in (0, 1):
        calls.append((reduce.max_dim, (x,), (dim, False)))
        calls.append((reduce.max_dim_grad, (g[0] if dim == 0 else g[:, 0].copy(), reduce.max_dim(x, dim, False)[1]), (x.shape, dim)))
    for launcher, arrays, static in calls:
        got, want = launcher.prepared(*arrays, *static)(*arrays), launcher(*arrays, *static)
        for y, z in zip(got, want, strict=True) if type(want) is tuple else [(got, want)]:
            assert y.dtype == z.dtype and y.flags.carray
            np.testing.assert_array_equal(y, z)


@pytest.mark.parametrize(("shape", "wanted"), [((0, 3), (3,)), ((3, 0), (0,))])
def test_norms_of_nothing(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    x, stats = np.empty(shape), np.empty((2, shape[0]))
    assert norm.layer_norm(x, None, None, wanted, 1e-5)[0].shape == norm.batch_norm(x, None, None, 1e-5)[0].shape == shape
    for gx, gw, gb in (
        norm.layer_norm_grad(x, x, None, stats, wanted, 1e-5),
        norm.batch_norm_grad(x, x, None, np.ones((2, shape[1])), 1e-5),
    ):
        assert gx.shape == shape and gw.tolist() == gb.tolist() == [0.0] * shape[1]


def test_norms_are_stable_and_show_nan() -> None:
    x = sample((70, 1000)) * 0.01 + 1000
    ones, zeros = np.ones(1000, np.float32), np.zeros(1000, np.float32)
    check(norm.layer_norm(x, None, None, (1000,), 1e-5)[0], Naive("layer_norm", x, (1000,), ones, zeros).y.astype(np.float32), 1e-5)
    check(norm.batch_norm(x, None, None, 1e-5)[0], Naive("batch_norm", x, (), ones, zeros).y.astype(np.float32), 1e-5)
    x[1, 5] = np.nan
    y, stats = norm.layer_norm(x, None, None, (1000,), 1e-5)
    assert np.flatnonzero(np.isnan(y).all(1)).tolist() == np.flatnonzero(np.isnan(stats[0])).tolist() == [1] and np.isnan(y).sum() == 1000
    y, mean, var, _ = norm.batch_norm(x, None, None, 1e-5)
    assert np.flatnonzero(np.isnan(y).all(0)).tolist() == np.flatnonzero(np.isnan(mean + var)).tolist() == [5] and np.isnan(y).sum() == 70


@pytest.mark.parametrize(("op", "shape", "wanted"), [
    ("layer_norm", (300, 400), (400,)), ("batch_norm", (300, 400), ()), ("batch_norm", (8, 16, 40, 40), ()),
])  # fmt: skip
def test_norms_parallel_form(op: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    x, g = sample(shape), sample(shape, seed=1)
    vector, more = wanted or shape[1:2], (wanted, 1e-5) if wanted else (1e-5,)
    w, b = sample(vector, seed=2), sample(vector, seed=3)
    naive = Naive(op, x, wanted, w, b)
    check(getattr(norm, op)(x, w, b, *more)[0], naive.y.astype(np.float32), 2e-5)
    stats = naive.stats.astype(np.float32)
    twice = [getattr(norm, op + "_grad")(g, x, w, stats, *more) for _ in range(2)]
    for one, other, want in zip(*twice, naive.grads(g), strict=True):
        assert np.array_equal(one, other)
        check(one, want.astype(np.float32), 1e-5 * max(1, np.abs(want).max()))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_update_running(dtype: np.dtype) -> None:
    running_mean, running_var = sample((6,), dtype)[::2], np.ones(3, dtype)
    mean, var = sample((1, 3, 1), dtype, seed=1), np.full((1, 3, 1), 2, dtype)
    want = 0.9 * running_mean + 0.1 * mean.ravel()
    norm.update_running_(running_mean, running_var, mean, var, np.array(0.1), 5)
    np.testing.assert_allclose(running_mean, want, rtol=1e-6)
    np.testing.assert_allclose(running_var, 0.9 + 0.1 * 2 * 5 / 4, rtol=1e-6)


# index


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_take_and_index_put(layout: str, dtype: np.dtype) -> None:
    x = sample((5, 2, 3), dtype, layout)
    for idx in (np.array([4, 0, 0]), np.array([[1, 4], [2, 3]]).T, np.array(3), np.zeros((0, 2), np.int64), np.arange(5)[::-2]):
        check(index.take(x, idx), x[idx])
        v = sample((*idx.shape, 2, 3), dtype, "C" if idx.ndim == 0 or not idx.size else layout, seed=1)
        want = x.copy()
        for i in np.ndindex(idx.shape):
            want[idx[i]] = v[i]
        check(index.index_put(x, idx, v), want)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_index_add(layout: str, dtype: np.dtype) -> None:
    g = sample((2, 3, 4), dtype, layout)
    idx = np.array([[4, 0, 4], [0, 1, 4]])
    want = np.zeros((5, 4), dtype)
    for i in np.ndindex(idx.shape):
        want[idx[i]] += g[i]
    check(index.index_add(g, idx, 5), want)


def test_index_of_empty_and_narrow() -> None:
    none = np.zeros(0, np.int64)
    check(index.take(np.empty((0, 3)), none), np.empty((0, 3)))
    check(index.take(np.empty((3, 0)), np.array([2])), np.empty((1, 0)))
    check(index.take(np.arange(3.0), np.array(1)), np.array(1.0))
    check(index.index_add(np.empty((0, 3)), none, 2), np.zeros((2, 3)))
    check(index.index_add(np.ones(4), np.array([1, 1, 0, 1]), 2), np.array([1.0, 3.0]))
    check(index.index_put(np.ones((2, 3)), none, np.empty((0, 3))), np.ones((2, 3)))


def test_index_add_parallel_form_gives_the_same_bits() -> None:
    g, idx = sample((4000, 64)), np.random.default_rng(0).integers(0, 37, 4000)
    serial = np.zeros((37, 64), np.float32)
    index._index_add(g.ravel(), idx, serial.ravel())
    check(index.index_add(g, idx, 37), serial)
    check(index.take(g, idx), g[idx])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_nonzero(layout: str, dtype: np.dtype) -> None:
    x = sample((3, 4), dtype, layout)
    if x.flags.writeable:
        x[1, 2] = x[0, 3] = 0
    check(index.nonzero(x), np.argwhere(x))


def test_nonzero_of_odd_arrays() -> None:
    check(index.nonzero(np.array(2.0)), np.zeros((1, 0), np.int64))
    check(index.nonzero(np.array(0.0)), np.zeros((0, 0), np.int64))
    check(index.nonzero(np.zeros((2, 0))), np.zeros((0, 2), np.int64))
    check(index.nonzero(np.array([np.nan, -0.0, np.inf])), np.array([[0], [2]]))


def test_first_outside() -> None:
    idx = np.array([[0, 5], [-1, 2]])
    assert index.first_outside(idx, -1, 6) == -1
    assert index.first_outside(idx, 0, 6) == 2
    assert index.first_outside(idx.T, 0, 6) == 1
    assert index.first_outside(idx, -1, 5) == 1
    assert index.first_outside(np.zeros((0, 2), np.int64), 0, 1) == -1
    assert index.first_outside(np.array(3), 0, 3) == 0
    assert type(index.first_outside(idx, 0, 9)) is int


def test_one_signature_per_dtype_and_form() -> None:
    """Runs last."""
    check_signatures(views, create, norm, index)
