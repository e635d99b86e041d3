"""The CUDA launchers against their CPU twins, on tiny arrays of several layouts.

Runs on a card, or in Numba's simulator with NUMBA_ENABLE_CUDASIM=1 set before Numba is imported: in its own process.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":
    from numba import cuda

    if not cuda.is_available():
        pytest.skip("no CUDA card; set NUMBA_ENABLE_CUDASIM=1 to run in the simulator", allow_module_level=True)

from jitgrad.kernels import FAMILIES
from jitgrad.kernels.cuda import layout
from jitgrad.kernels.cuda.views import as_strided, cast, clone, copy_, from_host, to_host
from jitgrad.shapes import contiguous_strides

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # 0 / 0 and the like are among the cases

F32, F64, I64 = (np.dtype(t) for t in (np.float32, np.float64, np.int64))
rng = np.random.default_rng(0)


def normal(*shape: int, dtype: np.dtype = F32) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


def ints(high: int, *shape: int) -> np.ndarray:
    return rng.integers(0, high, shape)


def special(*shape: int) -> np.ndarray:
    """Ties, zeros, infinities and NaN."""
    return rng.choice(np.array([0.0, -0.0, 1.0, 2.0, 2.0, np.inf, -np.inf, np.nan], np.float32), shape)


# Layouts: (base, shape, strides, offset), so that both devices can be given the same view of the same memory.
Geometry = tuple[np.ndarray, tuple[int, ...], tuple[int, ...], int]


def plain(x: np.ndarray) -> Geometry:
    return np.array(x, order="C"), x.shape, contiguous_strides(x.shape, x.itemsize), 0


def transposed(x: np.ndarray) -> Geometry:
    return np.array(x.T, order="C"), x.shape, contiguous_strides(x.shape[::-1], x.itemsize)[::-1], 0


def sliced(x: np.ndarray) -> Geometry:
    """Every second element, backwards."""
    if x.ndim == 0:
        return plain(x)
    base = np.zeros([2 * n + 1 for n in x.shape], x.dtype)
    view = base[tuple(slice(None, None, -2) for _ in x.shape)][tuple(slice(n) for n in x.shape)]
    view[...] = x
    offset = base.nbytes - base.itemsize if x.size else 0
    return base, x.shape, tuple(-2 * s for s in base.strides), offset


def broadcast(x: np.ndarray) -> Geometry:
    if x.ndim == 0 or x.size == 0:
        return plain(x)
    base = np.array(x[0], order="C")
    return base, x.shape, (0, *base.strides), 0


def on_device(geometry: Geometry) -> Any:
    base, shape, strides, offset = geometry
    return as_strided(from_host(base), shape, strides, offset)


def on_host(geometry: Geometry) -> np.ndarray:
    base, shape, strides, offset = geometry
    return np.ndarray(shape, base.dtype, base, offset, strides)


def converted(value: Any, convert: Callable[[np.ndarray], Any]) -> Any:
    """`value` with every array in it, also in tuples, converted."""
    if isinstance(value, np.ndarray):
        return convert(value)
    return tuple(converted(v, convert) for v in value) if isinstance(value, tuple) else value


def assert_same(got: Any, expected: Any, tol: float = 1e-5) -> None:
    if isinstance(expected, tuple):
        assert len(got) == len(expected)
        for g, e in zip(got, expected, strict=False):
            assert_same(g, e, tol)
    elif isinstance(expected, np.ndarray):
        strides = contiguous_strides(tuple(got.shape), got.dtype.itemsize)
        assert got.size == 0 or all(n == 1 or s == t for n, s, t in zip(got.shape, got.strides, strides, strict=False)), "not C-contiguous"
        host = to_host(got)
        assert host.dtype == expected.dtype
        assert host.shape == expected.shape
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(host, expected, rtol=tol, atol=tol)
        else:
            np.testing.assert_array_equal(host, expected)
    else:
        assert got == expected


def twins(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    family, launcher = name.split(".")
    return tuple(getattr(import_module(f"jitgrad.kernels.{d}.{family}"), launcher) for d in ("cpu", "cuda"))  # type: ignore[return-value]


x234, x3344 = normal(2, 3, 4), normal(2, 4, 5, 5)
pool_x = special(2, 2, 6, 5)
LABELS = np.array([2, 0, -100, 1])
log_p = np.log(np.full((2, 3, 2), 1 / 3, np.float32)) + normal(2, 3, 2)
target = np.array([[0, 2], [-100, 1]])
state = np.array([2**40 + 12345, 2**32 - 1], np.int64)
mask = special(3, 5) > 0
CONV = [((1, 1), (0, 0), (1, 1), 1), ((2, 1), (1, 2), (1, 2), 2), ((3, 2), (1, 1), (2, 1), 4)]
AVG = (3, 2), (2, 2), (1, 1)
AVERAGES = [(False, True, 0), (True, True, 0), (True, False, 0), (False, True, 5)]
DIMS = [(), (1,), (0, 2), (0, 1, 2)]

# Cases: (family.launcher, arguments). Each runs in every layout.
CASES: list[tuple[Any, ...]] = [
    ("views.clone", x234),
    ("views.cast", normal(3, 4) * 100, np.dtype(np.uint8)),
    ("views.as_strided_scatter", normal(3, 4), normal(2, 3), (2, 3), (4, 16), 4),
    ("cat.cat", (x234, normal(2, 0, 4), normal(2, 2, 4)), 1),
    ("cat.cat", (mask, mask[:0]), 0),
    *(("reduce.sum", x, dims, k) for x in (x234, ints(9, 2, 3, 4), mask[None]) for dims in DIMS for k in (False, True)),
    *(("reduce.mean", x234, dims, False) for dims in DIMS),
    *(("reduce.var", x234, dims, True, 1) for dims in DIMS),
    *(("reduce.amax", x, dims, False) for x in (special(2, 3, 4), mask[None]) for dims in DIMS),
    *(("reduce.argmax", special(3, 4, 3), dim, k) for dim in (None, 0, 1, 2) for k in (False, True)),
    ("reduce.max_dim_grad", normal(3, 4), ints(3, 3, 4), (3, 3, 4), 1),
    ("reduce.max_dim_grad", normal(), np.zeros((), np.int64), (), 0),
    *(("reduce.max_dim", x, 1, True) for x in (special(3, 4, 3), ints(3, 3, 4, 3))),
    *(("reduce.sum_to", x234, shape) for shape in ((), (4,), (3, 1), (1, 3, 4), (2, 3, 4), (1, 1, 1))),
    ("reduce.sum", normal(0, 3), (0,), False),
    ("reduce.mean", normal(3, 0), (1,), False),
    ("matmul.matmul", normal(3, 4), normal(4, 2)),
    ("matmul.matmul", normal(2, 1, 3, 4), normal(3, 4, 2)),
    ("matmul.matmul", normal(2, 3, 4), normal(4, 2)),
    ("matmul.matmul", ints(9, 2, 3), ints(9, 3, 2)),
    ("matmul.matmul", normal(2, 0), normal(0, 3)),
    ("matmul.matmul", normal(1, 300, dtype=F64), normal(300, 1, dtype=F64)),
    ("matmul.linear", normal(2, 3, 4), normal(5, 4), normal(5)),
    ("matmul.linear", normal(4), normal(5, 4), None),
    *(("conv.conv2d", x3344, normal(4, 4 // c[3], 3, 2), normal(4), *c) for c in CONV),
    ("conv.conv2d", x3344, normal(2, 4, 1, 1), None, *CONV[0]),
    *(("pool.max_pool2d", pool_x, (3, 2), (2, 1), (1, 0), (1, 2), ceil) for ceil in (False, True)),
    ("pool.max_pool2d", normal(1, 2, 3, 3), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ("pool.max_pool2d_gather", normal(2, 2, 3, 3), ints(9, 2, 2, 2, 1)),
    ("pool.max_pool2d_grad", normal(2, 2, 3, 2), ints(9, 2, 2, 3, 2), (2, 2, 3, 3)),
    *(("pool.avg_pool2d", normal(1, 2, 6, 5), *AVG, *rest) for rest in AVERAGES),
    *(("pool.avg_pool2d_grad", normal(1, 2, 3 + rest[0], 3), (1, 2, 6, 5), *AVG, *rest) for rest in AVERAGES),
    *(("softmax.softmax", x, dim) for x in (x234 * 50, special(2, 3, 4)) for dim in (0, 1, 2)),
    *(("softmax.log_softmax", x, dim) for x in (x234 * 50, special(2, 3, 4)) for dim in (0, 1, 2)),
    *(("softmax.softmax_grad", normal(2, 3, 4), np.abs(x234), dim) for dim in (1, 2)),
    *(("softmax.log_softmax_grad", normal(2, 3, 4), -np.abs(x234), dim) for dim in (1, 2)),
    *(("loss.nll", log_p, target, normal(3), -100, reduction) for reduction in ("mean", "sum")),
    ("loss.nll", log_p, np.abs(target) % 3, None, 1, "mean"),
    ("loss.nll_grad", normal(2, 2), target, normal(3), log_p.shape, -100),
    ("loss.nll_grad", normal(), target, None, log_p.shape, -100),
    *(("loss.cross_entropy", normal(4, 3), LABELS, normal(3), -100, reduction) for reduction in ("mean", "sum", "none")),
    ("loss.cross_entropy", special(4, 3), np.abs(LABELS) % 3, None, 1, "sum"),
    ("loss.cross_entropy_grad", normal(4), -np.abs(normal(4, 3)), np.abs(normal(4, 2)), LABELS, -100),
    ("loss.cross_entropy_grad", normal(), -np.abs(normal(4, 3)), np.abs(normal(4, 2)), np.abs(LABELS) % 3, 2),
    ("matmul.linear_grad_w", normal(2, 3, 4), normal(2, 3, 5)),
    ("norm.layer_norm", x234, normal(4), normal(4), (4,), 1e-5),
    ("norm.layer_norm", x234, None, normal(3, 4), (3, 4), 1e-5),
    ("norm.layer_norm_grad", normal(2, 3, 4), x234, normal(4), normal(2, 6), (4,), 1e-5),
    ("norm.layer_norm_grad", normal(2, 3, 4), x234, None, normal(2, 2), (3, 4), 1e-5),
    ("norm.batch_norm", x234, normal(3), None, 1e-5),
    ("norm.batch_norm", normal(2, 3), None, normal(3), 1e-5),
    ("norm.batch_norm_grad", normal(2, 3, 4), x234, normal(3), np.abs(normal(2, 3)), 1e-5),
    ("norm.batch_norm_grad", normal(2, 3), normal(2, 3), None, np.abs(normal(2, 3)), 1e-5),
    ("index.take", x234, ints(2, 3, 2)),
    ("index.take", mask, ints(3, 4)),
    ("index.index_add", normal(4, 2, 3), ints(3, 4), 3),
    ("index.index_add", normal(4), np.array([2, 2, 0, 2]), 5),
    ("index.index_put", normal(3, 2), np.array([1, 2, 1, 1]), normal(4, 2)),
    *(("index.nonzero", x) for x in (mask, special(2, 3, 2), np.array(3), np.array(0.0), normal(0, 2), ints(2, 150))),
    ("index.first_outside", np.array([0, 1, 2, 9, -5]), 0, 3),
    ("index.wrap_index", np.array([[0, -1], [2, -3]]), 3),
    ("index.first_outside", np.array([[0, 1], [2, 2]]), 0, 3),
    *(("random." + op, state, *rest) for op, *rest in [("bits", 9), ("randint", (3, 3), -5, 7), ("permutation", 9)]),
    *(("random." + op, state, (3, 3), t) for op in ("uniform", "normal") for t in (F32, F64)),
    ("random.dropout", normal(2, 5), state, 0.3),
]


def case_id(case: tuple[Any, ...]) -> str:
    rest = converted(case[1:], lambda x: f"{x.dtype}{list(x.shape)}")
    return "-".join(map(str, (case[0].split(".")[1], *rest))).replace(" ", "")


@pytest.mark.parametrize("make", [plain, transposed, sliced, broadcast], ids=lambda f: f.__name__)
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_twin(case: tuple[Any, ...], make: Callable[[np.ndarray], Geometry]) -> None:
    cpu, device = twins(case[0])
    if case[0] == "views.as_strided_scatter" or (state is case[1] and make is broadcast):
        make = plain  # the one takes contiguous arrays only, the other would become another seed
    expected = cpu(*converted(case[1:], lambda x: on_host(make(x))))
    assert_same(device(*converted(case[1:], lambda x: on_device(make(x)))), expected)


@pytest.mark.parametrize("c", CONV, ids=str)
def test_conv_gradients(c: tuple[Any, ...]) -> None:
    x, w = x3344, normal(4, 4 // c[3], 3, 2)
    cpu, _ = twins("conv.conv2d")
    g = normal(*cpu(x, w, None, *c).shape)
    for name, args in (("grad_x", (g, w, x.shape)), ("grad_w", (g, x, w.shape))):
        cpu, device = twins("conv.conv2d_" + name)
        assert_same(device(*converted(args, from_host), *c), cpu(*args, *c))


@pytest.mark.parametrize("old", [bool, np.uint8, np.int8, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64])
def test_cast_from(old: type) -> None:
    values = np.array([-1.5, 0, 0.4, 1, 2.6, 300])
    with np.errstate(invalid="ignore"):
        x = values.astype(old) if old is not np.uint8 else np.array([0, 1, 2, 3, 200, 255], np.uint8)
    for new in (bool, np.uint8, np.int8, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64):
        got = to_host(cast(from_host(x), np.dtype(new)))
        through = x.astype(np.int64) if x.dtype.kind == "f" and np.dtype(new).kind in "iu" else x
        assert got.dtype == new
        np.testing.assert_array_equal(got, through.astype(new))


def test_cast_of_what_ints_cannot_hold() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e30], np.float32)
    np.testing.assert_array_equal(to_host(cast(from_host(x), I64)), np.full(4, -(2**63)))
    np.testing.assert_array_equal(to_host(cast(from_host(x), np.dtype(bool))), [True] * 4)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float16, np.float32, np.int64])
def test_create(dtype: type) -> None:
    for name, args in (("create.full", ((2, 3), 1)), ("create.full", ((), 0)), ("create.arange", (0, 1, 2))):
        cpu, device = twins(name)
        assert_same(device(*args, np.dtype(dtype)), cpu(*args, np.dtype(dtype)))
    cpu, device = twins("create.empty")
    assert tuple(device((2, 0, 3), np.dtype(dtype)).shape) == (2, 0, 3)


def test_full_and_arange_of_floats() -> None:
    for name, args in (("create.full", ((2,), -0.0)), ("create.full", ((2,), 1e300)), ("create.arange", (0.3, 0.1, 5))):
        cpu, device = twins(name)
        assert_same(device(*args, F32), cpu(*args, F32))
    assert np.signbit(to_host(twins("create.full")[1]((2,), -0.0, F32))).all()


def test_as_strided_leaves_and_returns() -> None:
    """A view of a view counts its offset from its own element zero and may reach back."""
    x = np.arange(24, dtype=np.float32)
    whole = from_host(x)
    back = as_strided(whole, (4, 3), (-4, 16), 12)
    np.testing.assert_array_equal(to_host(back), np.ndarray((4, 3), np.float32, x, 12, (-4, 16)))
    np.testing.assert_array_equal(to_host(as_strided(back, (24,), (4,), -12)), x)
    assert to_host(as_strided(whole, (0, 3), (12, 4), 96)).shape == (0, 3)
    assert to_host(as_strided(whole, (), (), 20)) == 5


def test_more_dims_than_a_launch_takes() -> None:
    x = rng.integers(0, 100, (2,) * 10).astype(np.int8)
    device = from_host(x)
    swapped = as_strided(device, x.shape, device.strides[::-1], 0)
    np.testing.assert_array_equal(to_host(clone(swapped)), x.transpose())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("geometry", [((3, 2), (1, 1), 0), ((2, 2), (-1, 2), 3), ((4,), (2,), 1), ((), (), 2), ((0,), (1,), 0)])
def test_as_strided_grad(dtype: type, geometry: tuple[Any, ...]) -> None:
    cpu, device = twins("views.as_strided_grad")
    item = np.dtype(dtype).itemsize
    shape, strides, offset = geometry[0], tuple(s * item for s in geometry[1]), geometry[2] * item
    g = normal(*shape, dtype=np.dtype(dtype))
    for x_shape, x_strides in (((4, 2), (2 * item, item)), ((2, 4), (item, 2 * item)), ((3, 8), (0, item))):
        args = (x_shape, x_strides, shape, strides, offset)
        assert_same(device(from_host(g), *args), cpu(g, *args), 1e-3 if dtype is np.float16 else 1e-6)


def test_copy_() -> None:
    x = normal(3, 4)
    dst = from_host(np.zeros((4, 6), np.float32))
    view = as_strided(dst, (4, 3), (24, -4), 20)
    copy_(view, as_strided(from_host(x), (4, 3), (4, 16), 0))
    np.testing.assert_array_equal(to_host(dst)[:, :2:-1], x.T)
    copy_(view, from_host(np.float32([1, 2, 3])))
    np.testing.assert_array_equal(to_host(dst)[:, :2:-1], np.tile(np.float32([1, 2, 3]), (4, 1)))


def test_copy_over_itself() -> None:
    x = np.arange(9, dtype=np.float32)
    device = from_host(x)
    copy_(as_strided(device, (8,), (4,), 4), as_strided(device, (8,), (4,), 0))
    np.testing.assert_array_equal(to_host(device), [0, 0, 1, 2, 3, 4, 5, 6, 7])
    copy_(as_strided(device, (9,), (4,), 0), as_strided(device, (9,), (-4,), 32))
    np.testing.assert_array_equal(to_host(device), [7, 6, 5, 4, 3, 2, 1, 0, 0])


def test_long_rows_are_shared_by_threads() -> None:
    x = normal(2, 2100) + 1000
    x[1, [70, 1500]] = x[1].max() + 1  # a tie, met by two threads
    for name, args in [
        ("reduce.sum", ((1,), False)),
        ("reduce.mean", ((1,), False)),
        ("reduce.var", ((1,), False, 0)),
        ("reduce.amax", ((1,), False)),
        ("reduce.max_dim", (1, False)),
        ("reduce.sum", ((0, 1), False)),
    ]:
        cpu, device = twins(name)
        assert_same(device(from_host(x), *args), cpu(x, *args), 1e-4)
    x[:, [1999, 130]] = np.nan
    np.testing.assert_array_equal(to_host(twins("reduce.argmax")[1](from_host(x), 1, False)), [130, 130])


@pytest.mark.parametrize("momentum", [0.0, 0.1, 1.0])
def test_update_running_(momentum: float) -> None:
    arrays = (normal(3), normal(3) ** 2, normal(1, 3, 1), normal(1, 3, 1) ** 2, np.array(momentum, np.float32))
    _assert_in_place("norm.update_running_", arrays, 8)


@pytest.mark.parametrize("hyper", [(0.1, 0, 0, 0, 0, 0, 1), (0.1, 0.9, 0.1, 0.01, 0, 1, 1), (0.1, 0.9, 0, 0.01, 1, 0, 2)], ids=str)
def test_sgd_(hyper: tuple[float, ...]) -> None:
    params, grads, bufs = ((normal(2, 3), normal(4)) for _ in range(3))
    _assert_in_place("optim.sgd_", (np.array(hyper), params, grads, bufs))


def test_sgd_without_buffers() -> None:
    _assert_in_place("optim.sgd_", (np.array([0.1, 0, 0, 0.5, 0, 0, 1]), (normal(3),), (normal(3),), ()))


@pytest.mark.parametrize(
    "hyper", [(0.1, 0.9, 0.99, 1e-8, 0, 0, 0, 1), (0.1, 0.9, 0.99, 1e-8, 0.1, 1, 1, 7), (0.1, 0.3, 0.5, 1e-8, 0, 0, 0, 2)], ids=str
)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_adam_(hyper: tuple[float, ...], dtype: np.dtype) -> None:
    params, grads, first, second = ((normal(2, 3, dtype=dtype), normal(4, dtype=dtype)) for _ in range(4))
    _assert_in_place("optim.adam_", (np.array(hyper), params, grads, first, converted(second, np.square)))


@pytest.mark.parametrize("hyper", [(0.1, 0.9, 0.1, 0, 0, 0), (0.1, 0.9, 0.1, 0.1, 0.5, 1), (0.1, 0.4, 0.1, 0, 0, 0)], ids=str)
@pytest.mark.parametrize("centered", [False, True])
def test_rmsprop_(hyper: tuple[float, ...], centered: bool) -> None:
    params, grads, squares, means, bufs = ((normal(2, 3), normal(4)) for _ in range(5))
    states = (converted(squares, lambda v: v * v + 9), *([means] if centered else []), bufs if hyper[4] else ())
    _assert_in_place("optim.rmsprop_centered_" if centered else "optim.rmsprop_", (np.array(hyper), params, grads, *states))


@pytest.mark.parametrize("hyper", [(0.1, 0.9, 0.99, 1e-8, 0, 0, 0, 1), (0.1, 0.9, 0.99, 1e-8, 0.1, 1, 1, 7)], ids=str)
def test_amsgrad_(hyper: tuple[float, ...]) -> None:
    params, grads, first, second, peaks = ((normal(2, 3), normal(4)) for _ in range(5))
    _assert_in_place("optim.amsgrad_", (np.array(hyper), params, grads, first, converted(second, np.square), converted(peaks, np.square)))


def test_optimizer_on_strided_parameters() -> None:
    x, g = normal(3, 2), normal(2, 3)
    expected = x.T - 0.5 * g
    base = from_host(x)
    twins("optim.sgd_")[1](from_host(np.array([0.5, 0, 0, 0, 0, 0, 1])), (as_strided(base, (2, 3), (4, 8), 0),), (from_host(g),), ())
    np.testing.assert_allclose(to_host(base), expected.T, rtol=1e-6)


def _assert_in_place(name: str, args: tuple[Any, ...], *static: Any) -> None:
    cpu, device = twins(name)
    mine = converted(args, from_host)
    assert device(*mine, *static) is None
    args = converted(args, np.copy)
    cpu(*args, *static)
    assert_same(mine, args)


def test_inputs_are_unchanged() -> None:
    x = normal(2, 3)
    device = from_host(x)
    for name, args in (("softmax.softmax", (1,)), ("norm.layer_norm", (None, None, (3,), 1e-5)), ("reduce.sum_to", ((2, 3),))):
        twins(name)[1](device, *args)
    np.testing.assert_array_equal(to_host(device), x)


def launchers(device: str, family: str) -> dict[str, list[str]]:
    """Public launchers of a family and their parameters' names."""
    try:
        module = import_module(f"jitgrad.kernels.{device}.{family}")
    except ModuleNotFoundError:
        return {}
    here = {n: f for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__}
    return {n: list(inspect.signature(f).parameters) for n, f in here.items() if not n.startswith("_")}


@pytest.mark.parametrize("family", FAMILIES)
def test_same_names_and_parameters(family: str) -> None:
    missing = (Path(__file__).parent / "missing_twins.txt").read_text().split()
    cpu, device = launchers("cpu", family), launchers("cuda", family)
    assert [f"{family}.{n}" for n in cpu if n not in device] == [n for n in missing if n.startswith(family + ".")]
    assert not device.keys() - cpu.keys()
    assert {n: cpu[n] for n in device} == device


def test_no_other_file_knows_the_simulator() -> None:
    for path in Path(layout.__file__).parent.glob("*.py"):
        if path.name != "layout.py":
            text = path.read_text()
            assert not any(word in text for word in ("CUDASIM", "_ary", "gpu_data", "DeviceNDArray")), path.name
