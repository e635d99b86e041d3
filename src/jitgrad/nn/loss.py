"""Losses as layers."""

from __future__ import annotations

from jitgrad.autograd import Tensor
from jitgrad.nn.module import Module
from jitgrad.ops.loss import binary_cross_entropy_with_logits, check_reduction, cross_entropy, l1_loss, mse_loss, nll_loss


class _Loss(Module):
    """How losses are put together."""

    def __init__(self, size_average: None = None, reduce: None = None, reduction: str = "mean") -> None:
        super().__init__()
        check_reduction(type(self).__name__, reduction, size_average, reduce)
        self.reduction = reduction


class _ClassLoss(_Loss):
    """Weights of the classes, and the label that does not count."""

    weight: Tensor | None

    def __init__(
        self, weight: Tensor | None = None, size_average: None = None, ignore_index: int = -100, reduce: None = None,
        reduction: str = "mean",
    ) -> None:  # fmt: skip
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index


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
        self, weight: Tensor | None = None, size_average: None = None, ignore_index: int = -100, reduce: None = None,
        reduction: str = "mean", label_smoothing: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(weight, size_average, ignore_index, reduce, reduction)
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

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """A 0-d tensor; with reduction "none" one loss for each target."""
        return nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class MSELoss(_Loss):
    """Squared error ``(x - t)^2`` of an input and a target of one shape; see functional.mse_loss.

    >>> import jitgrad as jg
    >>> jg.nn.MSELoss()(jg.tensor([1.0, 3.0]), jg.tensor([1.0, 1.0])).item()
    2.0
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """A 0-d tensor; with reduction "none" one loss for each element."""
        return mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """Absolute error ``|x - t|`` of an input and a target of one shape; see functional.l1_loss.

    >>> import jitgrad as jg
    >>> jg.nn.L1Loss()(jg.tensor([1.0, 3.0]), jg.tensor([1.0, 1.0])).item()
    1.0
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """A 0-d tensor; with reduction "none" one loss for each element."""
        return l1_loss(input, target, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """Binary cross entropy of logits against probabilities of one shape; see functional.binary_cross_entropy_with_logits.

    Parameters
    ----------
    weight
        By which each loss is multiplied; a buffer that broadcasts.
    reduction
        "mean" (over all elements), "sum" or "none".
    pos_weight
        By which the losses of ones are multiplied; a buffer that broadcasts.

    >>> import jitgrad as jg
    >>> loss = jg.nn.BCEWithLogitsLoss()(jg.zeros(2), jg.tensor([0.0, 1.0]))
    >>> round(loss.item(), 4)
    0.6931
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self, weight: Tensor | None = None, size_average: None = None, reduce: None = None, reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """A 0-d tensor; with reduction "none" one loss for each element."""
        return binary_cross_entropy_with_logits(input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight)
