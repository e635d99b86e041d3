"""Function: a user's own differentiable operation, e.g. around a Numba kernel of theirs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from jitgrad.autograd.door import AUX
from jitgrad.autograd.mode import is_grad_enabled, no_grad
from jitgrad.autograd.node import Node
from jitgrad.autograd.primitive import Primitive
from jitgrad.autograd.primitives import clone, filled
from jitgrad.autograd.tensor import Tensor, saved_output, stamp_of, wrap
from jitgrad.errors import GradError


class Context:
    """What forward hands to backward: ``save_for_backward``, ``needs_input_grad``, and any attribute you set."""

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self._saved: tuple[Tensor | None, ...] = ()
        self._materialize = True
        self._constant: tuple[Any, ...] = ()
        self._node: Node | None = None  # while backward runs; kept longer it would be a cycle
        self._shapes: tuple[tuple[int, ...], ...] = ()  # of the outputs

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep inputs or outputs of forward for backward, which reads them from ``saved_tensors``."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    f"save_for_backward: expected Tensors or None, given {type(t).__name__}. Set an attribute of ctx for anything else."
                )
        self._saved = tensors

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What save_for_backward kept; to be read in backward."""
        n = self._node
        if n is None or n.saved is None:
            raise GradError("saved_tensors is there while backward runs, not in forward or afterwards.")
        kept = n.saved[0]
        return tuple(s if not isinstance(s, tuple) else kept[s[1]] if s[0] == "input" else saved_output(n, s[1]) for s in self._saved)

    def mark_non_differentiable(self, *outputs: Tensor) -> None:
        """Say which outputs of forward no gradient flows from."""
        self._constant += outputs

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward gets zeros (the default) or None for outputs that no gradient came to."""
        self._materialize = value


class Call:
    """The arguments of one call with the Tensors taken out; the static parameter of the Function's primitive."""

    __slots__ = ("args", "needs_input_grad", "single")

    def __init__(self, args: Sequence[Any]) -> None:
        self.args = tuple(_TENSOR if isinstance(a, Tensor) else a for a in args)
        self.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        self.single = True

    def fill(self, tensors: Sequence[Tensor]) -> list[Any]:
        """The arguments with Tensors in their places."""
        rest = iter(tensors)
        return [next(rest) if a is _TENSOR else a for a in self.args]


_TENSOR = object()


class Function:
    """Base of a user's own operation: write ``forward`` and ``backward``, then call ``YourFunction.apply(...)``.

    ``forward(ctx, *args)`` runs unrecorded, may call anything (your own njit kernel on ``x.numpy()``), and returns one Tensor or a
    tuple. ``backward(ctx, *grad_outputs)`` returns one gradient for each argument of forward, None where there is none; written
    with jitgrad ops on ``ctx.saved_tensors`` it can itself be differentiated, else mark it with ``once_differentiable``.

    >>> import jitgrad as jg
    >>> from numba import njit
    >>> @njit
    ... def cube(x, out):
    ...     for i in range(x.size):
    ...         out[i] = x[i] ** 3
    >>> class Cube(jg.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         y = jg.empty(x.shape)
    ...         cube(x.numpy().ravel(), y.numpy().ravel())
    ...         return y
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return g * 3 * x * x
    >>> x = jg.tensor([2.0], requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad.tolist()
    [12.0]
    """

    _primitive: Primitive

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._primitive = Primitive(
            cls.__name__,
            "*xs",
            lambda xs, call: None,
            outputs="",
            impl=functools.partial(_forward, cls),
            grads=lambda g, node: _backward(cls, g, node),
            recorded=_recorded,
        )

    @staticmethod
    def forward(ctx: Context, *args: Any) -> Any:
        """Compute the outputs; to be overridden."""
        raise NotImplementedError("a Function needs a static method forward(ctx, ...)")

    @staticmethod
    def backward(ctx: Context, *grad_outputs: Any) -> Any:
        """Compute the gradients of the arguments; to be overridden."""
        raise NotImplementedError("a Function needs a static method backward(ctx, ...)")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Call forward, and record backward where an argument requires gradients."""
        tensors = [a for a in args if isinstance(a, Tensor)]
        if not tensors:
            raise TypeError(f"{cls.__name__}.apply: expected at least one Tensor among its arguments.")
        call = Call(args)
        result = cls._primitive.apply(tensors, call)
        return result if not call.single or isinstance(result, Tensor) else result[0]


@no_grad()
def _forward(cls: type[Function], xs: tuple[Any, ...], call: Call) -> tuple[Any, ...]:
    """The launcher of a Function's primitive: arrays in, arrays and the context out."""
    ctx = Context(call.needs_input_grad)
    inputs = [wrap(x) for x in xs]
    result = cls.forward(ctx, *call.fill(inputs))
    if any(t.stamp is not None and t.stamp[0] for t in inputs):
        raise GradError(f"{cls.__name__}.forward wrote into one of its inputs, which is not supported: clone() it first.")
    call.single = not isinstance(result, tuple)
    outputs = (result,) if call.single else result
    for y in outputs:
        if not isinstance(y, Tensor):
            raise TypeError(f"{cls.__name__}.forward: expected it to return Tensors, given {type(y).__name__}.")
    own = {id(x) for x in xs}
    arrays = []
    for y in outputs:
        # An input (or a view of one) handed through must become a tensor of its own, or its history would be lost.
        aliased = id(y.array) in own or (y.base is not None and id(y.base.array) in own)
        arrays.append(clone(y).array if aliased else y.array)
    ctx._saved = tuple(_place(t, xs, outputs, arrays) for t in ctx._saved)
    ctx._constant = tuple(i for i, y in enumerate(outputs) if any(y is c for c in ctx._constant))
    ctx._shapes = tuple(a.shape for a in arrays)
    return (*arrays, ctx)


def _place(t: Tensor | None, xs: Sequence[Any], outputs: Sequence[Tensor], arrays: Sequence[Any]) -> Any:
    """A saved tensor as ("input", i) or ("output", i), so that backward sees the recorded ones; anything else is itself."""
    if t is not None:
        for i, x in enumerate(xs):
            if t.array is x:
                return ("input", i)
        for i, (y, a) in enumerate(zip(outputs, arrays, strict=True)):
            if t is y and t.array is a:
                return ("output", i)
    return t


def _recorded(n: Node, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Keep the inputs and outputs that backward wants, and cut the outputs that are not differentiable."""
    assert n.saved is not None
    _, p, _, aux = n.saved
    ctx = aux[0]
    wanted = {s[1] for s in ctx._saved if isinstance(s, tuple) and s[0] == "input"}
    keeps_output = any(isinstance(s, tuple) and s[0] == "output" for s in ctx._saved)
    kept = tuple(x if i in wanted else None for i, x in enumerate(inputs))
    n.saved = (kept, p, tuple((y.array, stamp_of(y)) for y in outputs) if keeps_output else None, aux)
    n.kept = AUX
    for i in ctx._constant:
        outputs[i].node = None


def _backward(cls: type[Function], g: tuple[Tensor | None, ...], node: Node) -> list[Tensor | None]:
    """Gradients of the Tensor arguments."""
    assert node.saved is not None
    _, (call,), _, aux = node.saved
    ctx = aux[0]
    ctx._node = node
    if ctx._materialize:
        some = next(ge for ge in g if ge is not None)
        g = tuple(ge if ge is not None else filled(shape, 0, some) for ge, shape in zip(g, ctx._shapes, strict=True))
    try:
        grads = cls.backward(ctx, *g)
    finally:
        ctx._node = None
    grads = grads if isinstance(grads, tuple) else (grads,)
    if len(grads) != len(call.args):
        raise GradError(
            f"{cls.__name__}.backward: expected {len(call.args)} gradients, one for each argument of forward, given {len(grads)}."
        )
    for a, ga in zip(call.args, grads, strict=True):
        if a is not _TENSOR and ga is not None:
            raise GradError(
                f"{cls.__name__}.backward: expected None as the gradient of an argument that is no Tensor, given {type(ga).__name__}."
            )
    return [ga for a, ga in zip(call.args, grads, strict=True) if a is _TENSOR]


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator for a backward that is not written with jitgrad ops: it runs unrecorded, and a gradient of it is a GradError.

    Without it such a backward would be a constant to create_graph=True, which is silently wrong.
    """

    @functools.wraps(backward)
    def once(ctx: Context, *grads: Any) -> Any:
        if is_grad_enabled():
            raise GradError("this backward is once_differentiable: it cannot be run with create_graph=True.")
        return backward(ctx, *grads)

    return once
