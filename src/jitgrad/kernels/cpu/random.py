"""Random arrays: Philox4x32-10 keyed by the seed; `state` is int64 [seed, offset]. The same bits for any number of threads."""

from __future__ import annotations

import numpy as np

from jitgrad.kernels import scalars_random as scalars
from jitgrad.kernels.cpu.layout import contiguous
from jitgrad.kernels.jit import njit, parallel_form, pays, prange
from jitgrad.kernels.simd import full_vectors

_words = njit(scalars.philox_words, inline=True)
_low = njit(scalars.low_word, inline=True)
_high = njit(scalars.high_word, inline=True)
_join = njit(scalars.join_words)
_unit32 = njit(scalars.unit_float32, inline=True)
_unit64 = njit(scalars.unit_float64)
_radius = njit(scalars.normal_radius)
_first = njit(scalars.normal_first)
_second = njit(scalars.normal_second)

_ZERO, _8 = np.uint64(0), np.uint64(8)
_TASK = 1024  # counters
_STEP32 = 2.0**-32
_PARALLEL_MIN = 1 << 14  # a draw costs several ns


@njit
def _philox(state, i):
    """The four lanes of the i-th counter."""
    seed, counter = state[0], state[1] + i
    return _words(_low(counter), _high(counter), _ZERO, _ZERO, _low(seed), _high(seed))


# Draws of 32 bits go by tasks of many counters. What a loop needs of `state` is read before it, and a counter gives four elements
# without a test in between, so that LLVM makes vectors of counters.


@njit(inline=True)
def _lanes(seed, counter):
    """The four lanes of a counter."""
    return _words(_low(counter), _high(counter), _ZERO, _ZERO, _low(seed), _high(seed))


@njit
def _bits(state, out):
    for task in prange((out.size + 4 * _TASK - 1) // (4 * _TASK)):
        full_vectors()
        y, seed, counter = out[4 * _TASK * task : 4 * _TASK * (task + 1)], state[0], state[1] + task * _TASK
        whole = y.size // 4
        for i in range(whole):
            y[4 * i], y[4 * i + 1], y[4 * i + 2], y[4 * i + 3] = _lanes(seed, counter + i)
        if y.size > 4 * whole:
            last = _lanes(seed, counter + whole)
            for k in range(y.size - 4 * whole):
                y[4 * whole + k] = last[k]


@njit
def _uniform32(state, out):
    for task in prange((out.size + 4 * _TASK - 1) // (4 * _TASK)):
        full_vectors()
        y, seed, counter = out[4 * _TASK * task : 4 * _TASK * (task + 1)], state[0], state[1] + task * _TASK
        whole = y.size // 4
        for i in range(whole):
            a, b, c, d = _lanes(seed, counter + i)
            y[4 * i], y[4 * i + 1], y[4 * i + 2], y[4 * i + 3] = _unit32(a), _unit32(b), _unit32(c), _unit32(d)
        if y.size > 4 * whole:
            last = _lanes(seed, counter + whole)
            for k in range(y.size - 4 * whole):
                y[4 * whole + k] = _unit32(last[k])


@njit
def _uniform64(state, out):
    n = out.size
    for block in prange((n + 1) // 2):
        a, b, c, d = _philox(state, block)
        out[2 * block] = _unit64(_join(a, b))
        if 2 * block + 1 < n:
            out[2 * block + 1] = _unit64(_join(c, d))


@njit
def _normal32(state, out):
    # In float64, so that float32 results agree between devices whose log and cos differ in the last bit.
    n = out.size
    for pair in prange((n + 1) // 2):
        a, b, c, d = _philox(state, pair // 2)
        if pair % 2:
            a, b = c, d
        radius, turn = _radius((np.float64(a) + 1.0) * _STEP32), np.float64(b) * _STEP32
        out[2 * pair] = _first(radius, turn)
        if 2 * pair + 1 < n:
            out[2 * pair + 1] = _second(radius, turn)


@njit
def _normal64(state, out):
    n = out.size
    for pair in prange((n + 1) // 2):
        a, b, c, d = _philox(state, pair)
        radius, turn = _radius(1.0 - _unit64(_join(a, b))), _unit64(_join(c, d))
        out[2 * pair] = _first(radius, turn)
        if 2 * pair + 1 < n:
            out[2 * pair + 1] = _second(radius, turn)


@njit
def _randint(state, low, count, out):
    n = out.size
    for block in prange((n + 1) // 2):
        a, b, c, d = _philox(state, block)
        out[2 * block] = low + np.int64(_join(a, b) % count)
        if 2 * block + 1 < n:
            out[2 * block + 1] = low + np.int64(_join(c, d) % count)


@njit
def _permutation(state, out):
    n = out.size
    for i in range(n):
        out[i] = i
    for draw in range(n - 1):
        i = n - 1 - draw
        a, b, c, d = _philox(state, draw // 2)
        if draw % 2:
            a, b = c, d
        j = np.int64(_join(a, b) % np.uint64(i + 1))
        out[i], out[j] = out[j], out[i]


@njit(inline=True)
def _kept(x, word, least, keep, zero):
    y = x / keep  # before the choice: a branch around it would be mispredicted every other time
    return y if word >= least else zero


@njit
def _dropout(x, state, prob, out):
    # (word >> 8) / 2^24 >= prob, as an integer comparison
    least = np.uint64(np.ceil(prob * 2.0**24)) << _8
    keep, zero = x.dtype.type(1.0 - prob if prob < 1.0 else 1.0), x.dtype.type(0)
    for task in prange((x.size + 4 * _TASK - 1) // (4 * _TASK)):
        full_vectors()
        start, end = 4 * _TASK * task, 4 * _TASK * (task + 1)
        h, y, seed, counter = x[start:end], out[start:end], state[0], state[1] + task * _TASK
        whole = y.size // 4
        for i in range(whole):
            a, b, c, d = _lanes(seed, counter + i)
            y[4 * i] = _kept(h[4 * i], a, least, keep, zero)
            y[4 * i + 1] = _kept(h[4 * i + 1], b, least, keep, zero)
            y[4 * i + 2] = _kept(h[4 * i + 2], c, least, keep, zero)
            y[4 * i + 3] = _kept(h[4 * i + 3], d, least, keep, zero)
        if y.size > 4 * whole:
            last = _lanes(seed, counter + whole)
            for k in range(y.size - 4 * whole):
                y[4 * whole + k] = _kept(h[4 * whole + k], last[k], least, keep, zero)


_bits_parallel = parallel_form(_bits)
_uniform32_parallel = parallel_form(_uniform32)
_uniform64_parallel = parallel_form(_uniform64)
_normal32_parallel = parallel_form(_normal32)
_normal64_parallel = parallel_form(_normal64)
_randint_parallel = parallel_form(_randint)
_dropout_parallel = parallel_form(_dropout)


def bits(state: np.ndarray, n: int) -> np.ndarray:
    """y[i] = lane i % 4 of counter offset + i // 4, uint32."""
    y = np.empty(n, np.uint32)
    (_bits_parallel if pays(n, _PARALLEL_MIN) else _bits)(contiguous(state), y)
    return y


def uniform(state: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """y[i] = the top 24 bits of a lane / 2**24, or the top 53 of two lanes / 2**53: in [0, 1)."""
    y = np.empty(shape, dtype)
    parallel = pays(y.size, _PARALLEL_MIN)
    if dtype.itemsize == 4:
        run = _uniform32_parallel if parallel else _uniform32
    else:
        run = _uniform64_parallel if parallel else _uniform64
    run(contiguous(state), y.ravel())
    return y


def normal(state: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """y[2k], y[2k+1] = sqrt(-2 log u) cos(2 pi v), the same with sin; u, v from the bits of elements 2k and 2k+1."""
    y = np.empty(shape, dtype)
    parallel = pays(y.size, _PARALLEL_MIN)
    if dtype.itemsize == 4:
        run = _normal32_parallel if parallel else _normal32
    else:
        run = _normal64_parallel if parallel else _normal64
    run(contiguous(state), y.ravel())
    return y


def randint(state: np.ndarray, shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
    """y[i] = low + (64 random bits) % (high - low)."""
    y = np.empty(shape, np.int64)
    run = _randint_parallel if pays(y.size, _PARALLEL_MIN) else _randint
    run(contiguous(state), low, np.uint64(high - low), y.ravel())
    return y


def permutation(state: np.ndarray, n: int) -> np.ndarray:
    """y = 0 .. n-1 shuffled: for i from n-1 down to 1, y[i] and y[(64 random bits) % (i + 1)] change places."""
    y = np.empty(n, np.int64)
    _permutation(contiguous(state), y)
    return y


def dropout(x: np.ndarray, state: np.ndarray, prob: float) -> np.ndarray:
    """y[i] = x[i] / (1 - prob) where uniform[i] >= prob, else 0."""
    y = np.empty(x.shape, x.dtype)
    run = _dropout_parallel if pays(y.size, _PARALLEL_MIN) else _dropout
    run(contiguous(x).ravel(), contiguous(state), float(prob), y.ravel())
    return y
