"""Random numbers and optimizer steps on the CPU against plain NumPy."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
from kernel_samples import FLOATS, LAYOUTS, check, check_signatures, sample, tolerance

from jitgrad.kernels import scalars_random
from jitgrad.kernels.cpu import optim, random

pytestmark = pytest.mark.filterwarnings("error")  # kernels never warn

# random

KNOWN = [  # counter, key, output: the vectors published with Random123
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "want"), KNOWN)
def test_philox_known_answers(counter: tuple, key: tuple, want: tuple) -> None:
    words = [np.uint64(word) for word in (*counter, *key)]
    assert scalars_random.philox_words(*words) == want
    assert random._words(*words) == want


def state(seed: int, offset: int) -> np.ndarray:
    return np.array([seed, offset], np.int64)


def test_bits_are_the_lanes() -> None:
    seed, offset = -(2**40) - 3, 2**32 - 2  # negative: the upper key bits count; the counter carries into its second word
    got = random.bits(state(seed, offset), 19)
    assert got.dtype == np.uint32
    for i, word in enumerate(got):
        counter = offset + i // 4
        words = (counter & 0xFFFFFFFF, counter >> 32, 0, 0, seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF)
        assert word == scalars_random.philox_words(*map(np.uint64, words))[i % 4]


def test_draws_follow_the_bits() -> None:
    s, n = state(7, 11), 1001
    lanes = random.bits(s, n).astype(np.float64)
    wide = random.bits(s, 2 * n).astype(np.uint64)
    words = wide[::2] | (wide[1::2] << np.uint64(32))
    unit = (words >> np.uint64(11)) * 2.0**-53
    check(random.uniform(s, (n,), FLOATS[0]), (np.floor(lanes / 256) * 2.0**-24).astype(np.float32))
    check(random.uniform(s, (7, 143), FLOATS[1]), unit.reshape(7, 143))
    check(random.randint(s, (n,), -5, 8), -5 + (words % np.uint64(13)).astype(np.int64))
    check(random.randint(s, (n,), -(2**62), 2**62), (words % np.uint64(2**63)).astype(np.int64) - 2**62)
    lanes = random.bits(s, n + 1).astype(np.float64)
    radius, turn = np.sqrt(-2 * np.log((lanes[::2] + 1) * 2.0**-32)), 2 * math.pi * lanes[1::2] * 2.0**-32
    pairs = np.stack([radius * np.cos(turn), radius * np.sin(turn)], 1).ravel()[:n]
    check(random.normal(s, (n,), FLOATS[0]), pairs.astype(np.float32), 1e-6)
    radius, turn = np.sqrt(-2 * np.log(1 - unit[:-1:2])), 2 * math.pi * unit[1::2]
    pairs = np.stack([radius * np.cos(turn), radius * np.sin(turn)], 1).ravel()
    check(random.normal(s, (n - 1,), FLOATS[1]), pairs, 1e-12)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_draws_are_a_stream(dtype: np.dtype) -> None:
    """A long draw (parallel form) begins like a short one, goes on at the offset that `counters` tells, and looks right."""
    n, bits = 20000, 8 * dtype.itemsize
    for draw, mean, std in ((random.uniform, 0.5, 12**-0.5), (random.normal, 0.0, 1.0)):
        y = draw(state(3, 5), (n,), dtype)
        check(draw(state(3, 5), (101,), dtype), y[:101])
        check(draw(state(3, 5 + scalars_random.counters(1000, bits)), (n - 1000,), dtype), y[1000:])
        assert abs(y.mean() - mean) < 4 * std / n**0.5 and abs(y.std() - std) < 0.02
        assert draw is random.normal or (y.min() >= 0 and y.max() < 1)
    assert random.uniform(state(3, 5), (), dtype).shape == () and random.normal(state(3, 5), (0, 2), dtype).shape == (0, 2)


def test_permutation() -> None:
    for n in (0, 1, 2, 100):
        assert sorted(random.permutation(state(1, 2), n)) == list(range(n))
    firsts = np.bincount([random.permutation(state(1, k), 4)[0] for k in range(0, 4000, 2)], minlength=4)
    assert (abs(firsts - 500) < 100).all()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_dropout(layout: str, dtype: np.dtype) -> None:
    x = sample((5, 7), dtype, layout)
    keep = random.uniform(state(1, 2), (5, 7), FLOATS[0]) >= 0.3
    check(random.dropout(x, state(1, 2), 0.3), np.where(keep, x / dtype.type(0.7), dtype.type(0)), tolerance(dtype))
    check(random.dropout(x, state(1, 2), 0.0), x)
    check(random.dropout(x, state(1, 2), 1.0), np.zeros((5, 7), dtype))


# optim


def naive_sgd(hyper: np.ndarray, param: np.ndarray, grad: np.ndarray, buf: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lr, momentum, dampening, weight_decay, nesterov, maximize, step = hyper
    d = (-grad if maximize else grad) + weight_decay * param
    if momentum:
        buf = d if step == 1 else momentum * buf + (1 - dampening) * d
        d = d + momentum * buf if nesterov else buf
    return param - lr * d, buf


def naive_adam(hyper: np.ndarray, param: np.ndarray, grad: np.ndarray, m: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, ...]:
    lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step = hyper
    d = -grad if maximize else grad
    param, d = (param * (1 - lr * weight_decay), d) if decoupled else (param, d + weight_decay * param)
    m, v = beta1 * m + (1 - beta1) * d, beta2 * v + (1 - beta2) * d * d
    return param - lr * (m / (1 - beta1**step)) / (np.sqrt(v / (1 - beta2**step)) + eps), m, v


def naive_amsgrad(hyper: np.ndarray, param: np.ndarray, grad: np.ndarray, m: np.ndarray, v: np.ndarray, peak: np.ndarray) -> tuple:
    lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step = hyper
    d = -grad if maximize else grad
    param, d = (param * (1 - lr * weight_decay), d) if decoupled else (param, d + weight_decay * param)
    m, v = beta1 * m + (1 - beta1) * d, beta2 * v + (1 - beta2) * d * d
    peak = np.maximum(peak, v)
    return param - lr * (m / (1 - beta1**step)) / (np.sqrt(peak / (1 - beta2**step)) + eps), m, v, peak


def naive_rmsprop(hyper: np.ndarray, param: np.ndarray, grad: np.ndarray, v: np.ndarray, buf: np.ndarray) -> tuple:
    lr, alpha, eps, weight_decay, momentum, maximize = hyper
    d = (-grad if maximize else grad) + weight_decay * param
    v = alpha * v + (1 - alpha) * d * d
    step = d / (np.sqrt(v) + eps) + momentum * buf
    return param - lr * step, v, step if momentum else buf


def naive_centered(hyper: np.ndarray, param: np.ndarray, grad: np.ndarray, v: np.ndarray, m: np.ndarray, buf: np.ndarray) -> tuple:
    lr, alpha, eps, weight_decay, momentum, maximize = hyper
    d = (-grad if maximize else grad) + weight_decay * param
    v, m = alpha * v + (1 - alpha) * d * d, alpha * m + (1 - alpha) * d
    step = d / (np.sqrt(np.maximum(v - m * m, 0)) + eps) + momentum * buf
    return param - lr * step, v, m, step if momentum else buf


SGD = [(0.1, 0, 0, 0, 0, 0, 1), (0.1, 0.9, 0.2, 0.01, 0, 0, 1), (0.1, 0.9, 0.2, 0.01, 0, 1, 2), (0.1, 0.9, 0, 0.01, 1, 0, 3)]
ADAM = [
    (0.1, 0.9, 0.99, 1e-8, 0, 0, 0, 1), (0.1, 0.9, 0.99, 1e-8, 0.1, 0, 1, 4), (0.1, 0.9, 0.99, 1e-8, 0.1, 1, 0, 1000),
    (0.1, 0.3, 0.5, 1e-8, 0, 0, 0, 2),
]  # fmt: skip
RMSPROP = [(0.1, 0.9, 0.1, 0, 0, 0), (0.1, 0.9, 0.1, 0.1, 0.5, 1), (0.1, 0.4, 0.1, 0, 0, 0)]
STEPS = [
    *((naive_sgd, optim.sgd_, h) for h in SGD), *((naive_adam, optim.adam_, h) for h in ADAM),
    *((naive_amsgrad, optim.amsgrad_, h) for h in ADAM), *((naive_rmsprop, optim.rmsprop_, h) for h in RMSPROP),
    *((naive_centered, optim.rmsprop_centered_, h) for h in RMSPROP),
]  # fmt: skip
PARAMS = [((3, 4), "C"), ((3, 4), "F"), ((5,), "sliced"), ((), "C"), ((0, 2), "C"), ((300, 300), "C"), ((4, 2), "negative")]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(("naive", "step", "hyper"), STEPS)
def test_optimizer_steps(naive: object, step: object, hyper: tuple, dtype: np.dtype) -> None:
    hyper = np.array(hyper, np.float64)
    count = len(inspect.signature(naive).parameters) - 1
    slots = [tuple(sample(shape, dtype, layout, seed=k) for shape, layout in PARAMS) for k in range(count)]
    # Running means of squares are positive, and those of a centered step above the squares of the means.
    places = {optim.adam_: (3,), optim.amsgrad_: (3, 4), optim.rmsprop_: (2,), optim.rmsprop_centered_: (2,)}.get(step, ())
    for second_moment in (a for k in places for a in slots[k]):
        np.abs(second_moment, out=second_moment)
        second_moment += 200 if step is optim.rmsprop_centered_ else 0
    wants = [naive(hyper, *each) for each in zip(*[[a.astype(np.float64) for a in slot] for slot in slots], strict=True)]
    grads = [g.copy() for g in slots[1]]
    step(hyper, *slots)
    for k, want in enumerate(wants):
        for slot, value in zip((slots[0], *slots[2:]), want, strict=True):
            np.testing.assert_allclose(slot[k], value, rtol=1e-5 if dtype.itemsize == 4 else 1e-12, atol=10 * tolerance(dtype))
        np.testing.assert_array_equal(slots[1][k], grads[k])


def test_sgd_without_buffers() -> None:
    param, grad = np.ones(3), np.broadcast_to(np.array(2.0), (3,))
    optim.sgd_(np.array([0.5, 0, 0, 0, 0, 0, 1.0]), (param,), (grad,), ())
    assert param.tolist() == [0, 0, 0]


def test_one_signature_per_dtype_and_form() -> None:
    """Runs last."""
    check_signatures(random, optim)
