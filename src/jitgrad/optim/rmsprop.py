"""RMSprop."""

from __future__ import annotations

from typing import Any

from jitgrad.autograd import Tensor
from jitgrad.ops.create import zeros_like
from jitgrad.ops.optim import rmsprop_
from jitgrad.optim.optimizer import Optimizer, Params


class RMSprop(Optimizer):
    """RMSprop: ``v = alpha v + (1 - alpha) g^2``, ``b = momentum b + g / (sqrt(v) + eps)``, then ``p -= lr b``.

    Parameters
    ----------
    params
        A model, its parameters, or groups; see Optimizer.
    lr, eps, weight_decay, momentum
        At least 0; weight_decay p is added to the gradient.
    alpha
        How much of v each step keeps; from 0 to 1.
    centered
        Whether v - m^2 stands in place of v, with m the running mean of g: an estimate of the gradient's variance.
    maximize
        Whether to go up instead of down.

    Where rounding makes v - m^2 negative, it counts as 0.
    Source: Tieleman and Hinton, Lecture 6.5, Neural networks for machine learning, 2012; centered: Graves, Generating sequences with
    recurrent neural networks, 2013, equations 38 to 45.

    >>> import jitgrad as jg
    >>> p = jg.nn.Parameter(jg.tensor([1.0]))
    >>> (p * p).sum().backward()
    >>> jg.optim.RMSprop([p], lr=0.25, alpha=0.75).step()
    >>> p.tolist()
    [0.5]
    """

    _state_tensors = ("square_avg", "momentum_buffer", "grad_avg")

    def __init__(
        self, params: Params, lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0,
        momentum: float = 0, centered: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        options = {"lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered, "weight_decay": weight_decay}
        super().__init__(params, {**options, "maximize": maximize})

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        alpha = group["alpha"]
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0.0 <= alpha <= 1.0:
            raise ValueError(f"RMSprop: alpha is expected to be a number from 0 to 1, given {alpha!r}.")

    def _update(self, params: list[Tensor], grads: list[Tensor], group: dict[str, Any]) -> None:
        states = []
        for p in params:
            state = self.state[p]
            states.append(state)
            state["step"] = state.get("step", 0) + 1
            # A group may be given momentum, or be centered, at any time.
            for key in ("square_avg", *(["momentum_buffer"] if group["momentum"] else []), *(["grad_avg"] if group["centered"] else [])):
                if key not in state:
                    state[key] = zeros_like(p)
        rmsprop_(
            params, grads, [s["square_avg"] for s in states], [s["grad_avg"] for s in states] if group["centered"] else (),
            [s["momentum_buffer"] for s in states] if group["momentum"] else (), group["lr"], group["alpha"], group["eps"],
            group["weight_decay"], group["momentum"], group["maximize"],
        )  # fmt: skip
