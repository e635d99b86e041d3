"""Anomaly mode: what fails in backward names the line of the forward, and nothing else is different."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases_programs import PROGRAMS

import jitgrad as jg
from jitgrad import nn
from jitgrad.autograd import Node, detect_anomaly, set_detect_anomaly
from jitgrad.errors import GradError, ShapeError

NAN, INF = float("nan"), float("inf")


# ---- programs that fail in backward, each with its error and with words that are in the text, besides the lines that end in "# line"
FAILING: list[tuple[Callable[..., Any], type[Exception], list[str]]] = []


def fails(error: type[Exception], *words: str) -> Any:
    """Row of the table: the program gets x = [4, 0], which requires gradients, and returns the call that must fail."""
    return lambda f: FAILING.append((f, error, list(words)))


@fails(GradError, "backward of mul", "for its input a, given 1 NaN in 2 elements, the first at [1], where g = inf, a = 0.0", "clamp(")
def slope_of_a_root(x: Any) -> Any:
    y = (x * x).sqrt()  # line
    return y.sum().backward


@fails(GradError, "backward of div", "for its input b", "Its a", "had NaN already in the forward")
def nan_in_the_forward(x: Any) -> Any:
    y = jg.tensor([1.0, NAN]) / (x + 1)  # line
    return y.sum().backward


@fails(GradError, "backward of mul", "The gradient that came to it had NaN already: look at what was passed to backward()")
def nan_from_outside(x: Any) -> Any:
    y = x * 2  # line
    return lambda: y.backward(jg.tensor([1.0, NAN]))


@fails(GradError, "backward of mul", "had NaN already", "hooks")
def nan_from_a_hook(x: Any) -> Any:
    y = x * 2  # line
    y.register_hook(lambda g: g * NAN)
    return y.sum().backward


class ZeroByZero(jg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, y: Any) -> Any:
        return x + y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g, (g - g) / (g - g)


@fails(GradError, "backward of ZeroByZero", "for its input 1, given 2 NaN in 2 elements", "0 / 0")
def nan_from_a_function(x: Any) -> Any:
    y = ZeroByZero.apply(x, x * 2)  # line
    return y.sum().backward


@fails(GradError, "backward of mul", "given 1 NaN in 1 element, the first, where g = inf")
def nan_in_one_number(x: Any) -> Any:
    y = (x[1] * x[1]).sqrt()  # line
    return y.backward


class Broken(jg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, what: Any) -> Any:
        ctx.what = what
        return x * 2

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return ctx.what(g), None


def _raise(*args: Any) -> Any:
    raise KeyError("mine")


@fails(KeyError, "mine", "in the backward of Broken, recorded at")
def foreign_error_of_a_function(x: Any) -> Any:
    y = Broken.apply(x * 3, _raise)  # line
    return y.sum().backward


@fails(GradError, "returned shape (1,)", "in the backward of Broken")
def wrong_shape(x: Any) -> Any:
    y = Broken.apply(x * 3, lambda g: g[:1].clone())  # line
    return y.sum().backward


@fails(GradError, "returned float: expected a Tensor", "in the backward of Broken")
def no_tensor(x: Any) -> Any:
    y = Broken.apply(x * 3, lambda g: 1.0)  # line
    return y.sum().backward


@fails(ShapeError, "matmul", "in the backward of Broken")
def error_of_an_op_in_a_rule(x: Any) -> Any:
    y = Broken.apply(x * 3, lambda g: g @ jg.ones(3, 3))  # line
    return y.sum().backward


@fails(KeyError, "mine", "in a hook before the backward of exp, recorded at")
def hook_that_raises(x: Any) -> Any:
    y = x.exp()  # line
    y.register_hook(_raise)
    return y.sum().backward


@fails(ShapeError, "expected a gradient (2,)", "in a hook before the backward of exp")
def hook_with_a_wrong_shape(x: Any) -> Any:
    y = x.exp()  # line
    y.register_hook(lambda g: g[:1])
    return y.sum().backward


@fails(KeyError, "in a hook on the gradient of a leaf of shape (2,)")
def hook_on_a_leaf(x: Any) -> Any:
    x.register_hook(_raise)
    return x.exp().sum().backward


@fails(GradError, "backward of mul", "overwritten later by add_", "clone()")
def overwritten(x: Any) -> Any:
    a = x * 1
    y = a * a  # line
    a.add_(1)
    return y.sum().backward


@fails(GradError, "backward through exp a second time", "retain_graph=True")
def freed(x: Any) -> Any:
    y = x.exp()  # line
    y.sum().backward()
    return y.sum().backward


@fails(KeyError, "the backward of overwrite, ")
def copied_into(x: Any) -> Any:
    a = jg.zeros(2)
    a.copy_(x)  # line
    a.register_hook(_raise)
    return a.sum().backward


@fails(KeyError, "the backward of overwrite_region, ")
def written_through_a_view(x: Any) -> Any:
    a = jg.zeros(2, 2)
    a[0] = x  # line
    a.register_hook(_raise)
    return a.sum().backward


@fails(KeyError, "the backward of mul, ")
def in_place(x: Any) -> Any:
    a = x + 1
    a.mul_(2)  # line
    a.register_hook(_raise)
    return a.sum().backward


@fails(KeyError, "the backward of as_strided, ")
def view_of_a_base_written_to(x: Any) -> Any:
    a = x + 1
    v = a[1:]
    a.mul_(2)
    y = v * 3  # line
    v.register_hook(_raise)
    return y.sum().backward


@fails(KeyError, "the backward of as_strided, ")
def view_that_first_meets_a_hook(x: Any) -> Any:
    a = x + 1
    v = a[1:]
    a.mul_(2)
    v.register_hook(_raise)  # line
    return (v * 3).sum().backward


@fails(KeyError, "the backward of output, ")
def one_of_several_outputs(x: Any) -> Any:
    values, _ = (x + 1).max(dim=0)  # line
    values.register_hook(_raise)
    return values.backward


@fails(GradError, "second time", "the backward of max")
def node_of_several_outputs(x: Any) -> Any:
    values, _ = (x + 1).reshape(1, 2).max(dim=1)  # line
    values.sum().backward()
    return values.sum().backward


@fails(KeyError, "mine", "in a hook before the backward of mul, ", "for the backward of exp, ")
def double_backward(x: Any) -> Any:
    y = x.exp()  # line
    (g,) = jg.autograd.grad(y.sum(), x, create_graph=True)  # line
    g.register_hook(_raise)
    return g.sum().backward


@fails(KeyError, "for the backward of mul, ", "for the backward of exp, ")
def triple_backward(x: Any) -> Any:
    y = x.exp()  # line
    (g,) = jg.autograd.grad(y.sum(), x, create_graph=True)  # line
    (h,) = jg.autograd.grad((g * g).sum(), y, create_graph=True)  # line
    h.register_hook(_raise)
    return h.sum().backward


def _inner(x: Any) -> Any:
    return (x * x).sqrt()  # line


class Again(jg.autograd.Function):
    """Computes its forward a second time in backward, as checkpoints do."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return _inner(x)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with jg.enable_grad():
            y = _inner(x)
        return jg.autograd.grad(y, x, g)[0]


@fails(GradError, "backward of mul", "in _inner", "for the backward of Again, ")
def backward_in_a_backward(x: Any) -> Any:
    y = Again.apply(x * 1)  # line
    return y.sum().backward


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Any) -> Any:
        return (x - x) / self.layer(x - x)  # line


@fails(GradError, "backward of div", "in forward: return (x - x)")
def line_in_a_module(x: Any) -> Any:
    net = Net()
    net.layer.bias.data.fill_(0.0)
    return net(x).sum().backward


class Through(jg.autograd.Listener):
    def __call__(self, prim: Any, inputs: Any, p: Any) -> Any:
        return self.run(prim, inputs, p)


@fails(KeyError, "the backward of exp, ")
def under_another_listener(x: Any) -> Any:
    with Through(), Through():
        y = x.exp()  # line
    y.register_hook(_raise)
    return y.sum().backward


@fails(KeyError, "the backward of exp, ")
def no_grad_in_between(x: Any) -> Any:
    with jg.no_grad():
        x * 2
    with jg.no_grad(), jg.enable_grad():
        y = x.exp()  # line
    y.register_hook(_raise)
    return y.sum().backward


@fails(GradError, "backward of mul", "1 NaN in 2 elements")
def grad_of_some_inputs(x: Any) -> Any:
    y = (x * x).sqrt()  # line
    return lambda: jg.autograd.grad(y.sum(), x)


@fails(GradError, "a leaf of shape (2,) has NaN, though no rule returned one", "inf and -inf")
def sum_of_infinities(x: Any) -> Any:
    y = x * 1 + x * jg.tensor([1.0, -1.0])
    return lambda: y.backward(jg.tensor([1.0, INF]))


def _lines(*functions: Any) -> list[str]:
    """What an error says of the lines that end in "# line"."""
    found = []
    for f in functions:
        text, first = inspect.getsourcelines(f)
        found += [f"{Path(__file__).name}:{first + i} in {f.__name__}: {t.strip()}" for i, t in enumerate(text) if t.endswith("# line\n")]
    return found


def _text(error: BaseException) -> str:
    return "\n".join([str(error), *getattr(error, "__notes__", ())])


@pytest.mark.parametrize(("program", "error", "words"), FAILING, ids=[row[0].__name__ for row in FAILING])
def test_failing_backward_names_the_line(program: Any, error: type[Exception], words: list[str]) -> None:
    x = jg.tensor([4.0, 0.0], requires_grad=True)
    with detect_anomaly():
        failing = program(x)
        before = None if x.grad is None else x.grad.tolist()
        with pytest.raises(error) as raised:
            failing()
    assert (None if x.grad is None else x.grad.tolist()) == before
    text = _text(raised.value)
    inner = {"backward_in_a_backward": [_inner], "line_in_a_module": [Net.forward]}.get(program.__name__, [])
    assert [word for word in words if word not in text] == [], text
    assert [line for line in _lines(program, *inner) if text.count(line) != 1] == [], text
    assert "outside of anomaly mode" not in text


@pytest.mark.parametrize("name", ["slope_of_a_root", "nan_from_a_hook", "nan_from_a_function", "sum_of_infinities"])
def test_without_check_nan_a_nan_is_no_error(name: str) -> None:
    x = jg.tensor([4.0, 0.0], requires_grad=True)
    with detect_anomaly(check_nan=False):
        next(f for f, *_ in FAILING if f.__name__ == name)(x)()
    assert np.isnan(x.grad.numpy()).any()


def test_what_was_recorded_before_says_how_to_see_its_line() -> None:
    x = jg.tensor([4.0, 0.0], requires_grad=True)
    y = (x * x).sqrt()
    with (
        detect_anomaly(),
        pytest.raises(GradError, match="the backward of mul, recorded outside of anomaly mode: enter it around the forward"),
    ):
        y.sum().backward()
    a = x * 1
    y = a * a
    a.add_(1)
    with pytest.raises(GradError, match=r"overwritten later by add_.*run it under jg\.autograd\.detect_anomaly\(\)"):
        y.sum().backward()


# ---- nothing else is different
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_gradients_are_the_same_to_the_bit(program: Any) -> None:
    def gradients() -> list[np.ndarray]:
        jg.manual_seed(0)
        x, y = jg.randn(3, 4).requires_grad_(), jg.randn(4).requires_grad_()
        outputs = program(x, y)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        first = jg.autograd.grad(sum((o * o).sum() for o in outputs), [x, y], create_graph=True, materialize_grads=True)
        second = jg.autograd.grad(sum(g.sum() for g in first), [x, y], materialize_grads=True) if first[0].requires_grad else ()
        return [g.detach().numpy() for g in (*first, *second)]

    plain = gradients()
    with detect_anomaly():
        watched = gradients()
    assert [g.tobytes() for g in watched] == [g.tobytes() for g in plain]


def test_training_is_the_same_to_the_bit() -> None:
    def train() -> list[bytes]:
        jg.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2), nn.Flatten(), nn.Linear(27, 4)
        )
        optimizer = jg.optim.Adam(model.parameters(), lr=0.01)
        x, target = jg.randn(5, 1, 8, 8), jg.randint(0, 4, (5,))
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), target).backward()
            optimizer.step()
        return [p.detach().numpy().tobytes() for p in model.state_dict().values()]

    plain = train()
    with detect_anomaly():
        assert train() == plain


def test_backward_with_inputs_and_retained_gradients() -> None:
    def results() -> list[Any]:
        x, w = jg.tensor([1.0, 2.0], requires_grad=True), jg.tensor(3.0, requires_grad=True)
        h = x * w
        h.retain_grad()
        y = (h * h).sum()
        y.backward(inputs=[h, x], retain_graph=True)
        y.backward()
        return [x.grad.tolist(), w.grad.tolist(), h.grad.tolist()]

    plain = results()
    with detect_anomaly():
        assert results() == plain


def test_lines_die_with_their_nodes() -> None:
    x = jg.tensor([1.0, 2.0], requires_grad=True)

    def step() -> None:
        (g,) = jg.autograd.grad((x * x).sum(), x, create_graph=True)
        (g * g).sum().backward()
        x.grad = None

    def alive() -> int:
        return sum(type(o) is Node or type(o).__name__ == "Origin" for o in gc.get_objects())

    with set_detect_anomaly(True):
        gc.collect()
        gc.disable()
        try:
            before = alive()
            for _ in range(20):
                step()
            assert alive() == before
        finally:
            gc.enable()


def test_a_long_chain_does_not_recurse() -> None:
    x = jg.tensor(1.0, requires_grad=True)
    with detect_anomaly():
        y = x
        for _ in range(3000):
            y = y * 1.0
        y.backward()
    assert x.grad.item() == 1


# ---- on and off
def state() -> tuple[bool, bool]:
    return jg.is_anomaly_enabled(), jg.is_anomaly_check_nan_enabled()


def test_blocks_nest() -> None:
    again = detect_anomaly(check_nan=False)
    assert state() == (False, False)
    with detect_anomaly() as nothing:
        assert nothing is None
        assert state() == (True, True)
        with again, jg.no_grad():
            assert state() == (True, False)
            with set_detect_anomaly(False), again:
                assert state() == (True, False)
            assert state() == (True, False)
            assert not jg.is_grad_enabled()
        assert state() == (True, True)
        assert jg.is_grad_enabled()
    assert state() == (False, False)


def test_set_detect_anomaly_outlives_the_blocks_it_is_called_in() -> None:
    try:
        with jg.no_grad(), Through():
            set_detect_anomaly(True)
            assert state() == (True, True)
        assert state() == (True, True)
        assert jg.is_grad_enabled()
        with Through():
            set_detect_anomaly(True, check_nan=False)
        assert state() == (True, False)
        with jg.enable_grad():
            set_detect_anomaly(False)
        assert state() == (False, False)
        assert jg.autograd.mode.current_mode() is True
    finally:
        set_detect_anomaly(False)


def test_threads_and_tasks_have_a_mode_of_their_own() -> None:
    seen = {}

    def other_thread() -> None:
        seen["thread"] = state()
        with detect_anomaly(check_nan=False):
            seen["inside"] = state()

    async def task(name: str, check_nan: bool) -> None:
        with detect_anomaly(check_nan):
            await asyncio.sleep(0)
            x = jg.tensor([4.0, 0.0], requires_grad=True)
            y = (x * x).sqrt().sum()
            await asyncio.sleep(0)
            try:
                y.backward()
            except GradError as error:
                seen[name] = "recorded at test_anomaly.py" in str(error)
            else:
                seen[name] = None

    async def both() -> None:
        await asyncio.gather(task("checked", True), task("unchecked", False))

    with detect_anomaly():
        thread = threading.Thread(target=other_thread)
        thread.start()
        thread.join()
        assert state() == (True, True)
    asyncio.run(both())
    assert seen == {"thread": (False, False), "inside": (True, False), "checked": True, "unchecked": None}


def test_backward_in_another_thread_names_the_line() -> None:
    errors = []

    def run(y: Any) -> None:
        with detect_anomaly():
            try:
                y.backward()
            except GradError as error:
                errors.append(str(error))

    x = jg.tensor([4.0, 0.0], requires_grad=True)
    with detect_anomaly():
        y = (x * x).sqrt().sum()
    thread = threading.Thread(target=run, args=(y,))
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert "in test_backward_in_another_thread_names_the_line: y = (x * x).sqrt().sum()" in errors[0]


@pytest.mark.parametrize("make", [lambda: set_detect_anomaly(1), lambda: set_detect_anomaly(True, None), lambda: detect_anomaly("yes")])
def test_other_arguments_are_refused_and_change_nothing(make: Any) -> None:
    with pytest.raises(TypeError, match="expected True or False"):
        make()
    assert state() == (False, False)


def test_float16_and_empty_gradients_are_checked() -> None:
    x = jg.tensor([4.0, 0.0]).to(jg.float16).requires_grad_()
    empty = jg.zeros(0, requires_grad=True)
    with detect_anomaly():
        (empty * empty).sum().backward()
        y = x.float() * NAN
        with pytest.raises(GradError, match="backward of mul"):
            y.sum().backward()
        x.float().sum().backward()
    assert x.grad.dtype is jg.float16
