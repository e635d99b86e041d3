"""Reductions, products, convolutions, pooling and softmax on the CPU against obvious NumPy loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from kernel_samples import FLOATS, LAYOUTS, check as close, check_signatures, sample

from jitgrad.kernels.cpu import conv, conv_plan, conv_weights, loss, matmul, matrix, pool, reduce, softmax

SMALL = 5000  # elements of the cases that run in both dtypes; larger ones, for the parallel forms, run in float32 only
rng = np.random.default_rng(0)


def make(shape, dtype=FLOATS[1], layout="C"):
    return sample(shape, np.dtype(dtype), layout, seed=int(rng.integers(1 << 30)))


def check(got, want, dtype, products=False):
    """`want` may be float64 whatever the dtype. Sums of products err by what their largest terms are rounded by."""
    tol = {"f4": 2e-5, "f8": 1e-11}.get(np.dtype(dtype).str[1:], 0.0)
    assert got.dtype == dtype and got.flags.writeable
    want = np.asarray(want).astype(dtype)
    scale = max(1.0, float(abs(want).max())) if products and want.size else 1.0
    close(
        got / got.dtype.type(scale) if products else got, want / want.dtype.type(scale) if products else want, tol / 10 if products else tol
    )


def runs(shape, dtype):
    return np.prod(shape) <= SMALL or dtype == np.float32


def all_dims(ndim):
    return [dims for k in range(ndim + 1) for dims in itertools.combinations(range(ndim), k)]


# ---- reductions


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("keepdim", [False, True])
def test_reductions(dtype, layout, keepdim):
    x = make((3, 4, 5), dtype, layout)
    for dims in all_dims(3):
        check(reduce.sum(x, dims, keepdim), x.sum(dims, np.float64, keepdims=keepdim), dtype)
        check(reduce.mean(x, dims, keepdim), x.mean(dims, np.float64, keepdims=keepdim), dtype)
        check(reduce.amax(x, dims, keepdim), x.max(dims, keepdims=keepdim), dtype)
        if dims:
            check(reduce.var(x, dims, keepdim, 1), x.var(dims, np.float64, ddof=1, keepdims=keepdim), dtype)
    for dim in (0, 1, 2, None):
        check(reduce.argmax(x, dim, keepdim), x.argmax(dim, keepdims=keepdim), np.int64)
    for dim in range(3):
        values, indices = reduce.max_dim(x, dim, keepdim)
        check(values, x.max(dim, keepdims=keepdim), dtype)
        check(indices, x.argmax(dim, keepdims=keepdim), np.int64)


@pytest.mark.parametrize("shape", [(100_003,), (3, 40_000), (40_000, 3), (2, 3000, 12), (500, 300), (2, 70, 1500)])
def test_large_reductions(shape):
    dtype = np.float32
    x = rng.standard_normal(shape).astype(dtype) + 1
    for dims in all_dims(len(shape))[1:]:
        check(reduce.sum(x, dims, False), x.sum(dims, np.float64), dtype)
        check(reduce.var(x, dims, False, 0), x.var(dims, np.float64), dtype)
        check(reduce.amax(x, dims, False), x.max(dims), dtype)
    check(reduce.argmax(x, 0, False), x.argmax(0), np.int64)


def test_sum_of_float32_is_nearly_exact():
    x = rng.random(4_000_000, np.float32)
    out = np.empty((), np.float32)
    matrix.SUMS[0, 1][x.dtype](x.reshape(2000, 2000), out)  # the form that one thread takes
    for got in (reduce.sum(x, (0,), False), out):
        assert abs(got - x.sum(dtype=np.float64)) < 0.13  # one float32 step at 2e6 is 0.125


@pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.int32, np.uint8])
def test_integer_reductions(dtype):
    x = rng.integers(0, 2 if dtype == np.bool_ else 100, (4, 6)).astype(dtype)
    for dims in all_dims(2):
        check(reduce.sum(x, dims, False), x.sum(dims, np.int64), np.int64)
        check(reduce.amax(x, dims, False), x.max(dims), dtype)
    check(reduce.argmax(x, 1, False), x.argmax(1), np.int64)  # ties: the first
    check(reduce.max_dim(x, 0, True)[1], x.argmax(0, keepdims=True), np.int64)
    assert reduce.sum(np.array([2**53, 1, 1]), (0,), False) == 2**53 + 2


def test_reductions_of_nothing_and_of_one():
    for shape, dims in (((0,), (0,)), ((2, 0, 3), (1,)), ((2, 0, 3), (0, 2)), ((0, 3), (1,))):
        check(reduce.sum(np.ones(shape), dims, False), np.ones(shape).sum(dims), np.float64)
    assert np.isnan(reduce.mean(np.empty(0), (0,), False))
    assert reduce.sum(np.empty(0, bool), (0,), False).dtype == np.int64
    assert reduce.max_dim(np.empty((0, 3)), 1, False)[0].shape == (0,)
    for op in (reduce.sum, reduce.mean, reduce.amax):
        check(op(np.array(3.0), (), False), 3.0, np.float64)
    assert reduce.argmax(np.array(3.0), None, False).shape == ()
    assert reduce.max_dim(np.array(3.0), 0, True)[1] == 0


def test_var_with_too_few_elements():
    assert np.isnan(reduce.var(np.ones(1), (0,), False, 1))
    assert np.isinf(reduce.var(np.array([1.0, 2.0]), (0,), False, 3))
    check(reduce.var(np.array([1.0, 4.0, 9.0]), (0,), False, 0.5), np.var([1.0, 4.0, 9.0]) * 3 / 2.5, np.float64)
    x = (1e4 + rng.standard_normal(10_000)).astype(np.float32)
    np.testing.assert_allclose(reduce.var(x, (0,), False, 1), x.var(dtype=np.float64, ddof=1), rtol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8, 13])
def test_maximum_with_nan_ties_and_infinities(n):
    for at in range(n):
        x = rng.standard_normal(n).astype(np.float32)
        x[at] = np.nan
        assert np.isnan(reduce.amax(x, (0,), False)) and reduce.argmax(x, 0, False) == at
        columns = np.stack([x, -x, np.zeros(n, np.float32)], 1)
        check(reduce.amax(columns, (0,), False), columns.max(0), np.float32)
        check(reduce.argmax(columns, 0, False), columns.argmax(0), np.int64)
        x[at] = np.inf
        assert reduce.amax(x, (0,), False) == np.inf and reduce.argmax(x, 0, False) == at
    assert reduce.amax(np.full(n, -np.inf), (0,), False) == -np.inf
    assert reduce.argmax(np.full(n, -np.inf), 0, False) == 0


@pytest.mark.parametrize("shape", [(), (5,), (1,), (4, 1), (1, 5), (3, 1, 5), (1, 1, 1), (3, 4, 5)])
def test_sum_to(shape):
    x = make((3, 4, 5))
    want = np.zeros(shape)
    for index in np.ndindex(x.shape):
        at = tuple(0 if size == 1 else i for i, size in zip(index[3 - len(shape) :], shape, strict=True))
        want[at] += x[index]
    check(reduce.sum_to(x, shape), want, np.float64)


# ---- products


SHAPES = [(2, 4, 3), (1, 1, 1), (5, 40, 1), (1, 40, 5), (3, 7, 20), (40, 33, 20), (33, 100, 300), (7, 50, 9), (2, 0, 3), (0, 3, 2)]
# Sums of several stretches of k, of b as it lies and of copies; a row for several tasks; several blocks of columns.
SHAPES += [(40, 1300, 100), (100, 1300, 100), (1, 60, 2500), (70, 60, 600)]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("size", SHAPES)
def test_products(dtype, size):
    M, K, N = size
    for a, b in itertools.product((make((M, K), dtype), make((K, M), dtype).T), (make((K, N), dtype), make((N, K), dtype).T)):
        check(matmul.matmul(a, b), a.astype(np.float64) @ b, dtype, True)
        bias = make((N,), dtype)
        check(matmul.linear(a, b.T, bias), a.astype(np.float64) @ b + bias, dtype, True)
        check(matmul.linear(a, b.T, None), a.astype(np.float64) @ b, dtype, True)


BATCHES = [((2,), ()), ((), (2,)), ((2,), (2,)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((1, 1), (3,)), ((0,), ()), ((0,), (0,)), ((2,), (0, 1))]


@pytest.mark.parametrize("batches", BATCHES)
@pytest.mark.parametrize("size", [(2, 4, 3), (5, 40, 6), (2, 0, 3)])
def test_batches_of_products(batches, size):
    M, K, N = size
    first, second = batches
    a, b = make((*first, M, K)), make((*second, K, N))
    at, bt = make((*first, K, M)).swapaxes(-1, -2), make((*second, N, K)).swapaxes(-1, -2)
    for x, y in itertools.product((a, at), (b, bt)):
        check(matmul.matmul(x, y), x @ y, np.float64)
    w, bias = make((N, K)), make((N,))
    check(matmul.linear(at, w, bias), at @ w.T + bias, np.float64)


def test_more_products():
    for layout in LAYOUTS:
        a, b = make((6, 8), layout=layout), make((8, 5), layout=layout)
        check(matmul.matmul(a, b), a @ b, np.float64)
    a, b = rng.integers(-9, 9, (3, 40)), rng.integers(-9, 9, (40, 4))
    check(matmul.matmul(a, b), a @ b, np.int64)
    x, w = make((8,)), make((3, 8))
    check(matmul.linear(x, w, None), w @ x, np.float64)
    a, b = make((200, 150), np.float32), make((150, 400), np.float32)
    np.testing.assert_allclose(matmul.matmul(a, b), a.astype(np.float64) @ b, atol=2e-3)
    assert np.isnan(matmul.matmul(np.array([[np.nan, 0.0]]), np.ones((2, 2)))).all()


# ---- convolutions


def padded(x, padding, value=0.0):
    (PH, PW) = padding
    return np.pad(x, ((0, 0), (0, 0), (PH, PH), (PW, PW)), constant_values=value)


def naive_conv(x, w, b, stride, padding, dilation, groups):
    """The output, and a function that takes g to the two gradients."""
    x64 = padded(x.astype(np.float64), padding)
    N, _, H, W = x64.shape
    F, C, KH, KW = w.shape
    OH, OW = (H - dilation[0] * (KH - 1) - 1) // stride[0] + 1, (W - dilation[1] * (KW - 1) - 1) // stride[1] + 1
    y = np.zeros((N, F, OH, OW)) if b is None else np.zeros((N, F, OH, OW)) + b[:, None, None]
    places = []
    for f, c, ky, kx in np.ndindex(F, C, KH, KW):
        channel = f // (F // groups) * C + c
        rows = slice(ky * dilation[0], ky * dilation[0] + (OH - 1) * stride[0] + 1, stride[0])
        columns = slice(kx * dilation[1], kx * dilation[1] + (OW - 1) * stride[1] + 1, stride[1])
        places.append(((f, c, ky, kx), (slice(None), channel, rows, columns)))
        y[:, f] += w[f, c, ky, kx] * x64[places[-1][1]]

    def grads(g):
        gx, gw = np.zeros_like(x64), np.zeros(w.shape)
        for tap, place in places:
            gx[place] += w[tap] * g[:, tap[0]]
            gw[tap] = np.vdot(g[:, tap[0]].astype(np.float64), x64[place])
        return gx[:, :, padding[0] : H - padding[0], padding[1] : W - padding[1]], gw

    return y, grads


CONVS = [
    # x, w, stride, padding, dilation, groups
    ((2, 3, 8, 8), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 4, 9, 8), (6, 2, 3, 2), (2, 3), (1, 2), (2, 1), 2),
    ((1, 3, 7, 7), (3, 1, 1, 1), (2, 2), (0, 0), (1, 1), 3),
    ((2, 2, 5, 5), (3, 2, 5, 5), (1, 1), (0, 0), (1, 1), 1),
    ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((2, 2, 6, 10), (4, 2, 1, 3), (1, 2), (0, 3), (3, 2), 1),
    ((1, 2, 7, 6), (2, 2, 2, 2), (3, 4), (1, 0), (1, 3), 1),
    ((0, 2, 5, 5), (3, 2, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((8, 6, 28, 28), (8, 6, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((1, 2, 4, 3000), (2, 2, 3, 3), (1, 2), (1, 1), (1, 1), 1),
    ((3, 40, 7, 7), (72, 40, 3, 3), (1, 1), (1, 1), (1, 1), 1),  # panels that span rows and images
    ((3, 72, 8, 9), (48, 72, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((2, 48, 10, 9), (64, 24, 3, 2), (1, 1), (2, 3), (2, 2), 2),
    ((2, 6, 33, 70), (12, 1, 3, 5), (2, 2), (1, 2), (2, 1), 6),  # two filters for each channel, rows of several vectors
    ((2, 5, 12, 40), (5, 1, 5, 3), (1, 1), (2, 1), (1, 1), 5),
    ((3, 4, 9, 9), (4, 1, 2, 3), (3, 2), (1, 1), (2, 2), 4),  # rows of x that no window sees
    ((2, 40, 16, 17), (9, 40, 1, 1), (1, 1), (0, 0), (1, 1), 1),  # single pixels
    ((2, 9, 16, 17), (40, 9, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((2, 3, 9, 9), (4, 3, 3, 3), (400, 2**40), (1, 1), (1, 1), 1),  # strides past the end
    ((2, 3, 9, 9), (4, 3, 1, 1), (2**31, 400), (0, 0), (1, 1), 1),
    ((2, 0, 5, 5), (3, 0, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 4, 300, 300), (3, 4, 3, 3), (1, 1), (1, 1), (1, 1), 1),  # bands of rows
    ((2, 20, 9, 9), (40, 1, 3, 3), (2, 2), (1, 1), (1, 1), 20),
    ((2, 3, 6, 6), (4, 3, 2, 2), (1, 1), (4, 4), (1, 1), 1),  # windows that see nothing but padding
    ((3, 8, 16, 16), (12, 8, 7, 7), (1, 1), (3, 3), (1, 1), 1),  # sums of several stretches of taps
    ((2, 3, 16, 16), (40, 3, 7, 7), (2, 2), (3, 3), (1, 1), 1),  # the same of each phase of the gradient of x
]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("case", CONVS, ids=lambda c: f"{c[0]}-{c[1]}")
def test_conv2d(dtype, case):
    x_shape, w_shape, *static = case
    if not runs(x_shape, dtype):
        return
    x, w, b = make(x_shape, dtype), make(w_shape, dtype), make(w_shape[:1], dtype)
    y, grads = naive_conv(x, w, b, *static)
    atol = {"rtol": 1e-4, "atol": 2e-3} if dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-9}
    got = conv.conv2d(x, w, b, *static)
    assert got.dtype == dtype and got.shape == y.shape
    np.testing.assert_allclose(got, y, **atol)
    np.testing.assert_allclose(conv.conv2d(x, w, None, *static), y - b[:, None, None], **atol)
    g = make(y.shape, dtype)
    gx, gw = grads(g)
    got_x, got_w = conv.conv2d_grad_x(g, w, x_shape, *static), conv.conv2d_grad_w(g, x, w_shape, *static)
    assert got_x.dtype == got_w.dtype == dtype and got_x.shape == x_shape and got_w.shape == w_shape
    np.testing.assert_allclose(got_x, gx, **atol)
    np.testing.assert_allclose(got_w, gw, **atol)


@pytest.fixture
def small_waves(monkeypatch):
    """Images of a few kilobytes are cut as large ones are."""
    for name in ("WAVE", "PANEL_WAVE"):
        monkeypatch.setattr(conv_plan, name, 4096)
    monkeypatch.setattr(conv_weights, "PLANE_WAVE", 4096)
    monkeypatch.setattr(conv_weights, "WAVE", 4096)
    conv_plan.plan_of.cache_clear()
    yield
    conv_plan.plan_of.cache_clear()


@pytest.mark.parametrize("tasks", [1, 2, 3, 8])
@pytest.mark.parametrize(
    "case",
    [
        ((1, 3, 90, 80), (8, 3, 3, 3), (1, 1), (0, 0), (1, 1), 1),  # read where they lie, of more rows than a wave
        ((2, 3, 60, 70), (2, 3, 3, 3), (1, 1), (0, 0), (1, 1), 1),
        ((1, 40, 30, 29), (40, 40, 3, 3), (1, 1), (0, 0), (1, 1), 1),
        ((3, 3, 60, 70), (20, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
        ((5, 4, 31, 33), (6, 2, 3, 3), (2, 2), (1, 1), (1, 1), 2),
        ((1, 16, 1, 500), (24, 16, 1, 5), (1, 1), (0, 2), (1, 1), 1),  # one row
        ((1, 16, 1, 501), (24, 8, 1, 5), (1, 3), (0, 2), (1, 1), 2),
        ((13, 8, 9, 9), (40, 8, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ],
    ids=lambda c: f"{c[0]}-{c[1]}",
)
def test_conv2d_of_large_images_in_tasks(case, tasks, small_waves, monkeypatch):
    """Cut for any number of tasks, which run one after the other."""
    x_shape, w_shape, *static = case
    for module in (conv, conv_weights):
        monkeypatch.setattr(module, "get_num_threads", lambda: tasks)
    for module, names in ((conv, ("_correlate", "_conv2d_grad_x")), (conv_weights, ("_conv2d_grad_w", "_conv2d_grad_w_thin"))):
        for name in names:
            monkeypatch.setattr(module, f"{name}_parallel", getattr(module, name))
    monkeypatch.setattr(conv, "pays", lambda work, least: True)
    x, w = make(x_shape), make(w_shape)
    y, grads = naive_conv(x, w, None, *static)
    g = make(y.shape)
    gx, gw = grads(g)
    np.testing.assert_allclose(conv.conv2d(x, w, None, *static), y, rtol=1e-4, atol=2e-3)
    np.testing.assert_allclose(conv.conv2d_grad_x(g, w, x_shape, *static), gx, rtol=1e-4, atol=2e-3)
    np.testing.assert_allclose(conv.conv2d_grad_w(g, x, w_shape, *static), gw, rtol=1e-4, atol=5e-3)


@pytest.mark.parametrize("tasks", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 40])
@pytest.mark.parametrize(("M", "K", "N"), [(1, 3, 2), (7, 30, 90), (50, 20, 17), (130, 70, 200)])
def test_products_in_tasks(M, K, N, count, tasks, monkeypatch):
    monkeypatch.setattr(matmul, "get_num_threads", lambda: tasks)
    monkeypatch.setattr(matmul, "blocked_parallel", matmul.blocked)
    a, b = make((count * M, K), np.float32), make((count * N, K), np.float32)
    out, wanted = np.empty((count * M, N), np.float32), np.einsum("nik,njk->nij", a.reshape(count, M, K), b.reshape(count, N, K))
    matmul._by_blocks(a, b, np.empty(0, np.float32), out, (count, count, count, count, False, True), True)
    np.testing.assert_allclose(out, wanted.reshape(-1, N), rtol=1e-4, atol=1e-3)
    total = np.empty((M, N), np.float32)
    matmul._by_blocks(a, b, np.empty(0, np.float32), total, (count, count, count, 1, False, True), True)
    np.testing.assert_allclose(total, wanted.sum(0), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_conv2d_layouts(layout):
    static = ((1, 1), (1, 1), (1, 1), 1)
    x, w = make((2, 2, 5, 4), layout=layout), make((3, 2, 3, 3), layout=layout)
    g = make((2, 3, 5, 4), layout=layout)
    y, grads = naive_conv(x, w, None, *static)
    check(conv.conv2d(x, w, None, *static), y, np.float64)
    check(conv.conv2d_grad_x(g, w, x.shape, *static), grads(g)[0], np.float64)
    check(conv.conv2d_grad_w(g, x, w.shape, *static), grads(g)[1], np.float64)


def test_conv2d_keeps_a_nan_where_it_belongs():
    x = np.ones((1, 1, 6, 6))
    x[0, 0, 0, 0] = np.nan
    y = conv.conv2d(x, np.ones((1, 1, 3, 3)), None, (1, 1), (1, 1), (1, 1), 1)
    want = np.zeros((6, 6), bool)
    want[:2, :2] = True
    np.testing.assert_array_equal(np.isnan(y[0, 0]), want)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.inf, 3e38], ids=str)
def test_conv2d_warns_of_no_sum(value):
    w = np.full((2, 2, 3, 3), value, np.float32)
    w[1] *= -1
    x, static = np.full((1, 2, 4, 4), 1e-30, np.float32), ((1, 1), (1, 1), (1, 1), 1)
    g = conv.conv2d(x, w, None, *static)
    conv.conv2d_grad_x(x, w, x.shape, *static)
    conv.conv2d_grad_w(g, w[:1, :, :1, :1].repeat(4, 2).repeat(4, 3), w.shape, *static)


SPREADS = [
    # x, w, stride, padding, dilation, groups
    ((2, 3, 6, 7), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 20, 7, 7), (40, 20, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 4, 9, 8), (6, 2, 3, 2), (2, 3), (1, 2), (2, 1), 2),
    ((2, 4, 9, 9), (4, 1, 3, 3), (2, 2), (1, 1), (1, 1), 4),
    ((2, 3, 5, 5), (3, 1, 3, 3), (1, 1), (2, 2), (1, 1), 3),
    ((1, 3, 8, 8), (5, 3, 3, 3), (1, 1), (0, 0), (1, 1), 1),
    ((2, 3, 5, 5), (9, 3, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((1, 1, 9, 24), (1, 1, 3, 5), (1, 1), (0, 0), (1, 1), 1),  # vectors that reach behind a row
    ((1, 9, 1, 31), (9, 1, 1, 1), (1, 2), (0, 0), (1, 1), 9),  # pixels that no window sees
]


def sums_of_terms(x, w, g, stride, padding, dilation, groups):
    """y, gx and gw term by term, over the pixels inside the image alone."""
    (F, C, KH, KW), y, gx, gw = w.shape, np.zeros(g.shape), np.zeros(x.shape), np.zeros(w.shape)
    for f, c, ky, kx, oy, ox in np.ndindex(F, C, KH, KW, *g.shape[2:]):
        r, q = oy * stride[0] - padding[0] + ky * dilation[0], ox * stride[1] - padding[1] + kx * dilation[1]
        channel = f // (F // groups) * C + c
        if 0 <= r < x.shape[2] and 0 <= q < x.shape[3]:
            y[:, f, oy, ox] += x[:, channel, r, q] * w[f, c, ky, kx]
            gx[:, channel, r, q] += g[:, f, oy, ox] * w[f, c, ky, kx]
            gw[f, c, ky, kx] += (g[:, f, oy, ox] * x[:, channel, r, q]).sum()
    return y, gx, gw


@pytest.mark.parametrize("value", [np.inf, np.nan], ids=str)
@pytest.mark.parametrize("where", ["x", "w", "g"])
@pytest.mark.parametrize("case", SPREADS, ids=lambda c: f"{c[0]}-{c[1]}")
@np.errstate(invalid="ignore")
def test_conv2d_spreads_what_is_not_finite_no_further_than_its_sums(case, where, value):
    x_shape, w_shape, *static = case
    x, w = make(x_shape), make(w_shape)
    g = make(conv.conv2d(x, w, None, *static).shape)
    array = {"x": x, "w": w, "g": g}[where]
    array.flat[0] = array.flat[array.size // 2] = array.flat[-1] = value
    got = conv.conv2d(x, w, None, *static), conv.conv2d_grad_x(g, w, x_shape, *static), conv.conv2d_grad_w(g, x, w_shape, *static)
    for result, want in zip(got, sums_of_terms(x, w, g, *static), strict=True):
        np.testing.assert_allclose(result, want, rtol=1e-4, atol=1e-4)


# ---- pooling


POOLS = [
    # x, kernel, stride, padding, dilation, ceil_mode
    ((2, 3, 8, 8), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ((1, 2, 7, 6), (3, 2), (2, 1), (1, 1), (1, 1), True),
    ((2, 1, 9, 9), (3, 3), (2, 2), (1, 1), (2, 2), False),
    ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0), (1, 1), False),
    ((0, 2, 4, 4), (2, 2), (2, 2), (0, 0), (1, 1), True),
    ((8, 8, 33, 33), (2, 2), (2, 2), (0, 0), (1, 1), True),
]


def windows(case, shape):
    """Each window: (n, c, oy, ox), its pixels inside the image, and its size with padding."""
    (_, _, H, W), (KH, KW), (SH, SW), (PH, PW), (DH, DW), _ = case
    for n, c, oy, ox in np.ndindex(shape):
        top, left = oy * SH - PH, ox * SW - PW
        pixels = [(top + ky * DH, left + kx * DW) for ky in range(KH) for kx in range(KW)]
        inside = [(i, j) for i, j in pixels if 0 <= i < H and 0 <= j < W]
        yield (n, c, oy, ox), inside, sum(i < H + PH and j < W + PW for i, j in pixels)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("case", POOLS, ids=lambda c: f"{c[0]}-{c[1]}")
def test_max_pool2d(dtype, case):
    if not runs(case[0], dtype):
        return
    x = np.round(make(case[0], dtype))  # with ties
    y, indices = pool.max_pool2d(x, *case[1:])
    g = make(y.shape, dtype)
    want, at, gx = np.zeros(y.shape), np.zeros(y.shape, np.int64), np.zeros(x.shape)
    for (n, c, oy, ox), inside, _ in windows(case, y.shape):
        i, j = max(inside, key=lambda p, image=x[n, c]: image[p])
        want[n, c, oy, ox], at[n, c, oy, ox] = x[n, c, i, j], i * x.shape[3] + j
        gx[n, c, i, j] += g[n, c, oy, ox]
    check(y, want, dtype)
    check(indices, at, np.int64)
    check(pool.max_pool2d_grad(g, indices, x.shape), gx, dtype)
    check(pool.max_pool2d_gather(x, indices), want, dtype)


def test_max_pool2d_nan_and_minus_infinity():
    x = np.full((1, 1, 4, 4), -np.inf, np.float32)
    x[0, 0, 0, 1] = np.nan
    x[0, 0, 1, 0] = 5
    y, indices = pool.max_pool2d(x[:, :, ::-1, ::-1][:, :, ::-1, ::-1], (2, 2), (2, 2), (0, 0), (1, 1), False)
    np.testing.assert_array_equal(y[0, 0], [[np.nan, -np.inf], [-np.inf, -np.inf]])
    np.testing.assert_array_equal(indices[0, 0], [[1, 2], [8, 10]])


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("include_pad", [True, False])
@pytest.mark.parametrize("divisor", [0, 3])
def test_avg_pool2d(dtype, include_pad, divisor):
    for case in POOLS:
        if not runs(case[0], dtype) or (np.prod(case[0]) > SMALL and divisor):
            continue
        case = (*case[:4], (1, 1), case[5])
        static = (*case[1:4], case[5], include_pad, divisor)
        x = make(case[0], dtype, "F")
        y = pool.avg_pool2d(x, *static)
        g = make(y.shape, dtype)
        want, gx = np.zeros(y.shape), np.zeros(x.shape)
        for (n, c, oy, ox), inside, size in windows(case, y.shape):
            count = divisor or (size if include_pad else len(inside))
            for i, j in inside:
                want[n, c, oy, ox] += x[n, c, i, j] / count
                gx[n, c, i, j] += g[n, c, oy, ox] / count
        check(y, want, dtype)
        check(pool.avg_pool2d_grad(g, x.shape, *static), gx, dtype)


# ---- softmax


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_softmax(dtype, layout):
    for shape in [(3, 4, 5), (1, 1, 1), (2, 90, 110)] if dtype == np.float32 else [(3, 4, 5)]:
        x, g = make(shape, dtype, layout), make(shape, dtype, layout)
        for dim in range(3):
            e = np.exp(x.astype(np.float64) - x.max(dim, keepdims=True))
            y = e / e.sum(dim, keepdims=True)
            check(softmax.softmax(x, dim), y, dtype)
            check(softmax.log_softmax(x, dim), np.log(y), dtype)
            check(softmax.softmax_grad(g, y.astype(dtype), dim), y * (g - (g * y).sum(dim, keepdims=True)), dtype)
            log_y = np.log(y).astype(dtype)
            check(softmax.log_softmax_grad(g, log_y, dim), g - y * g.sum(dim, keepdims=True, dtype=np.float64), dtype)


@pytest.mark.parametrize("rows", [1, 3])  # one thread, and several
def test_softmax_of_long_rows(rows):
    """Rows are added up in blocks of some thousand elements."""
    x, g, target = make((rows, 9000), np.float32), make((rows, 9000), np.float32), rng.integers(0, 9000, rows)
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    y = e / e.sum(1, keepdims=True)
    picked, log_y = np.eye(9000)[target], np.log(y).astype(np.float32)
    losses, _, stats = loss.cross_entropy(x, target, None, -100, "none")
    for got, want in (
        (softmax.softmax(x, 1), y),
        (softmax.log_softmax(x, 1), log_y),
        (softmax.softmax_grad(g, y.astype(np.float32), 1), y * (g - (g * y).sum(1, keepdims=True))),
        (softmax.log_softmax_grad(g, log_y, 1), g - y * g.sum(1, keepdims=True, dtype=np.float64)),
        (losses, -np.log(y[picked > 0])),
        (loss.cross_entropy_grad(np.array(1, np.float32), x, stats, target, -100), y - picked),
    ):
        np.testing.assert_allclose(got / abs(want).max(), want / abs(want).max(), atol=3e-6)


@pytest.mark.parametrize("dim", [0, 1])
def test_softmax_extremes(dim):
    x = np.array([[1e4, -1e4, 0.0], [np.nan, 0.0, 1.0], [-np.inf, 0.0, 0.0]], np.float32)
    x = x if dim else x.T
    got, logs = softmax.softmax(x, dim), softmax.log_softmax(x, dim)
    got, logs = (got, logs) if dim else (got.T, logs.T)
    np.testing.assert_array_equal(got[0], [1, 0, 0])
    np.testing.assert_array_equal(logs[0], [0, -2e4, -1e4])
    assert np.isnan(got[1]).all() and np.isnan(logs[1]).all()
    np.testing.assert_allclose(got[2], [0, 0.5, 0.5])
    for op in (softmax.softmax, softmax.log_softmax):
        assert op(np.empty((0, 3)), 1).shape == (0, 3) and op(np.empty((3, 0)), 1).shape == (3, 0)
        assert op(np.array(2.0), 0).shape == ()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_nll(dtype):
    x, weight, g = make((5, 4, 3), dtype), make((4,), dtype), make((5, 3), dtype, "F")
    target = rng.integers(0, 4, (5, 3))
    target[2, 1] = target[0, 0] = -100
    losses, gx = np.zeros((5, 3)), np.zeros(x.shape)
    for n, k in np.ndindex(5, 3):
        t = target[n, k]
        if t != -100:
            losses[n, k] = -weight[t] * x[n, t, k]
            gx[n, t, k] = -weight[t] * g[n, k]
    check(loss.nll(x, target, weight, -100, "none")[0], losses, dtype)
    check(loss.nll_grad(g, target, weight, x.shape, -100), gx, dtype)
    total = weight[target[target != -100]].sum()
    for reduction, divisor in (("sum", 1.0), ("mean", total)):
        got, counted = loss.nll(x, target, weight, -100, reduction)
        check(got, losses.sum() / divisor, dtype)
        check(counted, total, dtype)
    ones = np.where(gx != 0, -weight[None, :, None], 0)
    check(loss.nll_grad(np.ones((), dtype), target, weight, x.shape, -100), ones, dtype)
    assert loss.nll(np.empty((0, 4, 1)), np.empty((0, 1), np.int64), None, 0, "none")[0].shape == (0, 1)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("rows", [6, 20000])  # one thread, and several
def test_cross_entropy(dtype, rows):
    x, weight, g = make((rows, 4), dtype), np.abs(make((4,), dtype)) + dtype.type(0.5), make((rows,), dtype)
    target = rng.integers(0, 4, rows)
    target[1] = -100
    p = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    counts, at = target != -100, np.where(target == -100, 0, target)
    w = np.where(counts, weight[at], 0)
    losses = np.where(counts, -w * np.log(p[np.arange(rows), at]), 0)
    for reduction, want in (("none", losses), ("sum", losses.sum()), ("mean", losses.sum() / w.sum())):
        got, total, stats = loss.cross_entropy(x, target, weight, -100, reduction)
        check(np.asarray(got / dtype.type(np.abs(want).max())), want / np.abs(want).max(), dtype)
        check(stats[:, 0].copy(), x.max(1), dtype)
        check(np.exp(x - stats[:, :1]) / stats[:, 1:], p, dtype)
        np.testing.assert_allclose(total, w.sum(), rtol=1e-5)
    plain = np.where(counts[:, None], p - np.eye(4)[at], 0)
    check(loss.cross_entropy_grad(g, x, stats, target, -100), g[:, None] * plain, dtype)
    check(loss.cross_entropy_grad(np.array(2, dtype), x, stats, target, -100), 2 * plain, dtype)


def test_one_signature_per_dtype():
    check_signatures(reduce, matmul, conv, pool, softmax, loss)
