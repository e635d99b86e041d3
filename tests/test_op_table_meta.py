"""Tests of the tests: the checker sees small errors, every op has a row, kernels stay few, and all of it runs without a compiler."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from op_case import IN_PLACE_OPERATORS, OpCase, call, tensors
from op_cases import CASES, ERRORS
from test_ops import EXACT

import jitgrad as jg
from jitgrad.autograd import Primitive, gradcheck, gradgradcheck
from jitgrad.errors import GradError
from jitgrad.ops import _methods

ROOT = Path(__file__).parents[1]


# ---- the checker
def cubed(error: float, second: float = 1.0) -> Any:
    """x -> x^3 by a primitive whose rule is off by a factor, and that rule's rule by another."""
    rule = Primitive(
        "cubed_grad", "g x", lambda g, x: (g.shape, g.dtype), impl=lambda g, x: g * 3 * x * x * error,
        grad_g=lambda u, x: rule.apply(u, x), grad_x=lambda u, g, x: u * g * x * (6 * error * second),
    )  # fmt: skip
    cube = Primitive("cubed", "x", lambda x: (x.shape, x.dtype), impl=lambda x: x**3, grad_x=lambda g, x: rule.apply(g, x))
    return lambda x: cube.apply(x)


@pytest.mark.parametrize("size", [3, 100])  # the full Jacobian, and random directions
def test_checker_sees_one_in_a_thousand(size: int) -> None:
    x = jg.tensor([0.3 + 0.01 * i for i in range(size)], dtype=jg.float64, requires_grad=True)
    assert gradcheck(cubed(1.0), x, **EXACT) and gradgradcheck(cubed(1.0), x, **EXACT)
    with pytest.raises(GradError, match="backward says"):
        gradcheck(cubed(1.001), x, **EXACT)
    assert not gradcheck(cubed(0.999), x, **EXACT, raise_exception=False)
    assert gradcheck(cubed(1.0, 1.001), x, **EXACT)
    assert not gradgradcheck(cubed(1.0, 1.001), x, **EXACT, raise_exception=False)


# ---- coverage of the table
def words(text: str) -> set[str]:
    return set(text.split())


# What the package exports beside ops: creation from data, modes.
NOT_OPS = words(
    """as_tensor enable_grad from_numpy is_anomaly_check_nan_enabled is_anomaly_enabled is_grad_enabled no_grad set_grad_enabled
    tensor manual_seed clear_cache get_num_threads set_num_threads allclose equal from_dlpack get_rng_state load save initial_seed numel
    seed set_printoptions set_rng_state"""
)
# Methods that tell about a tensor, take its data out, or belong to autograd.
NOT_OP_METHODS = words("""
    allclose equal _repr_html_ __array_function__ __copy__ __dir__ __dlpack__ __dlpack_device__
    backward size numel dim is_contiguous detach_ item tolist numpy cuda __len__ __iter__ __contains__ __bool__ __float__ __int__
    __index__ __format__ __deepcopy__ __reduce__ __init__ __array__ __repr__ __hash__
""")


def public_functions() -> dict[str, Any]:
    """Functions by the name that a row would have."""
    found = {n: f for n, f in vars(jg).items() if inspect.isfunction(f) and not n.startswith("_") and n not in NOT_OPS}
    found |= {f"F.{n}": f for n, f in vars(jg.nn.functional).items() if inspect.isfunction(f) and not n.startswith("_")}
    found |= {f"x.{n}": f for n, f in _methods.METHODS.items() if n not in NOT_OP_METHODS}
    return found


def test_every_op_has_a_row() -> None:
    """By any of its names: a row for jg.exp is one for x.exp(), which is the same function."""
    rows = {c.op for c in CASES}
    functions = public_functions()
    tested = {id(f) for n, f in functions.items() if n in rows}
    missing = []
    for name, f in functions.items():
        bare = name.rpartition(".")[2]
        operator = "op." + bare.strip("_")
        if bare.startswith("__r") and operator not in rows:
            operator = "op." + bare[3:].strip("_")
        if id(f) not in tested and not (bare.startswith("__") and operator in rows):
            missing.append(name)
    assert not missing, f"ops without a row in tests/op_cases.py: {missing}"
    assert {f"x.{n}" for n in ("T", "mT")} <= rows and set(IN_PLACE_OPERATORS) <= rows


def test_every_op_has_error_rows_of_its_family() -> None:
    """The rows that must raise cover every family of ops."""
    bad = {c.op for c in ERRORS}
    families = ["add", "sum", "reshape", "x.__getitem__", "x.__setitem__", "cat", "matmul", "F.linear", "F.conv2d", "F.max_pool2d"]
    families += ["softmax", "F.cross_entropy", "F.layer_norm", "F.batch_norm", "F.embedding", "F.dropout", "x.add_", "zeros", "randn"]
    assert set(families) <= bad


def test_rows_with_empty_and_single_elements() -> None:
    """The common ops have rows of size 0, of size 1 and without dims."""
    shapes: dict[str, set[tuple[int, ...]]] = {}
    for c in CASES:
        shapes.setdefault(c.name, set()).update(s for s in c.shapes if isinstance(s, tuple))
    for op in ("add", "mul", "sum", "reshape", "matmul", "cat", "softmax", "clone", "linear"):
        seen = shapes[op] | {s for c in CASES if c.name == op for v in c.shapes if isinstance(v, list) for s in v if isinstance(s, tuple)}
        assert any(0 in s for s in seen), f"{op} has no row of size 0"


# ---- kernels
def run_table(cases: list[OpCase]) -> None:
    """Forward and backward of rows, for the counts below and without a compiler."""
    for case in cases:
        for dtype in case.runs:
            args, kwargs = tensors(case, dtype)
            ys = [y for y in call(case, args, kwargs) if y.requires_grad]
            if ys:
                jg.autograd.backward(ys, [jg.ones_like(y) for y in ys])


def kernels() -> dict[str, Any]:
    """Every dispatcher of the CPU's kernel modules, generated ones included, by module and name."""
    from jitgrad.kernels import FAMILIES

    modules = [importlib.import_module(f"jitgrad.kernels.cpu.{family}") for family in FAMILIES]
    modules += [m for name, m in sys.modules.items() if name.startswith(("jitgrad.kernels.cpu.", "jitgrad_generated_"))]
    return {f"{m.__name__}.{n}": f for m in modules for n, f in vars(m).items() if hasattr(f, "signatures") and f.__module__ == m.__name__}


def dtypes_of(signature: tuple[Any, ...]) -> tuple[str, ...]:
    """A signature without ranks, layouts and writability: of array(float32, 2d, C) the float32."""
    return tuple(str(t.dtype) if hasattr(t, "layout") else str(t) for t in signature)


def test_one_signature_per_dtypes() -> None:
    """After the whole table, each kernel was compiled once for each combination of dtypes: ranks and layouts made no others."""
    run_table(CASES)
    found = kernels()
    assert len(found) > 50
    for name, kernel in found.items():
        seen = [dtypes_of(s) for s in kernel.signatures]
        assert len(set(seen)) == len(seen), f"{name}: {kernel.signatures}"


def test_a_tenth_without_the_compiler() -> None:
    """With NUMBA_DISABLE_JIT=1 the same kernels run as plain Python, to the same values."""
    program = """
import sys
import warnings
warnings.simplefilter("ignore")
sys.path.insert(0, "tests")
import numpy as np
from jitgrad.kernels.jit import DISABLED
from op_cases import CASES
from test_op_table_meta import run_table
from test_ops import test_forward
assert DISABLED
rows = [c for c in CASES if not c.errors][::10]
run_table(rows)
for case in rows:
    test_forward(case, case.runs[0])
print(len(rows), "rows")
"""
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[0]) >= 40
