"""The op table on a card, or in Numba's simulator: NUMBA_ENABLE_CUDASIM=1 pytest tests/test_ops_cuda.py. Its own process."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":
    from numba import cuda

    if not cuda.is_available():
        pytest.skip("no CUDA card; set NUMBA_ENABLE_CUDASIM=1 to run in the simulator", allow_module_level=True)

from op_case import OpCase, Operand, call, host, leaves, mapped, operands, resolve
from op_cases import CASES, ERRORS

import jitgrad as jg
from jitgrad.kernels.jit import SIMULATED

# The simulator takes a Python thread for each thread of a kernel; NumPy scalars warn of each NaN there.
LARGEST = 400 if SIMULATED else 10**9
TOLERANCE = {"float32": 2e-5, "float64": 1e-9}
pytestmark = pytest.mark.filterwarnings("ignore")


def small(case: OpCase) -> bool:
    return sum(x.array.size for x in leaves(list(operands(case, case.dtypes[0])))) <= LARGEST


def on_both(case: OpCase) -> bool:
    return small(case) and "to" not in (case.name,) and case.op not in ("x.cpu", "x.cuda")


CHOSEN = [c for c in CASES if on_both(c)]


def run(case: OpCase, dtype: str, device: str) -> tuple[list[Any], list[Any], list[Any]]:
    """Outputs, gradients, and what the op wrote to, on one device."""
    args, kwargs = operands(case, dtype)
    made: list[jg.Tensor] = []

    def change(x: Operand) -> jg.Tensor:
        t = jg.tensor(x.array, device=device, requires_grad=x.grad)
        if x.grad:
            made.append(t)
        return t

    tensors, keywords = mapped(args, change), mapped(kwargs, change)
    if not any(True for _ in leaves(args)):
        keywords["device"] = device  # creation and random draws
    ys = call(case, tensors, keywords)
    through = [y for y in ys if y.requires_grad]
    grads: list[Any] = []
    if through:
        g = [jg.tensor(np.cos(np.arange(y.numel())).reshape(y.shape), dtype=y.dtype, device=device) for y in through]
        grads = list(jg.autograd.grad(through, made, g, allow_unused=True))
    return ys, grads, [tensors[i] for i in case.writes]


@pytest.mark.parametrize("case", CHOSEN, ids=[c.label() for c in CHOSEN])
def test_cuda_is_cpu(case: OpCase) -> None:
    """Forward and one backward give the CPU's values, shapes and dtypes, and stay on the device."""
    dtype = case.runs[0]
    for ours, theirs in zip(run(case, dtype, "cuda"), run(case, dtype, "cpu"), strict=True):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert (a is None) == (b is None)
            if a is not None and "empty" not in case.op:
                assert a.device.type == "cuda" and a.dtype is b.dtype
                tol = TOLERANCE.get(a.dtype.name, 0.0)
                np.testing.assert_allclose(host(a), host(b), rtol=tol, atol=tol)


ON_DATA = [c for c in ERRORS if any(word in str(c.errors) for word in ("index", "target", "negative int"))]


@pytest.mark.parametrize("case", ON_DATA, ids=[c.label() for c in ON_DATA])
def test_errors_that_need_data(case: OpCase) -> None:
    """What only the data shows is found on the device, too, before a kernel runs into it."""
    assert case.errors is not None
    args, kwargs = operands(case, case.dtypes[0])
    change = lambda x: jg.tensor(x.array, device="cuda")
    with pytest.raises(case.errors[0]) as raised:
        resolve(case.op)(*mapped(args, change), **mapped(kwargs, change))
    assert case.errors[1] in str(raised.value)


def test_devices_do_not_mix() -> None:
    a, b = jg.ones(3, device="cuda"), jg.ones(3)
    for mix in (lambda: a + b, lambda: b * a, lambda: a.add_(b), lambda: jg.cat([a, b]), lambda: jg.matmul(a, b)):
        with pytest.raises(jg.errors.DeviceError, match="one device"):
            mix()


def test_to_and_back() -> None:
    """Copies between devices keep values and carry gradients."""
    x = jg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    y = x.cuda() * 2
    assert y.device == jg.device("cuda") and y.is_cuda
    y.cpu().sum().backward()
    assert x.grad is not None and x.grad.device.type == "cpu" and x.grad.tolist() == [[2.0, 2.0], [2.0, 2.0]]
    assert x.to("cuda").to("cpu").tolist() == x.tolist()


def test_a_summary_of_a_model_on_the_card() -> None:
    model = jg.nn.Sequential(jg.nn.Linear(3, 4), jg.nn.BatchNorm1d(4), jg.nn.Linear(4, 2)).cuda()
    found = jg.nn.summary(model, (2, 3))  # the input is made where the model is
    assert found.error is None and found.total_flops == 48 + 5 * 8 + 2 * 8 + 6 * 4 + 32
    assert all(row.seconds for row in found.rows) and len(jg.viz.graph(model, (2, 3)).nodes) == 5
