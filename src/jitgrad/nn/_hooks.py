"""Hooks on a module's call: how they are entered, the call that runs them, and the way back of its gradients."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jitgrad.autograd import Function, RemovableHandle, Tensor, is_grad_enabled
from jitgrad.errors import ArgumentError, GradError, InputTypeError, JitgradError, ShapeError
from jitgrad.nn._place import add_backward_place, add_place
from jitgrad.ops.create import zeros

if TYPE_CHECKING:
    from jitgrad.nn.module import Module

Args = tuple[Any, ...]


def enter_hook(hooks: OrderedDict[int, Any], entry: Any, prepend: bool) -> RemovableHandle:
    """Enter a hook, or for forward hooks (hook, with_kwargs, always_call), last or, with prepend, first."""
    hook = entry[0] if isinstance(entry, tuple) else entry
    if not callable(hook):
        raise TypeError(f"a hook is expected to be callable, given {type(hook).__name__}.")
    handle = RemovableHandle(hooks, entry)
    if prepend:
        hooks.move_to_end(next(reversed(hooks)), last=False)
    return handle


def call_with_hooks(module: Module, args: Args, kwargs: dict[str, Any], forward: Callable[..., Any] | None = None) -> Any:
    """Pre-hooks, forward, hooks; hooks may be removed while they run."""
    called: set[int] = set()
    output: Any = None
    what = "a forward pre-hook of "  # of the module is running
    try:
        for hook, with_kwargs, _ in tuple(module._forward_pre_hooks.values()):
            args, kwargs = _after_pre_hook(hook, with_kwargs, module, args, kwargs)
        crossing = None
        if module._backward_hooks or module._backward_pre_hooks:
            crossing = _Crossing(module)
            args = crossing.inwards(args)
        what = ""
        output = (forward or module.forward)(*args, **kwargs)
        if crossing is not None:
            crossing.check_inputs(args)
        what = "a forward hook of "
        for key, entry in tuple(module._forward_hooks.items()):
            called.add(key)
            changed = _run(entry, module, args, kwargs, output)
            output = output if changed is None else changed
        return output if crossing is None else crossing.outwards(output)
    except Exception as error:
        if what and isinstance(error, JitgradError):
            add_place(error, module, args, kwargs, what)
        for key, entry in tuple(module._forward_hooks.items()):
            if entry[2] and key not in called:
                try:
                    _run(entry, module, args, kwargs, output)
                except Exception as second:
                    warnings.warn(f"a hook of {type(module).__name__} with always_call raised after forward had raised: {second!r}")
        raise


def _run(entry: tuple[Any, bool, bool], module: Module, args: Args, kwargs: dict[str, Any], output: Any) -> Any:
    hook, with_kwargs, _ = entry
    return hook(module, args, kwargs, output) if with_kwargs else hook(module, args, output)


def _after_pre_hook(hook: Any, with_kwargs: bool, module: Module, args: Args, kwargs: dict[str, Any]) -> Any:
    if not with_kwargs:
        changed = hook(module, args)
        if changed is None:
            return args, kwargs
        return (changed if isinstance(changed, tuple) else (changed,)), kwargs
    changed = hook(module, args, kwargs)
    if changed is None:
        return args, kwargs
    if not (isinstance(changed, tuple) and len(changed) == 2):
        raise ArgumentError(f"a forward pre-hook with kwargs is expected to return None or (args, kwargs), given {type(changed).__name__}.")
    return changed


class _Crossing:
    """One call of a module with backward hooks: its tensors cross two gates, at which their gradients are seen on the way back."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.pre_hooks = tuple(module._backward_pre_hooks.values())
        self.hooks = tuple(module._backward_hooks.values())
        self.inputs: Sequence[Any] = ()  # (shape, dtype, device) of each positional input, None where it is no Tensor
        self.outputs: Sequence[Any] = ()
        self.has_input_gate = False
        self.versions: Sequence[int] = ()  # of the inputs behind the gate
        self.grad_output: Args | None = None

    def inwards(self, args: Args) -> Args:
        """The arguments behind the gate of the inputs."""
        self.inputs = _described(args)
        gated = _through_gate(InputGate, self, args)
        if gated is None:
            return args
        self.has_input_gate = True
        self.versions = _versions(gated)
        return gated

    def check_inputs(self, args: Args) -> None:
        """Raise where forward wrote into an input: the caller's own tensor would not have changed."""
        if self.has_input_gate and self.versions != _versions(args):
            raise GradError(
                f"{type(self.module).__name__} wrote into its input, which a module with backward hooks must not: they are handed a copy. "
                "Use inplace=False, or remove the hook."
            )

    def outwards(self, output: Any) -> Any:
        """The output behind the gate of the outputs."""
        if not isinstance(output, (Tensor, tuple)):
            warnings.warn(
                f"the backward hooks of {type(self.module).__name__} see no gradients: expected a Tensor or a tuple of Tensors as its "
                f"output, given {type(output).__name__}."
            )
            return output
        several = output if isinstance(output, tuple) else (output,)
        self.outputs = _described(several)
        gated = _through_gate(OutputGate, self, several)
        if gated is None:
            return output
        if not isinstance(output, tuple):
            return gated[0]
        return gated if type(output) is tuple else type(output)(*gated)  # a named tuple stays one

    def back_at_outputs(self, grads: Sequence[Tensor | None]) -> Args:
        """Gradients of the output Tensors after the pre-hooks."""
        grad_output = _spread(self.outputs, grads)
        for hook in self.pre_hooks:
            grad_output = self._replaced("backward pre-hook", grad_output, self._run("pre-hook", hook, grad_output), self.outputs)
        if self.has_input_gate:
            self.grad_output = grad_output
        else:
            nothing = (None,) * len(self.inputs)
            for hook in self.hooks:
                given = self._run("hook", hook, nothing, grad_output)
                if given is not None and not (isinstance(given, tuple) and all(g is None for g in given)):
                    raise GradError(
                        f"backward hook of {type(self.module).__name__}: none of its inputs wants a gradient, so there is none to replace: "
                        f"expected None, given {type(given).__name__}."
                    )
        return _gathered(self.outputs, grad_output)

    def back_at_inputs(self, grads: Sequence[Tensor | None]) -> Args:
        """Gradients of the input Tensors after the hooks: zeros for an input that forward did not use."""
        if self.grad_output is None:  # they did not come through the outputs, as where a gradient is differentiated again
            return tuple(grads)
        told = [s for s in self.inputs if s is not None]
        full = [zeros(*s[0], dtype=s[1], device=s[2]) if g is None else g for s, g in zip(told, grads, strict=True)]
        grad_input = _spread(self.inputs, full)
        for hook in self.hooks:
            given = self._run("hook", hook, grad_input, self.grad_output)
            grad_input = self._replaced("backward hook", grad_input, given, self.inputs)
        self.grad_output = None
        return _gathered(self.inputs, grad_input)

    def _run(self, kind: str, hook: Callable[..., Any], *grads: Args) -> Any:
        """What a hook returns; a jitgrad error that it raises leaves with its place."""
        try:
            return hook(self.module, *grads)
        except JitgradError as error:
            add_backward_place(error, self.module, f"a backward {kind} of ", grads[0])
            raise

    def _replaced(self, what: str, grads: Args, given: Any, described: Sequence[Any]) -> Args:
        """What a hook returned in place of the gradients, checked."""
        if given is None:
            return grads
        where = f"{what} of {type(self.module).__name__}"
        if isinstance(given, Tensor) and len(grads) == 1:
            given = (given,)
        if not isinstance(given, (tuple, list)):
            raise InputTypeError(f"{where}: expected a tuple of {len(grads)} gradients or None, given {type(given).__name__}.")
        if len(given) != len(grads):
            raise GradError(f"{where}: expected {len(grads)} gradients, given {len(given)}.")
        for g, s in zip(given, described, strict=True):
            if g is not None and not isinstance(g, Tensor):
                raise InputTypeError(f"{where}: expected Tensors or None as gradients, given {type(g).__name__}.")
            if g is not None and s is not None and (g.shape, g.dtype) != s[:2]:
                raise ShapeError(f"{where}: expected a gradient {s[0]} {s[1]}, given {g.shape} {g.dtype}.")
        return tuple(given)


def _versions(values: Args) -> Sequence[int]:
    return [v._version for v in values if isinstance(v, Tensor)]


def _described(values: Args) -> Sequence[Any]:
    return [(v.shape, v.dtype, v.device) if isinstance(v, Tensor) else None for v in values]


def _spread(described: Sequence[Any], grads: Sequence[Tensor | None]) -> Args:
    """Gradients of the Tensors in slots for all values."""
    rest = iter(grads)
    return tuple(None if s is None else next(rest) for s in described)


def _gathered(described: Sequence[Any], slots: Args) -> Args:
    """Gradients of the Tensors out of slots for all values."""
    return tuple(g for s, g in zip(described, slots, strict=True) if s is not None)


def _through_gate(gate: type[Function], crossing: _Crossing, values: Args) -> Args | None:
    """The values with each Tensor handed through a gate; None where no gradient is wanted."""
    if not (is_grad_enabled() and any(isinstance(v, Tensor) and v.requires_grad for v in values)):
        return None
    result = gate.apply(crossing, *(v for v in values if isinstance(v, Tensor)))
    passed = iter((result,) if isinstance(result, Tensor) else result)
    return tuple(next(passed) if isinstance(v, Tensor) else v for v in values)


class InputGate(Function):
    """Hands the inputs on as they are; on the way back the crossing sees their gradients."""

    @staticmethod
    def forward(ctx: Any, crossing: _Crossing, *tensors: Tensor) -> Args:
        ctx.crossing = crossing
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(t for t, wanted in zip(tensors, ctx.needs_input_grad[1:], strict=True) if not wanted))
        return tensors

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Args:
        return (None, *ctx.crossing.back_at_inputs(grads))


class OutputGate(InputGate):
    """The same for outputs."""

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Args:
        return (None, *ctx.crossing.back_at_outputs(grads))
