"""Traces of models, which summaries, diagnoses and surgery read; and that a model is afterwards as it was."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest

import jitgrad as jg
from jitgrad import nn
from jitgrad.autograd import raised_at
from jitgrad.errors import ShapeError
from jitgrad.nn._preserve import preserved
from jitgrad.nn._trace import Trace


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)  # the line of the layers
        self.seen = x
        return self.drop(x) * 2


@pytest.mark.parametrize("dry", [False, True])
def test_calls_and_operations_with_their_lines(dry: bool) -> None:
    model, x = Net(), jg.ones(5, 3)
    with Trace(model, dry=dry) as trace:
        y = model(x)
    assert [c.path for c in trace.calls] == ["", "layers.0", "layers.1", "drop"]
    assert [None if c.parent is None else c.parent.path for c in trace.calls] == [None, "", "", ""]
    assert [c.line.text for c in trace.calls if c.line][1:3] == ["x = layer(x)  # the line of the layers"] * 2
    assert trace.calls[0].output is y and y.shape == (5, 4)
    linear, *_, mul = trace.ops
    assert (linear.prim.name, linear.call.path, linear.line.function) == ("linear", "layers.0", "forward")  # type: ignore[union-attr]
    assert (mul.prim.name, mul.call.path, Path(mul.line.file).name) == ("mul", "", "test_trace.py")  # type: ignore[union-attr]
    assert [c.ops for c in trace.calls][:2] == [range(len(trace.ops)), range(1)]
    assert not model._forward_hooks and not model.drop._forward_pre_hooks


@pytest.mark.parametrize("dry", [False, True])
def test_preserved(dry: bool) -> None:
    model = Net()
    model(jg.ones(5, 3)).sum().backward()
    jg.manual_seed(3)
    state = {k: v.tolist() for k, v in model.state_dict().items()}
    grads, seen = [p.grad for p in model.parameters()], model.seen
    with preserved(model), Trace(model, dry=dry):
        y = model(jg.ones(5, 3))
        if not dry:
            y.sum().backward()
    assert {k: v.tolist() for k, v in model.state_dict().items()} == state
    assert all(p.grad is g for p, g in zip(model.parameters(), grads, strict=True))
    assert model.seen is seen
    assert jg.get_rng_state().tolist() == [3, 0]


def test_a_failed_call_is_in_the_trace() -> None:
    model = Net()
    with Trace(model) as trace, pytest.raises(ShapeError):
        model(jg.ones(5, 2))
    assert [(c.path, type(c.error)) for c in trace.calls] == [("", ShapeError), ("layers.0", ShapeError)]
    with Trace(model) as trace:
        model(jg.ones(5, 3))
    assert all(c.error is None for c in trace.calls)


def test_an_error_that_is_being_handled_is_not_the_calls() -> None:
    model = Net()
    try:
        raise ValueError
    except ValueError:
        with Trace(model) as trace:
            model(jg.ones(5, 3))
    assert all(c.error is None for c in trace.calls)


def test_other_threads_are_not_heard() -> None:
    model = Net()
    with Trace(model) as trace:
        thread = threading.Thread(target=lambda: model(jg.ones(5, 3)))
        thread.start()
        thread.join()
    assert not trace.calls and not trace.ops


class Collects(nn.Module):
    """Its forward puts things where an attribute's new value is not noticed: in a list, and in the place of a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[Any] = []
        self.register_buffer("mean", jg.zeros(2))

    def forward(self, x: Any) -> Any:
        self.mean = self.mean * 0.5 + x.mean(0)
        self.outputs.append(x)
        return x.mul_(2)


@pytest.mark.parametrize("dry", [False, True])
def test_preserved_lists_replaced_buffers_and_inputs(dry: bool) -> None:
    model, x = Collects(), jg.ones(3, 2)
    mean = model.mean
    with preserved(model, (x,)), Trace(model, dry=dry):
        model(x)
    assert model.mean is mean and mean.tolist() == [0, 0] and model.outputs == []
    assert x.tolist() == [[1, 1]] * 3


def test_a_trace_without_lines() -> None:
    with Trace(model := Net(), lines=False) as trace:
        model(jg.ones(5, 3))
    assert [c.line for c in trace.calls] == [None] * 4 and {op.line for op in trace.ops} == {None}


class Raises(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.relu()


class Wraps(nn.Module):
    """An error that is worded anew, or not, and passes a finally."""

    def __init__(self, anew: bool) -> None:
        super().__init__()
        self.box, self.anew = nn.Sequential(Raises()), anew

    def forward(self, x: Any) -> Any:
        try:
            return self.box([x])  # here
        except Exception as error:
            if self.anew:
                raise KeyError("another") from error
            raise
        finally:
            x.numel()


@pytest.mark.parametrize("anew", [False, True])
def test_the_call_and_the_line_of_an_error(anew: bool) -> None:
    """The same for all that tell of one."""
    model = Wraps(anew)
    with Trace(model) as trace, pytest.raises((TypeError, KeyError)) as raised:
        model(jg.ones(2))
    assert trace.failed_call(raised.value).path == "box.0"  # type: ignore[union-attr]
    assert trace.failed_call(ValueError()) is None and trace.failed_call(None) is None
    assert raised_at(raised.value).text.startswith("raise KeyError" if anew else "return self.box")  # type: ignore[union-attr]
    assert [r.path for r in nn.summary(model, jg.ones(2)).rows if r.error is not None] == ["box.0"]
    (found,) = nn.diagnose(model, jg.ones(2)).of_kind("error")
    assert found.path == "box.0"


def test_the_line_of_an_error_is_not_the_finally_below_it() -> None:
    def fails() -> None:
        try:
            jg.ones(2) @ jg.ones(3)  # here
        finally:
            jg.ones(2)

    with pytest.raises(ShapeError) as raised:
        fails()
    assert raised_at(raised.value).text.endswith("# here")  # type: ignore[union-attr]
    assert raised_at(ValueError()) is None


def test_what_fails_on_entry_leaves_no_mode_behind() -> None:
    class Odd(nn.Linear):
        def register_forward_hook(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("no hooks here")

    model = nn.Sequential(nn.Linear(4, 4), Odd(4, 4))
    for look in (lambda: nn.surgery.index(model, (2, 4)), lambda: nn.summary(model, (2, 4)), lambda: nn.diagnose(model, jg.ones(2, 4))):
        with contextlib.suppress(RuntimeError):
            look()
        assert jg.is_grad_enabled() and model(jg.ones(2, 4)).requires_grad
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
