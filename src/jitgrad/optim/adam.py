"""Adam and AdamW."""

from __future__ import annotations

from typing import Any

from jitgrad.autograd import Tensor
from jitgrad.ops.create import zeros_like
from jitgrad.ops.optim import adam_
from jitgrad.optim.optimizer import Optimizer, Params


class Adam(Optimizer):
    """Adam: ``p -= lr m / (sqrt(v) + eps)`` with m and v the bias-corrected running means of g and g^2.

    Parameters
    ----------
    params
        A model, its parameters, or groups; see Optimizer.
    lr, eps, weight_decay
        At least 0; weight_decay p is added to the gradient.
    betas
        How much of m and v each step keeps; from 0 to below 1.
    amsgrad
        Whether the largest v so far stands in place of v: AMSGrad.
    maximize
        Whether to go up instead of down.

    Source: Kingma and Ba, Adam, 2015, algorithm 1; Reddi, Kale and Kumar, On the convergence of Adam and beyond, 2018, algorithm 2.

    >>> import jitgrad as jg
    >>> p = jg.nn.Parameter(jg.tensor([1.0]))
    >>> (p * p).sum().backward()
    >>> jg.optim.Adam([p], lr=0.5).step()
    >>> round(p.item(), 4)
    0.5
    """

    _decoupled = False
    _state_tensors = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    _required = ("step", "exp_avg", "exp_avg_sq")

    def __init__(
        self, params: Params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, amsgrad: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "amsgrad": amsgrad, "maximize": maximize})

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        betas = group["betas"]
        fits = isinstance(betas, (tuple, list)) and len(betas) == 2 and all(isinstance(b, (int, float)) and 0.0 <= b < 1.0 for b in betas)
        if not fits:
            raise ValueError(f"{type(self).__name__}: betas are expected to be two numbers from 0 to below 1, given {betas!r}.")

    def _update(self, params: list[Tensor], grads: list[Tensor], group: dict[str, Any]) -> None:
        for step, (some, some_grads) in self._by_step(params, grads, _zeros).items():
            states = [self.state[p] for p in some]
            peaks: list[Tensor] = []
            if group["amsgrad"]:
                peaks = [s["max_exp_avg_sq"] if "max_exp_avg_sq" in s else _peak(s, p) for s, p in zip(states, some, strict=True)]
            adam_(
                some, some_grads, [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states], group["lr"], group["betas"],
                group["eps"], group["weight_decay"], self._decoupled, group["maximize"], step, peaks,
            )  # fmt: skip


def _zeros(p: Tensor) -> dict[str, Any]:
    return {"exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}


def _peak(state: dict[str, Any], p: Tensor) -> Tensor:
    """The state that AMSGrad adds; a group may turn it on at any time."""
    peak: Tensor = zeros_like(p)
    state["max_exp_avg_sq"] = peak
    return peak


class AdamW(Adam):
    """Adam with decoupled weight decay: ``p *= 1 - lr weight_decay`` before the step, and the gradient stays as it is.

    Arguments as Adam's. Source: Loshchilov and Hutter, Decoupled weight decay regularization, 2019, algorithm 2.

    >>> import jitgrad as jg
    >>> p = jg.nn.Parameter(jg.tensor([1.0]))
    >>> (p * 0).sum().backward()
    >>> jg.optim.AdamW([p], lr=0.5, weight_decay=0.5).step()
    >>> p.tolist()
    [0.75]
    """

    _decoupled = True

    def __init__(
        self, params: Params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
