"""Optimizer updates in place: one launch per parameter, one thread per element."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import cuda

from jitgrad.kernels.cuda.layout import DeviceArray, contiguous, copy_strided, flat, new
from jitgrad.kernels.jit import cuda_jit, launch

Arrays = tuple[DeviceArray, ...]


def sgd_(hyper: DeviceArray, params: Arrays, grads: Arrays, bufs: Arrays) -> None:
    """For each parameter p, with g += weight_decay * p and buf = momentum * buf + (1 - dampening) * g: p -= lr * buf.

    hyper = [lr, momentum, dampening, weight_decay, nesterov, maximize, step]; buf is g at step 1.
    Without momentum `bufs` is not touched and may be ().
    """
    for i, (p, g) in enumerate(zip(params, grads, strict=True)):
        _in_place(_sgd, hyper, g, p, bufs[i] if bufs else new((0,), p.dtype))


def _in_place(kernel: Callable[..., None], hyper: DeviceArray, g: DeviceArray, *targets: DeviceArray) -> None:
    """Runs a kernel on flat memory; targets of another layout get the results copied back."""
    data = [contiguous(x) for x in targets]
    launch(kernel, g.size, flat(hyper), flat(g), *(flat(x) for x in data))
    for x, y in zip(targets, data, strict=True):
        if x is not y:
            copy_strided(x, y)


@cuda_jit
def _sgd(hyper, grad, param, buf):
    i = cuda.grid(1)
    if i < param.size:
        lr, momentum, dampening, weight_decay = hyper[0], hyper[1], hyper[2], hyper[3]
        p = np.float64(param[i])
        g = np.float64(grad[i])
        if hyper[5] != 0:
            g = -g
        if weight_decay != 0:
            g += weight_decay * p
        if momentum != 0:
            b = g
            if hyper[6] != 1:
                b = momentum * buf[i] + (1 - dampening) * g
            buf[i] = b
            g = g + momentum * b if hyper[4] != 0 else b
        param[i] = p - lr * g


def adam_(hyper: DeviceArray, params: Arrays, grads: Arrays, exp_avgs: Arrays, exp_avg_sqs: Arrays) -> None:
    """For each parameter p, with m and v the running means of g and g**2: p -= lr * m_hat / (sqrt(v_hat) + eps).

    hyper = [lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step]; m_hat = m / (1 - beta1**step), v_hat so.
    """
    for p, g, m, v in zip(params, grads, exp_avgs, exp_avg_sqs, strict=True):
        _in_place(_adam, hyper, g, p, m, v, new((0,), p.dtype))


@cuda_jit
def _adam(hyper, grad, param, exp_avg, exp_avg_sq, peak):
    i = cuda.grid(1)
    if i < param.size:
        lr, beta1, beta2, eps = hyper[0], hyper[1], hyper[2], hyper[3]
        weight_decay, step = hyper[4], hyper[7]
        p = np.float64(param[i])
        g = np.float64(grad[i])
        if hyper[6] != 0:
            g = -g
        if weight_decay != 0:  # a weight of 0 must not make NaN of inf
            if hyper[5] != 0:
                p *= 1 - lr * weight_decay
            else:
                g += weight_decay * p
        if beta1 > 0.5:
            m = exp_avg[i] + (1 - beta1) * (g - exp_avg[i])
        else:  # a small gradient must not vanish beside a large mean that is forgotten
            m = g - beta1 * (g - exp_avg[i])
        v = beta2 * exp_avg_sq[i] + (1 - beta2) * g * g
        exp_avg[i] = m
        exp_avg_sq[i] = v
        if peak.size > 0:  # AMSGrad
            v = peak[i] if peak[i] > v else v  # a NaN in v stays visible
            peak[i] = v
        scale = math.sqrt(1 - math.pow(beta2, step))
        param[i] = p - lr / (1 - math.pow(beta1, step)) * m / (math.sqrt(v) / scale + eps)


def amsgrad_(
    hyper: DeviceArray, params: Arrays, grads: Arrays, exp_avgs: Arrays, exp_avg_sqs: Arrays, max_exp_avg_sqs: Arrays
) -> None:  # fmt: skip
    """As adam_ with the largest v so far in place of v; hyper is adam_'s."""
    for p, g, m, v, peak in zip(params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, strict=True):
        _in_place(_adam, hyper, g, p, m, v, peak)


def rmsprop_(hyper: DeviceArray, params: Arrays, grads: Arrays, square_avgs: Arrays, bufs: Arrays) -> None:
    """For each parameter p, with v = alpha * v + (1 - alpha) * g**2 and buf = momentum * buf + g / (sqrt(v) + eps): p -= lr * buf.

    hyper = [lr, alpha, eps, weight_decay, momentum, maximize]. Without momentum `bufs` is not touched and may be ().
    """
    for i, (p, g, v) in enumerate(zip(params, grads, square_avgs, strict=True)):
        none = new((0,), p.dtype)
        _in_place(_rmsprop, hyper, g, p, v, none, bufs[i] if bufs else none)


def rmsprop_centered_(
    hyper: DeviceArray, params: Arrays, grads: Arrays, square_avgs: Arrays, grad_avgs: Arrays, bufs: Arrays
) -> None:  # fmt: skip
    """As rmsprop_ with v - m**2 in place of v: m = the running mean of g, with the same alpha."""
    for i, (p, g, v, m) in enumerate(zip(params, grads, square_avgs, grad_avgs, strict=True)):
        _in_place(_rmsprop, hyper, g, p, v, m, bufs[i] if bufs else new((0,), p.dtype))


@cuda_jit
def _rmsprop(hyper, grad, param, square_avg, grad_avg, buf):
    i = cuda.grid(1)
    if i < param.size:
        lr, alpha, eps, weight_decay, momentum = hyper[0], hyper[1], hyper[2], hyper[3], hyper[4]
        p = np.float64(param[i])
        g = np.float64(grad[i])
        if hyper[5] != 0:
            g = -g
        if weight_decay != 0:
            g += weight_decay * p
        v = alpha * square_avg[i] + (1 - alpha) * g * g
        square_avg[i] = v
        if grad_avg.size > 0:
            m = grad_avg[i] + (1 - alpha) * (g - grad_avg[i]) if alpha > 0.5 else g - alpha * (g - grad_avg[i])  # as in _adam
            grad_avg[i] = m
            v -= m * m
            if v < 0:  # by rounding only
                v = 0.0
        g /= math.sqrt(v) + eps
        if momentum != 0:
            g += momentum * buf[i]
            buf[i] = g
        param[i] = p - lr * g
