"""Every pointwise kernel against NumPy, over dtypes, layouts and special values."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jitgrad.kernels.cpu import large, pointwise, ufunc
from jitgrad.kernels.scalars import TABLE, Form

HERE = Path(__file__).parent
SRC = HERE.parent / "src"
INF, NAN = np.inf, np.nan


def phi(x: np.ndarray) -> np.ndarray:
    return 0.5 * np.vectorize(math.erfc, otypes=[float])(-x / math.sqrt(2))


def density(x: np.ndarray) -> np.ndarray:
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def pow_grad_b(g: np.ndarray, a: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.where((a == 0) & (y <= 1), 0, g * (y * np.log(a)))


ORACLES: dict[str, Callable[..., np.ndarray]] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "neg": np.negative,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "pow": np.power,
    "pow_grad_a": lambda g, a, b: np.where(b == 0, 0, g * (b * np.power(a, b - 1))),
    "pow_grad_b": pow_grad_b,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "where": np.where,
    "sqrt_grad": lambda g, y: g / (y + y),
    "erf_grad": lambda g, x: g * (2 / math.sqrt(math.pi) * np.exp(-x * x)),
    "div_grad_b": lambda g, a, b: -(g * (a / b / b)),
    "maximum_grad": lambda g, a, b: np.where(a < b, 0, np.where(a == b, g / 2, g)),
    "relu": lambda x: np.where(x <= 0, 0, x).astype(x.dtype),
    "relu_grad": lambda g, y: np.where(y <= 0, 0, g),
    "tanh_grad": lambda g, y: g * (1 - y * y),
    "gelu": lambda x: x * phi(x),
    "gelu_grad": lambda g, x: g * (phi(x) + x * density(x)),
}
KNOWN = {name: entry for name, entry in TABLE.items() if name in ORACLES}  # others are tested by the op table alone
FORMS = [
    pytest.param(entry.name, form, dtype, id=f"{entry.name}-{dtype}")
    for entry in KNOWN.values()
    for form in entry.forms
    for dtype in form.dtypes
    if entry.name in ("add", "lt") or dtype not in ("int32", "int16", "int8", "uint8")  # each costs a compilation
]
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.0, 2.0, 3.0, INF, -INF, NAN, 1e-30, -1e30, 88.0, -104.0, 100.0, 1e38, 1e-42]


def samples(op: str, form: Form, dtype: str, shape: tuple[int, ...]) -> list[np.ndarray]:
    """One input per parameter, in the domain of the op."""
    rng = np.random.default_rng(sum(map(ord, op + dtype)))
    arrays = []
    for kind in form.inputs:
        if kind == "b" or dtype == "bool":
            x = rng.random(shape) < 0.5
        elif dtype.startswith("f"):
            x = rng.normal(size=shape).astype(dtype)
            if op in ("log", "sqrt") or op.startswith("pow"):
                x = np.abs(x) + np.asarray(0.1, dtype)
        else:
            low, high = (0, 4) if op == "pow" else (0, 100) if dtype == "uint8" else (-100, 100)
            x = rng.integers(low, high, shape).astype(dtype)
        arrays.append(x)
    return arrays


def expected(op: str, arrays: list[np.ndarray], exact: bool = True) -> np.ndarray:
    """The oracle's answer: computed in float64 if `exact`, and rounded at the end; ints wrap around."""
    dtype = arrays[-1].dtype
    wide = [x.astype(np.float64) if exact and x.dtype.kind == "f" else x for x in arrays]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = np.asarray(ORACLES[op](*wide))
        return y if y.dtype == bool else y.astype(dtype)


def compare(y: Any, want: np.ndarray, hint: object = None) -> None:
    assert type(y) is np.ndarray and y.dtype == want.dtype and y.shape == want.shape, hint
    assert y.flags.forc and y.flags.writeable, hint
    if want.dtype.kind == "f":
        scale = 4 * np.finfo(want.dtype).eps
        np.testing.assert_allclose(y, want, rtol=scale, atol=scale / 4, err_msg=str(hint))
    else:
        np.testing.assert_array_equal(y, want, err_msg=str(hint))


def layouts(x: np.ndarray) -> Iterator[np.ndarray]:
    """Arrays of other layouts with x's first elements."""
    yield x
    yield x.T
    yield np.repeat(x, 2, axis=1)[:, ::2]
    yield x[::-1, ::-1]
    yield np.broadcast_to(x[:, :1], x.shape)
    yield np.broadcast_to(x[:1], x.shape)
    yield np.asfortranarray(x)
    yield x[:0]
    yield x[0, 0].reshape(())
    yield x[:, None, :]


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize(("op", "form", "dtype"), FORMS)
def test_values_and_layouts(op: str, form: Form, dtype: str) -> None:
    kernel = getattr(pointwise, op)
    arrays = samples(op, form, dtype, (5, 7))
    for same in zip(*(layouts(x) for x in arrays), strict=True):
        before = [x.copy() for x in same]
        compare(kernel(*same), expected(op, list(same)), [(x.shape, x.strides) for x in same])
        for x, old in zip(same, before, strict=True):
            np.testing.assert_array_equal(x, old)


@pytest.mark.parametrize(("op", "form", "dtype"), [p for p in FORMS if len(p.values[1].inputs) > 1])
def test_broadcasting(op: str, form: Form, dtype: str) -> None:
    kernel = getattr(pointwise, op)
    arrays = samples(op, form, dtype, (3, 4, 6))
    for cut in (
        np.s_[:],
        np.s_[0],
        np.s_[:, :1],
        np.s_[0, 0, :1],
        np.s_[:1, :, :1],
        np.s_[0, 0, 0],
        np.s_[:0],
        np.s_[:, ::-2],
    ):
        for place in range(len(arrays)):
            mixed = [np.asarray(x[cut]) if i == place else x for i, x in enumerate(arrays)]
            try:
                np.broadcast_shapes(*(x.shape for x in mixed))
            except ValueError:
                mixed = [np.asarray(x[cut]) for x in arrays]
            compare(kernel(*mixed), expected(op, mixed), (cut, place))


@pytest.mark.parametrize(("op", "form", "dtype"), [p for p in FORMS if p.values[2].startswith("f")])
def test_special_values(op: str, form: Form, dtype: str) -> None:
    with np.errstate(all="ignore"):
        values = np.array(SPECIAL).astype(dtype)
    if len(form.inputs) == 1:
        arrays = [values]
    else:
        first, second = (np.ascontiguousarray(v) for v in np.meshgrid(values, values))
        arrays = [first, second] if len(form.inputs) == 2 else [np.ones_like(first), first, second]
    arrays = [x > 0 if kind == "b" else x for x, kind in zip(arrays, form.inputs, strict=True)]
    compare(getattr(pointwise, op)(*arrays), expected(op, arrays, exact=False))  # overflows where the kernel does


@pytest.mark.parametrize("number", [2.0, 3.0, 0.5, -1.0, 0.0, 1.7, -2.0, INF, NAN])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_exponent_for_all(number: float, dtype: str) -> None:
    a = np.array([*SPECIAL, *np.linspace(0.1, 30, 80)]).astype(dtype)
    a = a[~np.isneginf(a)] if number == 0.5 else a  # the root of -inf is NaN, its power inf
    g, b = np.full_like(a, 2), np.array(number, dtype)
    compare(pointwise.pow(a, b), expected("pow", [a, b]))
    a = a[(a > 0) & (a < 1e18)]
    compare(pointwise.pow_grad_a(g[: a.size], a, b), expected("pow_grad_a", [g[: a.size], a, b]))


def test_roots_are_those_of_ieee_in_vectors_and_alone() -> None:
    """LLVM takes vectors or single numbers by how many there are and where they lie, which must not be seen in the bits."""
    a = np.float32(10) ** np.random.default_rng(0).uniform(-37, 38, 20_000).astype(np.float32)
    for size in (1, 5, 20_000):
        got = np.concatenate([pointwise.sqrt(part.copy()) for part in a.reshape(-1, size)[:4000]])
        np.testing.assert_array_equal(got, np.sqrt(a[: len(got)]))


def test_powers_and_roots_over_the_whole_range() -> None:
    rng = np.random.default_rng(0)
    a = np.exp(rng.uniform(-103, 88, 10_000)).astype(np.float32)  # subnormal ones too
    b = rng.uniform(-8, 8, a.size).astype(np.float32)
    a = np.where(rng.random(a.size) < 0.2, -a, a)
    b = np.where(a < 0, np.round(b), b)
    compare(pointwise.pow(a, b), expected("pow", [a, b]))
    compare(pointwise.sqrt(abs(a)), expected("sqrt", [abs(a)]))
    whole = np.arange(4097, dtype=np.float32)
    np.testing.assert_array_equal(pointwise.sqrt(whole * whole), whole)


def test_a_large_matrix_and_a_row() -> None:
    for shape in ((701, 100), (70, 10, 101), (100_000, 1), (5, 40_000)):
        a = np.linspace(-1, 1, math.prod(shape), dtype=np.float32).reshape(shape)
        row = np.linspace(2, 3, shape[-1], dtype=np.float32)
        compare(pointwise.sub(a, row), a - row)
        compare(pointwise.sub(a, row.reshape(1, 1, 1, -1)), a - row.reshape(1, 1, 1, -1))
        compare(pointwise.lt(a, row[None] - 2), a < row - 2)
        compare(pointwise.mul(a, row[None]), a * row)


@pytest.mark.parametrize(("op", "form"), [(e.name, f) for e in KNOWN.values() for f in e.forms])
def test_kernels_of_the_formulas(op: str, form: Form) -> None:
    dtype = form.dtypes[0]
    arrays = samples(op, form, dtype, (997,))
    out = np.empty(997, bool if form.output == "b" else dtype)
    kernel = getattr(pointwise, f"_{form.formula}")
    kernel(*arrays, out)
    compare(out, expected(op, arrays))
    if hasattr(kernel, "signatures"):
        assert len({str(s) for s in kernel.signatures}) == len(kernel.signatures) <= len(form.dtypes)


@pytest.fixture(params=[1, 2])
def shared(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., np.ndarray]:
    """Calls an op of arrays of any size as that of large ones is called."""
    if ufunc.make_ufunc is None:
        pytest.skip("there are no ufuncs")
    monkeypatch.setattr(large, "get_num_threads", lambda: request.param)

    def run(op: str, *arrays: np.ndarray) -> np.ndarray:
        dtype = arrays[-1].dtype
        launch = getattr(pointwise, op)
        launch(*(np.zeros(1, x.dtype) for x in arrays))
        address, _, out = ufunc.addresses[launch.loops[dtype]]
        return large.run(address, out, arrays)

    return run


LAYOUTS = {
    "in order": lambda x: x,
    "transposed": lambda x: np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2),
    "turned": lambda x: np.ascontiguousarray(np.moveaxis(x, 0, -1)).transpose(x.ndim - 1, *range(x.ndim - 1)),
    "every second": lambda x: np.repeat(x, 2, -1)[..., ::2],
    "backwards": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1],
    "read-only": lambda x: np.broadcast_to(x, x.shape),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_large_arrays_of_any_layout(layout: str, shared: Callable[..., np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    for shape, *others in (
        ((6, 7), (6, 1), (7,), (), (1, 7), (6, 7)), ((2, 3, 4, 5), (3, 1, 1), (2, 1, 4, 1), (5,), (1, 3, 4, 5)), ((1, 1), (1,), ()),
        ((9, 1), (1, 8), (9, 8)), ((70, 3), (3,)), ((0, 4), (4,)), ((5, 2, 1), (2, 1), (5, 2, 1)),
    ):  # fmt: skip
        a = LAYOUTS[layout](rng.standard_normal(shape).astype(np.float32))
        for other in others:
            b = np.asarray(rng.standard_normal(other), np.float32)
            for got, wanted in ((shared("sub", a, b), a - b), (shared("sub", b, a), b - a), (shared("lt", a, b), a < b)):
                compare(np.ascontiguousarray(got), wanted)
            c = np.asarray(rng.standard_normal(shape) > 0)
            compare(np.ascontiguousarray(shared("where", c, a, b)), np.where(c, a, b))
        compare(np.ascontiguousarray(shared("neg", a)), -a)
        assert 1 in a.shape or a.size == 0 or layout == "backwards" or shared("neg", a).strides == (-a).strides
    plan = large._plan((((9, 8, 1), (32, 4, 4)), ((9, 8, 1), (32, 4, 4))), 4)[2]
    assert plan.tolist() == [[72, 4, 4, 4]]  # one row


def test_large_arrays_go_to_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    if ufunc.make_ufunc is None:
        pytest.skip("there are no ufuncs")
    calls, run = [], large.run
    monkeypatch.setattr(pointwise, "pays", lambda size, least: size >= least)
    monkeypatch.setattr(large, "run", lambda *args: calls.append(args[2][0].shape) or run(*args))
    x = np.linspace(-1, 1, 1 << 17, dtype=np.float32).reshape(2, -1)
    for op, size in ((pointwise.add, 1 << 17), (pointwise.mul, 1 << 17)):
        for n in (size - 2, size):
            part = x.reshape(-1)[:n]
            compare(op(part, part), part + part if op is pointwise.add else part * part)
    compare(pointwise.exp(x[0]), np.exp(x[0]))
    compare(pointwise.neg(x[0]), -x[0])
    compare(pointwise.add(x, x[:, :1]), x + x[:, :1])
    compare(pointwise.sub(np.float32(2)[None], x), 2 - x)
    compare(pointwise.mul(x[0, :256, None], x[1, :256]), x[0, :256, None] * x[1, :256])
    assert calls == [(1 << 17,), (1 << 17,), (1 << 16,), (2, 1 << 16), (1,), (256, 1)]
    compare(pointwise.add(x.astype(">f4"), x), x + x)  # what the loop does not take is converted by NumPy


def test_two_dtypes_in_any_order_keep_their_own() -> None:
    for dtypes in (("float64", "float32"), ("float32", "float64")):
        kernel = pointwise._launcher(TABLE["mul"])
        for dtype in dtypes:
            assert kernel(np.ones(3, dtype), np.ones(3, dtype)).dtype == dtype


def test_no_warning_even_where_numpy_would_raise() -> None:
    big = np.full((3, 3), 3e38, np.float32)
    with np.errstate(all="raise"):
        for args in ((big, big), (big[::2], big[::2]), (big, big[0, 0].reshape(()))):
            assert np.isinf(pointwise.mul(*args)).all()
        assert np.isnan(pointwise.log(-big)).all()
        assert np.isinf(pointwise.div(big, 0 * big)).all()


def test_another_dtype_is_refused() -> None:
    with pytest.raises(TypeError, match="exp has no kernel for int64"):
        pointwise.exp(np.ones(2, np.int64))


def test_launchers_look_like_their_formulas() -> None:
    import inspect

    for name, entry in KNOWN.items():
        kernel = getattr(pointwise, name)
        assert (kernel.__name__, kernel.__doc__, tuple(inspect.signature(kernel).parameters)) == (
            name,
            entry.doc,
            entry.parameters,
        )
        assert entry.doc
    with pytest.raises(AttributeError):
        _ = pointwise._no_such_kernel


def test_a_formula_is_all_that_a_pointwise_op_needs(tmp_path: Path) -> None:
    shutil.copytree(SRC / "jitgrad", tmp_path / "jitgrad", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "jitgrad/__init__.py").write_text("")
    formula = """

@pointwise("f -> f")
def squareplus(x):
    "y = (x + sqrt(x^2 + 4)) / 2"
    return (x + sqrt(x * x + like(x, 4))) * like(x, 0.5)
"""
    with open(tmp_path / "jitgrad/kernels/scalars.py", "a") as file:
        file.write(formula)
    program = """
import numpy as np
from jitgrad import kernels
from jitgrad.kernels.cuda.layout import upload
x = np.array([-1.0, 0.0, 30.0], np.float32)
print(*kernels.of(x).squareplus(x).round(4), *kernels.of(upload(x)).squareplus(upload(x)).copy_to_host().round(4))
"""
    env = {"PYTHONPATH": str(tmp_path), "JITGRAD_CACHE_DIR": str(tmp_path / "cache"), "NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | env, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["0.618", "1.0", "30.0333"] * 2, done.stderr


def small_cases() -> Iterator[tuple[str, list[np.ndarray]]]:
    """Each op once, on few elements, with other layouts and special values among them."""
    for entry in KNOWN.values():
        for form in entry.forms:
            arrays = samples(entry.name, form, form.dtypes[0], (2, 3))
            if arrays[-1].dtype.kind == "f":
                arrays[-1][0, 0] = 0
                arrays[0][0, :2] = (2, 0)
                arrays[0][1, 2] = 3e38 if form.inputs[0] != "b" else 1
            yield entry.name, arrays
            yield entry.name, [x[::-1, ::-2].T for x in arrays]
            yield entry.name, [arrays[0][:, :1], *arrays[1:]]
            yield entry.name, [x[:0] for x in arrays]
            yield entry.name, [x[0, 1].reshape(()) for x in arrays]


def check_plain() -> None:
    """Run with NUMBA_DISABLE_JIT=1."""
    for op, arrays in small_cases():
        compare(getattr(pointwise, op)(*arrays), expected(op, arrays), op)


def check_cuda() -> None:
    """Run with NUMBA_ENABLE_CUDASIM=1."""
    from jitgrad.kernels.cuda import pointwise as device
    from jitgrad.kernels.cuda.layout import strided, upload

    for op, arrays in small_cases():
        there = []
        for x in arrays:
            base = x
            while isinstance(base.base, np.ndarray):
                base = base.base
            offset = x.__array_interface__["data"][0] - base.__array_interface__["data"][0]
            there.append(strided(upload(np.ascontiguousarray(base)), x.shape, x.strides, offset))
        compare(getattr(device, op)(*there).copy_to_host(), expected(op, arrays), op)


@pytest.mark.parametrize(("check", "variable"), [("plain", "NUMBA_DISABLE_JIT"), ("cuda", "NUMBA_ENABLE_CUDASIM")])
def test_other_ways_to_run(check: str, variable: str) -> None:
    paths = os.pathsep.join([str(SRC), str(HERE)])
    command = f"import test_kernels_pointwise as t; t.check_{check}()"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", command],
        env=os.environ | {"PYTHONPATH": paths, variable: "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_without_numba_s_private_parts_the_njit_form_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pointwise, "make_ufunc", None)
    kernel = pointwise._launcher(TABLE["add"])
    arrays = samples("add", TABLE["add"].forms[0], "float32", (5, 7))
    for same in zip(*(layouts(x) for x in arrays), strict=True):
        compare(kernel(*same), expected("add", list(same)))
    frozen = np.broadcast_to(arrays[0][0], (5, 7))
    compare(kernel(frozen, arrays[1]), frozen + arrays[1])
