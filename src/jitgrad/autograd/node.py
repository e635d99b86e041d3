"""The graph's parts: Node (one recorded operation) and Leaf (where gradients arrive). Edges lead from later to earlier."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jitgrad.autograd.primitive import Primitive
    from jitgrad.autograd.tensor import Tensor

tick = count(1).__next__  # one clock for the order of nodes and for writes; atomic under the GIL
last_write = [0]  # when an op last wrote into any tensor: nodes made since need not look at what they kept

Hook = Callable[["Tensor"], "Tensor | None"]


class Hooks:
    """Hooks on one gradient, in order of registration, and what retain_grad() keeps."""

    __slots__ = ("after_accumulate", "on_grad", "retained", "retains")

    def __init__(self) -> None:
        self.on_grad: dict[int, Hook] = {}
        self.after_accumulate: dict[int, Callable[[Tensor], None]] = {}
        self.retains = False
        self.retained: Tensor | None = None


class Leaf:
    """Where the gradient of a tensor that requires it arrives: it owns ``.grad``; the tensor and the graph hold it."""

    __slots__ = ("__weakref__", "dtype", "grad", "hooks", "owner", "shape")
    seq = 0

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape = shape
        self.dtype = dtype
        self.grad: Tensor | None = None
        self.hooks: Hooks | None = None
        self.owner: Any = None  # weak reference to the tensor, set with the first post-accumulate hook

    def __repr__(self) -> str:
        return "<AccumulateGrad>"


class Node:
    """One recorded operation.

    ``edges`` are the nodes of the inputs (None where no gradient is wanted); ``saved`` is (inputs, static parameters,
    outputs, aux), None once freed; ``kept`` the bits of what of that counts as kept (see primitive.py); ``shape`` and
    ``dtype`` are those of the output, None for a node of several outputs. ``line`` is there in anomaly mode only (see anomaly.py).
    """

    __slots__ = ("dtype", "edges", "hooks", "kept", "line", "prim", "saved", "seq", "shape")
    prim: Primitive
    kept: int
    seq: int
    edges: tuple[Any, ...]
    saved: tuple[Any, ...] | None
    shape: tuple[int, ...] | None
    dtype: Any
    hooks: Hooks | None
    line: Any

    def name(self) -> str:
        """Name of the operation, as PyTorch writes it: MulBackward."""
        return "".join(part.capitalize() for part in self.prim.name.split("_")) + "Backward"

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """Nodes of the inputs, as PyTorch gives them."""
        return tuple((e, 0) for e in self.edges)

    def __repr__(self) -> str:
        return f"<{self.name()}>"


class RemovableHandle:
    """Returned by the register methods: ``remove()`` takes the hook away, once or more often; also a context manager."""

    def __init__(self, hooks: dict[int, Any], hook: Any) -> None:
        self._hooks: dict[int, Any] | None = hooks
        self._key = tick()
        while self._key in hooks:  # hooks that came with a pickle bring keys of another process
            self._key = tick()
        hooks[self._key] = hook

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        if self._hooks is not None:
            self._hooks.pop(self._key, None)
            self._hooks = None

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()
