"""Schedulers: what they share, their state, and what they refuse. Their rates are compared with torch's in test_parity_optim_torch."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import jitgrad as jg
from jitgrad import nn
from jitgrad.errors import StateDictError
from jitgrad.optim import SGD, Adam, RMSprop, lr_scheduler as module
from jitgrad.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)


def optimizer(lr: Any = 1.0, **options: Any) -> Any:
    return SGD([nn.Parameter(jg.ones(1))], lr=lr, **options)


def half(epoch: int) -> float:
    return 0.5**epoch


MAKERS: dict[str, Any] = {
    "StepLR": lambda o: StepLR(o, 2, 0.5),
    "MultiStepLR": lambda o: MultiStepLR(o, [1, 3, 3]),
    "ExponentialLR": lambda o: ExponentialLR(o, 0.5),
    "ConstantLR": lambda o: ConstantLR(o, 0.5, 3),
    "LinearLR": lambda o: LinearLR(o, 0.5, total_iters=4),
    "LambdaLR": lambda o: LambdaLR(o, half),
    "CosineAnnealingLR": lambda o: CosineAnnealingLR(o, 4),
    "OneCycleLR": lambda o: OneCycleLR(o, 2.0, 9),
    "SequentialLR": lambda o: SequentialLR(o, [LinearLR(o, 0.5, total_iters=2), ExponentialLR(o, 0.5)], [2]),
    "ReduceLROnPlateau": lambda o: ReduceLROnPlateau(o, patience=0, cooldown=1),
}


def walk(scheduler: Any, n: int) -> list[float]:
    seen = []
    for _ in range(n):
        scheduler.optimizer.step()
        scheduler.step(*([1.0] if isinstance(scheduler, ReduceLROnPlateau) else []))
        assert scheduler.get_last_lr() == [g["lr"] for g in scheduler.optimizer.param_groups]
        seen += [*scheduler.get_last_lr(), scheduler.optimizer.param_groups[0]["momentum"]]
    return seen


def test_every_scheduler_is_here() -> None:
    public = {n for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, LRScheduler)}
    assert public == {*MAKERS, "LRScheduler"}


@pytest.mark.parametrize("name", MAKERS)
def test_state_dict_resumes(name: str) -> None:
    """Optimizer and scheduler restored go on like the ones that were saved."""
    first = MAKERS[name](optimizer(momentum=0.9))
    walk(first, 3)
    saved = pickle.loads(pickle.dumps((first.optimizer.state_dict(), first.state_dict())))
    other = optimizer(lr=7.0, momentum=0.1)
    second = MAKERS[name](other)
    other.load_state_dict(saved[0])
    second.load_state_dict(saved[1])
    assert second.last_epoch == 3 and second.get_last_lr() == first.get_last_lr()
    assert walk(second, 5) == walk(first, 5)
    assert saved[1]["last_epoch"] == 3  # a copy


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: 3, "expected a dict, given int"),
        (lambda s: {}, r"missing \["),
        (lambda s: {**s, "speed": 1}, r"unexpected \['speed'\]"),
        (lambda s: {**s, "last_epoch": "three"}, "last_epoch is expected to be like"),
        (lambda s: {**s, "_last_lr": [1.0, 1.0]}, "_last_lr is expected to be like"),
        (lambda s: {**s, "_last_lr": None}, "_last_lr"),
    ],
)
def test_odd_state_dicts_change_nothing(name: str, change: Any, words: str) -> None:
    scheduler = MAKERS[name](optimizer(momentum=0.5))
    walk(scheduler, 2)
    before = scheduler.state_dict()
    with pytest.raises(StateDictError, match=words):
        scheduler.load_state_dict(change(scheduler.state_dict()))
    assert scheduler.state_dict() == before


def test_state_of_another_class() -> None:
    o = optimizer()
    with pytest.raises(StateDictError, match="Was it saved by another class"):
        StepLR(o, 3).load_state_dict(CosineAnnealingLR(o, 3).state_dict())
    parts = SequentialLR(o, [StepLR(o, 3), ExponentialLR(o, 0.5)], [2])
    state = parts.state_dict()
    state["_schedulers"][1] = StepLR(o, 3).state_dict()
    before = parts.state_dict()
    with pytest.raises(StateDictError, match="ExponentialLR"):
        parts.load_state_dict(state)
    assert parts.state_dict() == before


def test_several_at_once() -> None:
    """Each multiplies what it finds."""
    o = optimizer()
    schedulers = [ExponentialLR(o, 0.5), StepLR(o, 2, 0.5)]
    for _ in range(2):
        o.step()
        for s in schedulers:
            s.step()
    assert o.param_groups[0]["lr"] == 0.125


def test_stepped_too_early() -> None:
    scheduler = ExponentialLR(optimizer(), 0.5)
    with pytest.warns(UserWarning, match=r"ExponentialLR.step\(\) before optimizer.step\(\)"):
        scheduler.step()
    scheduler.step()  # said once
    assert scheduler.get_last_lr() == [0.25]


def test_own_scheduler() -> None:
    class Halving(LRScheduler):
        def get_lr(self) -> list[float]:
            return [base / 2**self.last_epoch for base in self.base_lrs]

    assert walk(Halving(optimizer()), 2)[::2] == [0.5, 0.25]
    with pytest.raises(NotImplementedError, match="LRScheduler does not define get_lr"):
        LRScheduler(optimizer())


def test_a_failed_step_changes_nothing() -> None:
    o = optimizer(momentum=0.5)
    scheduler = OneCycleLR(o, 1.0, 2)
    walk(scheduler, 2)
    before = scheduler.state_dict(), o.state_dict()
    for _ in range(2):
        with pytest.raises(ValueError, match="step 3 is beyond the 2"):
            scheduler.step()
    assert (scheduler.state_dict(), o.state_dict()) == before


def test_groups_added_later() -> None:
    for make in (lambda o: LambdaLR(o, half), lambda o: ReduceLROnPlateau(o)):
        o = optimizer()
        scheduler = make(o)
        o.add_param_group({"params": [nn.Parameter(jg.ones(1))]})
        o.step()
        with pytest.raises(ValueError, match="2 groups, the scheduler was made for 1"):
            scheduler.step(*([1.0] if isinstance(scheduler, ReduceLROnPlateau) else []))


def test_adam_cycles_its_first_beta() -> None:
    o = Adam([nn.Parameter(jg.ones(1))], lr=1.0)
    OneCycleLR(o, 1.0, 10)
    assert o.param_groups[0]["betas"] == (0.95, 0.999)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda o: StepLR(3, 2), TypeError, "StepLR: expected an Optimizer, given int"),
        (lambda o: StepLR(o, 0), ValueError, "step_size is expected to be an int of at least 1, given 0"),
        (lambda o: StepLR(o, 2.0), ValueError, "step_size"),
        (lambda o: StepLR(o, 2, "half"), TypeError, "gamma is expected to be a number"),
        (lambda o: StepLR(o, 2, last_epoch=3), KeyError, "group 0 is expected to have an 'initial_lr'"),
        (lambda o: StepLR(o, 2, last_epoch=-2), ValueError, "last_epoch"),
        (lambda o: MultiStepLR(o, [1.5]), ValueError, "milestone"),
        (lambda o: ExponentialLR(o, float("nan")), TypeError, "gamma"),
        (lambda o: ConstantLR(o, 0.0), ValueError, "factor"),
        (lambda o: LinearLR(o, 0.0), ValueError, "start_factor"),
        (lambda o: LinearLR(o, total_iters=0), ValueError, "total_iters"),
        (lambda o: LambdaLR(o, 0.5), ValueError, "lr_lambda"),
        (lambda o: LambdaLR(o, [half, half]), ValueError, "one for each of 1 groups"),
        (lambda o: CosineAnnealingLR(o, 0), ValueError, "T_max"),
        (lambda o: OneCycleLR(o, 1.0), ValueError, "expected total_steps, or epochs and steps_per_epoch"),
        (lambda o: OneCycleLR(o, 1.0, 0), ValueError, "total_steps"),
        (lambda o: OneCycleLR(o, 1.0, 5, pct_start=1.5), ValueError, "pct_start"),
        (lambda o: OneCycleLR(o, 1.0, 5, anneal_strategy="sin"), ValueError, "anneal_strategy"),
        (lambda o: OneCycleLR(o, 1.0, 5, div_factor=0.0), ValueError, "div_factor"),
        (lambda o: OneCycleLR(o, [1.0, 2.0], 5), ValueError, "max_lr"),
        (lambda o: OneCycleLR(o, 1.0, 5, max_momentum=1.5), ValueError, "max_momentum"),
        (lambda o: ReduceLROnPlateau(o, "down"), ValueError, "mode"),
        (lambda o: ReduceLROnPlateau(o, factor=1.0), ValueError, "factor"),
        (lambda o: ReduceLROnPlateau(o, min_lr=[0.1, 0.1]), ValueError, "min_lr"),
        (lambda o: SequentialLR(o, [], []), ValueError, "milestones"),
        (lambda o: SequentialLR(o, [StepLR(o, 1)] * 2, []), ValueError, "one fewer than schedulers"),
        (lambda o: SequentialLR(o, [StepLR(o, 1), StepLR(optimizer(), 1)], [1]), ValueError, "same optimizer"),
        (lambda o: SequentialLR(o, [StepLR(o, 1), ReduceLROnPlateau(o)], [1]), ValueError, "need no metric"),
    ],
)
def test_wrong_use(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make(optimizer())


def test_nothing_to_cycle() -> None:
    class Plain(RMSprop):
        def __init__(self, params: Any) -> None:
            super().__init__(params)
            del self.defaults["momentum"]

    with pytest.raises(ValueError, match="Plain has neither momentum nor betas"):
        OneCycleLR(Plain([nn.Parameter(jg.ones(1))]), 1.0, 5)
