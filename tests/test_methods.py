"""Tensor's methods: what the table binds is what type checkers are told."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest

import jitgrad as jg
from jitgrad.ops import _methods

DECLARED = Path(jg.__file__).parent / "autograd" / "methods.pyi"
# Python's object has them, so type checkers know them already.
OF_OBJECT = {"__repr__", "__format__", "__reduce__", "__dir__", "__copy__"}


def test_every_bound_method_is_declared() -> None:
    """The class in methods.pyi has the names of the table and no others."""
    body = next(c for c in ast.parse(DECLARED.read_text()).body if isinstance(c, ast.ClassDef)).body
    declared = {f.name for f in body if isinstance(f, ast.FunctionDef)}
    declared |= {a.target.id for a in body if isinstance(a, ast.AnnAssign) and isinstance(a.target, ast.Name)}
    bound = {*_methods.METHODS, *_methods.PROPERTIES} - OF_OBJECT
    assert declared == bound


def test_completion_shows_methods_and_hides_the_inside() -> None:
    names = dir(jg.ones(1))
    assert {"backward", "softmax", "shape", "T", "grad"} <= set(names) and names == sorted(names)
    assert not {"array", "node", "base", "stamp", "parked", "seen"} & set(names)


def test_shapes_are_tuples_that_count() -> None:
    """jg.Size: what a slice and a sum of shapes are, and that it is a tuple to everybody else."""
    shape = jg.zeros(2, 3, 4).shape
    assert type(shape) is jg.Size and shape == (2, 3, 4) and repr(shape) == "(2, 3, 4)" and shape.numel() == 24
    assert shape[1:].numel() == 12 and (shape[:1] + shape[2:]).numel() == 8 and shape[0] == 2 and jg.Size(()).numel() == 1
    assert jg.zeros(shape).reshape(shape[0], -1).size() == (2, 12) and pickle.loads(pickle.dumps(shape)).numel() == 24


def test_the_flags_of_to_are_pytorchs() -> None:
    """Given by position: non_blocking, then copy; no flag stands first."""
    x = jg.ones(2)
    assert x.to("cpu", jg.float32, True) is x and x.to("cpu", non_blocking=True) is x
    assert x.to("cpu", jg.float32, False, True) is not x and x.to(x, False, True) is not x
    for given in ((True,), ("cpu", True, False, True)):
        with pytest.raises(TypeError, match="expected a dtype, a device or a tensor"):
            x.to(*given)
    assert jg.nn.Linear(1, 1).to("cpu", jg.float64, True).weight.dtype is jg.float64
    with pytest.raises(TypeError, match="then non_blocking, given"):
        jg.nn.Linear(1, 1).to("cpu", False, True)
