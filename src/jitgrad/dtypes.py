"""dtype objects, and the rules by which dtypes meet: promotion as in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.errors import DTypeError

_ORDER = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]


class DType:
    """A data type: ``jg.float32.name``, ``.numpy`` (the NumPy dtype), ``.itemsize`` in bytes, ``.is_floating_point``.

    Equal to, and hashed as, its NumPy dtype, so that ``x.dtype == np.float32`` holds.
    """

    __slots__ = ("is_floating_point", "itemsize", "name", "numpy")

    def __init__(self, name: str) -> None:
        self.name = name
        self.numpy = np.dtype(name)
        self.itemsize = self.numpy.itemsize
        self.is_floating_point = self.numpy.kind == "f"

    def __repr__(self) -> str:
        return f"jitgrad.{self.name}"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DType):
            return self is other
        try:
            return bool(self.numpy == other)
        except TypeError:
            return NotImplemented

    def __hash__(self) -> int:
        return hash(self.numpy)

    def __reduce__(self) -> tuple[Any, ...]:
        return as_dtype, (self.name,)


_BY_NAME = {name: DType(name) for name in _ORDER}
_BY_NUMPY = {d.numpy: d for d in _BY_NAME.values()}
bool_, uint8, int8, int16, int32, int64, float16, float32, float64 = _BY_NAME.values()
_ALIASES = {"float": float32, "double": float64, "half": float16, "long": int64, "int": int32, "short": int16}
_PYTHON: dict[object, DType] = {float: float32, int: int64, bool: bool_}

# NumPy's characters of the dtypes that kernels compute in; float16 is for storage and casts.
COMPUTED_FLOATS = "fd"
COMPUTED_NUMBERS = COMPUTED_FLOATS + "bhilqB"


def as_dtype(value: object) -> DType:
    """The DType that a DType, a NumPy dtype, a Python type or a name stands for."""
    if isinstance(value, DType):
        return value
    if isinstance(value, str) and value in _ALIASES:
        return _ALIASES[value]
    if isinstance(value, type) and value in _PYTHON:
        return _PYTHON[value]
    try:
        return _BY_NUMPY[np.dtype(value).newbyteorder("=")]  # type: ignore[call-overload]
    except (KeyError, TypeError):
        raise DTypeError(f"dtype {value!r} is not supported: expected one of {', '.join(_ORDER)}.") from None


def of_numpy(dtype: np.dtype[Any]) -> DType:
    """The DType of an array's dtype."""
    return _BY_NUMPY[dtype]


def promote_types(a: DType, b: DType) -> DType:
    """Smallest dtype that both go to: a float wins over any int (its width kept), ints as NumPy, bool lowest."""
    if a is b:
        return a
    if a.is_floating_point != b.is_floating_point:
        return a if a.is_floating_point else b
    return _BY_NUMPY[np.promote_types(a.numpy, b.numpy)]


def _category(d: DType) -> int:
    return 2 if d.is_floating_point else 0 if d is bool_ else 1


def result_type(a: DType, a_is_weak: bool, b: DType, b_is_weak: bool) -> DType:
    """dtype of an operation on two operands; a weak one (0-d tensor, Python scalar) counts only where its category is higher."""
    if a_is_weak != b_is_weak:
        strong, weak = (b, a) if a_is_weak else (a, b)
        if _category(strong) >= _category(weak):
            return strong
    return promote_types(a, b)


def of_scalar(value: object) -> DType:
    """dtype that a Python scalar brings: float32, int64 or bool."""
    return _PYTHON[bool if isinstance(value, bool) else int if isinstance(value, int) else float]


def refuse_float16(op: str, dtype: np.dtype[Any]) -> None:
    """Raise where a kernel would have to compute in float16."""
    if dtype.char == "e":
        raise DTypeError(f"{op}: float16 is for storage and casts only. Try x.to(jg.float32).")
