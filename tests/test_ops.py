"""Generic tests over the op table: each reads every row (op_cases.py) and asks one question."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases_programs import FORBIDDEN, PROGRAMS
from naive_calls import COMPUTED, expected
from op_case import FLOATS, OpCase, Operand, call, host, leaves, mapped, operands, outputs, resolve, tensors, to_tensor
from op_cases import CASES, ERRORS

import jitgrad as jg
from jitgrad.autograd import Listener, Spec, gradcheck, gradgradcheck
from jitgrad.errors import GradError, NoDataError
from jitgrad.nn.functional import batch_norm

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the oracles divide by zero where the rows say so

TOLERANCE = {"float32": 2e-5, "float64": 1e-10}
EXACT = {"atol": 1e-6, "rtol": 1e-5}  # for gradcheck: differences in float64 are good to 1e-8 or so


def rows(cases: list[OpCase], only: Any = lambda case, dtype: True) -> Any:
    """Parametrize over the rows and their dtypes."""
    chosen = [(c, d) for c in cases for d in c.runs if only(c, d)]
    return pytest.mark.parametrize(("case", "dtype"), chosen, ids=[f"{c.label()}-{d}" for c, d in chosen])


def differentiable(case: OpCase, dtype: str) -> bool:
    """Whether a row has gradients to check: in float64, at points where there are derivatives."""
    if dtype != "float64" or not case.grad or case.domain in ("special", "ties"):
        return False
    args, kwargs = operands(case, dtype)
    given = [x for x in leaves([args, list(kwargs.values())]) if x.grad]
    return bool(given) and all(np.isfinite(x.array).all() for x in given)


def close(got: np.ndarray, want: np.ndarray, tol: float) -> None:
    assert got.shape == np.shape(want)
    eps = TOLERANCE.get(got.dtype.name, 0.0) * tol
    if eps and got.dtype.kind == "f":
        np.testing.assert_allclose(got.astype(np.float64), want, rtol=eps, atol=eps)
    else:
        np.testing.assert_array_equal(got, np.asarray(want).astype(got.dtype))
        if got.dtype.kind == "f":  # also -0.0
            number = ~np.isnan(got)
            np.testing.assert_array_equal(np.signbit(got)[number], np.signbit(want)[number])


@rows(CASES)
def test_forward(case: OpCase, dtype: str) -> None:
    """Values, shape and dtype are the oracle's; what the op writes to, too."""
    args, kwargs = operands(case, dtype)
    got = call(case, *_tensors(args, kwargs))
    if case.holds is not None:
        assert case.holds(host(got[0]))
        return
    written: list[Any] = mapped(args, to_tensor)
    if case.writes:
        call(case, written, mapped(kwargs, to_tensor))
    wants, oracle_args = expected(case, args, kwargs)
    assert len(got) == len(wants)
    for y, want in zip(got, wants, strict=True):
        assert isinstance(y, jg.Tensor)
        close(host(y), want, case.tol)
        assert y.dtype == _expected_dtype(case, dtype, np.asarray(want), args), y.dtype
    for i in case.writes:
        close(host(written[i]), oracle_args[i], case.tol)


def _tensors(args: Any, kwargs: Any, change: Any = to_tensor) -> tuple[Any, Any]:
    return mapped(args, change), mapped(kwargs, change)


def _expected_dtype(case: OpCase, dtype: str, want: np.ndarray, args: Any) -> Any:
    """Floats come out in the dtype that they went in with; ints and bools as the oracle has them."""
    floats = {x.array.dtype for x in leaves(args) if x.array.dtype.kind == "f"}
    if case.inplace:
        return next(leaves(args)).array.dtype
    if want.dtype.kind != "f" or case.name in COMPUTED:
        return want.dtype
    if not floats:
        return np.dtype(np.float32)
    of_tensors = {x.array.dtype for x in leaves(args) if x.array.dtype.kind == "f" and x.array.ndim}
    return max(of_tensors or floats, key=lambda d: d.itemsize)


@rows(CASES, differentiable)
def test_gradcheck(case: OpCase, dtype: str) -> None:
    """Backward agrees with differences."""
    fn, inputs = as_function(case, dtype)
    if any(y.requires_grad for y in outputs(fn(*inputs))):
        gradcheck(fn, inputs, **EXACT)


@rows(CASES, lambda case, dtype: case.second and differentiable(case, dtype))
def test_gradgradcheck(case: OpCase, dtype: str) -> None:
    """So does backward of backward."""
    fn, inputs = as_function(case, dtype)
    if any(y.requires_grad for y in outputs(fn(*inputs))):
        gradgradcheck(fn, inputs, **EXACT)


def as_function(case: OpCase, dtype: str) -> tuple[Any, list[jg.Tensor]]:
    """The row as a function of its tensors that want gradients, whatever lists and keywords they stand in."""
    args, kwargs = operands(case, dtype)
    wanted = [x for x in leaves([args, list(kwargs.values())]) if x.grad]

    def fn(*inputs: jg.Tensor) -> tuple[Any, ...]:
        place = {id(x): t for x, t in zip(wanted, inputs, strict=True)}
        return tuple(call(case, *_tensors(args, kwargs, lambda x: place[id(x)] if id(x) in place else to_tensor(x))))

    return fn, [to_tensor(x) for x in wanted]


@rows(CASES, lambda case, dtype: dtype == "float32" and case.grad and case.domain != "special")
def test_gradients_keep_their_dtype(case: OpCase, dtype: str) -> None:
    """float32 gradients are float32, of the inputs' shapes, and the float64 ones to float32's precision."""
    found = [gradients(case, d) for d in ("float32", "float64")] if "float64" in case.dtypes else [gradients(case, dtype)]
    for inputs, grads in found:
        for x, g in zip(inputs, grads, strict=True):
            assert g is None or (g.dtype is x.dtype and g.shape == x.shape)
    if len(found) == 2:
        for a, b in zip(found[0][1], found[1][1], strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(host(a), host(b), rtol=2e-3, atol=2e-4)


def gradients(case: OpCase, dtype: str, args: Any = None, kwargs: Any = None) -> tuple[list[jg.Tensor], list[Any]]:
    """Inputs that want gradients, and those of a sum of the outputs with weights 1, 2, 3 ..."""
    if args is None:
        args, kwargs = tensors(case, dtype)
    inputs: list[jg.Tensor] = []
    _collect([args, list(kwargs.values())], inputs)
    ys = [y for y in call(case, args, kwargs) if y.requires_grad]
    if not ys or not inputs:
        return inputs, [None] * len(inputs)
    weights = [jg.tensor(np.arange(1.0, y.numel() + 1).reshape(y.shape), dtype=y.dtype, device=y.device) for y in ys]
    return inputs, list(jg.autograd.grad(ys, inputs, weights, allow_unused=True))


def _collect(value: Any, found: list[jg.Tensor]) -> None:
    if isinstance(value, jg.Tensor) and value.requires_grad:
        found.append(value)
    elif isinstance(value, (list, tuple)):
        for v in value:
            _collect(v, found)


# ---- layouts
def fortran(a: np.ndarray) -> np.ndarray:
    return np.array(a, order="F")


def sliced(a: np.ndarray) -> np.ndarray:
    wide = np.zeros((*(2 * n for n in a.shape[:-1]), 2 * a.shape[-1] + 1) if a.ndim else (), a.dtype)
    part = wide[(*(slice(None, None, 2) for _ in a.shape[:-1]), slice(1, None, 2))] if a.ndim else wide
    part[...] = a
    return part


def reversed_(a: np.ndarray) -> np.ndarray:
    flip = (slice(None, None, -1),) * a.ndim
    return np.ascontiguousarray(a[flip])[flip] if a.ndim else a.copy()


def broadcast(a: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.as_strided(a[:1].copy(), a.shape, (0, *a.strides[1:])) if a.ndim and len(a) else a.copy()


LAYOUTS = [fortran, sliced, reversed_, broadcast]


@rows(CASES, lambda case, dtype: case.layouts and case.holds is None and dtype == case.dtypes[0])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(case: OpCase, dtype: str, layout: Any) -> None:
    """Values and gradients are those of C-contiguous operands, whatever the memory looks like."""
    args, kwargs = operands(case, dtype)

    def laid_out(x: Operand) -> jg.Tensor:
        first = case.inplace and x is next(leaves(args))
        # What is written to cannot be broadcast, nor can running statistics; masks and indices would be other ones.
        keep = layout is broadcast and (first or not x.grad or x.array.dtype.kind != "f")
        t = jg.from_numpy((sliced if keep else layout)(x.array))
        return t.requires_grad_() if x.grad else t

    def plain(x: Operand) -> jg.Tensor:
        t = laid_out(x)
        return jg.tensor(host(t), requires_grad=x.grad)

    results = []
    for change in (laid_out, plain):
        a, k = _tensors(args, kwargs, change)
        _, grads = gradients(case, dtype, a, k) if case.grad and case.domain != "special" else (0, [])
        if case.inplace:  # without the clone
            a, k = _tensors(args, kwargs, change)
            with jg.no_grad():
                ys = outputs(resolve(case.op)(*a, **k))
            assert ys[0] is a[0]
        else:
            ys = call(case, a, k)
        results.append([host(y) for y in ys] + [None if g is None else host(g) for g in grads])
    for got, want in zip(*results, strict=True):
        if want is None:
            assert got is None
        else:
            np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


# ---- side effects
@rows(CASES)
def test_inputs_unchanged(case: OpCase, dtype: str) -> None:
    """Neither forward nor backward writes to an operand, but those that the op is for."""
    operand_args, operand_kwargs = operands(case, dtype)
    args, kwargs = _tensors(operand_args, operand_kwargs)
    gradients(case, dtype, args, kwargs)
    pairs: list[tuple[Any, Any]] = []
    for i, (a, o) in enumerate(zip(args, operand_args, strict=True)):
        if i not in case.writes:
            _pairs(a, o, pairs)
    for key, a in kwargs.items():
        _pairs(a, operand_kwargs[key], pairs)
    for t, o in pairs:
        np.testing.assert_array_equal(host(t), o.array)


def _pairs(a: Any, o: Any, found: list[tuple[Any, Any]]) -> None:
    if isinstance(o, Operand):
        found.append((a, o))
    elif isinstance(o, (list, tuple)):
        for b, p in zip(a, o, strict=True):
            _pairs(b, p, found)


@rows(CASES, lambda case, dtype: case.inplace)
def test_in_place_returns_its_tensor(case: OpCase, dtype: str) -> None:
    """An in-place op gives back the tensor itself, on the same memory, with a new version."""
    args, kwargs = tensors(case, dtype, requires_grad=False)
    x = args[0]
    memory, version = x.array, x._version
    assert resolve(case.op)(*args, **kwargs) is x
    assert x.array is memory
    assert x._version > version


@rows(CASES)
def test_no_graph_without_grad(case: OpCase, dtype: str) -> None:
    """Nothing is recorded under no_grad, nor for operands that want no gradient; ints and bools never record."""
    args, kwargs = tensors(case, dtype)
    with jg.no_grad():
        ys = call(case, args, kwargs)
        assert not any(y.grad_fn for y in ys)
        # Ops that hand an operand through hand through its wish for gradients.
        assert not any(y.requires_grad for y in ys if y is not args[0])
    ys = call(case, *tensors(case, dtype, requires_grad=False))
    assert not any(y.requires_grad for y in ys)
    for y in call(case, args, kwargs):
        assert y.is_floating_point() or not y.requires_grad


# Their outputs' sizes, or what they refuse, depend on values; indexing does so with masks only.
NEED_VALUES = {
    "nonzero", "masked_select", "F.one_hot", "normal", "bernoulli", "x.bernoulli_", "multinomial", "x.__getitem__", "x.__setitem__",
}  # fmt: skip


# ---- infer
class Recorder(Listener):
    """Keeps each primitive's inputs and static parameters, what came out, and the error of the one that failed."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, list[Any], tuple[Any, ...], Any]] = []

    def __call__(self, prim: Any, inputs: Any, p: Any) -> Any:
        specs = [None if t is None else Spec(t.shape, t.array.dtype, tuple(t.array.strides)) for t in inputs]
        try:
            out = self.run(prim, inputs, p)
        except Exception as error:
            self.calls.append((prim, specs, p, error))
            raise
        self.calls.append((prim, specs, p, out))
        return out


def inferred(prim: Any, specs: list[Any], p: tuple[Any, ...]) -> list[tuple[Any, Any]]:
    """What a primitive says about its outputs without data."""
    described = prim.infer(*prim.grouped(specs), *p)
    return described if isinstance(described, list) else [described]


@rows(CASES, lambda case, dtype: dtype == case.dtypes[0])
def test_infer_says_what_runs(case: OpCase, dtype: str) -> None:
    """For every primitive of forward and backward, infer on Specs gives the shapes and dtypes that came out."""
    args, kwargs = tensors(case, dtype)
    with Recorder() as heard:
        gradients(case, dtype, args, kwargs)
    for prim, specs, p, out in heard.calls:
        if isinstance(out, Exception):  # reshape tries for a view first
            with pytest.raises(type(out)):
                inferred(prim, specs, p)
            continue
        described = inferred(prim, specs, p)
        got = outputs(out) if not prim.mutates else [specs[i] for i in _mutated(prim, specs)]
        assert len(described) == len(got), prim.name
        for (shape, kind), y in zip(described, got, strict=True):
            assert len(shape) == len(y.shape) and all(n in (None, m) for n, m in zip(shape, y.shape, strict=True)), prim.name
            assert y.dtype == kind, prim.name


@rows(CASES, lambda case, dtype: dtype == case.dtypes[0])
def test_dry_run(case: OpCase, dtype: str) -> None:
    """In a dry run a call gives Tensors of the shapes and dtypes that it really gives, and writes nothing; or says that it needs values."""
    args, kwargs = tensors(case, dtype, requires_grad=False)
    given = _all_tensors([args, list(kwargs.values())])
    before = [host(t) for t in given]
    with jg.autograd.DryRun():
        try:
            dry = [(y.shape, y.dtype, y.device) for y in call(case, args, kwargs)]
        except NoDataError:
            dry = None
    for t, b in zip(given, before, strict=True):
        np.testing.assert_array_equal(host(t), b)
    assert (dry is None and case.op in NEED_VALUES) or dry == [(y.shape, y.dtype, y.device) for y in call(case, args, kwargs)]


def _mutated(prim: Any, specs: list[Any]) -> list[int]:
    assert prim.plain == len(prim.args), "no starred primitives in the table"
    count = len(inferred(prim, specs, ())) if prim.name == "copy_" else len(prim.mutates)
    return list(prim.mutates)[:count]


# ---- errors
@rows(ERRORS)
def test_errors(case: OpCase, dtype: str) -> None:
    """The class and the words; nothing written; the same error from infer without data, where it did not need data."""
    assert case.errors is not None
    error, fragment = case.errors
    args, kwargs = tensors(case, dtype, requires_grad=not case.inplace)
    before = [host(t) for t in _all_tensors([args, list(kwargs.values())])]
    generator = jg.manual_seed(0)
    with Recorder() as heard, pytest.raises(error) as raised:
        outputs(resolve(case.op)(*args, **kwargs))
    assert fragment in str(raised.value), str(raised.value)
    assert generator.get_state().tolist() == [0, 0]
    for t, b in zip(_all_tensors([args, list(kwargs.values())]), before, strict=True):
        np.testing.assert_array_equal(host(t), b)
        assert t.grad_fn is None
    if heard.calls and isinstance(heard.calls[-1][3], Exception):
        prim, specs, p, failed = heard.calls[-1]
        if prim.check is None:
            with pytest.raises(type(failed)) as again:
                inferred(prim, specs, p)
            assert str(again.value) == str(failed)


def _all_tensors(value: Any) -> list[jg.Tensor]:
    found: list[jg.Tensor] = []
    for v in value if isinstance(value, (list, tuple)) else [value]:
        found += [v] if isinstance(v, jg.Tensor) else _all_tensors(v) if isinstance(v, (list, tuple)) else []
    return found


@rows(ERRORS)
def test_errors_name_the_place(case: OpCase, dtype: str) -> None:
    """Raised in a module, an error of jitgrad says in which, and stays the same otherwise."""
    assert case.errors is not None
    args, kwargs = tensors(case, dtype, requires_grad=not case.inplace)

    class Layer(jg.nn.Module):
        def forward(self, x: Any) -> Any:
            return resolve(case.op)(*args, **kwargs)

    class Net(jg.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Layer()

        def forward(self, x: Any) -> Any:
            return self.inner(x)

    with pytest.raises(case.errors[0]) as raised:
        Net()(jg.zeros(1, 7))
    if isinstance(raised.value, jg.errors.JitgradError):
        assert "inner (Layer" in str(raised.value) and "of Net" in str(raised.value), str(raised.value)
        assert case.errors[1] in str(raised.value)


# ---- views and in-place ops together
def leaves_of_programs(dtype: Any) -> tuple[jg.Tensor, jg.Tensor]:
    x = jg.tensor(np.cos(np.arange(12.0)).reshape(3, 4), dtype=dtype, requires_grad=True)
    return x, jg.tensor(np.arange(1.0, 5.0) / 3, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_programs(program: Any) -> None:
    """Views and in-place ops give the gradients of what they compute, of first and second order."""
    gradcheck(program, leaves_of_programs("float64"), **EXACT)
    gradgradcheck(program, leaves_of_programs("float64"), **EXACT)


@pytest.mark.parametrize("program", FORBIDDEN, ids=lambda f: f.__name__)
def test_forbidden_programs(program: Any) -> None:
    """Never a silently wrong gradient: GradError, before anything is written or in backward, and no .grad changes."""
    x, y = leaves_of_programs("float32")
    before = host(x)
    with pytest.raises(GradError):
        jg.autograd.backward(program(x, y).sum())
    np.testing.assert_array_equal(host(x), before)
    assert x.grad is None and y.grad is None


def test_rows_are_what_they_seem() -> None:
    """Every row has a dtype that exists, and no row stands there twice."""
    labels = [c.label() + str(operands(c, c.dtypes[0])) for c in CASES]
    assert len(set(labels)) == len(labels)
    assert all(d in (*FLOATS, "int64", "bool") for c in CASES for d in c.dtypes)


def test_running_statistics_that_cannot_be_written() -> None:
    x, one = jg.ones(4, 3), jg.ones(1)
    both = jg.zeros(2, 3)
    for mean, var in ((one.expand(3), jg.ones(3)), (jg.zeros(3), one.expand(3))):
        with pytest.raises(GradError, match=r"batch_norm: running_(mean|var): several elements"):
            batch_norm(x, mean, var, training=True)
        batch_norm(x, mean, var)  # where they are only read
    for var in (both[0], both[0].detach()):
        with pytest.raises(ValueError, match="share their memory"):
            batch_norm(x, both[0], var, training=True)
    batch_norm(x, both[0], both[1], training=True)
    assert one.tolist() == [1.0] and both[0].tolist() == pytest.approx([0.1] * 3)
