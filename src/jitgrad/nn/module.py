"""Module: the base of all layers and models. What registers and walks is in _tree.py, state dicts in _state.py."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Self

from jitgrad import dtypes
from jitgrad.autograd import RemovableHandle
from jitgrad.dtypes import as_dtype
from jitgrad.errors import DTypeError, JitgradError, NoForwardError
from jitgrad.nn._edit_mark import edited
from jitgrad.nn._hooks import call_with_hooks, enter_hook
from jitgrad.nn._moves import apply_to_tensors, forget_grad
from jitgrad.nn._place import add_place, not_a_tensor
from jitgrad.nn._show import indented, module_html, repr_of_children
from jitgrad.nn._state import Stateful
from jitgrad.nn._tree import Tree
from jitgrad.ops.convert import cuda_device, to, to_arguments


class Module(Tree, Stateful):
    """Base of layers and models: subclass it, set submodules and parameters as attributes, and define forward.

    >>> import jitgrad as jg
    >>> from jitgrad import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.fc = nn.Linear(2, 1)
    ...     def forward(self, x):
    ...         return jg.relu(self.fc(x))
    >>> net = Net()
    >>> [name for name, _ in net.named_parameters()]
    ['fc.weight', 'fc.bias']
    >>> net(jg.ones(3, 2)).shape
    (3, 1)
    """

    training: bool
    _forward_pre_hooks: OrderedDict[int, Any]
    _forward_hooks: OrderedDict[int, Any]
    _backward_pre_hooks: OrderedDict[int, Any]
    _backward_hooks: OrderedDict[int, Any]

    def __init__(self) -> None:
        if "_modules" in self.__dict__:  # called again, as some do to start anew: what it had leaves it
            edited()
        self.__dict__.update(
            training=True, _parameters={}, _buffers={}, _modules={}, _non_persistent_buffers_set=set(),
            _forward_pre_hooks=OrderedDict(), _forward_hooks=OrderedDict(),
            _backward_pre_hooks=OrderedDict(), _backward_hooks=OrderedDict(),
            _state_dict_pre_hooks=OrderedDict(), _state_dict_hooks=OrderedDict(),
            _load_state_dict_pre_hooks=OrderedDict(), _load_state_dict_post_hooks=OrderedDict(),
        )  # fmt: skip

    # ---- calling
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run forward with its hooks; a jitgrad error leaves with the place of the layer that raised it."""
        try:
            # The first attribute explains itself where __init__ has not run; the others skip the detour that attributes take.
            if self._forward_pre_hooks or (own := self.__dict__)["_forward_hooks"] or own["_backward_pre_hooks"] or own["_backward_hooks"]:
                return call_with_hooks(self, args, kwargs)
            return self.forward(*args, **kwargs)
        except JitgradError as error:
            add_place(error, self, args, kwargs)
            raise
        except AttributeError as error:
            placed = not_a_tensor(error, self, args, kwargs)
            if placed is None:
                raise
            raise placed from error

    # Any signature: each module has its own.
    def _no_forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NoForwardError(f"{type(self).__name__} has no forward method. Define forward(self, x) in it.")

    forward: Callable[..., Any] = _no_forward

    def register_forward_pre_hook(self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False) -> RemovableHandle:
        """Call ``hook(module, args)`` before forward; what it returns, unless None, replaces the arguments.

        With with_kwargs it is ``hook(module, args, kwargs)`` and returns both. Returns a handle with ``remove()``.
        """
        return enter_hook(self._forward_pre_hooks, (hook, with_kwargs, False), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:  # fmt: skip
        """Call ``hook(module, args, output)`` after forward; what it returns, unless None, replaces the output.

        With with_kwargs it is ``hook(module, args, kwargs, output)``; with always_call it is also called, with output None,
        where forward raises. Returns a handle with ``remove()``.
        """
        return enter_hook(self._forward_hooks, (hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` before the gradients pass back through the module.

        grad_output is a tuple with a slot for each output, None where no gradient came. What the hook returns, unless None, takes
        its place: a tuple of the same length, or a Tensor where there is one output. Returns a handle with ``remove()``.

        >>> import jitgrad as jg
        >>> layer = jg.nn.Identity()
        >>> handle = layer.register_full_backward_pre_hook(lambda module, grad_output: (grad_output[0] * 10,))
        >>> x = jg.ones(2, requires_grad=True)
        >>> layer(x).sum().backward()
        >>> x.grad.tolist()
        [10.0, 10.0]
        """
        return enter_hook(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` when the gradients of the module's inputs are complete.

        Both are tuples: grad_input has a slot for each positional input, None for those that are no Tensors, grad_output one for
        each output, None where no gradient came. What the hook returns, unless None, takes the place of grad_input. Where no input
        wants a gradient, the hook is called with the gradients of the outputs, and has nothing to replace.

        Tensors are handed in and out as copies, so that their gradients can be seen: forward must not write into its inputs.
        The output is a Tensor or a tuple; in others gradients are not seen, with a warning. Returns a handle with ``remove()``.

        >>> import jitgrad as jg
        >>> layer = jg.nn.Tanh()
        >>> handle = layer.register_full_backward_hook(lambda module, grad_input, grad_output: print(grad_output[0].tolist()))
        >>> layer(jg.ones(2, requires_grad=True)).sum().backward()
        [1.0, 1.0]
        """
        return enter_hook(self._backward_hooks, hook, prepend)

    # ---- modes, moves
    def train(self, mode: bool = True) -> Self:
        """Put this module and all below it into training (or, with False, evaluation) mode; returns it."""
        if not isinstance(mode, bool):
            raise ValueError(f"train: expected True or False, given {mode!r}.")
        self.training = mode
        for child in self.children():
            child.train(mode)  # not set: a layer that is to stay frozen has a train of its own
        return self

    def eval(self) -> Self:
        """Put this module and all below it into evaluation mode; returns it."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Say for all parameters whether gradients are wanted; returns the module."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        for p in self.parameters():
            forget_grad(p, set_to_none)

    def apply(self, fn: Callable[[Module], None]) -> Self:
        """Call fn on every module below this one, then on this one; returns it."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def to(self, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False) -> Self:
        """Move parameters and buffers to a device, cast those with a float dtype; all or, on an error, none. Returns the module.

        Moves are complete when the call returns, also with non_blocking.

        >>> import jitgrad as jg
        >>> jg.nn.Linear(1, 1).to(jg.float64).weight.dtype
        jitgrad.float64
        """
        kind, where = to_arguments(args, dtype, device, most=1)
        if kind is not None and not kind.is_floating_point:
            raise DTypeError(f"Module.to: expected a float dtype, given {kind}.")
        apply_to_tensors(self, lambda t: to(t, dtype=kind if t.is_floating_point() else None, device=where))
        return self

    def float(self) -> Self:
        """Cast float parameters and buffers to float32."""
        return self.to(dtypes.float32)

    def double(self) -> Self:
        """Cast float parameters and buffers to float64."""
        return self.to(dtypes.float64)

    def half(self) -> Self:
        """Cast float parameters and buffers to float16, which is for storage: layers do not compute in it."""
        return self.to(dtypes.float16)

    def type(self, dst_type: Any) -> Self:
        """Cast all parameters and buffers, also those that are no floats."""
        kind = as_dtype(dst_type)
        if not kind.is_floating_point and any(p.requires_grad for p in self.parameters()):
            raise DTypeError(f"Module.type: expected a float dtype, as parameters require gradients, given {kind}.")
        apply_to_tensors(self, lambda t: to(t, dtype=kind))
        return self

    def cpu(self) -> Self:
        """Move to the CPU."""
        return self.to(device="cpu")

    def cuda(self, device: Any = None) -> Self:
        """Move to the GPU; DeviceError where there is none."""
        return self.to(device=cuda_device(device))

    # ---- words
    def extra_repr(self) -> str:
        """What stands between the brackets of the repr; layers override it."""
        return ""

    def _get_name(self) -> str:
        return self.__class__.__name__

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = [f"({name}): {indented(text)}" for name, text in repr_of_children(self)]
        if not lines and "\n" not in extra:
            return f"{self._get_name()}({extra})"
        body = "\n  ".join([*(extra.split("\n") if extra else ()), *lines])
        return f"{self._get_name()}(\n  {body}\n)"

    def _repr_html_(self) -> str:
        return module_html(self)
