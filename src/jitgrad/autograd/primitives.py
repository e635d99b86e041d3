"""The primitives that the engine itself needs: summing gradients, copies, and as_strided for views and their bases."""

from __future__ import annotations

from typing import Any

from jitgrad import kernels
from jitgrad.autograd.door import make_node
from jitgrad.autograd.node import Node
from jitgrad.autograd.primitive import Primitive
from jitgrad.autograd.tensor import Tensor, bind, offset_in_base
from jitgrad.dtypes import float16, refuse_float16
from jitgrad.errors import DTypeError
from jitgrad.shapes import Shape, broadcast_shapes, check_new_shape, expand_geometry, is_contiguous, memory_span

_FLOAT16 = float16.numpy


def same(x: Any) -> tuple[Shape, Any]:
    """infer of an op whose output is like its input."""
    return x.shape, x.dtype


def broadcasting(name: str) -> Any:
    """infer of a pointwise op on two operands of one dtype."""

    def infer(a: Any, b: Any) -> tuple[Shape, Any]:
        shape = a.shape
        dtype = a.dtype
        if b.dtype is not dtype and b.dtype != dtype:
            raise DTypeError(f"{name}: expected equal dtypes, given {dtype} and {b.dtype}.")
        if dtype is _FLOAT16:
            refuse_float16(name, dtype)
        if b.shape != shape:
            shape = broadcast_shapes(shape, b.shape)
        return shape, dtype

    return infer


ADD: Primitive = Primitive("add", "a b", broadcasting("add"), broadcasts=True, grad_a=lambda g: g, grad_b=lambda g: g)
SUM_TO: Primitive = Primitive("sum_to", "x", lambda x, shape: (shape, x.dtype), grad_x=lambda g, x_shape: broadcast_to(g, x_shape))
BROADCAST_TO: Primitive = Primitive(
    "broadcast_to",
    "x",
    geometry=lambda x, shape: expand_geometry(x.shape, x.strides, shape),
    grad_x=lambda g, x_shape: sum_to(g, x_shape),
)
CLONE: Primitive = Primitive("clone", "x", same, grad_x=lambda g: g)
FULL: Primitive = Primitive(
    "full", "", lambda device, shape, value, dtype: (check_new_shape(shape, dtype.itemsize), dtype), source=True
)  # fmt: skip


def add(a: Tensor, b: Tensor) -> Tensor:
    """a + b for Tensors of one dtype."""
    return ADD.apply(a, b)


def sum_to(x: Tensor, shape: Shape) -> Tensor:
    """x summed over the dims along which shape would be broadcast to x's."""
    return x if x.array.shape == shape else SUM_TO.apply(x, shape)


def broadcast_to(x: Tensor, shape: Shape) -> Tensor:
    """x as a view with another shape, NumPy's rules."""
    return BROADCAST_TO.apply(x, shape)


def clone(x: Tensor) -> Tensor:
    """A contiguous copy of x."""
    return CLONE.apply(x)


def contiguous(x: Tensor) -> Tensor:
    """x itself where its memory is C-contiguous, else a copy."""
    a = x.array
    return x if is_contiguous(a.shape, a.strides, a.dtype.itemsize) else clone(x)


def filled(shape: Shape, value: float, like: Tensor) -> Tensor:
    """A new tensor of one constant, on the device and with the dtype of another."""
    return FULL.apply(kernels.of(like.array).device_type, shape, value, like.array.dtype)


# ---- as_strided. Strides and offsets are in bytes; those of the memory that x lies in belong to the static parameters,
# because a gradient arrives contiguous whatever the layout of x was.
AS_STRIDED: Primitive = Primitive(
    "as_strided",
    "x",
    geometry=lambda x, shape, strides, offset, x_strides: (shape, strides, offset),
    grad_x=lambda g, x_shape, x_strides, shape, strides, offset: AS_STRIDED_GRAD.apply(g, x_shape, x_strides, shape, strides, offset),
)

AS_STRIDED_GRAD: Primitive = Primitive(
    "as_strided_grad",
    "g",
    lambda g, x_shape, x_strides, shape, strides, offset: (x_shape, g.dtype),
    grad_g=lambda g, x_shape, x_strides, shape, strides, offset: gather_strided(g, x_shape, x_strides, shape, strides, offset),
)

# x and the result are C-contiguous.
AS_STRIDED_SCATTER: Primitive = Primitive(
    "as_strided_scatter",
    "x src",
    lambda x, src, shape, strides, offset: (x.shape, x.dtype),
    grad_x=lambda g, shape, strides, offset: AS_STRIDED_SCATTER.apply(contiguous(g), filled(shape, 0, g), shape, strides, offset),
    grad_src=lambda g, shape, strides, offset: gather_strided(g, g.shape, None, shape, strides, offset),
)


def gather_strided(g: Tensor, x_shape: Shape, x_strides: Any, shape: Shape, strides: Any, offset: int) -> Tensor:
    """The elements of g that (shape, strides, offset) point to in memory laid out as x was."""
    item = g.array.dtype.itemsize
    if x_strides is None or is_contiguous(x_shape, x_strides, item):
        g = contiguous(g)
        return AS_STRIDED.apply(g, shape, strides, offset, g.array.strides)
    low, high = memory_span(x_shape, x_strides, item)
    flat = AS_STRIDED_GRAD.apply(g, ((high - low) // item,), (item,), x_shape, x_strides, -low)
    return AS_STRIDED.apply(flat, shape, strides, offset - low, (item,))


def _regenerate(t: Tensor) -> None:
    """Give a view the node that its base's rewritten history implies."""
    base = t.base
    assert base is not None
    root = t.seen = base.node
    t.node = None
    if root is not None:
        x, y = base.array, t.array
        n = t.node = make_node(AS_STRIDED, (root,), ((None,), (y.shape, y.strides, offset_in_base(t), x.strides), None, None))
        n.shape, n.dtype = y.shape, y.dtype


def _slot(g: Tensor, n: Node) -> tuple[Tensor | None, ...]:
    """The gradient of one output as slot i of all the outputs of its primitive."""
    assert n.saved is not None
    i, count = n.saved
    return (*(None,) * i, g, *(None,) * (count - i - 1))


OUTPUT_OF: Primitive = Primitive("output", "x", same)
OUTPUT_OF.rules = (_slot,)
bind(_regenerate, OUTPUT_OF)
