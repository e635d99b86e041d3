"""Operands of pointwise ops brought to one dtype, and ready-made infers."""

from __future__ import annotations

from typing import Any

from jitgrad import dtypes
from jitgrad.autograd import Tensor, broadcasting, cast, scalar, tensor, weak_dtype
from jitgrad.dtypes import DType, refuse_float16, result_type
from jitgrad.errors import DTypeError, InputTypeError
from jitgrad.shapes import broadcast_shapes


def checked(name: str, x: Any) -> Tensor:
    """x; InputTypeError for what is no Tensor."""
    if not isinstance(x, Tensor):
        raise InputTypeError(f"{name}: expected a Tensor, given {type(x).__name__}. Try jg.tensor(...).")
    return x


def check_tensors(name: str, *given: Any) -> None:
    """Raise where one is no Tensor."""
    for x in given:
        checked(name, x)


def operands(name: str, a: Any, b: Any, *, floating: bool = False) -> tuple[Tensor, Tensor]:
    """Both operands as Tensors of the promoted dtype; with floating, ints and bools become float32."""
    if isinstance(a, Tensor):  # the two cases that nearly every call is: equal dtypes, and a float Tensor with a number
        x = a.array.dtype
        if isinstance(b, Tensor):
            if b.array.dtype is x and (x.char in dtypes.COMPUTED_FLOATS or not floating):
                return a, b
        elif (type(b) is float or type(b) is int) and x.char in dtypes.COMPUTED_FLOATS:
            return a, scalar(b, x, a)
    elif isinstance(b, Tensor) and (type(a) is float or type(a) is int) and b.array.dtype.char in dtypes.COMPUTED_FLOATS:
        return scalar(a, b.array.dtype, b), b
    dtype = common_dtype(name, a, b)
    if floating and not dtype.is_floating_point:
        dtype = dtypes.float32
    like = a if isinstance(a, Tensor) else b
    return operand(a, dtype, like), operand(b, dtype, like)


def common_dtype(name: str, a: Any, b: Any) -> DType:
    return result_type(*_dtype_and_weakness(name, a), *_dtype_and_weakness(name, b))


def _dtype_and_weakness(name: str, x: Any) -> tuple[DType, bool]:
    if isinstance(x, Tensor):
        return x.dtype, x.ndim == 0
    if isinstance(x, (bool, int, float)) or getattr(x, "shape", None) == ():
        return weak_dtype(x), True
    if hasattr(x, "__array__"):
        return dtypes.as_dtype(x.dtype), False
    raise InputTypeError(f"{name}: expected a Tensor or a number, given {type(x).__name__}. Try jg.tensor(...).")


def operand(x: Any, dtype: DType, like: Tensor) -> Tensor:
    if isinstance(x, Tensor):
        return cast(x, dtype.numpy)
    if isinstance(x, (bool, int, float)):
        return scalar(x, dtype.numpy, like)
    return tensor(x, dtype=dtype, device=like.device)


def pointwise_float(name: str) -> Any:
    """infer of a pointwise op on one float."""

    def infer(x: Any) -> tuple[Any, Any]:
        dtype = x.dtype
        if dtype.char not in dtypes.COMPUTED_FLOATS:
            refuse_float16(name, dtype)
            raise DTypeError(f"{name}: expected a float dtype, given {dtype}. Try x.float().")
        return x.shape, dtype

    return infer


def float_and_numbers(name: str) -> Any:
    """infer of a pointwise op on one float, with numbers as further operands."""
    check = pointwise_float(name)
    return lambda x, *numbers: check(x)


def pointwise_number(name: str) -> Any:
    """infer of a pointwise op on one number, int or float."""

    def infer(x: Any) -> tuple[Any, Any]:
        dtype = x.dtype
        refuse_float16(name, dtype)
        if dtype.char == "?":
            raise DTypeError(f"{name}: bool tensors are not supported. Try x.to(jg.int64).")
        return x.shape, dtype

    return infer


def comparing(name: str) -> Any:
    """infer of a comparison."""
    check = broadcasting(name)
    return lambda a, b: (check(a, b)[0], dtypes.bool_.numpy)


def floating(x: Tensor) -> Tensor:
    """x as a float tensor: ints and bools become float32, as PyTorch's elementary functions do."""
    return x if x.array.dtype.kind == "f" else cast(x, dtypes.float32.numpy)


def number(name: str, value: Any, x: Tensor) -> Tensor:
    """A Python number as an operand beside the Tensor x, in its dtype."""
    check_tensors(name, x)
    return scalar(value, x.array.dtype, x)


def broadcasting3(a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """infer of a pointwise op on three operands of one dtype."""
    if not a.dtype == b.dtype == c.dtype:
        raise DTypeError(f"expected three operands of one dtype, given {a.dtype}, {b.dtype} and {c.dtype}. Try x.to(...).")
    return broadcast_shapes(a.shape, b.shape, c.shape), a.dtype
