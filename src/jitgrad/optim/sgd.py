"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from jitgrad.autograd import Tensor
from jitgrad.ops.create import zeros_like
from jitgrad.ops.optim import sgd_
from jitgrad.optim.optimizer import Optimizer, Params


class SGD(Optimizer):
    """Gradient descent: ``b = momentum b + (1 - dampening) g``, then ``p -= lr b``; g is the gradient plus weight_decay p.

    Parameters
    ----------
    params
        A model, its parameters, or groups; see Optimizer.
    lr, momentum, weight_decay
        At least 0. In the first step b = g.
    dampening, nesterov
        nesterov steps along g + momentum b, and needs momentum and no dampening.
    maximize
        Whether to go up instead of down.

    Source: Sutskever, Martens, Dahl and Hinton, On the importance of initialization and momentum, 2013.

    >>> import jitgrad as jg
    >>> p = jg.nn.Parameter(jg.tensor([1.0]))
    >>> (p * p).sum().backward()
    >>> jg.optim.SGD([p], lr=0.25).step()
    >>> p.tolist()
    [0.5]
    """

    _state_tensors = ("momentum_buffer",)

    def __init__(
        self, params: Params, lr: float = 1e-3, momentum: float = 0, dampening: float = 0, weight_decay: float = 0,
        nesterov: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov}
        super().__init__(params, {**options, "maximize": maximize})

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                f"SGD: nesterov is expected with momentum above 0 and no dampening, given {group['momentum']} and {group['dampening']}."
            )

    def _update(self, params: list[Tensor], grads: list[Tensor], group: dict[str, Any]) -> None:
        options = group["lr"], group["momentum"], group["dampening"], group["weight_decay"], group["nesterov"], group["maximize"]
        if not group["momentum"]:
            sgd_(params, grads, (), *options)
            return
        # Only the first step is special, so that later ones are one group.
        pairs = list(zip(params, grads, strict=True))
        new = [(p, g) for p, g in pairs if "momentum_buffer" not in self.state[p]]
        old = [(p, g) for p, g in pairs if "momentum_buffer" in self.state[p]] if new else pairs
        for p, _ in new:
            self.state[p]["momentum_buffer"] = zeros_like(p)
        for step, some in ((1, new), (2, old)):
            if some:
                bufs = [self.state[p]["momentum_buffer"] for p, _ in some]
                sgd_([p for p, _ in some], [g for _, g in some], bufs, *options, step)
