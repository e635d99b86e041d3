"""Every row of the op table against torch: values, gradients, dtypes, error classes. torch is an optional second oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases_programs import FORBIDDEN, PROGRAMS
from op_case import OpCase, Operand, call, host, mapped, operands, outputs, resolve, to_tensor
from op_cases import CASES, ERRORS

import jitgrad as jg

torch: Any = pytest.importorskip("torch", reason="parity needs torch: pip install 'jitgrad[compare]'")
torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns of size-0 reductions, masked indices and more

# Where jitgrad differs on purpose: key of the row's `deviates`, and why.
DEVIATIONS = {
    "negative step": "torch refuses slices with a negative step; views with negative strides are right here, as in NumPy",
    "NaN twice": "of two NaN in one pooling window the first gives the index, as in argmax; torch's max_pool2d takes the last",
    "gelu of inf": "torch's vectorized float32 gelu gives nan at infinity, its float64 and ours infinity",
    "elu of NaN": "the gradient at NaN is NaN; in torch 1 where the elements do not fill a vector register",
    "argmax of bools": "torch has none for bools; ours says where the first True is",
    "large strides": "torch takes strides of 32 bits",
    "sums in float64": "losses are added up in float64: a mean is finite where torch's float32 sum overflows",
    "NaN that is ignored": "an ignored row has a gradient of 0, also where it holds NaN or infinity",
    "sign of NaN": "a NaN stays a NaN; torch gives 0",
    "another class": "torch trips over it later, with an error of another class",
    "size_average": "size_average and reduce are old names of reduction, which torch still takes",
    "shapes in losses": "an input and a target of different shapes would be broadcast, which torch warns of and does",
    "embedding options": "max_norm, scale_grad_by_freq and sparse are not supported",
    "float16": "float16 is for storage and casts only on the CPU",
    "numbers that do not fit": "a Python int beyond the tensor's int dtype is refused, not wrapped round",
    "in-place narrowing": "a float64 result is not written into float32 in place without a word",
    "bool as an index": "x[True] is a new dim in torch and NumPy, and nearly always a mistake",
    "two ellipses": "torch takes a second ... for a slice; NumPy refuses it, and so do we",
    "int layers": "layers and pooling compute in floats only",
    "copy_ of a number": "copy_ takes a Tensor as its documentation says; fill_ takes numbers",
    "assertion": "torch checks padding_idx with assert, which python -O removes",
    "smoothing below 0": "torch takes a negative label_smoothing for none",
    "not implemented": "for dtypes without a kernel torch raises NotImplementedError, ours is DTypeError (also a RuntimeError)",
    "complex": "there are no complex dtypes",
    "assigned twice": "of two values assigned to one element the last is there, and only it gets a gradient; in torch both do",
    "draws": "a draw has no gradient; in torch it has one of zeros",
    "random bits": "dropout draws its mask from Philox counters of its own, the same on every device",
}

TOLERANCE = {"float16": 1e-3, "float32": 2e-5, "float64": 1e-9}


def rows(cases: list[OpCase]) -> Any:
    chosen = [(c, d) for c in cases for d in c.runs]
    return pytest.mark.parametrize(("case", "dtype"), chosen, ids=[f"{c.label()}-{d}" for c, d in chosen])


def to_torch(x: Operand) -> Any:
    return torch.from_numpy(x.array.copy()).requires_grad_(x.grad)


def torch_kwargs(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {k: getattr(torch, v) if k == "dtype" else mapped(v, to_torch) for k, v in kwargs.items()}


def weights(y: Any) -> np.ndarray:
    n = int(np.prod(tuple(y.shape)))
    return np.cos(np.arange(n, dtype=np.float64)).reshape(tuple(y.shape))


def run(case: OpCase, lib: Any, dtype: str) -> tuple[list[Any], list[Any]]:
    """Outputs, and gradients of the operands that want one, in one library."""
    args, kwargs = operands(case, dtype)
    change = to_torch if lib is torch else to_tensor
    made: list[Any] = []

    def keep(x: Operand) -> Any:
        t = change(x)
        if x.grad:
            made.append(t)
        return t

    ys = call(case, mapped(args, keep), mapped(kwargs, keep), lib)
    through = [y for y in ys if y.requires_grad]
    if not through:
        return ys, [None] * len(made)
    if lib is torch:
        g = [torch.from_numpy(np.asarray(weights(y))).to(y.dtype) for y in through]
    else:
        g = [jg.tensor(weights(y)).to(y.dtype) for y in through]
    return ys, list(lib.autograd.grad(through, made, g, allow_unused=True))


def name(dtype: Any) -> str:
    return str(dtype).rpartition(".")[2]


def same(ours: Any, theirs: Any, case: OpCase) -> None:
    """Equal shape, dtype and, up to rounding, values."""
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert name(ours.dtype) == name(theirs.dtype)
    if case.holds is None:
        tol = TOLERANCE.get(name(ours.dtype), 0) * max(case.tol, 1)
        np.testing.assert_allclose(host(ours), theirs.detach().numpy(), rtol=tol, atol=tol)


def agrees(case: OpCase, dtype: str) -> None:
    theirs, their_grads = run(case, torch, dtype)
    ours, our_grads = run(case, jg, dtype)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        same(a, b, case)
        assert a.requires_grad == b.requires_grad
    for a, b in zip(our_grads, their_grads, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            same(a, b, case)


@rows(CASES)
def test_parity(case: OpCase, dtype: str) -> None:
    """The same values, dtypes and gradients, NaN and infinities included."""
    if case.deviates:
        with pytest.raises((AssertionError, ValueError, RuntimeError, TypeError, IndexError)):
            agrees(case, dtype)  # else the deviation is gone, and its row may say so
    else:
        agrees(case, dtype)


@rows(ERRORS)
def test_error_parity(case: OpCase, dtype: str) -> None:
    """Whoever catches torch's class catches ours."""
    args, kwargs = operands(case, dtype)
    grad = not case.inplace
    with pytest.raises(Exception) as ours:
        resolve(case.op)(*mapped(args, lambda x: to_tensor(x, grad)), **mapped(kwargs, lambda x: to_tensor(x, grad)))
    theirs: Exception | None = None
    try:
        their_args = mapped(args, lambda x: to_torch(x) if grad else to_torch(x).detach())
        outputs(resolve(case.op, torch)(*their_args, **torch_kwargs(kwargs)))
    except Exception as error:
        theirs = error
    alike = theirs is not None and isinstance(ours.value, type(theirs))
    assert alike != bool(case.deviates), f"torch: {theirs!r}, jitgrad: {ours.value!r}"


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_program_parity(program: Any) -> None:
    """Programs of views and in-place ops end in the same values and gradients."""
    found = []
    for lib in (jg, torch):
        x = lib.tensor(np.cos(np.arange(12.0)).reshape(3, 4), requires_grad=True)
        y = lib.tensor(np.arange(1.0, 5.0) / 3, requires_grad=True)
        ys = outputs(program(x, y))
        lib.autograd.backward(ys, [lib.ones_like(z) for z in ys])
        found.append([z.tolist() for z in ys] + [None if t.grad is None else t.grad.tolist() for t in (x, y)])
    for ours, theirs in zip(*found, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("program", FORBIDDEN, ids=lambda f: f.__name__)
def test_forbidden_program_parity(program: Any) -> None:
    """What we refuse, torch refuses."""
    x = torch.ones(3, 4, requires_grad=True)
    y = torch.ones(4, requires_grad=True)
    with pytest.raises(RuntimeError):
        program(x, y).sum().backward()


def test_deviations_are_listed() -> None:
    """The table has exactly the keys that rows use."""
    assert {c.deviates for c in [*CASES, *ERRORS]} - {""} == set(DEVIATIONS)
