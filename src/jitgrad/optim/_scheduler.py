"""LRScheduler: what all schedulers share."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from jitgrad.errors import StateDictError
from jitgrad.optim._state import copied
from jitgrad.optim.optimizer import Optimizer
from jitgrad.shapes import as_int


class LRScheduler:
    """Base of schedulers: subclasses define ``get_lr()``, the learning rates of the groups at ``last_epoch``.

    Parameters
    ----------
    optimizer
        The optimizer whose groups' "lr" is set, now and at each ``step()``.
    last_epoch
        -1 to begin; else the epoch to go on from, and each group has an "initial_lr".

    Call ``step()`` after ``optimizer.step()``; before it, a warning says that the first rate was passed over.
    A subclass sets its attributes before it calls ``super().__init__(optimizer, last_epoch)``.
    """

    optimizer: Optimizer
    base_lrs: list[float]
    last_epoch: int

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = as_optimizer(self, optimizer)
        if isinstance(last_epoch, bool) or not isinstance(last_epoch, int) or last_epoch < -1:
            raise ValueError(f"{type(self).__name__}: last_epoch is expected to be an int of at least -1, given {last_epoch!r}.")
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"{type(self).__name__}: to go on from epoch {last_epoch}, group {i} is expected to have an 'initial_lr'. "
                    "Load the optimizer's state first, or start with last_epoch=-1."
                )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._step_count = 0
        self._last_lr: list[float] = []
        self._advance()

    def get_lr(self) -> list[float]:
        """Learning rate of each group at ``last_epoch``; those of the epoch before are in the groups."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_lr().")

    def get_last_lr(self) -> list[float]:
        """Learning rates that were set last."""
        return self._last_lr

    def step(self) -> None:
        """Go to the next epoch and set its learning rates."""
        if self._step_count == 1 and not self.optimizer._stepped:
            warnings.warn(
                f"{type(self).__name__}.step() before optimizer.step(): the first learning rate was never used. Step the optimizer first.",
                stacklevel=2,
            )
        self._advance()

    def _advance(self, epoch: int | None = None) -> None:
        before = self.last_epoch
        self.last_epoch = before + 1 if epoch is None else epoch
        try:
            lrs = self.get_lr()
            groups = self.optimizer.param_groups
            if len(lrs) != len(groups):
                raise ValueError(
                    f"{type(self).__name__}: the optimizer has {len(groups)} groups, the scheduler was made for {len(lrs)}. "
                    "Add groups before you make it."
                )
        except BaseException:
            self.last_epoch = before
            raise
        self._step_count += 1
        for group, lr in zip(groups, lrs, strict=True):
            group["lr"] = lr
        self._last_lr = [group["lr"] for group in groups]

    def _rewind(self) -> None:
        """To before the first epoch, for SequentialLR."""
        self.last_epoch -= 1
        self._step_count = 0

    @property
    def _starts(self) -> bool:
        """Whether this is the scheduler's first epoch: the rates in the groups are to stay."""
        return self.last_epoch == 0 or self._step_count == 0

    # ---- state
    _left_out: tuple[str, ...] = ("optimizer",)

    def state_dict(self) -> dict[str, Any]:
        """All attributes but the optimizer, and functions that were given."""
        return {k: copied(v) for k, v in self.__dict__.items() if k not in self._left_out}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state_dict(); StateDictError, and nothing loaded, where it is not one of this class's."""
        self._check_state(state_dict)
        self.__dict__.update({k: copied(v) for k, v in state_dict.items()})

    def _check_state(self, given: Any) -> None:
        name, mine = type(self).__name__, self.state_dict()
        if not isinstance(given, Mapping):
            raise StateDictError(f"{name}.load_state_dict: expected a dict, given {type(given).__name__}.")
        missing, unexpected = [k for k in mine if k not in given], [k for k in given if k not in mine]
        if missing or unexpected:
            raise StateDictError(
                f"{name}.load_state_dict: nothing was loaded: missing {missing}, unexpected {unexpected}. Was it saved by another class?"
            )
        for key in mine:
            # Lists of rates have one for each group.
            rates = key in ("base_lrs", "_last_lr", "min_lrs")
            fits = _alike(mine[key], given[key]) and not (rates and [number(v) for v in given[key]] != [True] * len(mine[key]))
            if not fits:
                raise StateDictError(
                    f"{name}.load_state_dict: nothing was loaded: {key} is expected to be like {mine[key]!r:.60}, given {given[key]!r:.60}."
                )


def _alike(mine: Any, given: Any) -> bool:
    """Whether it has the type of mine; any number stands for any other, None for anything."""
    if isinstance(mine, bool) or isinstance(given, bool):
        return isinstance(mine, bool) and isinstance(given, bool)
    if isinstance(mine, (int, float)):
        return isinstance(given, (int, float))
    if isinstance(mine, (list, tuple)):
        return isinstance(given, (list, tuple))
    return mine is None or given is None or isinstance(given, type(mine))


def as_optimizer(scheduler: object, optimizer: object) -> Optimizer:
    """The optimizer, or a TypeError."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(scheduler).__name__}: expected an Optimizer, given {type(optimizer).__name__}.")
    return optimizer


def per_group(scheduler: object, name: str, value: Any, optimizer: Optimizer, check: Callable[[Any], bool]) -> list[Any]:
    """One value for all groups, or a list of one for each, as a list."""
    n = len(optimizer.param_groups)
    values = list(value) if isinstance(value, (list, tuple)) else [value] * n
    if len(values) != n or not all(check(v) for v in values):
        raise ValueError(
            f"{type(scheduler).__name__}: {name} is expected to be one, or a list of one for each of {n} groups, given {value!r}."
        )
    return values


def number(value: object) -> bool:
    """Whether it is a finite int or float."""
    return isinstance(value, Real) and not isinstance(value, bool) and bool(value - value == 0)


def whole(scheduler: object, name: str, value: Any, least: int) -> int:
    """An int of at least so much, or a ValueError."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        raise ValueError(f"{type(scheduler).__name__}: {name} is expected to be an int of at least {least}, given {value!r}.")
    return as_int(value, name)


def real(scheduler: object, name: str, value: Any) -> float:
    """A finite number, or a TypeError."""
    if not number(value):
        raise TypeError(f"{type(scheduler).__name__}: {name} is expected to be a number, given {value!r}.")
    return float(value)
