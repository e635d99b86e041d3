"""New tensors: zeros, ones, full, empty, arange, linspace, eye, their _like forms and the new_ methods."""

from __future__ import annotations

from math import ceil, isfinite
from typing import Any

from jitgrad import dtypes, kernels
from jitgrad.autograd import FULL, Primitive, Tensor, as_device, broadcast_to, cast, clone, filled, tensor
from jitgrad.dtypes import as_dtype
from jitgrad.errors import ArgumentError, DTypeError
from jitgrad.ops.pointwise import add, eq, lt, mul, sub, where
from jitgrad.ops.views import reshape
from jitgrad.shapes import as_shape, check_new_shape

EMPTY = Primitive("empty", "", lambda device, shape, dtype: (check_new_shape(shape, dtype.itemsize), dtype), source=True)
ARANGE = Primitive("arange", "", lambda device, start, step, n, dtype: (check_new_shape((n,), dtype.itemsize), dtype), source=True)


def _made(t: Tensor, requires_grad: bool) -> Tensor:
    return t.requires_grad_() if requires_grad else t


def _constant(shape: tuple[Any, ...], value: int, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    p = (as_device(device).type, as_shape(shape), value, as_dtype(dtype or dtypes.float32).numpy)
    return _made(FULL.apply(*p), requires_grad)


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros, float32 by default; sizes as ints or as one tuple.

    >>> import jitgrad as jg
    >>> jg.zeros(2, 1).tolist()
    [[0.0], [0.0]]
    """
    return _constant(size, 0, dtype, device, requires_grad)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones, float32 by default.

    >>> import jitgrad as jg
    >>> jg.ones(2).tolist()
    [1.0, 1.0]
    """
    return _constant(size, 1, dtype, device, requires_grad)


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor whose elements are whatever the memory held, float32 by default.

    >>> import jitgrad as jg
    >>> jg.empty(2, 3).shape
    (2, 3)
    """
    p = (as_device(device).type, as_shape(size), as_dtype(dtype or dtypes.float32).numpy)
    return _made(EMPTY.apply(*p), requires_grad)


def full(size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of one value; its dtype is the value's unless given.

    >>> import jitgrad as jg
    >>> jg.full((2,), 7).tolist()
    [7, 7]
    """
    shape = as_shape((size,) if isinstance(size, (tuple, list)) else ((size,),))
    value = tensor(fill_value, dtype=dtype, device=device)
    if value.ndim:
        raise TypeError(f"full: expected one number as fill_value, given {value.shape}. Try jg.tensor(...).expand(...).")
    check_new_shape(shape, value.itemsize)
    return _made(clone(broadcast_to(value, shape)), requires_grad)


def arange(start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Numbers from start (0 if only one is given) to end, which is left out; int64 for ints, else float32.

    >>> import jitgrad as jg
    >>> jg.arange(3).tolist()
    [0, 1, 2]
    """
    if end is None:
        start, end = 0, start
    start, end, step = (_number("arange", name, value) for name, value in (("start", start), ("end", end), ("step", step)))
    if step == 0 or not isfinite(start) or not isfinite(end) or not isfinite(step):
        raise ArgumentError(f"arange: expected a step other than 0 and finite bounds, given {start}, {end}, {step}.")
    if (end - start) * step < 0:
        raise ArgumentError(f"arange: from {start} a step of {step} leads away from {end}.")
    kind = as_dtype(dtype) if dtype is not None else dtypes.int64 if isinstance(start + end + step, int) else dtypes.float32
    if kind is dtypes.bool_:
        raise DTypeError("arange: bool is not a dtype to count in.")
    if not kind.is_floating_point and (start != int(start) or step != int(step)):
        raise ArgumentError(f"arange: expected whole numbers as start and step for {kind}, given {start} and {step}.")
    n = ceil((end - start) / step) if isinstance(start + end + step, float) else -((start - end) // step)
    return _made(ARANGE.apply(as_device(device).type, start, step, n, kind.numpy), requires_grad)


def _number(op: str, name: str, value: Any) -> Any:
    """A Python int or float from one of NumPy or a Tensor of one element, too."""
    if not isinstance(value, (int, float)) and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{op}: {name} is expected to be a number, given {value!r}.")
    return value


def linspace(start: Any, end: Any, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """So many numbers evenly from start to end, both included, float32 by default; computed in float64.

    >>> import jitgrad as jg
    >>> jg.linspace(0, 1, 5).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    first, last = _number("linspace", "start", start), _number("linspace", "end", end)
    (n,) = as_shape((steps,))
    if n < 0:
        raise ArgumentError(f"linspace: expected at least 0 steps, given {n}.")
    kind = as_dtype(dtype or dtypes.float32)
    i = ARANGE.apply(as_device(device).type, 0, 1, n, dtypes.float64.numpy)
    step = (last - first) / max(n - 1, 1)
    # From both ends, as PyTorch does, so that the last number is end itself.
    y = where(lt(i, n // 2), add(mul(i, step), first), sub(last, mul(sub(n - 1, i), step))) if n > 1 else add(mul(i, step), first)
    return _made(cast(y, kind.numpy), requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """The (n, m) matrix with ones on its diagonal and zeros elsewhere; m is n unless given.

    >>> import jitgrad as jg
    >>> jg.eye(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    rows, columns = check_new_shape(as_shape((n, n if m is None else m)), 8)
    where_, kind = as_device(device).type, as_dtype(dtype or dtypes.float32)
    down, right = (ARANGE.apply(where_, 0, 1, k, dtypes.int64.numpy) for k in (rows, columns))
    return _made(cast(eq(reshape(down, (rows, 1)), right), kind.numpy), requires_grad)


def arange_like(n: int, like: Tensor) -> Tensor:
    """0 to n - 1 as int64 on the device of another tensor."""
    return ARANGE.apply(kernels.of(like.array).device_type, 0, 1, n, dtypes.int64.numpy)


def zeros_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros with the shape, dtype and device of another tensor.

    >>> import jitgrad as jg
    >>> jg.zeros_like(jg.ones(2)).tolist()
    [0.0, 0.0]
    """
    return _like(input, 0, dtype, device, requires_grad)


def ones_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones with the shape, dtype and device of another tensor.

    >>> import jitgrad as jg
    >>> jg.ones_like(jg.zeros(2)).tolist()
    [1.0, 1.0]
    """
    return _like(input, 1, dtype, device, requires_grad)


def full_like(input: Tensor, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """One value with the shape, dtype and device of another tensor; DTypeError where the dtype cannot hold it.

    >>> import jitgrad as jg
    >>> jg.full_like(jg.ones(2), 7).tolist()
    [7.0, 7.0]
    """
    return new_full(input, input.shape, fill_value, dtype=dtype, device=device, requires_grad=requires_grad)


def empty_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Whatever the memory held, with the shape, dtype and device of another tensor.

    >>> import jitgrad as jg
    >>> jg.empty_like(jg.ones(2, 3)).shape
    (2, 3)
    """
    return new_empty(input, input.shape, dtype=dtype, device=device, requires_grad=requires_grad)


def _like(input: Tensor, value: int, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    if dtype is None and device is None:
        return _made(filled(input.shape, value, input), requires_grad)
    return _constant(input.shape, value, *_as_of(input, dtype, device), requires_grad)


# ---- methods: new tensors with the dtype and device of another
def _as_of(input: Tensor, dtype: Any, device: Any) -> tuple[Any, Any]:
    return input.dtype if dtype is None else dtype, input.device if device is None else device


def new_zeros(input: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of another shape, with this tensor's dtype and device unless given."""
    return _constant(size, 0, *_as_of(input, dtype, device), requires_grad)


def new_ones(input: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of another shape, with this tensor's dtype and device unless given."""
    return _constant(size, 1, *_as_of(input, dtype, device), requires_grad)


def new_empty(input: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Whatever the memory held, of another shape, with this tensor's dtype and device unless given."""
    kind, where_ = _as_of(input, dtype, device)
    return empty(*size, dtype=kind, device=where_, requires_grad=requires_grad)


def new_full(
    input: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:  # fmt: skip
    """One value in another shape, with this tensor's dtype and device unless given."""
    kind, where_ = _as_of(input, dtype, device)
    return full(size, fill_value, dtype=kind, device=where_, requires_grad=requires_grad)


def new_tensor(input: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A copy of the data, with this tensor's dtype and device unless given."""
    kind, where_ = _as_of(input, dtype, device)
    return tensor(data, dtype=kind, device=where_, requires_grad=requires_grad)
