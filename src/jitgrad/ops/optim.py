"""Optimizer updates as primitives over all parameters; what changes from step to step is in the operand ``hyper``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jitgrad.autograd import Primitive, Tensor, numbers
from jitgrad.dtypes import COMPUTED_FLOATS
from jitgrad.errors import DTypeError, ShapeError


def _infer(hyper: Any, params: Any, *others: Any) -> list[Any]:
    shapes, kinds = [p.shape for p in params], [p.dtype for p in params]
    for some in others:
        if [x.shape for x in some] != shapes or [x.dtype for x in some] != kinds:
            _refuse(params, some)
    for dtype in set(kinds):
        if dtype.char not in COMPUTED_FLOATS:
            raise DTypeError(f"optimizer: parameter {kinds.index(dtype)} is {dtype}: expected float32 or float64.")
    return list(zip(shapes, kinds, strict=True))


def _refuse(params: Any, others: Any) -> None:
    for i, (param, other) in enumerate(zip(params, others, strict=True)):
        if other.shape != param.shape:
            raise ShapeError(f"optimizer: parameter {i} has shape {tuple(param.shape)}, its gradient or state {tuple(other.shape)}.")
        if other.dtype != param.dtype:
            raise DTypeError(f"optimizer: parameter {i} is {param.dtype}, its gradient or state {other.dtype}: expected one dtype.")


SGD_ = Primitive("sgd_", "hyper *params *grads", _infer, mutates="params")
SGD_MOMENTUM_ = Primitive("sgd_momentum_", "hyper *params *grads *bufs", _infer, mutates="params bufs", kernel="sgd_")
ADAM_ = Primitive("adam_", "hyper *params *grads *exp_avgs *exp_avg_sqs", _infer, mutates="params exp_avgs exp_avg_sqs")
AMSGRAD_ = Primitive(
    "amsgrad_", "hyper *params *grads *exp_avgs *exp_avg_sqs *max_exp_avg_sqs", _infer,
    mutates="params exp_avgs exp_avg_sqs max_exp_avg_sqs",
)  # fmt: skip
RMSPROP_ = Primitive("rmsprop_", "hyper *params *grads *square_avgs", _infer, mutates="params square_avgs")
RMSPROP_MOMENTUM_ = Primitive(
    "rmsprop_momentum_", "hyper *params *grads *square_avgs *bufs", _infer, mutates="params square_avgs bufs", kernel="rmsprop_"
)
RMSPROP_CENTERED_ = Primitive(
    "rmsprop_centered_", "hyper *params *grads *square_avgs *grad_avgs", _infer, mutates="params square_avgs grad_avgs"
)
RMSPROP_CENTERED_MOMENTUM_ = Primitive(
    "rmsprop_centered_momentum_", "hyper *params *grads *square_avgs *grad_avgs *bufs", _infer,
    mutates="params square_avgs grad_avgs bufs", kernel="rmsprop_centered_",
)  # fmt: skip


def sgd_(
    params: Sequence[Tensor], grads: Sequence[Tensor], bufs: Sequence[Tensor], lr: float, momentum: float = 0.0,
    dampening: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False, maximize: bool = False, step: int = 1,
) -> None:  # fmt: skip
    """One step of SGD on all parameters, in place; with momentum, bufs (set to the gradients in step 1)."""
    hyper = numbers((lr, momentum, dampening, weight_decay, nesterov, maximize, step), params[0])
    if momentum:
        SGD_MOMENTUM_.apply((hyper, *params, *grads, *bufs))
    else:
        SGD_.apply((hyper, *params, *grads))


def adam_(
    params: Sequence[Tensor], grads: Sequence[Tensor], exp_avgs: Sequence[Tensor], exp_avg_sqs: Sequence[Tensor],
    lr: float, betas: tuple[float, float], eps: float, weight_decay: float, decoupled: bool, maximize: bool, step: int,
    max_exp_avg_sqs: Sequence[Tensor] = (),
) -> None:  # fmt: skip
    """One step of Adam (decoupled: AdamW; with max_exp_avg_sqs: AMSGrad) on all parameters, in place.

    Source: Kingma and Ba, 2015, algorithm 1; Reddi, Kale and Kumar, On the convergence of Adam and beyond, 2018, algorithm 2.
    """
    hyper = numbers((lr, *betas, eps, weight_decay, decoupled, maximize, step), params[0])
    if max_exp_avg_sqs:
        AMSGRAD_.apply((hyper, *params, *grads, *exp_avgs, *exp_avg_sqs, *max_exp_avg_sqs))
    else:
        ADAM_.apply((hyper, *params, *grads, *exp_avgs, *exp_avg_sqs))


def rmsprop_(
    params: Sequence[Tensor], grads: Sequence[Tensor], square_avgs: Sequence[Tensor], grad_avgs: Sequence[Tensor],
    bufs: Sequence[Tensor], lr: float, alpha: float, eps: float, weight_decay: float, momentum: float, maximize: bool,
) -> None:  # fmt: skip
    """One step of RMSprop on all parameters, in place: centered where grad_avgs are given, with bufs where momentum is not 0."""
    hyper = numbers((lr, alpha, eps, weight_decay, momentum, maximize), params[0])
    if grad_avgs:
        prim = RMSPROP_CENTERED_MOMENTUM_ if bufs else RMSPROP_CENTERED_
    else:
        prim = RMSPROP_MOMENTUM_ if bufs else RMSPROP_
    prim.apply((hyper, *params, *grads, *square_avgs, *grad_avgs, *bufs))
