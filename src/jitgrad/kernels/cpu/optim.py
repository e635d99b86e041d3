"""Optimizer steps, in place. `hyper` is a float64 array, read by the kernel: a changed learning rate compiles nothing.

The formulas follow torch.optim line by line; factors are worked out in float64, then used in the parameter's dtype.
SGD and Adam take all parameters in one call, by a table that says where their memory is: a call for each, most of them small, would
cost more than the arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jitgrad.kernels.cpu.base_tools import pick
from jitgrad.kernels.cpu.layout import or_nothing
from jitgrad.kernels.cpu.places import array_at, table_of
from jitgrad.kernels.jit import njit, parallel_form, pays, prange
from jitgrad.kernels.simd import full_vectors

SHARES = 32  # pieces of all the parameters that threads take

Arrays = tuple[np.ndarray, ...]


@njit(inline=True)  # a kernel of its own, loaded from the cache, would round otherwise than in the process that compiled it
def _sgd(param, grad, buf, hyper):
    full_vectors()
    real = param.dtype.type
    lr, momentum, damped = real(hyper[0]), real(hyper[1]), real(1.0 - hyper[2])
    weight_decay, nesterov, first = real(hyper[3]), hyper[4] != 0.0, hyper[6] == 1.0
    sign = real(-1.0 if hyper[5] != 0.0 else 1.0)
    for i in range(param.size):
        d = sign * grad[i]
        if weight_decay != 0:
            d += weight_decay * param[i]
        if momentum != 0:
            b = d if first else momentum * buf[i] + damped * d
            buf[i] = b
            d = d + momentum * b if nesterov else b
        param[i] -= lr * d


@njit(inline=True)
def _adam(param, grad, exp_avg, exp_avg_sq, peak, hyper):
    """AMSGrad where peak is not empty."""
    full_vectors()
    real = param.dtype.type
    lr, beta1, beta2, step = hyper[0], hyper[1], hyper[2], hyper[7]
    eps, weight_decay, decoupled = real(hyper[3]), real(hyper[4]), hyper[5] != 0.0
    sign = real(-1.0 if hyper[6] != 0.0 else 1.0)
    shrink = real(1.0 - lr * hyper[4])
    near, b2, new2 = beta1 > 0.5, real(beta2), real(1.0 - beta2)  # a small gradient must not vanish beside a large mean that is forgotten
    part = real(1.0 - beta1 if near else -beta1)
    step_size = real(lr / (1.0 - beta1**step))
    root = real(np.sqrt(1.0 - beta2**step))
    for i in range(param.size):
        d, p = sign * grad[i], param[i]
        if weight_decay != 0:
            if decoupled:
                p *= shrink
            else:
                d += weight_decay * p
        m = pick(near, exp_avg[i], d) + part * (d - exp_avg[i])
        v = exp_avg_sq[i] * b2 + new2 * d * d
        exp_avg[i], exp_avg_sq[i] = m, v
        if peak.size:
            v = peak[i] if peak[i] > v else v  # a NaN in v stays visible
            peak[i] = v
        param[i] = p - step_size * (m / (np.sqrt(v) / root + eps))


@njit
def _rmsprop(param, grad, square_avg, grad_avg, buf, centered, hyper):
    real = param.dtype.type
    lr, alpha, new, eps = real(hyper[0]), real(hyper[1]), real(1.0 - hyper[1]), real(hyper[2])
    weight_decay, momentum, sign = real(hyper[3]), real(hyper[4]), real(-1.0 if hyper[5] != 0.0 else 1.0)
    near = hyper[1] > 0.5  # as in _adam
    part = real(1.0 - hyper[1] if near else -hyper[1])
    for i in prange(param.size):
        d = sign * grad[i]
        if weight_decay != 0:
            d += weight_decay * param[i]
        v = alpha * square_avg[i] + new * d * d
        square_avg[i] = v
        if centered:
            m = pick(near, grad_avg[i], d) + part * (d - grad_avg[i])
            grad_avg[i] = m
            v -= m * m
            if v < 0:  # by rounding only
                v = real(0.0)
        d /= np.sqrt(v) + eps
        if momentum != 0:
            d += momentum * buf[i]
            buf[i] = d
        param[i] -= lr * d


_rmsprop_parallel = parallel_form(_rmsprop)


@njit
def _part(size, before, share, shares, total):
    """What a share of all elements has of an array of this size that so many come before, as first and one-past-last."""
    first, last = share * total // shares - before, (share + 1) * total // shares - before
    return max(first, 0), min(last, size)


@njit
def _sgd_all(table, n, shares, total, like, hyper):
    """`table`: places of n parameters, of their gradients, of their buffers, then the n sizes; `like` tells the dtype."""
    for share in prange(shares):
        before = 0
        for k in range(n):
            size = table[k - n]
            a, b = _part(size, before, share, shares, total)
            if a < b:
                param, grad = array_at(table[k], a, b, like), array_at(table[n + k], a, b, like)
                _sgd(param, grad, array_at(table[2 * n + k], a, b, like), hyper)
            before += size


@njit
def _adam_all(table, n, shares, total, like, hyper):
    """`table`: as in _sgd_all, with means of the gradients, those of their squares, and for AMSGrad the peaks in the place of buffers."""
    for share in prange(shares):
        before = 0
        for k in range(n):
            size = table[k - n]
            a, b = _part(size, before, share, shares, total)
            if a < b:
                param, grad = array_at(table[k], a, b, like), array_at(table[n + k], a, b, like)
                m, v = array_at(table[2 * n + k], a, b, like), array_at(table[3 * n + k], a, b, like)
                peak = array_at(table[4 * n + k], a, b, like) if table.size > 5 * n else like
                _adam(param, grad, m, v, peak, hyper)
            before += size


_sgd_all_parallel = parallel_form(_sgd_all)
_adam_all_parallel = parallel_form(_adam_all)


def _run(serial: Any, parallel: Any, hyper: np.ndarray, written: tuple[int, ...], *groups: Arrays) -> None:
    """One call over all arrays; groups[i] for i in `written` are written to."""
    if not groups[0]:
        return
    dtype, flat = groups[0][0].dtype, []
    for group in groups:
        for x in group:
            if x.dtype is not dtype or not x.flags.c_contiguous:
                _run_apart(serial, parallel, hyper, written, *groups)
                return
            flat.append(x)
    sizes = [x.size for x in groups[0]]
    total = sum(sizes)
    shares = SHARES if pays(total) else 1
    (parallel if shares > 1 else serial)(table_of(flat, sizes), len(sizes), shares, total, or_nothing(None, dtype), hyper)


def _run_apart(serial: Any, parallel: Any, hyper: np.ndarray, written: tuple[int, ...], *groups: Arrays) -> None:
    """The same dtype by dtype, with copies in the place of arrays that are not contiguous."""
    for dtype in {np.dtype(x.dtype.type) for x in groups[0]}:
        some = [[x for x in group if x.dtype == dtype] for group in groups]
        used = [tuple(_canonical(x, dtype) for x in group) for group in some]
        _run(serial, parallel, hyper, written, *used)
        for i in written:
            for x, copy in zip(some[i], used[i], strict=True):
                if copy is not x:
                    x[...] = copy


def _canonical(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if x.dtype is dtype and x.flags.c_contiguous:
        return x
    copy = np.empty(x.shape, dtype)
    copy[...] = x
    return copy


def sgd_(hyper: np.ndarray, params: Arrays, grads: Arrays, bufs: Arrays = ()) -> None:
    """buf = momentum buf + (1 - dampening) g, param -= lr buf.

    hyper = [lr, momentum, dampening, weight_decay, nesterov, maximize, step]; in step 1 buf = g.
    Without momentum `bufs` is not touched and may be ().
    """
    if bufs:
        _run(_sgd_all, _sgd_all_parallel, hyper, (0, 2), params, grads, bufs)
    else:
        _run(_sgd_all, _sgd_all_parallel, hyper, (0,), params, grads, params)


def adam_(hyper: np.ndarray, params: Arrays, grads: Arrays, exp_avgs: Arrays, exp_avg_sqs: Arrays) -> None:
    """m, v = running means of g, g^2; param -= lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps).

    hyper = [lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step t].
    """
    _run(_adam_all, _adam_all_parallel, hyper, (0, 2, 3), params, grads, exp_avgs, exp_avg_sqs)


def amsgrad_(
    hyper: np.ndarray, params: Arrays, grads: Arrays, exp_avgs: Arrays, exp_avg_sqs: Arrays, max_exp_avg_sqs: Arrays
) -> None:  # fmt: skip
    """As adam_ with the largest v so far in place of v; hyper is adam_'s."""
    _run(_adam_all, _adam_all_parallel, hyper, (0, 2, 3, 4), params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs)


def rmsprop_(hyper: np.ndarray, params: Arrays, grads: Arrays, square_avgs: Arrays, bufs: Arrays = ()) -> None:
    """v = alpha v + (1 - alpha) g^2; buf = momentum buf + g / (sqrt(v) + eps); param -= lr buf.

    hyper = [lr, alpha, eps, weight_decay, momentum, maximize]. Without momentum `bufs` is not touched and may be ().
    """
    _rmsprops(hyper, params, grads, square_avgs, (), bufs)


def rmsprop_centered_(
    hyper: np.ndarray, params: Arrays, grads: Arrays, square_avgs: Arrays, grad_avgs: Arrays, bufs: Arrays = ()
) -> None:  # fmt: skip
    """As rmsprop_ with v - m^2 in place of v: m = the running mean of g, with the same alpha."""
    _rmsprops(hyper, params, grads, square_avgs, grad_avgs, bufs)


def _rmsprops(hyper: np.ndarray, params: Arrays, grads: Arrays, square_avgs: Arrays, grad_avgs: Arrays, bufs: Arrays) -> None:
    for param, grad, square_avg, grad_avg, buf in zip(params, grads, square_avgs, grad_avgs or params, bufs or params, strict=True):
        p, v = param.ravel(), square_avg.ravel()
        m, b = grad_avg.ravel() if grad_avgs else p, buf.ravel() if bufs else p
        run = _rmsprop_parallel if pays(p.size) else _rmsprop
        run(p, grad.ravel(), v, m, b, bool(grad_avgs), hyper)
        _write_back((param, p), (square_avg, v))
        if grad_avgs:
            _write_back((grad_avg, m))
        if bufs:
            _write_back((buf, b))


def _write_back(*pairs: tuple[np.ndarray, np.ndarray]) -> None:
    """Where ravel() had to copy an array (the copy has no base), put what the kernel wrote into it."""
    for array, flat in pairs:
        if flat.base is None:
            array[...] = flat.reshape(array.shape)
