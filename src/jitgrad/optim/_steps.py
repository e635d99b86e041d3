"""Schedulers whose rates follow from factors: at steps, by a function, one scheduler after another."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from jitgrad.errors import StateDictError
from jitgrad.optim._plateau import ReduceLROnPlateau
from jitgrad.optim._scheduler import LRScheduler, as_optimizer, per_group, real, whole
from jitgrad.optim.optimizer import Optimizer


class _Factor(LRScheduler):
    """Rates as a product: each epoch has a factor on the rate of the epoch before."""

    def _factor(self) -> float:
        """Factor at ``last_epoch``, above 0."""
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        """The groups' rates times the factor of this epoch."""
        factor = 1.0 if self._starts else self._factor()
        return [group["lr"] * factor for group in self.optimizer.param_groups]


class StepLR(_Factor):
    """``lr *= gamma`` every step_size epochs.

    Parameters as LRScheduler's; step_size is an int of at least 1. Raises ValueError or TypeError for others.

    >>> import jitgrad as jg
    >>> optimizer = jg.optim.SGD([jg.nn.Parameter(jg.ones(1))], lr=1.0)
    >>> scheduler = jg.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> scheduler.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size = whole(self, "step_size", step_size, 1)
        self.gamma = real(self, "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float:
        return self.gamma if self.last_epoch % self.step_size == 0 else 1.0


class MultiStepLR(_Factor):
    """``lr *= gamma`` at each of the epochs in milestones; one that is there twice counts twice.

    >>> import jitgrad as jg
    >>> optimizer = jg.optim.SGD([jg.nn.Parameter(jg.ones(1))], lr=1.0)
    >>> scheduler = jg.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 3], gamma=0.5)
    >>> for _ in range(4):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> scheduler.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.milestones = sorted(whole(self, "each milestone", m, 0) for m in milestones)
        self.gamma = real(self, "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float:
        return self.gamma ** self.milestones.count(self.last_epoch)


class ExponentialLR(_Factor):
    """``lr *= gamma`` each epoch.

    >>> import jitgrad as jg
    >>> optimizer = jg.optim.SGD([jg.nn.Parameter(jg.ones(1))], lr=1.0)
    >>> scheduler = jg.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> optimizer.step()
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = real(self, "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def _factor(self) -> float:
        return self.gamma


class ConstantLR(LRScheduler):
    """``lr = factor initial_lr`` until epoch total_iters, from then on the initial one.

    Raises ValueError for a factor that is not above 0 and at most 1, or total_iters below 0.

    >>> import jitgrad as jg
    >>> optimizer = jg.optim.SGD([jg.nn.Parameter(jg.ones(1))], lr=1.0)
    >>> jg.optim.lr_scheduler.ConstantLR(optimizer, factor=0.25).get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1) -> None:
        if not 0.0 < real(self, "factor", factor) <= 1.0:
            raise ValueError(f"ConstantLR: factor is expected above 0 and at most 1, given {factor}.")
        self.factor = factor
        self.total_iters = whole(self, "total_iters", total_iters, 0)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The groups' rates, but for the first epoch and epoch total_iters."""
        factor = self.factor if self.last_epoch == 0 else 1.0
        if self.last_epoch == self.total_iters and self._step_count:
            factor = 1.0 / self.factor
        return [group["lr"] * factor for group in self.optimizer.param_groups]


class LinearLR(LRScheduler):
    """``lr = initial_lr (s + (e - s) min(epoch, n) / n)``: from start_factor s to end_factor e, along a line over n = total_iters epochs.

    Raises ValueError where start_factor is not above 0 and at most 1, end_factor not from 0 to 1, or total_iters below 1.

    >>> import jitgrad as jg
    >>> optimizer = jg.optim.SGD([jg.nn.Parameter(jg.ones(1))], lr=1.0)
    >>> scheduler = jg.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> optimizer.step()
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.75]
    """

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1.0 / 3, end_factor: float = 1.0, total_iters: int = 5, last_epoch: int = -1
    ) -> None:  # fmt: skip
        if not 0.0 < real(self, "start_factor", start_factor) <= 1.0 or not 0.0 <= real(self, "end_factor", end_factor) <= 1.0:
            raise ValueError(
                f"LinearLR: expected start_factor above 0 and at most 1, end_factor from 0 to 1, given {start_factor}, {end_factor}."
            )
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = whole(self, "total_iters", total_iters, 1)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The groups' rates times the ratio of this epoch's factor to the last one's."""
        s, rise, n, epoch = self.start_factor, self.end_factor - self.start_factor, self.total_iters, self.last_epoch
        factor = 1.0
        if epoch == 0:
            factor = s
        elif self._step_count and epoch <= n:
            factor = 1.0 + rise / (n * s + (epoch - 1) * rise)
        return [group["lr"] * factor for group in self.optimizer.param_groups]


class LambdaLR(LRScheduler):
    """``lr = initial_lr f(epoch)``.

    Parameters
    ----------
    lr_lambda
        A function of the epoch, or a list of one for each group. Functions are not part of state_dict().

    >>> import jitgrad as jg
    >>> optimizer = jg.optim.SGD([jg.nn.Parameter(jg.ones(1))], lr=1.0)
    >>> jg.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5 / (1 + epoch)).get_last_lr()
    [0.5]
    """

    _left_out = ("optimizer", "lr_lambdas")

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | list[Callable[[int], float]], last_epoch: int = -1
    ) -> None:
        self.lr_lambdas = per_group(self, "lr_lambda", lr_lambda, as_optimizer(self, optimizer), callable)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The initial rates times the functions' values."""
        return [base * f(self.last_epoch) for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class SequentialLR(LRScheduler):
    """Schedulers one after another: scheduler i + 1 begins, with its epoch 0, at epoch milestones[i].

    Raises ValueError where schedulers are for other optimizers, or milestones are not ascending and one fewer than schedulers.

    >>> import jitgrad as jg
    >>> from jitgrad.optim.lr_scheduler import ExponentialLR, LinearLR, SequentialLR
    >>> optimizer = jg.optim.SGD([jg.nn.Parameter(jg.ones(1))], lr=1.0)
    >>> parts = [LinearLR(optimizer, 0.5, total_iters=2), ExponentialLR(optimizer, 0.25)]
    >>> scheduler = SequentialLR(optimizer, parts, milestones=[2])
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> scheduler.get_last_lr()
    [0.25]
    """

    _left_out = ("optimizer", "_schedulers")

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1) -> None:
        self.optimizer = as_optimizer(self, optimizer)
        self._schedulers = list(schedulers)
        for i, s in enumerate(self._schedulers):
            if not isinstance(s, LRScheduler) or isinstance(s, ReduceLROnPlateau) or s.optimizer is not optimizer:
                raise ValueError(
                    f"SequentialLR: expected schedulers of the same optimizer that need no metric, scheduler {i}, "
                    f"{type(s).__name__}, is none."
                )
        self._milestones = [whole(self, "each milestone", m, 0) for m in milestones]
        if not self._schedulers or len(self._milestones) != len(self._schedulers) - 1 or any(a >= b for a, b in pairwise(self._milestones)):
            raise ValueError(
                f"SequentialLR: expected ascending milestones, one fewer than schedulers, given {list(milestones)} for {len(schedulers)}."
            )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch + 1
        # Making the schedulers has set the rates and begun each; only the first is to have done so.
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for s in self._schedulers:
            s._rewind()
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._advance()
        self._step_count = 1
        self._last_lr = first.get_last_lr()

    def _rewind(self) -> None:
        super()._rewind()
        for s in self._schedulers:
            s._rewind()

    def _advance(self, epoch: int | None = None) -> None:
        to = self.last_epoch + 1 if epoch is None else epoch
        i = bisect_right(self._milestones, to)
        begins = to == (self._milestones[i - 1] if i else 0)
        if begins:
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"]
        self._schedulers[i]._advance(0 if begins else None)
        self.last_epoch = to
        self._step_count += 1
        self._last_lr = self._schedulers[i].get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """All attributes but the optimizer, and the schedulers' own state dicts."""
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state_dict(), all schedulers or none."""
        self._check_state(state_dict)
        own = {k: v for k, v in state_dict.items() if k != "_schedulers"}
        for s, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            s.load_state_dict(state)
        self.__dict__.update(own)

    def _check_state(self, given: Any) -> None:
        super()._check_state(given)
        parts = given["_schedulers"]
        if len(parts) != len(self._schedulers):
            raise StateDictError(f"SequentialLR.load_state_dict: expected {len(self._schedulers)} schedulers, given {len(parts)}.")
        for s, state in zip(self._schedulers, parts, strict=True):
            s._check_state(state)
