"""Random numbers: a Generator, and draws from it. Philox counters make the bits the same on every device and thread count."""

from __future__ import annotations

import os
from threading import Lock
from typing import Any

from jitgrad import dtypes
from jitgrad.autograd import Primitive, Tensor, as_device, cast, check_writable, tensor, to_device, write
from jitgrad.dtypes import as_dtype
from jitgrad.errors import ArgumentError, DTypeError
from jitgrad.kernels.scalars_random import counters
from jitgrad.shapes import as_shape, check_new_shape

_INT64 = dtypes.int64.numpy


# One draw at a time, so that no two threads get the same counters; made anew in a forked child.
_drawing = Lock()


def _fresh_lock() -> None:
    global _drawing
    _drawing = Lock()


os.register_at_fork(after_in_child=_fresh_lock)


class Generator:
    """A source of random numbers: a seed, and how many Philox counters have been used.

    Philox4x32-10 turns (seed, counter) into bits, so that equal states give equal bits on every device and thread count.
    Source: Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3, 2011.

    >>> import jitgrad as jg
    >>> a, b = jg.Generator().manual_seed(3), jg.Generator().manual_seed(3)
    >>> bool((jg.rand(4, generator=a) == jg.rand(4, generator=b)).sum() == 4)
    True
    """

    def __init__(self, device: Any = "cpu") -> None:
        self.device = as_device(device)
        self._seed = 67280421310721  # PyTorch's default
        self._offset = 0

    def manual_seed(self, seed: int) -> Generator:
        """Start anew from a seed of at most 64 bits; returns the generator."""
        if isinstance(seed, bool) or not hasattr(seed, "__index__"):
            raise TypeError(f"manual_seed: expected an int, given {seed!r}.")
        n = seed.__index__()
        if not -(2**63) <= n < 2**64:
            raise ArgumentError(f"manual_seed: expected a seed of at most 64 bits, given {n}.")
        self._seed, self._offset = n % 2**64, 0
        return self

    def seed(self) -> int:
        """Start anew from a seed that the system chooses, and return it."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little"))
        return self._seed

    def initial_seed(self) -> int:
        """The seed."""
        return self._seed

    def get_state(self) -> Tensor:
        """State as int64 [seed, offset], for set_state."""
        return tensor([_signed(self._seed), self._offset])

    def set_state(self, new_state: Tensor) -> Generator:
        """Go on from a state that get_state returned."""
        if not isinstance(new_state, Tensor) or new_state.shape != (2,) or new_state.array.dtype != _INT64:
            raise TypeError("set_state: expected the int64 Tensor [seed, offset] that get_state() returned.")
        seed, offset = new_state.tolist()
        self._seed, self._offset = seed % 2**64, offset
        return self

    def draw(self, n: int, bits: int, where: Any) -> Tensor:
        """State as an operand for n draws of 32 or 64 bits on a device; the generator moves past them."""
        with _drawing:
            state = self.get_state()
            self._offset += counters(n, bits)
        return to_device(state, as_device(where))


def _signed(seed: int) -> int:
    return seed - 2**64 if seed >= 2**63 else seed


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator, from which draws without ``generator=`` come; returns it.

    >>> import jitgrad as jg
    >>> jg.manual_seed(0).initial_seed()
    0
    """
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed the default generator with a number that the system chooses, and return it."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator.

    >>> import jitgrad as jg
    >>> _ = jg.manual_seed(5)
    >>> jg.initial_seed()
    5
    """
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """State of the default generator, for set_rng_state.

    >>> import jitgrad as jg
    >>> state = jg.get_rng_state()
    >>> x = jg.rand(3)
    >>> jg.set_rng_state(state)
    >>> jg.equal(jg.rand(3), x)
    True
    """
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Let the default generator go on from a state that get_rng_state returned."""
    default_generator.set_state(new_state)


def _drawn(name: str) -> Any:
    def infer(state: Any, shape: Any, dtype: Any) -> Any:
        if dtype.char not in dtypes.COMPUTED_FLOATS:
            raise DTypeError(f"{name}: expected float32 or float64, given {dtype}.")
        return check_new_shape(shape, dtype.itemsize), dtype

    return infer


UNIFORM: Primitive = Primitive("uniform", "state", _drawn("rand"))
NORMAL: Primitive = Primitive("normal", "state", _drawn("randn"))
RANDINT: Primitive = Primitive("randint", "state", lambda state, shape, low, high: (check_new_shape(shape, 8), _INT64))
PERMUTATION: Primitive = Primitive("permutation", "state", lambda state, n: (check_new_shape((n,), 8), _INT64))
# The same state in backward draws the same mask: dropout is its own gradient.
DROPOUT: Primitive = Primitive(
    "dropout", "x state", lambda x, state, prob: (x.shape, x.dtype),
    grad_x=lambda g, state, prob: DROPOUT.apply(g, state, prob),
)  # fmt: skip


def _float_draw(prim: Primitive, size: Any, dtype: Any, device: Any, generator: Generator | None, requires_grad: bool) -> Tensor:
    kind = as_dtype(dtype or dtypes.float32)
    shape = check_new_shape(as_shape(size), kind.itemsize)
    prim.infer(None, shape, kind.numpy)  # before the generator moves
    n = 1
    for k in shape:
        n *= k
    state = (generator or default_generator).draw(n, kind.itemsize * 8, device)
    y: Tensor = prim.apply(state, shape, kind.numpy)
    return y.requires_grad_() if requires_grad else y


def rand(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:  # fmt: skip
    """Uniform random numbers in [0, 1): multiples of 2^-24 (float32) or 2^-53 (float64).

    >>> import jitgrad as jg
    >>> jg.rand(2, 3).shape
    (2, 3)
    """
    return _float_draw(UNIFORM, size, dtype, device, generator, requires_grad)


def randn(
    *size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:  # fmt: skip
    """Random numbers of the normal distribution with mean 0 and variance 1, by Box and Muller's method.

    >>> import jitgrad as jg
    >>> jg.randn(2, 3).shape
    (2, 3)
    """
    return _float_draw(NORMAL, size, dtype, device, generator, requires_grad)


def randint(
    low: int = 0, high: Any = None, size: Any = None, *, generator: Generator | None = None, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Random whole numbers from low up to, but not including, high, int64 by default; ``randint(high, size)`` starts from 0.

    >>> import jitgrad as jg
    >>> jg.randint(3, 4, (2,)).tolist()
    [3, 3]
    >>> jg.randint(1, (2,)).tolist()
    [0, 0]
    """
    if isinstance(high, (tuple, list)) and size is None:
        high, size = None, high
    if high is None:
        low, high = 0, low
    if size is None:
        raise TypeError("randint: expected a size, a tuple of ints. Try jg.randint(low, high, (n,)).")
    kind = as_dtype(dtype or dtypes.int64)
    low, high = as_shape((low, high))
    if not -(2**63) <= low < high <= 2**63 - 1 or high - low >= 2**63:
        raise ArgumentError(f"randint: expected low < high, in the range of int64 and less than 2^63 apart, given {low} and {high}.")
    shape = check_new_shape(as_shape((size,)), 8)
    n = 1
    for k in shape:
        n *= k
    y = cast(RANDINT.apply((generator or default_generator).draw(n, 64, device), shape, low, high), kind.numpy)
    return y.requires_grad_() if requires_grad else y


def randperm(
    n: int, *, generator: Generator | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:  # fmt: skip
    """The numbers 0 to n - 1 in random order, int64 by default.

    >>> import jitgrad as jg
    >>> jg.randperm(5).sum().item()
    10
    """
    (n,) = check_new_shape(as_shape((n,)), 8)
    kind = as_dtype(dtype or dtypes.int64)
    y = cast(PERMUTATION.apply((generator or default_generator).draw(n, 64, device), n), kind.numpy)
    return y.requires_grad_() if requires_grad else y


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """While training: 0 with probability p, else ``x / (1 - p)``; unchanged otherwise.

    Gradient: g under the same mask and scale, drawn again from the same random state, so that no mask is kept.
    Source: Srivastava et al., Dropout, 2014.

    >>> import jitgrad as jg
    >>> jg.nn.functional.dropout(jg.ones(2), 0.5, training=False).tolist()
    [1.0, 1.0]
    """
    if not 0.0 <= p <= 1.0:
        raise ArgumentError(f"dropout: p is expected between 0 and 1, given {p}.")
    if input.array.dtype.char not in dtypes.COMPUTED_FLOATS:
        raise DTypeError(f"dropout: expected float32 or float64, given {input.dtype}. Try x.float().")
    if not training or p == 0.0:
        return input
    if p == 1.0:
        return input.mul_(0.0) if inplace else input * 0.0
    if inplace:
        check_writable(input, "dropout")
    state = default_generator.draw(input.array.size, 32, input.device)
    if inplace:
        return write(input, "dropout", lambda: DROPOUT.apply(input, state, p))
    return DROPOUT.apply(input, state, p)
