"""Optimizer steps, in place. `hyper` is a float64 array, read by the kernel: a changed learning rate compiles nothing.

The formulas follow torch.optim line by line; factors are worked out in float64, then used in the parameter's dtype.
"""

from __future__ import annotations

import numpy as np

from jitgrad.kernels.cpu.layout import contiguous
from jitgrad.kernels.jit import direct, njit, parallel_form, pays, prange

Arrays = tuple[np.ndarray, ...]


@njit
def _sgd(param, grad, buf, hyper):
    real = param.dtype.type
    lr, momentum, damped = real(hyper[0]), real(hyper[1]), real(1.0 - hyper[2])
    weight_decay, nesterov, first = real(hyper[3]), hyper[4] != 0.0, hyper[6] == 1.0
    sign = real(-1.0 if hyper[5] != 0.0 else 1.0)
    for i in prange(param.size):
        d = sign * grad[i]
        if weight_decay != 0:
            d += weight_decay * param[i]
        if momentum != 0:
            b = d if first else momentum * buf[i] + damped * d
            buf[i] = b
            d = d + momentum * b if nesterov else b
        param[i] -= lr * d


@njit
def _adam(param, grad, exp_avg, exp_avg_sq, hyper):
    real = param.dtype.type
    lr, beta1, beta2, step = hyper[0], hyper[1], hyper[2], hyper[7]
    eps, weight_decay, decoupled = real(hyper[3]), real(hyper[4]), hyper[5] != 0.0
    sign = real(-1.0 if hyper[6] != 0.0 else 1.0)
    shrink = real(1.0 - lr * hyper[4])
    towards, b2, new2 = real(1.0 - beta1), real(beta2), real(1.0 - beta2)
    step_size = real(lr / (1.0 - beta1**step))
    root = real(np.sqrt(1.0 - beta2**step))
    for i in prange(param.size):
        d, p = sign * grad[i], param[i]
        if weight_decay != 0:
            if decoupled:
                p *= shrink
            else:
                d += weight_decay * p
        m = exp_avg[i] + towards * (d - exp_avg[i])
        v = exp_avg_sq[i] * b2 + new2 * d * d
        exp_avg[i], exp_avg_sq[i] = m, v
        param[i] = p - step_size * (m / (np.sqrt(v) / root + eps))


_sgd_parallel = parallel_form(_sgd)
_adam_parallel = parallel_form(_adam)
_SGD, _ADAM = direct(_sgd), direct(_adam)


def sgd_(hyper: np.ndarray, params: Arrays, grads: Arrays, bufs: Arrays = ()) -> None:
    """buf = momentum buf + (1 - dampening) g, param -= lr buf.

    hyper = [lr, momentum, dampening, weight_decay, nesterov, maximize, step]; in step 1 buf = g.
    Without momentum `bufs` is not touched and may be ().
    """
    for param, grad, buf in zip(params, grads, bufs or params, strict=True):
        p = param.ravel()
        g, b = contiguous(grad).ravel(), buf.ravel() if bufs else p
        (_sgd_parallel if pays(p.size) else _SGD[p.dtype])(p, g, b, hyper)
        if p.base is None or b.base is None:
            _write_back((param, p), (buf, b))


def adam_(hyper: np.ndarray, params: Arrays, grads: Arrays, exp_avgs: Arrays, exp_avg_sqs: Arrays) -> None:
    """m, v = running means of g, g^2; param -= lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps).

    hyper = [lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step t].
    """
    for param, grad, exp_avg, exp_avg_sq in zip(params, grads, exp_avgs, exp_avg_sqs, strict=True):
        p, m, v = param.ravel(), exp_avg.ravel(), exp_avg_sq.ravel()
        g = contiguous(grad).ravel()
        (_adam_parallel if pays(p.size) else _ADAM[p.dtype])(p, g, m, v, hyper)
        if p.base is None or m.base is None or v.base is None:
            _write_back((param, p), (exp_avg, m), (exp_avg_sq, v))


def _write_back(*pairs: tuple[np.ndarray, np.ndarray]) -> None:
    """Where ravel() had to copy an array, put what the kernel wrote into it."""
    for array, flat in pairs:
        if flat.base is None and flat is not array:
            array[...] = flat.reshape(array.shape)
