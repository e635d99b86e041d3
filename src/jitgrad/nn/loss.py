"""Losses as layers."""

from __future__ import annotations

from jitgrad.autograd import Tensor
from jitgrad.nn.module import Module
from jitgrad.ops.loss import cross_entropy, nll_loss


class _ClassLoss(Module):
    """Weights of the classes, the label that does not count, and how losses are put together."""

    weight: Tensor | None

    def __init__(self, weight: Tensor | None, ignore_index: int, reduction: str) -> None:
        super().__init__()
        if reduction not in ("none", "mean", "sum"):
            raise ValueError(f"{type(self).__name__}: reduction is expected to be 'none', 'mean' or 'sum', given {reduction!r}.")
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = reduction


class CrossEntropyLoss(_ClassLoss):
    """Cross entropy of logits (N, C, ...) against labels (N, ...) or probabilities (N, C, ...); see functional.cross_entropy.

    Parameters
    ----------
    weight
        (C,): a weight for each class; a buffer.
    ignore_index
        A label that does not count.
    reduction
        "mean" (over the weights of the targets that count), "sum" or "none".
    label_smoothing
        0 to 1: mixes so much of the uniform distribution into the target.

    >>> import jitgrad as jg
    >>> loss = jg.nn.CrossEntropyLoss()(jg.zeros(1, 2), jg.tensor([1]))
    >>> round(loss.item(), 4)
    0.6931
    """

    def __init__(
        self, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ) -> None:  # fmt: skip
        super().__init__(weight, ignore_index, reduction)
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"CrossEntropyLoss: label_smoothing is expected between 0 and 1, given {label_smoothing}.")
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """A 0-d tensor; with reduction "none" one loss for each target."""
        return cross_entropy(
            input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction, label_smoothing=self.label_smoothing
        )


class NLLLoss(_ClassLoss):
    """Negative log likelihood of log-probabilities (N, C, ...) at labels (N, ...); see functional.nll_loss and CrossEntropyLoss.

    >>> import jitgrad as jg
    >>> jg.nn.NLLLoss()(jg.tensor([[-1.0, -2.0]]), jg.tensor([1])).item()
    2.0
    """

    def __init__(self, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(weight, ignore_index, reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """A 0-d tensor; with reduction "none" one loss for each target."""
        return nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)
