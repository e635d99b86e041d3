"""Running a model to look at it: inputs made of shapes, and no arithmetic where shapes and dtypes will do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeVar

from jitgrad import dtypes
from jitgrad.autograd import DryRun, Tensor, no_grad
from jitgrad.dtypes import DType
from jitgrad.errors import ArgumentError, JitgradError, NoDataError
from jitgrad.nn._preserve import preserved
from jitgrad.nn._trace import Trace
from jitgrad.nn._tree import every_parameter
from jitgrad.ops.create import zeros
from jitgrad.ops.random import randn

if TYPE_CHECKING:
    from jitgrad.nn.module import Module

T = TypeVar("T")


def is_shape(x: Any) -> bool:
    """Whether an argument is the shape of an input: a tuple of ints."""
    return isinstance(x, tuple) and all(isinstance(n, Integral) and not isinstance(n, bool) for n in x)


class Arguments:
    """The arguments of one call of a model; a shape stands for a tensor where the model's parameters are.

    Parameters
    ----------
    model, args, kwargs
        The model, and what it is called with.
    dtype
        Of tensors given as shapes: one for all, or a list with one for each.
    what
        Who asks, for errors.
    named_shapes
        Whether shapes among kwargs stand for tensors too, or are passed as they are.
    """

    def __init__(
        self, model: Module, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, dtype: Any = dtypes.float32,
        what: str = "", named_shapes: bool = False,
    ) -> None:  # fmt: skip
        self.args, self.kwargs = tuple(args), dict(kwargs or {})
        self._named_shapes = named_shapes
        shapes = sum(map(is_shape, [*self.args, *(self.kwargs.values() if named_shapes else ())]))
        self.guessed = shapes > 0  # whether a dtype is a guess of ours
        self._dtypes = _dtypes(dtype, shapes, what)
        self._device = next((t.device for t in (*every_parameter(model.modules()), *model.buffers())), None)

    def made(self, dry: bool) -> tuple[list[Any], dict[str, Any]]:
        """Arguments with tensors in the place of shapes: random floats, zeros of other dtypes; or without values."""
        kinds = iter(self._dtypes)
        with DryRun() if dry else nullcontext():
            args = [self._made(x, kinds, dry) for x in self.args]
            return args, {k: self._made(v, kinds, dry) for k, v in self.kwargs.items()} if self._named_shapes else self.kwargs

    def _made(self, given: Any, kinds: Iterator[DType], dry: bool) -> Any:
        if not is_shape(given):
            return given
        dtype = next(kinds)
        make: Callable[..., Tensor] = randn if dtype.is_floating_point and not dry else zeros
        return make(tuple(map(int, given)), dtype=dtype, device=self._device)


def _dtypes(dtype: Any, count: int, what: str) -> list[DType]:
    if not isinstance(dtype, (list, tuple)):
        return [dtypes.as_dtype(dtype)] * count
    if len(dtype) != count:
        raise ArgumentError(f"{what}: expected a dtype for each of {count} shapes, or one for all, given {len(dtype)}.")
    return [dtypes.as_dtype(d) for d in dtype]


def traced(model: Module, given: Arguments, *, real: bool = True) -> tuple[Trace, Exception | None]:
    """A trace of a model, dry, or with real=True for real where it has to be, and what it raised; it is afterwards as it was."""
    return dry_or_real(lambda dry: traced_once(model, given, dry), real)


def traced_once(model: Module, given: Arguments, dry: bool) -> tuple[Trace, Exception | None]:
    """A trace of a model, dry or real."""
    error = None
    with preserved(model, given.args, given.kwargs, values=not dry), no_grad():
        args, kwargs = given.made(dry)
        with Trace(model, dry=dry) as trace:
            try:
                model(*args, **kwargs)
            except Exception as raised:  # whatever a model's own code raises says that it does not take the arguments
                error = raised
    return trace, error


def output_of(module: Module, args: Any, kwargs: Any) -> Any:
    """What a module makes of the arguments of another's call: shapes, or where it asks for values the values."""

    def run(dry: bool) -> tuple[Any, Exception | None]:
        with preserved(module, args, kwargs, values=not dry), no_grad(), DryRun() if dry else nullcontext():
            try:
                return module(*args, **kwargs), None
            except Exception as error:
                return None, error

    output, error = dry_or_real(run)
    if error is not None:
        raise error
    return output


def dry_or_real(run: Callable[[bool], tuple[T, Exception | None]], real: bool = True) -> tuple[T, Exception | None]:
    """What run(True), a dry run, finds and raises; where that is not certain, and real runs are allowed, what run(False) does."""
    found, error = run(True)
    # What is no error of jitgrad may come from a program that takes a tensor's array out, which a dry run has not.
    certain = error is None or (isinstance(error, JitgradError) and not isinstance(error, NoDataError))
    return (found, error) if certain or not real else run(False)
