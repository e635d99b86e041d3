"""Optimizers against their formulas in NumPy, and against torch where it is installed."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import nn, optim
from jitgrad.errors import DTypeError, GradError, StateDictError
from jitgrad.utils.data import random_split

STEPS = 12
SHAPES = ((3, 2), (4,), (1, 2, 2))


def _grads(t: int) -> list[np.ndarray]:
    rng = np.random.default_rng(t)
    return [rng.standard_normal(s) for s in SHAPES]


def _start() -> list[np.ndarray]:
    return [np.linspace(-1.0, 1.0, int(np.prod(s))).reshape(s) for s in SHAPES]


def sgd(
    p: Any, g: Any, s: Any, t: int, *, lr: Any, momentum: Any = 0, dampening: Any = 0, weight_decay: Any = 0, nesterov: Any = False
) -> Any:
    g = g + weight_decay * p
    if momentum:
        s["b"] = g if t == 1 else momentum * s["b"] + (1 - dampening) * g
        g = g + momentum * s["b"] if nesterov else s["b"]
    return p - lr * g


def adam(
    p: Any, g: Any, s: Any, t: int, *, lr: Any, betas: Any = (0.9, 0.999), eps: Any = 1e-8, weight_decay: Any = 0, decoupled: Any = False
) -> Any:
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g * g
    return p - lr * (s["m"] / (1 - betas[0] ** t)) / (np.sqrt(s["v"] / (1 - betas[1] ** t)) + eps)


def amsgrad(p: Any, g: Any, s: Any, t: int, *, lr: Any, amsgrad: bool, betas: Any = (0.9, 0.999), eps: Any = 1e-8) -> Any:
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g * g
    s["top"] = np.maximum(s.get("top", 0), s["v"])
    return p - lr * (s["m"] / (1 - betas[0] ** t)) / (np.sqrt(s["top"] / (1 - betas[1] ** t)) + eps)


def rmsprop(
    p: Any, g: Any, s: Any, t: int, *, lr: Any, alpha: Any = 0.99, eps: Any = 1e-8, weight_decay: Any = 0, momentum: Any = 0,
    centered: Any = False,
) -> Any:  # fmt: skip
    g = g + weight_decay * p
    s["v"] = alpha * s.get("v", 0) + (1 - alpha) * g * g
    s["m"] = alpha * s.get("m", 0) + (1 - alpha) * g
    spread = s["v"] - s["m"] ** 2 if centered else s["v"]
    s["b"] = momentum * s.get("b", 0) + g / (np.sqrt(spread) + eps)
    return p - lr * s["b"]


def adamw(p: Any, g: Any, s: Any, t: int, **options: Any) -> Any:
    return adam(p, g, s, t, decoupled=True, **{"weight_decay": 1e-2, **options})


CASES: list[tuple[str, Any, dict[str, Any]]] = [
    ("SGD", sgd, {"lr": 0.1}),
    ("SGD", sgd, {"lr": 0.1, "weight_decay": 0.1}),
    ("SGD", sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("Adam", adam, {"lr": 0.1}),
    ("Adam", adam, {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ("AdamW", adamw, {"lr": 0.1}),
    ("AdamW", adamw, {"lr": 0.1, "weight_decay": 0.3}),
    ("Adam", amsgrad, {"lr": 0.1, "amsgrad": True, "betas": (0.9, 0.5)}),
    ("RMSprop", rmsprop, {"lr": 0.1}),
    ("RMSprop", rmsprop, {"lr": 0.1, "alpha": 0.8, "eps": 1e-3, "weight_decay": 0.1}),
    ("RMSprop", rmsprop, {"lr": 0.1, "alpha": 0.8, "momentum": 0.9}),
    ("RMSprop", rmsprop, {"lr": 0.1, "alpha": 0.8, "centered": True}),
    ("RMSprop", rmsprop, {"lr": 0.1, "alpha": 0.8, "centered": True, "momentum": 0.5}),
]
cases = pytest.mark.parametrize(("name", "formula", "options"), CASES, ids=lambda v: str(v) if not callable(v) else "")


def _run(opt: Any, params: list[Any], make: Any, steps: Any = range(1, STEPS + 1)) -> None:
    for t in steps:
        for p, g in zip(params, _grads(t), strict=True):
            p.grad = make(g)
        opt.step()


@cases
@pytest.mark.parametrize("maximize", [False, True])
def test_formula(name: str, formula: Any, options: dict[str, Any], maximize: bool) -> None:
    params = [nn.Parameter(jg.tensor(a)) for a in _start()]
    _run(getattr(optim, name)(params, **options, maximize=maximize), params, jg.tensor)
    for p, a, i in zip(params, _start(), range(9), strict=False):
        state: dict[str, Any] = {}
        for t in range(1, STEPS + 1):
            a = formula(a, -_grads(t)[i] if maximize else _grads(t)[i], state, t, **options)
        np.testing.assert_allclose(p.detach().numpy(), a, rtol=1e-10, atol=1e-12)


@cases
def test_parity_with_torch(name: str, formula: Any, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    params = [nn.Parameter(jg.tensor(a)) for a in _start()]
    theirs = [torch.nn.Parameter(torch.tensor(a)) for a in _start()]
    ours, other = getattr(optim, name)(params, **options), getattr(torch.optim, name)(theirs, **options)
    _run(ours, params, jg.tensor)
    _run(other, theirs, torch.tensor)
    for p, q in zip(params, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-10, atol=1e-12)
    mine, his = ours.state_dict(), other.state_dict()
    # torch keeps an empty momentum_buffer entry where there is no momentum
    assert {k: v for k, v in his["state"].items() if any(x is not None for x in v.values())}.keys() == mine["state"].keys()
    for i, state in mine["state"].items():
        assert state.keys() == his["state"][i].keys()
    assert set(mine["param_groups"][0]) <= set(his["param_groups"][0])


@cases
def test_state_dict_resumes_bit_for_bit(name: str, formula: Any, options: dict[str, Any]) -> None:
    params = [nn.Parameter(jg.tensor(a, dtype=jg.float32)) for a in _start()]
    opt = getattr(optim, name)(params, **options)

    def make(g: Any) -> Any:
        return jg.tensor(g, dtype=jg.float32)

    _run(opt, params, make, range(1, 5))
    twins = [nn.Parameter(p.detach().clone()) for p in params]
    resumed = getattr(optim, name)(twins, lr=5.0)
    resumed.load_state_dict(pickle.loads(pickle.dumps(opt.state_dict())))
    _run(opt, params, make, range(5, 9))
    _run(resumed, twins, make, range(5, 9))
    for p, q in zip(params, twins, strict=True):
        assert np.array_equal(p.detach().numpy(), q.detach().numpy())


def test_parameters_without_gradient_are_skipped() -> None:
    a, b = nn.Parameter(jg.ones(2)), nn.Parameter(jg.ones(2))
    opt = optim.Adam([a, b], lr=0.5)
    a.grad = jg.ones(2)
    opt.step()
    assert b.tolist() == [1.0, 1.0] and b not in opt.state
    b.grad = jg.ones(2)
    opt.step()
    assert b.tolist() == pytest.approx([0.5, 0.5]) and (opt.state[a]["step"], opt.state[b]["step"]) == (2, 1)
    opt.zero_grad()
    assert a.grad is None
    opt.step()


def test_groups() -> None:
    a, b, c = (nn.Parameter(jg.ones(1)) for _ in range(3))
    opt = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.25)
    opt.add_param_group({"params": [("c", c)], "lr": 0.0})
    assert [g["lr"] for g in opt.param_groups] == [0.25, 0.5, 0.0] and opt.param_groups[2]["param_names"] == ["c"]
    for p in (a, b, c):
        p.grad = jg.ones(1)
    opt.step()
    assert [p.item() for p in (a, b, c)] == [0.75, 0.5, 1.0]
    assert optim.SGD(nn.Linear(1, 1).named_parameters()).param_groups[0]["param_names"] == ["weight", "bias"]


def test_closure_and_modes() -> None:
    p = nn.Parameter(jg.ones(1))
    opt = optim.SGD([p], lr=0.5)

    def closure() -> Any:
        opt.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with jg.no_grad():
        assert opt.step(closure).item() == 1.0
    assert p.item() == 0.0 and p.requires_grad and p.is_leaf
    assert opt.step() is None


def test_mixed_dtypes() -> None:
    params = [nn.Parameter(jg.ones(2)), nn.Parameter(jg.ones(2, dtype=jg.float64))]
    opt = optim.Adam(params, lr=0.5)
    for p in params:
        p.grad = jg.ones_like(p)
    opt.step()
    assert [p.dtype for p in params] == [jg.float32, jg.float64] and params[1].tolist() == pytest.approx([0.5, 0.5])


def test_a_dtype_without_arithmetic_stops_the_step_before_any_group() -> None:
    params = [nn.Parameter(jg.ones(2)), nn.Parameter(jg.ones(2, dtype=jg.float16))]
    opt = optim.Adam([{"params": [p]} for p in params])
    for p in params:
        p.grad = jg.ones_like(p)
    with pytest.raises(DTypeError, match=r"a parameter of shape \(2,\) is jitgrad.float16: expected float32 or float64. Try model.float"):
        opt.step()
    assert params[0].tolist() == [1, 1] and not opt.state


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p: optim.SGD([]), ValueError, "no parameters were given"),
        (
            lambda p: optim.SGD(p),
            TypeError,
            r"expected a model, or an iterable of tensors or of dicts, given Parameter. Try model.parameters\(\)",
        ),
        (lambda p: optim.SGD(3), TypeError, "given int"),
        (lambda p: optim.SGD([p, p]), ValueError, r"parameter 1 of shape \(2,\) appears twice"),
        (lambda p: optim.SGD([{"params": [p]}, {"params": [p]}]), ValueError, "appears twice"),
        (lambda p: optim.SGD([p * 2]), GradError, "expected a leaf"),
        (lambda p: optim.SGD([1.0]), TypeError, "parameter 0 is expected to be a Tensor, given float"),
        (lambda p: optim.SGD([{p}]), TypeError, "given set"),
        (lambda p: optim.SGD([{"params": {p}}]), TypeError, "no order"),
        (lambda p: optim.SGD([{"lr": 1.0}]), TypeError, "with 'params'"),
        (lambda p: optim.SGD([p], lr=-1.0), ValueError, "SGD: lr is expected to be at least 0, given -1.0"),
        (lambda p: optim.SGD([p], lr=10**400), ValueError, "lr is expected to fit a float, given an int of 1329 bits"),
        (lambda p: optim.SGD([p.expand(3, 2).detach()]), GradError, r"parameter 0, an expanded view of shape \(3, 2\)"),
        (lambda p: optim.SGD([p], lr="fast"), TypeError, "lr is expected to be a number"),
        (lambda p: optim.SGD([p], lr=float("nan")), ValueError, "lr"),
        (lambda p: optim.SGD([p], nesterov=True), ValueError, "nesterov is expected with momentum"),
        (lambda p: optim.Adam([p], betas=(1.0, 0.9)), ValueError, "betas"),
        (lambda p: optim.Adam([p], betas=0.9), ValueError, "betas"),
        (lambda p: optim.RMSprop([p], alpha=1.5), ValueError, "RMSprop: alpha is expected to be a number from 0 to 1, given 1.5"),
        (lambda p: optim.RMSprop([p], momentum=-0.5), ValueError, "momentum"),
        (lambda p: optim.Adam([p], eps=-1.0), ValueError, "eps"),
    ],
)
def test_wrong_use(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make(nn.Parameter(jg.ones(2)))


def test_state_that_does_not_fit() -> None:
    p = nn.Parameter(jg.ones(2))
    opt = optim.Adam([p])
    p.grad = jg.ones(2)
    opt.step()
    with pytest.raises(StateDictError, match="expected groups with"):
        optim.Adam(nn.Linear(1, 1).parameters()).load_state_dict(opt.state_dict())
    other = optim.Adam([nn.Parameter(jg.ones(3))])
    with pytest.raises(StateDictError, match=r"parameter 0: exp_avg has shape \(2,\), expected \(3,\)"):
        other.load_state_dict(opt.state_dict())
    assert not other.state


def test_repr_and_copies() -> None:
    model = nn.Linear(1, 1)
    opt = optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    assert repr(opt) == (
        "SGD (\nParameter Group 0\n"
        "    dampening: 0\n    lr: 0.5\n    maximize: False\n    momentum: 0.9\n    nesterov: False\n    weight_decay: 0\n)"
    )
    model(jg.ones(1, 1)).sum().backward()
    opt.step()
    twin_model, twin = copy.deepcopy((model, opt))
    assert twin.param_groups[0]["params"][0] is twin_model.weight and twin_model.weight in twin.state


def _broken(change: Any) -> Any:
    """A state dict of Adam on two parameters, changed."""
    params = [nn.Parameter(jg.ones(2)), nn.Parameter(jg.ones(3))]
    opt = optim.Adam(params)
    for p in params:
        p.grad = jg.ones_like(p)
    opt.step()
    state = copy.deepcopy(opt.state_dict())
    replaced = change(state)
    return state if replaced is None else replaced


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: 3, "given int"),
        (lambda s: {}, "expected a dict with 'state' and 'param_groups'"),
        (lambda s: {"weight": jg.ones(1)}, r"a dict with the keys \['weight'\]"),
        (lambda s: s.update(param_groups=3), "given int and dict"),
        (lambda s: s.update(param_groups=[3]), "group 0 is expected to be a dict"),
        (lambda s: s["param_groups"][0].__delitem__("params"), "list of numbers"),
        (lambda s: s["param_groups"][0].update(params=[0]), "expected groups with"),
        (lambda s: s["param_groups"][0].update(params=[0, 0]), r"once in 'params', given \[0, 0\]"),
        (lambda s: s["param_groups"][0].update(params=[0, []]), "once in 'params'"),
        (lambda s: s["param_groups"][0].__delitem__("betas"), "betas is missing"),
        (lambda s: s["param_groups"][0].update(lr="fast"), "lr is expected to be a number"),
        (lambda s: s["param_groups"][0].update(betas=[0.9]), "betas"),
        (lambda s: s["state"].update({7: {}}), "a state for parameter 7, which is in no group"),
        (lambda s: s["state"].update({0: 3}), "the state of parameter 0 is expected to be a dict"),
        (lambda s: s["state"][1].__delitem__("exp_avg"), "parameter 1: expected step, exp_avg, exp_avg_sq, given step, exp_avg_sq"),
        (lambda s: s["state"][1].update(exp_avg=3.0), "exp_avg is expected to be a Tensor, given float"),
        (lambda s: s["state"][1].update(exp_avg=jg.ones(())), r"exp_avg has shape \(\), expected \(3,\)"),
        (lambda s: s["state"][1].update(step="two"), "step is expected to be a whole number"),
        (lambda s: s["state"][1].update(step=float("nan")), "step is expected to be a whole number"),
        (lambda s: s["state"][1].update(step=10**400), "step is expected to be a whole number from 0 to"),
        (lambda s: s["state"][1].update(step=float("inf")), "step is expected to be a whole number"),
    ],
)
def test_odd_state_dicts_change_nothing(change: Any, words: str) -> None:
    params = [nn.Parameter(jg.ones(2)), nn.Parameter(jg.ones(3))]
    opt = optim.Adam(params, lr=0.5)
    for p in params:
        p.grad = jg.ones_like(p)
    opt.step()
    before = repr(opt.state_dict())
    with pytest.raises(StateDictError, match=words):
        opt.load_state_dict(_broken(change))
    assert repr(opt.state_dict()) == before


def test_loaded_state_is_a_copy() -> None:
    state = _broken(lambda s: None)
    params = [nn.Parameter(jg.ones(2)), nn.Parameter(jg.ones(3))]
    opt = optim.Adam(params)
    opt.load_state_dict(state)
    before = state["state"][0]["exp_avg"].tolist()
    for p in params:
        p.grad = jg.ones_like(p)
    opt.step()
    assert state["state"][0]["exp_avg"].tolist() == before and opt.state[params[0]]["step"] == 2


@pytest.mark.parametrize(
    ("name", "late", "key"),
    [
        ("SGD", {"momentum": 0.5}, "momentum_buffer"),
        ("Adam", {"amsgrad": True}, "max_exp_avg_sq"),
        ("RMSprop", {"centered": True}, "grad_avg"),
    ],
)
def test_options_turned_on_later(name: str, late: dict[str, Any], key: str) -> None:
    p = nn.Parameter(jg.ones(2))
    opt = getattr(optim, name)([p], lr=0.1)
    for more in ({}, late):
        opt.param_groups[0].update(more)
        p.grad = jg.ones(2)
        opt.step()
    assert key in opt.state[p]


def test_centered_rmsprop_survives_rounding() -> None:
    """The mean of equal squares less the square of the mean is 0, up to rounding of either sign."""
    p = nn.Parameter(jg.zeros(100))
    opt = optim.RMSprop([p], lr=1e-3, alpha=0.5, centered=True)
    for _ in range(60):
        p.grad = jg.arange(100).float() * 0.37
        opt.step()
    assert np.isfinite(p.detach().numpy()).all()


@pytest.mark.parametrize("make", [optim.Adam, optim.RMSprop, lambda groups: optim.SGD(groups, momentum=0.9)])
def test_a_refused_step_changes_no_group(make: Any) -> None:
    """A dtype that cannot be trained in is found before the first group is updated."""
    good, half = nn.Parameter(jg.ones(2)), nn.Parameter(jg.ones(2).half())
    optimizer = make([{"params": [good]}, {"params": [half]}])
    good.grad, half.grad = jg.ones(2), jg.ones(2).half()
    with pytest.raises(DTypeError, match="expected float32 or float64"):
        optimizer.step()
    assert good.tolist() == [1.0, 1.0] and not optimizer.state


def test_numbers_of_numpy_are_numbers() -> None:
    p = nn.Parameter(jg.ones(1))
    optimizer = jg.optim.SGD([p], lr=np.float32(0.5), momentum=np.float64(0.5))
    jg.optim.lr_scheduler.StepLR(optimizer, np.int64(2), gamma=np.float32(0.5))
    assert type(optimizer.param_groups[0]["lr"]) is float and nn.LayerNorm(np.int64(2)).normalized_shape == (2,)
    assert nn.Softmax(np.int64(0)).dim == 0 and [len(d) for d in random_split(range(4), [np.int64(2)] * 2)] == [2, 2]
    with pytest.warns(UserWarning, match="part 1 of"):
        assert [len(d) for d in random_split(range(1), [0.7, 0.3])] == [1, 0]


@pytest.mark.parametrize(("make", "key"), [
    (lambda p: optim.Adam([p], betas=(0.0, 0.5)), "exp_avg"), (lambda p: optim.RMSprop([p], alpha=0.0, centered=True), "grad_avg"),
])  # fmt: skip
def test_a_mean_that_forgets_takes_a_small_gradient_whole(make: Any, key: str) -> None:
    p = nn.Parameter(jg.zeros(40))
    optimizer = make(p)
    for g in (1.0, 1e-9):
        p.grad = jg.full((40,), g)
        optimizer.step()
    assert optimizer.state[p][key].tolist() == p.grad.tolist()


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (2, 0, 3)])
def test_parameters_without_elements(shape: tuple[int, ...]) -> None:
    p, q = nn.Parameter(jg.zeros(shape)), nn.Parameter(jg.zeros(2))
    optimizer = optim.Adam([p, q], lr=0.5)
    p.grad, q.grad = jg.zeros(shape), jg.ones(2)
    optimizer.step()
    assert p.shape == shape and np.allclose(q.detach().numpy(), -0.5)
    assert optim.SGD(nn.Linear(0, 3), lr=0.1).param_groups[0]["params"][0].shape == (3, 0)
