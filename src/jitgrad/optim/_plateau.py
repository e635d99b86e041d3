"""ReduceLROnPlateau."""

from __future__ import annotations

from math import inf
from typing import SupportsFloat

from jitgrad.optim._scheduler import LRScheduler, as_optimizer, number, per_group, real, whole
from jitgrad.optim.optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """``lr = max(factor lr, min_lr)`` after more than patience epochs in which a metric did not get better: call ``step(metric)``.

    Parameters
    ----------
    mode
        "min" where less is better, "max" where more is.
    factor
        Below 1.
    threshold, threshold_mode
        What counts as better than the best so far, for "min": below best (1 - threshold) with "rel", below best - threshold with "abs".
    cooldown
        Epochs after a reduction in which bad ones do not count.
    min_lr
        Lowest rate, or a list of one for each group.
    eps
        A reduction by no more than this is left out.

    A NaN is never better. Raises ValueError for words and numbers out of range.

    >>> import jitgrad as jg
    >>> optimizer = jg.optim.SGD([jg.nn.Parameter(jg.ones(1))], lr=1.0)
    >>> scheduler = jg.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1, factor=0.5)
    >>> for loss in (3.0, 3.0, 3.0):
    ...     scheduler.step(loss)
    >>> scheduler.get_last_lr()
    [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10, threshold: float = 1e-4,
        threshold_mode: str = "rel", cooldown: int = 0, min_lr: float | list[float] = 0, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        # The base's constructor would step, and there is no metric yet.
        self.optimizer = as_optimizer(self, optimizer)
        if not 0.0 <= real(self, "factor", factor) < 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor is expected from 0 to below 1, given {factor}.")
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"ReduceLROnPlateau: expected mode 'min' or 'max' and threshold_mode 'rel' or 'abs', given {mode!r} and {threshold_mode!r}."
            )
        self.mode = mode
        self.factor = factor
        self.patience = whole(self, "patience", patience, 0)
        self.threshold = real(self, "threshold", threshold)
        self.threshold_mode = threshold_mode
        self.cooldown = whole(self, "cooldown", cooldown, 0)
        self.min_lrs = per_group(self, "min_lr", min_lr, optimizer, number)
        self.eps = real(self, "eps", eps)
        self.last_epoch = 0
        self.best = inf if mode == "min" else -inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    @property
    def in_cooldown(self) -> bool:
        """Whether bad epochs do not count at present."""
        return self.cooldown_counter > 0

    def step(self, metrics: SupportsFloat) -> None:  # type: ignore[override]
        """Note an epoch's metric, and reduce the rates if it is time."""
        current, groups = float(metrics), self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):
            raise ValueError(
                f"ReduceLROnPlateau: the optimizer has {len(groups)} groups, the scheduler was made for {len(self.min_lrs)}. "
                "Add groups before you make it."
            )
        self.last_epoch += 1
        if self._is_better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(groups, self.min_lrs, strict=True):
                lr = max(group["lr"] * self.factor, least)
                if group["lr"] - lr > self.eps:
                    group["lr"] = lr
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = [group["lr"] for group in groups]

    def _is_better(self, current: float) -> bool:
        relative, sign = self.threshold_mode == "rel", -1.0 if self.mode == "min" else 1.0
        mark = self.best * (1.0 + sign * self.threshold) if relative else self.best + sign * self.threshold
        return current < mark if self.mode == "min" else current > mark
