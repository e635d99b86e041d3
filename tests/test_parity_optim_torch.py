"""Optimizers, schedulers and gradient clipping against torch, over trajectories of 50 steps. torch is an optional second oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jitgrad as jg

torch: Any = pytest.importorskip("torch", reason="parity needs torch: pip install 'jitgrad[compare]'")
torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torch.*", "ignore::DeprecationWarning:torch.*")

STEPS = 50
SHAPES = [(3, 2), (4,), ()]

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}),
    ("Adam", {"lr": 0.1}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.5), "eps": 1e-3, "weight_decay": 0.1, "amsgrad": True}),
    ("Adam", {"lr": 0.1, "betas": (0.3, 0.5)}),
    ("AdamW", {"lr": 0.1, "betas": (0.8, 0.5), "maximize": True}),
    ("AdamW", {"lr": 0.1, "betas": (0.8, 0.5), "amsgrad": True}),
    ("RMSprop", {"lr": 0.1}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.7, "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.3, "eps": 1e-3, "centered": True}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.7, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.7, "centered": True, "momentum": 0.9}),
]

SCHEDULERS: list[tuple[str, dict[str, Any]]] = [
    ("StepLR", {"step_size": 7, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [3, 20, 20, 31], "gamma": 0.5}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 6}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 0}),
    ("LinearLR", {"start_factor": 0.2, "end_factor": 0.7, "total_iters": 9}),
    ("LambdaLR", {"lr_lambda": lambda epoch: 0.5 + 1 / (1 + epoch)}),
    ("LambdaLR", {"lr_lambda": [lambda epoch: 1 / (1 + epoch), lambda epoch: 0.9**epoch]}),
    ("CosineAnnealingLR", {"T_max": 10, "eta_min": 0.01}),
    ("CosineAnnealingLR", {"T_max": 50}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 50}),
    ("OneCycleLR", {"max_lr": [0.5, 0.25], "epochs": 5, "steps_per_epoch": 10, "three_phase": True, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 50, "pct_start": 0.0, "cycle_momentum": False, "div_factor": 5.0}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 50, "base_momentum": [0.5, 0.6], "max_momentum": 0.9, "final_div_factor": 10.0}),
]  # fmt: skip
PLATEAUS: list[dict[str, Any]] = [
    {"patience": 2},
    {"mode": "max", "factor": 0.5, "patience": 0, "cooldown": 3, "min_lr": [0.01, 0.02]},
    {"threshold": 0.2, "threshold_mode": "abs", "patience": 1, "eps": 1e-3},
    {"mode": "max", "threshold": 0.2, "threshold_mode": "abs", "patience": 1},
]
named = {"ids": lambda v: v if isinstance(v, str) else ""}


def values(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(s)) for s in SHAPES]


def parameters(lib: Any) -> list[Any]:
    return [lib.nn.Parameter(lib.tensor(v)) for v in values(99)]


def gradients(lib: Any, params: list[Any], t: int) -> None:
    """In every third step one parameter has none."""
    for i, (p, g) in enumerate(zip(params, values(t), strict=True)):
        p.grad = None if t % 3 == 1 and i == 1 else lib.tensor(g)


def close(ours: Any, theirs: Any, tol: float = 1e-9) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=tol, atol=tol * 1e-3)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, **named)
def test_optimizer_trajectory(name: str, options: dict[str, Any]) -> None:
    """Parameters after every step, and the state at the end, for two groups whose parameters do not all have gradients."""
    paths: list[Any] = []
    optimizers = []
    for lib in (jg, torch):
        params = parameters(lib)
        groups = [{"params": params[:1]}, {"params": params[1:], "lr": 0.02, "weight_decay": 0.03}]
        optimizer = getattr(lib.optim, name)(groups, **options)
        path = []
        for t in range(STEPS):
            gradients(lib, params, t)
            optimizer.step()
            path.append([np.array(p.detach().numpy()) for p in params])
        paths.append(path)
        optimizers.append(optimizer)
    for t, (ours, theirs) in enumerate(zip(*paths, strict=True)):
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p, q, rtol=1e-8, atol=1e-10, err_msg=f"step {t}")
    mine, theirs_state = (o.state_dict()["state"] for o in optimizers)
    for i, state in mine.items():
        assert state.keys() == {k for k, v in theirs_state[i].items() if v is not None}
        for key, v in state.items():
            close(v if isinstance(v, int) else v.numpy(), theirs_state[i][key].numpy(), 1e-8)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, **named)
def test_a_state_of_torch_is_taken_over(name: str, options: dict[str, Any]) -> None:
    """Tensors of a torch state dict made ours: both go on alike."""
    theirs = parameters(torch)
    other = getattr(torch.optim, name)(theirs, **options)
    for t in range(5):
        gradients(torch, theirs, t)
        other.step()

    def ours(v: Any) -> Any:
        if isinstance(v, torch.Tensor):
            return jg.tensor(v.numpy())
        if isinstance(v, dict):
            return {k: ours(x) for k, x in v.items()}
        return [ours(x) for x in v] if isinstance(v, list) else v

    mine = [jg.nn.Parameter(jg.tensor(p.detach().numpy())) for p in theirs]
    optimizer = getattr(jg.optim, name)(mine)
    optimizer.load_state_dict(ours(other.state_dict()))
    for t in range(5, 10):
        for lib, params, o in ((torch, theirs, other), (jg, mine, optimizer)):
            gradients(lib, params, t)
            o.step()
    for p, q in zip(mine, theirs, strict=True):
        close(p.detach().numpy(), q.detach().numpy())


def rates(lib: Any, make: Callable[[Any, Any], Any], kind: str = "SGD", step: Callable[[Any, int], None] | None = None) -> list[Any]:
    """Learning rates and momenta of two groups in each of 50 steps, and what get_last_lr() said."""
    a, b = lib.nn.Parameter(lib.ones(1)), lib.nn.Parameter(lib.ones(1))
    more = {"momentum": 0.9} if kind != "Adam" else {}
    optimizer = getattr(lib.optim, kind)([{"params": [a]}, {"params": [b], "lr": 0.3}], lr=0.1, **more)
    scheduler = make(lib.optim.lr_scheduler, optimizer)
    seen = []
    for t in range(STEPS):
        optimizer.step()
        groups = optimizer.param_groups
        seen.append([g["lr"] for g in groups] + list(scheduler.get_last_lr()) + [g.get("momentum", g.get("betas", [0])) for g in groups])
        if step is None:
            scheduler.step()
        else:
            step(scheduler, t)
    return [np.concatenate([np.ravel(v) for v in row]) for row in seen]


@pytest.mark.parametrize("kind", ["SGD", "Adam", "RMSprop"])
@pytest.mark.parametrize(("name", "options"), SCHEDULERS, **named)
def test_scheduler_trajectory(name: str, options: dict[str, Any], kind: str) -> None:
    ours, theirs = (rates(lib, lambda module, optimizer: getattr(module, name)(optimizer, **options), kind) for lib in (jg, torch))
    close(ours, theirs)


@pytest.mark.parametrize("options", PLATEAUS, ids=str)
def test_plateau_trajectory(options: dict[str, Any]) -> None:
    metrics = [1 / (1 + t) if t < 5 else 0.15 + 0.1 * np.sin(t / 3) for t in range(STEPS)]
    metrics[30] = float("nan")
    ours, theirs = (rates(lib, lambda m, o: m.ReduceLROnPlateau(o, **options), step=lambda s, t: s.step(metrics[t])) for lib in (jg, torch))
    close(ours, theirs)
    assert len({row[0] for row in ours}) > 1


def sequences(module: Any, o: Any) -> list[Callable[[], Any]]:
    m = module
    return [
        lambda: m.SequentialLR(o, [m.LinearLR(o, 0.1, total_iters=5), m.CosineAnnealingLR(o, 20)], [5]),
        lambda: m.SequentialLR(o, [m.LinearLR(o, 0.1, total_iters=9), m.StepLR(o, 3, 0.5), m.ExponentialLR(o, 0.9)], [4, 20]),
        lambda: m.SequentialLR(o, [m.ConstantLR(o, 0.1, 3), m.LambdaLR(o, lambda epoch: 1 / (1 + epoch))], [7]),
        lambda: m.SequentialLR(o, [m.ExponentialLR(o, 0.9), m.MultiStepLR(o, [2, 4])], [10]),
    ]


@pytest.mark.parametrize("which", range(4))
def test_sequence_trajectory(which: int) -> None:
    ours, theirs = (rates(lib, lambda module, optimizer: sequences(module, optimizer)[which]()) for lib in (jg, torch))
    close(ours, theirs)


@pytest.mark.parametrize(("name", "options"), [c for c in SCHEDULERS if c[0] != "OneCycleLR"], **named)
@pytest.mark.parametrize("epoch", [0, 4, 9])
def test_going_on_from_an_epoch(name: str, options: dict[str, Any], epoch: int) -> None:
    """last_epoch= on an optimizer whose groups have rates and initial rates of their own."""

    def make(module: Any, optimizer: Any) -> Any:
        for group, lr in zip(optimizer.param_groups, (0.05, 0.2), strict=True):
            group.update(initial_lr=lr * 2, lr=lr)
        return getattr(module, name)(optimizer, last_epoch=epoch, **options)

    ours, theirs = (rates(lib, make) for lib in (jg, torch))
    close(ours, theirs)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, 0.5, float("inf"), "inf"])
@pytest.mark.parametrize("max_norm", [0.5, 100.0, 0.0])
def test_clip_grad_norm(norm_type: Any, max_norm: float) -> None:
    totals, grads = [], []
    for lib in (jg, torch):
        params = parameters(lib)
        gradients(lib, params, 1)
        norm_type_ = float(norm_type)
        totals.append(lib.nn.utils.clip_grad_norm_(params, max_norm, norm_type_ if lib is torch else norm_type).item())
        grads.append([None if p.grad is None else p.grad.numpy() for p in params])
    close(*totals)
    for g, h in zip(*grads, strict=True):
        assert (g is None) == (h is None)
        if g is not None:
            close(g, h)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_clip_grad_norm_of_what_is_not_finite(bad: float) -> None:
    seen = []
    for lib in (jg, torch):
        p, q = (lib.nn.Parameter(lib.zeros(2)) for _ in range(2))
        p.grad, q.grad = lib.tensor([bad, 1.0]), lib.tensor([1.0, 2.0])
        with pytest.raises(RuntimeError, match="non-finite"):
            lib.nn.utils.clip_grad_norm_([p, q], 1.0, error_if_nonfinite=True)
        assert q.grad.tolist() == [1.0, 2.0]
        total = lib.nn.utils.clip_grad_norm_([p, q], 1.0)
        seen.append([total.item(), *p.grad.tolist(), *q.grad.tolist()])
    np.testing.assert_equal(*seen)


def test_clip_grad_value_and_vectors() -> None:
    seen = []
    for lib in (jg, torch):
        params = parameters(lib)
        gradients(lib, params, 1)
        lib.nn.utils.clip_grad_value_(params, 0.25)
        vector = lib.nn.utils.parameters_to_vector(params)
        others = [lib.nn.Parameter(lib.zeros(s, dtype=lib.float64)) for s in SHAPES]
        lib.nn.utils.vector_to_parameters(vector.detach() * 2, others)
        seen.append([np.array(t.detach().numpy()) for t in (vector, *(p.grad for p in params if p.grad is not None), *others)])
    for g, h in zip(*seen, strict=True):
        close(g, h)
