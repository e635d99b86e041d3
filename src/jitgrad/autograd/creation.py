"""Tensors from data: lists, scalars, NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from jitgrad import dtypes, kernels
from jitgrad.autograd.primitive import Primitive
from jitgrad.autograd.primitives import same
from jitgrad.autograd.tensor import Tensor, wrap
from jitgrad.device import CPU, device
from jitgrad.dtypes import DType, as_dtype, of_scalar
from jitgrad.errors import DeviceError, DTypeError, ShapeError

# A cast to a float keeps the graph; to anything else it ends there, hence two primitives on one kernel.
CAST_FLOAT: Primitive = Primitive(
    "cast_float", "x", lambda x, dtype: (x.shape, dtype), kernel="cast", grad_x=lambda g, x_dtype: cast(g, x_dtype)
)
CAST: Primitive = Primitive("cast", "x", lambda x, dtype: (x.shape, dtype))
DETACH: Primitive = Primitive("detach", "x", geometry=lambda x: (x.shape, x.strides, 0), detaches=True)
TO_HOST: Primitive = Primitive("to_host", "x", same, grad_x=lambda g: FROM_HOST.apply(g))
FROM_HOST: Primitive = Primitive("from_host", "x", same, impl=lambda x: kernels.on("cuda").from_host(x), grad_x=lambda g: TO_HOST.apply(g))


def cast(x: Tensor, dtype: Any) -> Tensor:
    """x with another NumPy dtype; x itself where it has it already."""
    if x.array.dtype == dtype:
        return x
    return (CAST_FLOAT if dtype.kind == "f" else CAST).apply(x, dtype)


def detach(x: Tensor) -> Tensor:
    """A tensor on the same memory, outside the graph; writes to either show in both, and backward notices them."""
    return DETACH.apply(x)


def to_device(x: Tensor, where: device) -> Tensor:
    """x on another device; x itself where it is there already."""
    if kernels.of(x.array).device_type == where.type:
        return x
    check_device(where)
    return (FROM_HOST if where.type == "cuda" else TO_HOST).apply(x)


def check_device(where: device) -> None:
    """Raise where a device is asked for that this machine does not have."""
    if where.type == "cuda" and not kernels.cuda_is_available():
        raise DeviceError("no CUDA device is available. Use device='cpu', or see jg.cuda.is_available().")


def as_device(value: Any) -> device:
    """A device from a device, a string or None (the CPU)."""
    where = CPU if value is None else device(value)
    if where.type != "cpu":
        check_device(where)
    return where


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of the data.

    Python floats become float32, ints int64, bools bool; NumPy arrays keep their dtype. Ragged lists are a ShapeError, objects
    and dtypes that jitgrad does not have a DTypeError.

    >>> import jitgrad as jg
    >>> jg.tensor([[1.0, 2.0], [3.0, 4.0]]).dtype
    jitgrad.float32
    """
    where = as_device(device)
    wanted = None if dtype is None else as_dtype(dtype)
    t = wrap(_array(data, wanted, copy=True))
    if where.type != "cpu":
        t = to_device(t, where)
    return t.requires_grad_() if requires_grad else t


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor on the data's own memory where that is possible, else a copy; a Tensor that fits is returned itself.

    >>> import jitgrad as jg, numpy as np
    >>> a = np.zeros(2)
    >>> jg.as_tensor(a)[0] = 7.0
    >>> a.tolist()
    [7.0, 0.0]
    """
    if isinstance(data, Tensor):
        t = data if dtype is None else cast(data, as_dtype(dtype).numpy)
        return t if device is None else to_device(t, as_device(device))
    where = as_device(device)
    t = wrap(_array(data, None if dtype is None else as_dtype(dtype), copy=False))
    return t if where.type == "cpu" else to_device(t, where)


def from_numpy(array: Any) -> Tensor:
    """A CPU tensor on the memory of a NumPy array: writes to either show in both.

    A read-only array, a foreign byte order or unaligned memory cannot be shared: ValueError.

    >>> import jitgrad as jg, numpy as np
    >>> a = np.arange(3)
    >>> t = jg.from_numpy(a)
    >>> a[0] = 5
    >>> t.tolist()
    [5, 1, 2]
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expected a numpy.ndarray, given {type(array).__name__}. Try jg.tensor(data).")
    if not _shareable(array):
        raise ValueError(
            "from_numpy: this array is read-only, unaligned or in foreign byte order, so its memory cannot be shared. Try jg.tensor(array)."
        )
    _check_numpy_dtype(array.dtype)
    return wrap(np.asarray(array))


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A CPU tensor on the memory of any object that speaks DLPack: a NumPy array, a PyTorch tensor, another jitgrad tensor.

    Parameters
    ----------
    ext_tensor
        Has ``__dlpack__`` and ``__dlpack_device__``.
    device
        Where the tensor is to be; ``"cuda"`` takes a copy.
    copy
        True: always a copy; False or None: never one on the CPU.

    Raises BufferError for memory that cannot be shared: read-only (try copy=True), or on another device; DTypeError.

    >>> import jitgrad as jg, numpy as np
    >>> a = np.zeros(2, np.float32)
    >>> t = jg.from_dlpack(a)
    >>> a[0] = 5
    >>> t.tolist()
    [5.0, 0.0]
    """
    where = as_device(device)
    if not hasattr(ext_tensor, "__dlpack__"):
        raise TypeError(f"from_dlpack: expected an object with __dlpack__, given {type(ext_tensor).__name__}. Try jg.tensor(data).")
    if ext_tensor.__dlpack_device__()[0] != 1:
        raise BufferError("from_dlpack: expected memory of the CPU, given another device's. Move it there first, e.g. by .cpu().")
    try:
        a = ext_tensor if isinstance(ext_tensor, np.ndarray) else np.from_dlpack(ext_tensor)
    except RuntimeError as error:  # NumPy's word for a dtype that it does not have
        raise DTypeError(f"from_dlpack: this dtype is not supported ({error}) Cast it first.") from None
    if copy or where.type != "cpu":
        return tensor(a, device=where)
    if not a.flags.writeable:
        raise BufferError("from_dlpack: this memory is read-only and cannot be shared. Try copy=True.")
    return from_numpy(a)


def _shareable(a: np.ndarray) -> bool:
    return bool(a.flags.writeable and a.flags.aligned and a.dtype.isnative and all(s % a.itemsize == 0 for s in a.strides))


def _check_numpy_dtype(dtype: np.dtype[Any]) -> DType:
    try:
        return dtypes.of_numpy(dtype.newbyteorder("="))
    except KeyError:
        raise DTypeError(
            f"NumPy dtype {dtype} is not supported: expected bool, an int up to 64 bits or a float up to 64. Try array.astype(...)."
        ) from None


def _array(data: Any, wanted: DType | None, copy: bool) -> np.ndarray:
    """A plain, native, aligned, writeable ndarray with the data."""
    if isinstance(data, Tensor):
        data = data.detach().cpu().array
    if isinstance(data, (np.ndarray, np.generic)) or hasattr(data, "__array__"):
        a = np.asarray(data)
        have = _check_numpy_dtype(a.dtype)
    else:
        a = _from_python(data)
        have = _check_numpy_dtype(a.dtype)
        if have is dtypes.float64 and not _has_numpy_float(data):
            have = dtypes.float32
    target = (wanted or have).numpy
    if a.dtype != target or copy or not _shareable(a):
        a = _converted(a, target)
    return a


def _converted(a: np.ndarray, target: np.dtype[Any]) -> np.ndarray:
    if a.dtype.kind in "iu" and target.kind in "iu" and a.size:
        info = np.iinfo(target)
        if a.min() < info.min or a.max() > info.max:
            raise DTypeError(f"the data does not fit {target}: it holds numbers outside {info.min} to {info.max}.")
    with np.errstate(all="ignore"):
        return np.array(a, dtype=target, order="C", copy=True, subok=False)


_ELLIPSIS = (
    "expected numbers, bools or nested lists of them, given a literal ..., which stands for numbers that were left out. "
    "Write them all, or make them: jg.arange(1.0, 33.0), jg.zeros(1, 3, 32, 32)."
)


def _holds_ellipsis(data: Any) -> bool:
    return data is ... or (isinstance(data, (list, tuple)) and any(map(_holds_ellipsis, data)))


def _from_python(data: Any) -> np.ndarray:
    try:
        a = np.array(data)
    except ValueError as error:
        if _holds_ellipsis(data):
            raise DTypeError(_ELLIPSIS) from None
        raise ShapeError(
            f"the nested lists are ragged: expected equal lengths at each depth ({str(error).split('.')[0]}). Pad them first."
        ) from None
    except OverflowError:
        raise DTypeError("the data holds an int that does not fit 64 bits.") from None
    if a.dtype == object and _holds_ellipsis(data):
        raise DTypeError(_ELLIPSIS)
    if a.dtype == object or a.dtype.kind not in "biuf":
        raise DTypeError(f"expected numbers, bools or nested lists of them, given {_first_odd(data)}.")
    if a.dtype == np.uint64:
        raise DTypeError("the data holds an int that does not fit int64.")
    if a.size == 0 and a.dtype == np.float64:
        return a.astype(np.float32)
    return a


def _first_odd(data: Any) -> str:
    while isinstance(data, (list, tuple)) and data:
        data = next((d for d in data if not isinstance(d, (bool, int, float))), data[0])
    return f"an int beyond 64 bits ({data})" if isinstance(data, int) else f"{type(data).__name__} {data!r:.40}"


def _has_numpy_float(data: Any) -> bool:
    """Whether a nested list holds NumPy or jitgrad float64 rather than Python floats: then float64 is kept."""
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return isinstance(data, (np.float64, np.ndarray)) or (isinstance(data, Tensor) and data.dtype is dtypes.float64)


_constants: dict[tuple[Any, Any], Tensor] = {}


def scalar(value: Any, dtype: np.dtype[Any], like: Tensor) -> Tensor:
    """A Python number as a 0-d operand beside a Tensor. Common ones are kept: nothing writes to an operand that is only read."""
    on_cpu = type(like.array) is np.ndarray
    # 0, 0.0 and -0.0 are equal keys, but not one number; NaN equals no key, and is not kept.
    key = (value or repr(value), dtype)
    if on_cpu:
        t = _constants.get(key)
        if t is not None:
            return t
    with np.errstate(all="ignore"):
        try:
            a = np.array(value, dtype)
        except (OverflowError, ValueError):  # ValueError: NaN as an int
            raise DTypeError(f"{value} does not fit {dtypes.of_numpy(dtype)}.") from None
    t = wrap(a)
    if not on_cpu:
        return to_device(t, like.device)
    if value == value and len(_constants) < 1024:
        _constants[key] = t
    return t


@lru_cache(maxsize=64)
def _float64s(values: tuple[float, ...]) -> np.ndarray:
    """The same learning rate comes in every step."""
    return np.array(values, np.float64)


def numbers(values: Sequence[float], like: Tensor) -> Tensor:
    """Python numbers as a 1-d float64 operand beside a Tensor."""
    t = wrap(_float64s(tuple(values)))
    return t if type(like.array) is np.ndarray else to_device(t, like.device)


def weak_dtype(value: Any) -> DType:
    """dtype of a Python or NumPy scalar as an operand."""
    if isinstance(value, np.generic):
        return _check_numpy_dtype(value.dtype)
    return of_scalar(value)
