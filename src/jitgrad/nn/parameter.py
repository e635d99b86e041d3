"""Parameter: a Tensor that a Module registers when it is assigned."""

from __future__ import annotations

from typing import Any

from jitgrad.autograd import Tensor, detach, tensor_repr


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

    __slots__ = ()

    def __init__(self, data: Tensor, requires_grad: bool = True) -> None:
        if not isinstance(data, Tensor):
            raise TypeError(f"Parameter: expected a Tensor, given {type(data).__name__}. Try nn.Parameter(jg.tensor(data)).")
        same_memory = detach(data)
        self.array = same_memory.array
        self.node = None
        self.base = None
        self.stamp = same_memory.stamp
        if requires_grad:
            self.requires_grad_()

    def __repr__(self) -> str:
        return "Parameter containing:\n" + tensor_repr(detach(self).requires_grad_(self.requires_grad))


def weight_and_bias(module: Any) -> tuple[Any, Any]:
    """A layer's weight and bias from the table where they are registered: attributes take a detour as long as a small kernel."""
    own = module._parameters
    try:
        return own["weight"], own["bias"]
    except KeyError:  # one was replaced by a plain tensor
        return module.weight, module.bias
