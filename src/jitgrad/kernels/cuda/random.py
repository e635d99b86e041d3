"""Random arrays: Philox4x32-10 keyed by the seed; `state` is int64 [seed, offset]. The same bits as on the CPU.

One thread per counter, which gives four 32-bit or two 64-bit draws.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from jitgrad.kernels import scalars_random as scalars
from jitgrad.kernels.cuda.layout import DeviceArray, flat, new
from jitgrad.kernels.jit import cuda_jit, launch

_words = cuda_jit(scalars.philox_words, device=True)
_low = cuda_jit(scalars.low_word, device=True)
_high = cuda_jit(scalars.high_word, device=True)
_join = cuda_jit(scalars.join_words, device=True)
_unit32 = cuda_jit(scalars.unit_float32, device=True)
_unit64 = cuda_jit(scalars.unit_float64, device=True)
_radius = cuda_jit(scalars.normal_radius, device=True)
_first = cuda_jit(scalars.normal_first, device=True)
_second = cuda_jit(scalars.normal_second, device=True)

_ZERO = np.uint64(0)
_STEP32 = 2.0**-32
_INT64 = np.dtype(np.int64)


def _blocks(n: int, draws: int) -> int:
    return -(-n // draws)


@cuda_jit(device=True)
def _philox(state, i):
    seed, counter = state[0], state[1] + i
    return _words(_low(counter), _high(counter), _ZERO, _ZERO, _low(seed), _high(seed))


def bits(state: DeviceArray, n: int) -> DeviceArray:
    """y[i] = lane i % 4 of counter offset + i // 4, uint32."""
    y = new((n,), np.dtype(np.uint32))
    launch(_bits, _blocks(n, 4), flat(state), y)
    return y


@cuda_jit
def _bits(state, out):
    block = cuda.grid(1)
    if 4 * block < out.size:
        lanes = _philox(state, block)
        for k in range(4):
            if 4 * block + k < out.size:
                out[4 * block + k] = lanes[k]


def uniform(state: DeviceArray, shape: tuple[int, ...], dtype: np.dtype) -> DeviceArray:
    """y[i] = the top 24 bits of a lane / 2**24, or the top 53 of two lanes / 2**53: in [0, 1)."""
    y = new(shape, np.dtype(dtype))
    kernel, draws = (_uniform32, 4) if y.dtype.itemsize == 4 else (_uniform64, 2)
    launch(kernel, _blocks(y.size, draws), flat(state), flat(y))
    return y


@cuda_jit
def _uniform32(state, out):
    block = cuda.grid(1)
    if 4 * block < out.size:
        lanes = _philox(state, block)
        for k in range(4):
            if 4 * block + k < out.size:
                out[4 * block + k] = _unit32(lanes[k])


@cuda_jit
def _uniform64(state, out):
    block = cuda.grid(1)
    if 2 * block < out.size:
        a, b, c, d = _philox(state, block)
        out[2 * block] = _unit64(_join(a, b))
        if 2 * block + 1 < out.size:
            out[2 * block + 1] = _unit64(_join(c, d))


def normal(state: DeviceArray, shape: tuple[int, ...], dtype: np.dtype) -> DeviceArray:
    """y[2k], y[2k+1] = sqrt(-2 log u) cos(2 pi v), the same with sin; u, v from the bits of elements 2k and 2k+1."""
    y = new(shape, np.dtype(dtype))
    launch(_normal32 if y.dtype.itemsize == 4 else _normal64, _blocks(y.size, 2), flat(state), flat(y))
    return y


@cuda_jit
def _normal32(state, out):
    # In float64, so that float32 results agree between devices whose log and cos differ in the last bit.
    pair = cuda.grid(1)
    if 2 * pair < out.size:
        a, b, c, d = _philox(state, pair // 2)
        if pair % 2:
            a, b = c, d
        radius, turn = _radius((np.float64(a) + 1.0) * _STEP32), np.float64(b) * _STEP32
        out[2 * pair] = _first(radius, turn)
        if 2 * pair + 1 < out.size:
            out[2 * pair + 1] = _second(radius, turn)


@cuda_jit
def _normal64(state, out):
    pair = cuda.grid(1)
    if 2 * pair < out.size:
        a, b, c, d = _philox(state, pair)
        radius, turn = _radius(1.0 - _unit64(_join(a, b))), _unit64(_join(c, d))
        out[2 * pair] = _first(radius, turn)
        if 2 * pair + 1 < out.size:
            out[2 * pair + 1] = _second(radius, turn)


def randint(state: DeviceArray, shape: tuple[int, ...], low: int, high: int) -> DeviceArray:
    """y[i] = low + (64 random bits) % (high - low)."""
    y = new(shape, _INT64)
    launch(_randint, _blocks(y.size, 2), flat(state), low, np.uint64(high - low), flat(y))
    return y


@cuda_jit
def _randint(state, low, count, out):
    block = cuda.grid(1)
    if 2 * block < out.size:
        a, b, c, d = _philox(state, block)
        out[2 * block] = low + np.int64(_join(a, b) % count)
        if 2 * block + 1 < out.size:
            out[2 * block + 1] = low + np.int64(_join(c, d) % count)


def permutation(state: DeviceArray, n: int) -> DeviceArray:
    """y = 0 .. n-1 shuffled: for i from n-1 down to 1, y[i] and y[(64 random bits) % (i + 1)] change places."""
    y = new((n,), _INT64)
    places = new((n,), _INT64)
    launch(_places, n, flat(state), places, y)
    launch(_swap, min(n, 1), places, y)
    return y


@cuda_jit
def _places(state, places, out):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = i
        draw = out.size - 1 - i
        a, b, c, d = _philox(state, draw // 2)
        if draw % 2:
            a, b = c, d
        places[i] = np.int64(_join(a, b) % np.uint64(i + 1))


@cuda_jit
def _swap(places, out):
    # One thread: each swap needs the one before.
    for i in range(out.size - 1, 0, -1):
        j = places[i]
        value = out[i]
        out[i] = out[j]
        out[j] = value


def dropout(x: DeviceArray, state: DeviceArray, prob: float) -> DeviceArray:
    """y[i] = x[i] / (1 - prob) where uniform[i] >= prob, else 0."""
    y = new(tuple(x.shape), x.dtype)
    keep = x.dtype.type(1.0 - prob)
    launch(_dropout, _blocks(y.size, 4), flat(x), flat(state), np.float64(prob), keep, flat(y))
    return y


@cuda_jit
def _dropout(x, state, prob, keep, out):
    block = cuda.grid(1)
    if 4 * block < out.size:
        lanes = _philox(state, block)
        for k in range(4):
            i = 4 * block + k
            if i < out.size:
                out[i] = 0
                if np.float64(_unit32(lanes[k])) >= prob:
                    out[i] = x[i] / keep
