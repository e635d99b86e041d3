"""Modules beside torch's: order of hooks, what they see, keys of state dicts, names, reprs, errors. torch is an optional oracle."""

from __future__ import annotations

import math
from typing import Any

import pytest
from module_programs import PROGRAMS, REFUSED

import jitgrad as jg

torch: Any = pytest.importorskip("torch", reason="parity needs torch: pip install 'jitgrad[compare]'")
torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns of hooks without input gradients


def alike(a: Any, b: Any) -> bool:
    """Equal, floats up to rounding."""
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(map(alike, a, b))
    return type(a) is type(b) and (math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6) if isinstance(a, float) else a == b)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_same_in_both(program: Any) -> None:
    """A program's findings are equal."""
    ours, theirs = program(jg), program(torch)
    assert alike(ours, theirs), f"\n{ours}\n{theirs}"


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_both(name: str) -> None:
    """What torch refuses, we refuse, with an error that whoever catches torch's class catches."""
    with pytest.raises(Exception) as theirs:
        REFUSED[name](torch)
    with pytest.raises(theirs.type):
        REFUSED[name](jg)
