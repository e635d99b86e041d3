"""How the operations of each primitive are counted is a choice: none falls through to one for each output element by accident."""

from __future__ import annotations

import gc

import pytest

from jitgrad.autograd import Primitive
from jitgrad.nn.summarizing.flops import _NOTHING, _TABLE

POINTWISE = {"jitgrad.autograd.primitives", "jitgrad.ops._operands", "jitgrad.ops.optim"}
# By output elements too, each a function of few inputs: a draw, a choice, a gradient that is handed to where it came from.
BY_OUTPUT = {"where", "uniform", "normal", "randint", "dropout", "max_pool2d_grad", "avg_pool2d_grad", "adaptive_avg_pool2d_grad"}
EVERY = {
    p.name: p for p in gc.get_objects()
    if type(p) is Primitive and p.outputs and p.infer.__module__.startswith("jitgrad.")  # those of Functions have none
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(EVERY))
def test_every_primitive_is_counted_on_purpose(name: str) -> None:
    prim = EVERY[name]
    pointwise = prim.infer.__module__ in POINTWISE
    places = [prim.geometry is not None, name in _TABLE, name in _NOTHING, name in BY_OUTPUT]
    assert sum(places) == 1 or (pointwise and sum(places) <= 1), f"say in nn/summarizing/flops.py how many operations {name} makes"


def test_the_list_has_no_others() -> None:
    assert set(EVERY) >= BY_OUTPUT
