"""From Tensors to Python and NumPy, to other dtypes and devices."""

from __future__ import annotations

from typing import Any

from jitgrad import kernels
from jitgrad.autograd import Tensor, as_device, cast, clone as _clone, contiguous as _contiguous, tell_read, tensor, to_device
from jitgrad.device import device as _device
from jitgrad.dtypes import DType, as_dtype
from jitgrad.errors import DeviceError, GradError, ShapeError


def to(input: Tensor, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False, copy: bool = False) -> Tensor:
    """The tensor with another dtype or on another device: ``x.to(jg.float64)``, ``x.to("cuda")``, ``x.to(other)``.

    The tensor itself where nothing changes, unless copy. Moves are complete when the call returns, also with non_blocking.
    Gradient: g cast and moved back.

    >>> import jitgrad as jg
    >>> jg.ones(1).to(jg.float64).dtype
    jitgrad.float64
    """
    kind, where = to_arguments(args, dtype, device)
    copy = copy or [a for a in args if isinstance(a, bool)][1:] == [True]
    y = input if where is None else to_device(input, where)
    y = y if kind is None else cast(y, kind.numpy)
    return _clone(y) if copy and y is input else y


def to_arguments(args: tuple[Any, ...], dtype: Any, device: Any, most: int = 2) -> tuple[DType | None, Any]:
    """dtype and device of ``to(dtype)``, ``to("cpu")``, ``to(device, dtype)``, ``to(tensor)``.

    After the first, one bool is non_blocking and a second copy, as in PyTorch; there are at most so many.
    """
    flags = sum(isinstance(a, bool) for a in args[1:])
    if flags > most or (args and isinstance(args[0], bool)):
        more = "non_blocking" if most == 1 else "non_blocking and copy"
        raise TypeError(f"to: expected a dtype, a device or a tensor, then {more}, given {args!r:.80}.")
    for a in args:
        if isinstance(a, Tensor):
            dtype, device = a.dtype, a.device
        elif isinstance(a, _device) or (isinstance(a, str) and a.partition(":")[0] in ("cpu", "cuda")):
            device = a
        elif not isinstance(a, bool):
            dtype = a
    return None if dtype is None else as_dtype(dtype), None if device is None else as_device(device)


def clone(input: Tensor) -> Tensor:
    """A contiguous copy. Gradient: g.

    >>> import jitgrad as jg
    >>> jg.clone(jg.ones(1)).tolist()
    [1.0]
    """
    return _clone(input)


def contiguous(input: Tensor) -> Tensor:
    """The tensor itself where its memory is C-contiguous, else a copy.

    >>> import jitgrad as jg
    >>> jg.zeros(2, 3).transpose(0, 1).contiguous().stride()
    (2, 1)
    """
    return _contiguous(input)


def numel(input: Tensor) -> int:
    """Number of elements.

    >>> import jitgrad as jg
    >>> jg.numel(jg.zeros(2, 3))
    6
    """
    return int(input.array.size)


def _on_host(input: Tensor) -> Any:
    """The elements for Python, where the graph ends."""
    tell_read(input)
    return kernels.of(input.array).to_host(input.array)


def item(input: Tensor) -> Any:
    """The one number as a Python float, int or bool; ShapeError for more than one.

    >>> import jitgrad as jg
    >>> jg.tensor([2.5]).item()
    2.5
    """
    if input.array.size != 1:
        raise ShapeError(f"item: expected one element, given shape {input.shape}. Use tolist().")
    return _on_host(input).item()


def tolist(input: Tensor) -> Any:
    """Nested lists of Python numbers, or one number for a 0-d tensor."""
    return _on_host(input).tolist()


def numpy(input: Tensor, *, force: bool = False) -> Any:
    """The elements as a NumPy array on the same memory. With force, a copy where that cannot be: requires_grad, another device."""
    if not force:
        if input.requires_grad:
            raise GradError("numpy: writes to the array would not be recorded, and this tensor requires grad. Use x.detach().numpy().")
        if input.device.type != "cpu":
            raise DeviceError(f"numpy: this tensor is on {input.device}. Use x.cpu().numpy().")
    return _on_host(input)


def array_protocol(input: Tensor, dtype: Any = None, copy: bool | None = None) -> Any:
    """np.asarray(x)."""
    a = numpy(input.detach())
    if dtype is not None and a.dtype != dtype:
        if copy is False:
            raise ValueError(f"a {a.dtype} tensor cannot become {dtype} without a copy.")
        return a.astype(dtype)
    return a.copy() if copy else a


def array_function(input: Tensor, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """NumPy's functions compute on the elements, np.sum(x) as np.sum(np.asarray(x)), and give arrays; they cannot write to a Tensor."""
    return func(*_readable(args), **_readable(kwargs))


def _readable(value: Any) -> Any:
    """Arrays for the Tensors in an argument, on their memory but read-only: a write by NumPy would go unnoticed by backward."""
    if isinstance(value, Tensor):
        a = array_protocol(value).view()
        a.flags.writeable = False
        return a
    if isinstance(value, (list, tuple)) and any(isinstance(v, (Tensor, list, tuple)) for v in value):
        return [_readable(v) for v in value]
    return {k: _readable(v) for k, v in value.items()} if isinstance(value, dict) else value


def of_arrays(op: Any) -> Any:
    """A binary op of Tensors for operators, whose other operand may be a NumPy array."""

    def method(a: Any, b: Any) -> Any:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return op(a, b)
        return op(*(x if isinstance(x, Tensor) else tensor(x, device=other.device) for x, other in ((a, b), (b, a))))

    return method


def dlpack(input: Tensor, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None) -> Any:
    """A DLPack capsule on the tensor's memory, for ``torch.from_dlpack(x)`` and ``np.from_dlpack(x)``."""
    if input.requires_grad:
        raise BufferError("__dlpack__: writes by others would not be recorded, and this tensor requires grad. Use x.detach().")
    dlpack_device(input)
    if any(s < 0 for s in input.stride()):
        raise BufferError("__dlpack__: PyTorch aborts on negative strides, so they are not handed out. Use x.contiguous().")
    tell_read(input)
    return input.array.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)


def dlpack_device(input: Tensor) -> tuple[int, int]:
    """Device type and number in DLPack's terms."""
    if input.device.type != "cpu":
        raise BufferError(f"__dlpack__: only memory of the CPU is handed out, and this tensor is on {input.device}. Use x.cpu().")
    return input.array.__dlpack_device__()


def cpu(input: Tensor) -> Tensor:
    """The tensor on the CPU."""
    return to(input, device="cpu")


def cuda(input: Tensor, device: Any = None, non_blocking: bool = False) -> Tensor:
    """The tensor on the GPU; DeviceError where there is none."""
    return to(input, device=cuda_device(device))


def cuda_device(device: Any) -> Any:
    """The GPU that ``cuda()``, ``cuda(0)`` or ``cuda("cuda:0")`` means."""
    return "cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else device


def casts(name: str) -> Any:
    """A method that casts to one dtype."""
    dtype: DType = as_dtype(name)

    def method(input: Tensor) -> Tensor:
        return cast(input, dtype.numpy)

    method.__name__ = name
    method.__doc__ = f"The tensor as {dtype.name}."
    return method
