"""Tensor: an array, the node that made it, and what it shares with other tensors. Its operators come from ops/_methods.py."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jitgrad import dtypes, kernels
from jitgrad.autograd.mode import current_mode, is_grad_enabled
from jitgrad.autograd.node import Hook, Hooks, Leaf, Node, RemovableHandle, tick
from jitgrad.device import device
from jitgrad.dtypes import DType
from jitgrad.errors import DeviceError, DTypeError, GradError, ShapeError
from jitgrad.shapes import Size, memory_span

if TYPE_CHECKING:
    from jitgrad.autograd.methods import Methods
else:
    Methods = object  # ops/_methods.py binds them from above

new = object.__new__


class Tensor(Methods):
    """An n-dimensional array that can record what is computed from it.

    ``Tensor(data)`` is ``jg.tensor(data)`` in float32; ``Tensor(2, 3)`` is refused: ``jg.empty(2, 3)`` makes an empty one.

    >>> import jitgrad as jg
    >>> x = jg.Tensor([[1, 2], [3, 4]])
    >>> x.shape, x.dtype
    ((2, 2), jitgrad.float32)
    """

    # stamp: [tick of the last write, its name], shared by all tensors on one memory; None until something shares or needs it.
    # base, seen (views only): the tensor that owns the memory, its node when this view was made.
    # parked: the Leaf of a tensor whose requires_grad was turned off; it may hold a gradient.
    __slots__ = ("__weakref__", "array", "base", "node", "parked", "seen", "stamp")

    array: Any
    node: Node | Leaf | None
    base: Tensor | None
    stamp: list[Any] | None
    parked: Leaf
    seen: Node | Leaf | None
    # In-place results and reflected operators must be ours when a NumPy array stands on the left.
    __array_priority__ = 1000

    # ---- what it is
    @property
    def shape(self) -> Size:
        """Sizes of the dims."""
        return Size(self.array.shape)

    @property
    def ndim(self) -> int:
        """Number of dims."""
        return len(self.array.shape)

    @property
    def dtype(self) -> DType:
        """Data type, a jg.DType."""
        return dtypes.of_numpy(self.array.dtype)

    @property
    def device(self) -> device:
        """Where the memory is."""
        return device(kernels.of(self.array).device_type)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return int(self.array.dtype.itemsize)

    def is_floating_point(self) -> bool:
        """Whether the dtype is a float."""
        return bool(self.array.dtype.kind == "f")

    def stride(self, dim: int | None = None) -> Any:
        """Strides in elements."""
        strides = tuple(s // self.itemsize for s in self.array.strides)
        return strides if dim is None else strides[dim]

    # ---- leaf or not
    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to or through it. Can be set on leaves with a float dtype."""
        return current_node(self) is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Say whether gradients are wanted for this leaf; returns it."""
        node = current_node(self)
        if requires_grad:
            if self.array.dtype.kind != "f":
                raise DTypeError(f"only floats can require gradients: expected a float dtype, given {self.dtype}. Try x.float().")
            if node is None:
                self.node = getattr(self, "parked", None) or Leaf(self.shape, self.array.dtype)
        elif isinstance(node, Node):
            raise GradError(
                "requires_grad can be turned off on leaves only, and this tensor was computed from others. "
                "Use x.detach() for one outside the graph."
            )
        elif node is not None:
            self.parked, self.node = node, None
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made it."""
        return not isinstance(current_node(self), Node)

    @property
    def grad_fn(self) -> Node | None:
        """The node that made it; None for leaves."""
        node = current_node(self)
        return node if isinstance(node, Node) else None

    @property
    def grad(self) -> Tensor | None:
        """Gradient that backward has accumulated; on a tensor that is not a leaf, only after retain_grad()."""
        node = self.node
        if type(node) is Leaf:
            return node.grad
        node = current_node(self) or getattr(self, "parked", None)
        if isinstance(node, Leaf):
            return node.grad
        return None if node is None or node.hooks is None else node.hooks.retained

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        leaf = self.node
        if value is None and type(leaf) is Leaf:
            leaf.grad = None
            return
        node = current_node(self) or getattr(self, "parked", None)
        if isinstance(node, Node):
            if value is not None:
                raise GradError("only a leaf has a .grad to assign, and this tensor was computed from others.")
            if node.hooks is not None:
                node.hooks.retained = None
            return
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f".grad: expected a Tensor or None, given {type(value).__name__}.")
            if value is self:
                raise GradError("a tensor cannot be its own gradient.")
            if value.shape != self.shape:
                raise ShapeError(f".grad: expected shape {self.shape}, given {value.shape}.")
            if value.dtype is not self.dtype:
                raise DTypeError(f".grad: expected {self.dtype}, given {value.dtype}. Try grad.to({self.dtype.name!r}).")
            if type(value.array) is not type(self.array):
                raise DeviceError(f".grad: expected device {self.device}, given {value.device}.")
        if node is None and value is not None:
            node = self.parked = Leaf(self.shape, self.array.dtype)
        if node is not None:
            node.grad = value

    @grad.deleter
    def grad(self) -> None:
        self.grad = None

    def retain_grad(self) -> None:
        """Keep the gradient of a tensor that is not a leaf in its ``.grad``, too."""
        node = current_node(self)
        if node is None:
            raise GradError("retain_grad: this tensor does not require gradients.")
        if isinstance(node, Node):
            _hooks(node).retains = True

    @property
    def retains_grad(self) -> bool:
        """Whether retain_grad() is in force on a tensor that is not a leaf."""
        node = current_node(self)
        return isinstance(node, Node) and node.hooks is not None and node.hooks.retains

    # ---- hooks
    def register_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(grad)`` when the gradient of this tensor is complete; a Tensor it returns replaces the gradient."""
        node = current_node(self)
        if node is None:
            raise GradError("register_hook: this tensor does not require gradients.")
        return RemovableHandle(_hooks(node).on_grad, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> RemovableHandle:
        """Call ``hook(tensor)`` after a gradient has been accumulated in this leaf's ``.grad``."""
        node = current_node(self)
        if not isinstance(node, Leaf):
            raise GradError("register_post_accumulate_grad_hook: expected a leaf that requires gradients.")
        node.owner = weakref.ref(self)
        return RemovableHandle(_hooks(node).after_accumulate, hook)

    # ---- memory
    @property
    def _base(self) -> Tensor | None:
        return self.base

    def _is_view(self) -> bool:
        return self.base is not None

    @property
    def _version(self) -> int:
        """Grows with every write to the memory."""
        return 0 if self.stamp is None else int(self.stamp[0])

    def storage_offset(self) -> int:
        """Elements between the start of the owner's memory and this tensor's first."""
        return offset_in_base(self) // self.itemsize


def _hooks(node: Node | Leaf) -> Hooks:
    if node.hooks is None:
        node.hooks = Hooks()
    return node.hooks


def wrap(array: Any, node: Node | Leaf | None = None) -> Tensor:
    """A Tensor around an array that nothing else holds."""
    t: Tensor = new(Tensor)
    t.array = array
    t.node = node
    t.base = None
    t.stamp = None
    return t


def offset_in_base(t: Tensor) -> int:
    """Bytes from the first element of the memory's owner to that of t."""
    base = t.base
    if base is None or not t.array.size:
        return 0
    x, y = base.array, t.array
    k = kernels.of(y)
    offset: int = k.address(y) - k.address(x)
    item = y.dtype.itemsize
    (low, high), (first, last) = memory_span(y.shape, y.strides, item), memory_span(x.shape, x.strides, item)
    if not first <= offset + low <= offset + high <= last:
        raise GradError("this view no longer lies in the memory of its base: the base's .data was replaced. Make the view anew.")
    return offset


def stamp_of(t: Tensor) -> list[Any]:
    """The stamp that all tensors on the same memory share."""
    if t.stamp is None:
        t.stamp = [0, ""]
    return t.stamp


def saved_output(n: Node, i: int) -> Tensor:
    """Output i of a node as a fresh Tensor, recorded only where backward is; never the output Tensor itself, which would be a cycle."""
    assert n.saved is not None
    array, stamp = n.saved[2][i]
    t: Tensor = new(Tensor)
    t.array = array
    t.base = t.node = None
    t.stamp = stamp
    if current_mode() is not False and is_grad_enabled() and array.dtype.kind == "f":
        t.node = n if n.shape is not None else output_node(n, i, len(n.saved[2]), array)
    return t


def output_node(n: Node, i: int, count: int, array: Any) -> Node:
    """Node of one output of a node that has several: it hands its gradient on as slot i."""
    out = Node()
    out.prim = OUTPUT_OF
    out.seq = tick()
    out.edges = (n,)
    out.kept = 0
    out.saved = (i, count)
    out.shape = array.shape
    out.dtype = array.dtype
    out.hooks = None
    return out


# What this file needs from above it: regenerating a view takes the door, the pseudo-primitive of outputs takes Primitive.
OUTPUT_OF: Any = None
_regenerate: Callable[[Tensor], None]


def bind(regenerate: Callable[[Tensor], None], output_of: Any) -> None:
    """Called once by primitives.py."""
    global OUTPUT_OF, _regenerate
    OUTPUT_OF, _regenerate = output_of, regenerate


def current_node(t: Tensor) -> Node | Leaf | None:
    """The node of a tensor; that of a view is made anew when its base's history was rewritten since."""
    base = t.base
    if base is not None and base.node is not t.seen and type(base.node) is not Leaf:
        _regenerate(t)
    return t.node
