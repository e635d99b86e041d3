"""Parameter and Buffer: Tensors that a Module registers when they are assigned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from jitgrad.autograd import Tensor, detach, tensor_repr
from jitgrad.autograd.node import tick

if TYPE_CHECKING:
    from jitgrad.nn._edit_mark import Left


class Parameter(Tensor):
    """A leaf tensor that becomes a parameter of the Module it is assigned to: it is trained, saved and moved with it.

    Parameters
    ----------
    data
        A Tensor; the Parameter shares its memory and stands outside its graph.
    requires_grad
        Whether gradients are wanted for it.

    Raises TypeError for anything but a Tensor, DTypeError where an int tensor would require gradients.

    >>> import jitgrad as jg
    >>> w = jg.nn.Parameter(jg.ones(2))
    >>> (w * 3).sum().backward()
    >>> w.grad.tolist()
    [3.0, 3.0]
    """

    __slots__ = ("_born", "_left")
    _born: int  # when it was made, copies too: optimizers tell by it what is new
    _left: Left | None  # where surgery took it from, unless it is registered somewhere again

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = object.__new__(cls)
        self._born = tick()
        self._left = None
        return self

    def __init__(self, data: Tensor, requires_grad: bool = True) -> None:
        if not isinstance(data, Tensor):
            raise TypeError(f"Parameter: expected a Tensor, given {type(data).__name__}. Try nn.Parameter(jg.tensor(data)).")
        _share(self, data)
        if requires_grad:
            self.requires_grad_()

    def __repr__(self) -> str:
        return "Parameter containing:\n" + tensor_repr(detach(self).requires_grad_(self.requires_grad))


class Buffer(Tensor):
    """A tensor that becomes a buffer of the Module it is assigned to: moved and (if persistent) saved with it, but not trained.

    Parameters
    ----------
    data
        A Tensor; the Buffer shares its memory and stands outside its graph.
    persistent
        Whether it is part of the state dict.

    >>> import jitgrad as jg
    >>> m = jg.nn.Module()
    >>> m.mean, m.scratch = jg.nn.Buffer(jg.zeros(2)), jg.nn.Buffer(jg.zeros(2), persistent=False)
    >>> [name for name, _ in m.named_buffers()], list(m.state_dict())
    (['mean', 'scratch'], ['mean'])
    """

    __slots__ = ("_transient",)  # not there means False, as in a copy

    def __init__(self, data: Tensor, *, persistent: bool = True) -> None:
        if not isinstance(data, Tensor):
            raise TypeError(f"Buffer: expected a Tensor, given {type(data).__name__}. Try nn.Buffer(jg.tensor(data)).")
        _share(self, data)
        self._transient = not persistent

    @property
    def persistent(self) -> bool:
        """Whether a module that it is assigned to saves it."""
        return not getattr(self, "_transient", False)

    def __repr__(self) -> str:
        return tensor_repr(detach(self))


def _share(new: Tensor, data: Tensor) -> None:
    """Make new a leaf on the memory of data."""
    same_memory = detach(data)
    new.array = same_memory.array
    new.node = None
    new.base = None
    new.stamp = same_memory.stamp


def weight_and_bias(module: Any) -> tuple[Any, Any]:
    """A layer's weight and bias from the table where they are registered: attributes take a detour as long as a small kernel."""
    own = module._parameters
    try:
        return own["weight"], own["bias"]
    except KeyError:  # one was replaced by a plain tensor
        return module.weight, module.bias
