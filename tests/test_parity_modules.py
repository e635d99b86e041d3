"""Modules beside torch's: order of hooks, what they see, keys of state dicts, names, reprs, errors. torch is an optional oracle."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from container_programs import CASES, HOOKS, Case, run
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


@pytest.mark.parametrize("program", [*PROGRAMS, *HOOKS], ids=lambda f: f.__name__)
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


@pytest.mark.parametrize("case", [pytest.param(c, id=f"{i}-{c.kind}.{c.method}") for i, c in enumerate(CASES)])
def test_containers_are_the_same_in_both(case: Case) -> None:
    """What a method returns, and repr, keys, order of parameters and members after it, unless a row of the docs says otherwise."""
    (ours, after), (theirs, their_after) = run(jg, case), run(torch, case)
    if isinstance(ours, Exception) and isinstance(theirs, Exception):
        same = isinstance(ours, type(theirs))
    else:
        same = alike(ours, theirs) and alike(after, their_after)
    assert same == (not case.differs), f"{case.differs}\n{ours}\n{theirs}\n{after}\n{their_after}"
    docs = (Path(__file__).parent.parent / "docs" / "differences.md").read_text()
    assert not case.differs or f"\n| {case.differs} |" in docs


@pytest.mark.parametrize("kind", ["Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict"])
def test_every_method_of_torchs_containers_has_a_case(kind: str) -> None:
    own = {name for name, value in vars(getattr(torch.nn, kind)).items() if callable(value) or isinstance(value, classmethod)}
    private = {name for name in own if name.startswith("_") and not name.startswith("__")}
    assert own - private <= {c.method for c in CASES if c.kind == kind}
