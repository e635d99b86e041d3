"""How many floating-point operations a primitive makes, from the shapes of its inputs and outputs: one table."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from jitgrad.nn._trace import Op


def _out(op: Op) -> int:
    return op.outputs[0].numel()


def _in(op: Op, i: int = 0) -> int:
    t = op.inputs[i]
    return 0 if t is None else t.numel()


def _shape(op: Op, i: int) -> Any:
    t = op.inputs[i]
    assert t is not None
    return t.shape


def _per_input(count: int) -> Callable[[Op], int]:
    return lambda op: count * _in(op)


def _per_window(op: Op) -> int:
    return _out(op) * prod(op.p[0])  # the first static parameter is kernel_size


# A multiply and an add are two. In a sum of K products the first addend is the bias, or counts as one.
_TABLE: dict[str, Callable[[Op], int]] = {
    "linear": lambda op: 2 * _out(op) * _shape(op, 1)[1],
    "linear_grad_w": lambda op: 2 * _in(op, 0) * _shape(op, 1)[-1],
    "matmul": lambda op: 2 * _out(op) * _shape(op, 0)[-1],
    "conv2d": lambda op: 2 * _out(op) * prod(_shape(op, 1)[1:]),
    "conv2d_grad_x": lambda op: 2 * _in(op, 0) * prod(_shape(op, 1)[1:]),
    "conv2d_grad_w": lambda op: 2 * _in(op, 0) * prod(op.p[0][1:]),  # the first static parameter is the weight's shape
    # windows: a comparison or an addition for each element
    "max_pool2d": _per_window,
    "avg_pool2d": _per_window,
    "adaptive_avg_pool2d": _per_input(1),
    # reductions: one for each element that is read
    **dict.fromkeys(("sum", "mean", "amax", "argmax", "max_dim", "sum_to", "index_add", "as_strided_grad"), _per_input(1)),
    "var": _per_input(4),  # the mean; subtract, square, add
    # the same, and the product with 1 / std; weight and bias
    **dict.fromkeys(("layer_norm", "batch_norm"), lambda op: (5 + sum(t is not None for t in op.inputs[1:3])) * _in(op)),
    # g w; two means, one of them of a product; two multiply-adds, of which the means share one; the sums for weight and bias
    **dict.fromkeys(("layer_norm_grad", "batch_norm_grad"), _per_input(9)),
    "softmax": _per_input(5),  # the maximum, subtract, exp, add, divide
    "softmax_grad": _per_input(4),
    "log_softmax": _per_input(5),
    "log_softmax_grad": _per_input(4),
    "cross_entropy": _per_input(5),
    "cross_entropy_grad": lambda op: 4 * _in(op, 1),  # subtract, exp, multiply, subtract
    "nll": lambda op: _in(op, 1),  # one for each label
    "update_running_": lambda op: 6 * _in(op),  # two means, each r + m (v - r)
}
# What moves, makes or picks elements and computes none.
_NOTHING = frozenset(
    ("cast", "cast_float", "clone", "copy_", "overwrite", "overwrite_region", "as_strided_scatter", "to_host", "from_host", "output",
     "InputGate", "OutputGate", "cat", "take", "index_put", "index_in", "wrap_index", "nonzero", "max_pool2d_gather", "nll_grad",
     "max_dim_grad", "argsort", "permutation", "empty", "full", "arange")
)  # fmt: skip


def flops(op: Op) -> int:
    """Floating-point operations of one operation: one for each output element where the table has no entry; none for views and ints."""
    prim = op.prim
    if prim.geometry is not None or prim.name in _NOTHING or not any(t is not None and t.is_floating_point() for t in op.inputs):
        return 0
    return _TABLE.get(prim.name, _out)(op)


def new_bytes(op: Op) -> int:
    """Bytes of what one operation computed into memory of its own: not of views, nor of what it wrote into an input."""
    if op.prim.geometry is not None or op.prim.mutates:
        return 0
    given = {id(t) for t in op.inputs}
    return sum(t.nbytes for t in op.outputs if id(t) not in given)
