"""A row of the op table: what is called, on what, what NumPy says. Rows are in op_cases.py and the files it imports."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import jitgrad as jg
import jitgrad.nn.functional

FLOATS = ("float32", "float64")
INT = ("int64",)
BOOL = ("bool",)


class X:
    """A tensor operand: its shape, domain and dtype (the row's by default), and whether it gets a gradient."""

    def __init__(self, *shape: int, domain: str = "", dtype: str = "", grad: bool = True) -> None:
        self.shape, self.domain, self.dtype, self.grad = shape, domain, dtype, grad

    def __repr__(self) -> str:
        return f"X{self.shape}"


class The:
    """A static argument that is not to be taken for a shape: a tuple, or a key. Arrays in it become tensors."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)


class _At:
    def __getitem__(self, key: Any) -> The:
        return The(key)


at = _At()  # at[1:, None] is a key


def ints(*values: Any, dtype: str = "int64") -> np.ndarray:
    """A constant int tensor: ints([0, 2], [1, 1])."""
    return np.array(values[0] if len(values) == 1 and not isinstance(values[0], list) else values, dtype)


def bools(*values: Any) -> np.ndarray:
    """A constant bool tensor."""
    return np.array(values, bool)


@dataclass(frozen=True)
class OpCase:
    """One row.

    op
        ``add`` is jg.add, ``F.relu`` of nn.functional, ``x.view`` a method, ``op.mul`` Python's operator; ``x.add_`` is in place.
    shapes
        The operands: a tuple is the shape of a float tensor, ``X`` says more about one, a list holds operands. A NumPy array of
        float64 is a tensor with these values in the row's dtype, another NumPy array a constant tensor; ``The(...)``, numbers,
        strings and None are passed on as they are.
    domain
        Where values come from, see ``_draw``.
    reference
        The oracle; that of the op's name in naive.py unless given.
    dtypes
        What the float operands are run in; with ints or bools the values are those.
    tol
        Factor on the tolerance; 0: exactly equal.
    errors
        The exception that the call raises and a fragment of its message.
    grad
        Whether gradients are checked, where the dtype has them.
    second
        Whether gradients of gradients are.
    layouts
        Whether any memory layout of the operands must do.
    writes
        Operands that the op writes to beside the result.
    holds
        Instead of a reference: what must be true of the result (random draws).
    deviates
        Key into the table of deviations from torch in test_parity_torch.py.
    """

    op: str
    shapes: list[Any]
    kwargs: dict[str, Any] = field(default_factory=dict)
    domain: str = "normal"
    reference: Callable[..., Any] | None = None
    dtypes: tuple[str, ...] = FLOATS
    tol: float = 1.0
    errors: tuple[type[Exception], str] | None = None
    grad: bool = True
    second: bool = True
    layouts: bool = True
    writes: tuple[int, ...] = ()
    holds: Callable[..., Any] | None = None
    deviates: str = ""

    @property
    def name(self) -> str:
        """The op without prefix and without the underscore of in-place."""
        bare = self.op.rpartition(".")[2]
        return bare if bare.startswith("__") else bare.rstrip("_")

    @property
    def inplace(self) -> bool:
        """Whether the op writes to its first operand."""
        return self.op == "x.__setitem__" or (self.op.endswith("_") and not self.op.endswith("__")) or self.op in IN_PLACE_OPERATORS

    @property
    def runs(self) -> tuple[str, ...]:
        """The dtypes, but one only where no operand depends on it."""
        made = [[x.array.dtype for x in leaves(list(operands(self, d)))] for d in self.dtypes]
        return self.dtypes if any(m != made[0] for m in made) else self.dtypes[:1]

    def label(self) -> str:
        """For test ids."""
        words = [str(s) for s in self.shapes] + [f"{k}={v}" for k, v in self.kwargs.items()]
        return f"{self.op}({', '.join(words)})".replace("\n", "").replace(" ", "")[:80] + (
            f"{self.domain}" if self.domain != "normal" else ""
        )


IN_PLACE_OPERATORS = ("op.iadd", "op.isub", "op.imul", "op.itruediv", "op.ipow")


@dataclass
class Operand:
    """An array on its way to becoming a tensor of some library."""

    array: np.ndarray
    grad: bool


def _draw(rng: np.random.Generator, shape: tuple[int, ...], domain: str, dtype: str) -> np.ndarray:
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype not in FLOATS:
        low = 1 if domain == "positive" else 0 if dtype == "uint8" else -4
        return rng.integers(low, 5, shape).astype(dtype)
    if domain == "normal":
        y = rng.standard_normal(shape)
    elif domain == "positive":
        y = rng.uniform(0.5, 2.0, shape)
    elif domain == "away":  # from 0, where some derivatives jump
        y = rng.uniform(0.2, 1.5, shape) * rng.choice([-1.0, 1.0], shape)
    elif domain == "distinct":  # no ties within reach of a difference quotient
        n = int(np.prod(shape))
        y = (rng.permutation(n).reshape(shape) - n / 2) * 0.3
    elif domain == "unit":
        y = rng.uniform(0.1, 0.9, shape)
    elif domain == "probabilities":  # along dim 1
        y = rng.uniform(0.1, 1.0, shape)
        y = y / y.sum(min(1, len(shape) - 1), keepdims=True)
    elif domain == "special":
        y = rng.choice([0.0, -0.0, 1.0, 2.0, 2.0, -1.0, np.inf, -np.inf, np.nan], shape)
    elif domain == "ties":
        y = rng.integers(-1, 2, shape).astype(float)
    else:
        raise KeyError(domain)
    return np.asarray(y).astype(dtype)


def operands(case: OpCase, dtype: str) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments of a row, with an Operand where a tensor goes. The same values at each call."""
    rng = np.random.default_rng(len(case.shapes) + 7)
    floating = dtype in FLOATS

    def made(value: Any, tuple_is_shape: bool) -> Any:
        if isinstance(value, X):
            return Operand(_draw(rng, value.shape, value.domain or case.domain, value.dtype or dtype), value.grad and floating)
        if isinstance(value, np.ndarray):
            same = value.dtype != np.float64
            return Operand(value.copy() if same else value.astype(dtype), not same and floating)
        if isinstance(value, The):
            return made(value.value, False)
        if isinstance(value, tuple) and tuple_is_shape:
            return made(X(*value), True)
        if isinstance(value, (list, tuple)):
            return type(value)(made(v, tuple_is_shape) for v in value)
        return value

    args = [made(v, True) for v in case.shapes]
    return args, {k: made(v, False) for k, v in case.kwargs.items()}


def mapped(value: Any, f: Callable[[Operand], Any]) -> Any:
    """The arguments with f(operand) in place of each operand."""
    if isinstance(value, Operand):
        return f(value)
    if isinstance(value, (list, tuple)):
        return type(value)(mapped(v, f) for v in value)
    if isinstance(value, dict):
        return {k: mapped(v, f) for k, v in value.items()}
    return value


def leaves(value: Any) -> Iterator[Operand]:
    """The operands in order."""
    found: list[Operand] = []
    mapped(value, found.append)
    return iter(found)


def resolve(op: str, lib: Any = jg) -> Callable[..., Any]:
    """What a row's op calls, in jitgrad or in torch; an in-place op works on its first operand."""
    prefix, _, name = op.rpartition(".")
    if prefix == "op":
        return getattr(operator, name)  # type: ignore[no-any-return]
    if prefix == "F":
        return getattr(lib.nn.functional, name)  # type: ignore[no-any-return]
    if op == "x.__setitem__":
        return _setitem
    if prefix == "x":
        return lambda x, *args, **kwargs: _member(getattr(x, name), args, kwargs)
    return getattr(lib, name)  # type: ignore[no-any-return]


def _member(member: Any, args: Any, kwargs: Any) -> Any:
    return member(*args, **kwargs) if callable(member) else member


def _setitem(x: Any, key: Any, value: Any) -> Any:
    x[key] = value
    return x


def call(case: OpCase, args: list[Any], kwargs: dict[str, Any], lib: Any = jg) -> list[Any]:
    """The row's op as a function without side effects (in place: on a clone), seeded; its results as a list of tensors."""
    lib.manual_seed(0)
    if case.inplace:
        args = [args[0].clone(), *args[1:]]
    return outputs(resolve(case.op, lib)(*args, **kwargs))


def outputs(result: Any) -> list[Any]:
    """One tensor or several, as a list."""
    return list(result) if isinstance(result, (tuple, list)) else [result]


def to_tensor(operand: Operand, requires_grad: bool = True, device: str = "cpu") -> jg.Tensor:
    """An operand as a jitgrad tensor of its own."""
    return jg.tensor(operand.array, device=device, requires_grad=operand.grad and requires_grad)


def tensors(case: OpCase, dtype: str, requires_grad: bool = True, device: str = "cpu") -> tuple[list[Any], dict[str, Any]]:
    """A row's arguments with jitgrad tensors."""
    args, kwargs = operands(case, dtype)
    change = lambda x: to_tensor(x, requires_grad, device)
    return mapped(args, change), mapped(kwargs, change)


def host(t: jg.Tensor) -> np.ndarray:
    """A tensor's elements as a NumPy array of their own."""
    return np.array(t.detach().cpu().numpy())
