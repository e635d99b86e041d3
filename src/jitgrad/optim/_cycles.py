"""Schedulers along a cosine: annealing, and one cycle up and down."""

from __future__ import annotations

from math import cos, pi

from jitgrad.optim._scheduler import LRScheduler, as_optimizer, number, per_group, real, whole
from jitgrad.optim.optimizer import Optimizer


class CosineAnnealingLR(LRScheduler):
    """``lr = eta_min + (initial_lr - eta_min) (1 + cos(pi epoch / T_max)) / 2``.

    Beyond T_max the rate comes up again along the same cosine.
    Source: Loshchilov and Hutter, SGDR, 2017, equation 5 without restarts.

    >>> import jitgrad as jg
    >>> optimizer = jg.optim.SGD([jg.nn.Parameter(jg.ones(1))], lr=1.0)
    >>> scheduler = jg.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
    >>> optimizer.step()
    >>> scheduler.step()
    >>> [round(lr, 6) for lr in scheduler.get_last_lr()]
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max = whole(self, "T_max", T_max, 1)
        self.eta_min = real(self, "eta_min", eta_min)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The groups' rates times the ratio of this epoch's cosine to the last one's, both above eta_min."""
        low, epoch, T = self.eta_min, self.last_epoch, self.T_max
        groups = self.optimizer.param_groups
        if self._starts:
            return [group["lr"] for group in groups]
        if (epoch - 1 - T) % (2 * T) == 0:  # the last cosine was 0
            return [
                group["lr"] + (base - low) * (1 - cos(pi / T)) / 2 for base, group in zip(self.base_lrs, groups, strict=True)
            ]  # fmt: skip
        ratio = (1 + cos(pi * epoch / T)) / (1 + cos(pi * (epoch - 1) / T))
        return [low + (group["lr"] - low) * ratio for group in groups]


class OneCycleLR(LRScheduler):
    """One cycle over the whole training: the rate goes up to max_lr, then down far below its start; call step() after each batch.

    Parameters
    ----------
    max_lr
        The highest rate, or a list of one for each group. The first is max_lr / div_factor, the last that / final_div_factor.
    total_steps
        Number of steps; or else epochs and steps_per_epoch.
    pct_start
        The part of the steps in which the rate goes up, from 0 to 1.
    anneal_strategy
        "cos" or "linear".
    cycle_momentum
        Whether the momentum (of Adam: the first of betas) goes down from max_momentum to base_momentum and up again.
    three_phase
        Whether the rate comes down to its start as fast as it went up, and only then further.

    Raises ValueError for numbers out of range and at a step beyond total_steps.
    Source: Smith and Topin, Super-convergence, 2018.

    >>> import jitgrad as jg
    >>> optimizer = jg.optim.SGD([jg.nn.Parameter(jg.ones(1))], lr=1.0, momentum=0.9)
    >>> scheduler = jg.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=5, pct_start=0.4)
    >>> optimizer.step()
    >>> scheduler.step()
    >>> scheduler.get_last_lr(), optimizer.param_groups[0]["momentum"]
    ([1.0], 0.85)
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: float | list[float], total_steps: int | None = None, epochs: int | None = None,
        steps_per_epoch: int | None = None, pct_start: float = 0.3, anneal_strategy: str = "cos", cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85, max_momentum: float | list[float] = 0.95, div_factor: float = 25.0,
        final_div_factor: float = 1e4, three_phase: bool = False, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        groups = as_optimizer(self, optimizer).param_groups
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: expected total_steps, or epochs and steps_per_epoch.")
            total_steps = whole(self, "epochs", epochs, 1) * whole(self, "steps_per_epoch", steps_per_epoch, 1)
        self.total_steps = whole(self, "total_steps", total_steps, 1)
        if not 0.0 <= real(self, "pct_start", pct_start) <= 1.0:
            raise ValueError(f"OneCycleLR: pct_start is expected from 0 to 1, given {pct_start}.")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: anneal_strategy is expected to be 'cos' or 'linear', given {anneal_strategy!r}.")
        for name, factor in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
            if not real(self, name, factor) > 0:
                raise ValueError(f"OneCycleLR: {name} is expected above 0, given {factor}.")
        self.pct_start = pct_start
        self.anneal_strategy = anneal_strategy
        self.three_phase = three_phase
        self.cycle_momentum = cycle_momentum
        rates = per_group(self, "max_lr", max_lr, optimizer, number)
        self.use_beta1 = "betas" in optimizer.defaults
        highs = lows = [0.0] * len(groups)
        if cycle_momentum:
            if not self.use_beta1 and "momentum" not in optimizer.defaults:
                raise ValueError(
                    f"OneCycleLR: {type(optimizer).__name__} has neither momentum nor betas to cycle. Give cycle_momentum=False."
                )
            highs = per_group(self, "max_momentum", max_momentum, optimizer, _share)
            lows = per_group(self, "base_momentum", base_momentum, optimizer, _share)
        if last_epoch == -1:
            for group, rate, high, low in zip(groups, rates, highs, lows, strict=True):
                group.update(initial_lr=rate / div_factor, max_lr=rate, min_lr=rate / div_factor / final_div_factor)
                if cycle_momentum:
                    group.update(max_momentum=high, base_momentum=low)
        super().__init__(optimizer, last_epoch)

    def _phases(self) -> list[tuple[float, str, str, str, str]]:
        """Last step of each phase, and the names of what rate and momentum go from and to in it."""
        top, n = self.pct_start * self.total_steps - 1, self.total_steps - 1
        up = (top, "initial_lr", "max_lr", "max_momentum", "base_momentum")
        if not self.three_phase:
            return [up, (n, "max_lr", "min_lr", "base_momentum", "max_momentum")]
        down = (2 * top, "max_lr", "initial_lr", "base_momentum", "max_momentum")
        return [up, down, (n, "initial_lr", "min_lr", "max_momentum", "max_momentum")]

    def get_lr(self) -> list[float]:
        """Rates at this step; sets the groups' momentum, too."""
        step, start = self.last_epoch, 0.0
        if step > self.total_steps:
            raise ValueError(f"OneCycleLR: step {step} is beyond the {self.total_steps} that it was made for.")
        phases = self._phases()
        for phase in phases:
            end = phase[0]
            if step <= end or phase is phases[-1]:
                break
            start = end
        part = (step - start) / (end - start) if end != start else 1.0
        _, lr_from, lr_to, momentum_from, momentum_to = phase
        lrs = []
        for group in self.optimizer.param_groups:
            lrs.append(self._between(group[lr_from], group[lr_to], part))
            if self.cycle_momentum:
                momentum = self._between(group[momentum_from], group[momentum_to], part)
                if self.use_beta1:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum
        return lrs

    def _between(self, a: float, b: float, part: float) -> float:
        if self.anneal_strategy == "linear":
            return a + (b - a) * part
        return b + (a - b) / 2 * (1 + cos(pi * part))


def _share(value: object) -> bool:
    return isinstance(value, (int, float)) and 0.0 <= value < 1.0
