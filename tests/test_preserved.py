"""What looks at a model leaves it as it was, whatever its forward does: summary, graph, index and diagnose over one nasty model."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import jitgrad as jg
from jitgrad import nn
from jitgrad.nn import surgery
from jitgrad.nn._preserve import preserved
from jitgrad.nn._trace import searched, tensors_in


class Nasty(nn.Module):
    """Its forward writes to all that it can reach."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lazy = nn.Linear(3, 3), None
        self.register_buffer("mean", jg.zeros(3))
        self.register_buffer("behind", jg.ones(3))
        self.hidden = [nn.BatchNorm1d(3)]
        self.own = {"scale": nn.Parameter(jg.ones(3))}
        self.plain = jg.ones(3)
        self.log: dict[str, Any] = {"a": [], "b": ({1, 2}, deque([1], maxlen=3))}
        self.count = 0

    def forward(self, x: Any, batch: dict[str, Any]) -> Any:
        self.count += 1
        x.mul_(2)
        batch.pop("y", None)
        with jg.no_grad():
            self.fc.weight.add_(1)
            self.own["scale"].mul_(2)
        self.fc.bias.data = self.fc.bias.data + 1
        self.behind.data.mul_(0.5)
        self.plain.data.mul_(0.5)
        self.mean = self.mean * 0.5 + x.mean(0)
        self.log["a"].append(x)
        self.log["b"][0].add(x.shape[0])
        self.log["b"][1].append(self.count)
        self.log["c"] = 1
        if self.lazy is None:
            self.lazy = nn.Linear(3, 3)
        self.fc.weight.requires_grad_(jg.is_grad_enabled())
        y = self.hidden[0](self.fc(x) * self.own["scale"])
        batch["asked"] = y.sum().item() > 0  # not without values
        return self.lazy(y)


def state_of(value: Any) -> Any:
    """All that can be seen of a model or its inputs, in comparable form."""
    if isinstance(value, jg.Tensor):
        return id(value), value.tolist(), value.requires_grad, value.is_leaf, id(value.grad)
    if isinstance(value, nn.Module):
        return id(value), {k: state_of(v) for k, v in vars(value).items()}
    if isinstance(value, dict):
        return [(k, state_of(v)) for k, v in value.items()]
    if isinstance(value, (list, tuple, deque)):
        return [type(value).__name__, *map(state_of, value)]
    return copy.copy(value) if isinstance(value, set) else value


LOOKS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "summary": lambda m, x, batch: nn.summary(m, x, batch),
    "summary without times": lambda m, x, batch: nn.summary(m, x, batch, time=False),
    "summary by keyword": lambda m, x, batch: nn.summary(m, x, kwargs={"batch": batch}),
    "graph": lambda m, x, batch: jg.viz.graph(m, x, batch),
    "index": lambda m, x, batch: surgery.index(m, x, batch),
    "index by keyword": lambda m, x, batch: surgery.index(m, x, kwargs={"batch": batch}),
    "diagnose": lambda m, x, batch: nn.diagnose(m, x, batch),
}


@pytest.mark.filterwarnings("ignore:.*is a plain")
@pytest.mark.parametrize("grads", [False, True], ids=["fresh", "with gradients"])
@pytest.mark.parametrize("look", LOOKS)
def test_a_model_is_afterwards_as_it_was(look: str, grads: bool) -> None:
    model, x, batch = Nasty(), jg.ones(4, 3), {"x": jg.ones(2), "y": 1}
    if grads:
        x.requires_grad_()
        (x * model.fc.weight.sum() * batch["x"].sum()).sum().backward()
    jg.manual_seed(3)
    before = state_of([model, x, batch])
    with_values = state_of(model.fc.weight.grad)
    found = LOOKS[look](model, x, batch)
    assert grads or "stopped" not in repr(found)  # all of forward ran
    assert state_of([model, x, batch]) == before
    assert state_of(model.fc.weight.grad) == with_values
    assert jg.get_rng_state().tolist() == [3, 0]


def test_an_input_that_is_written_in_the_graph() -> None:
    """Its place in the graph is restored too, also where it is a view."""
    model, whole = nn.Linear(3, 3), jg.ones(4, 3)
    x = whole[1:3]
    with preserved(model, (x,)):
        x.mul_(model.weight.sum())
        assert x.requires_grad
    assert not x.requires_grad and not whole.requires_grad and whole.tolist() == [[1] * 3] * 4
    (x * 2).requires_grad_().sum().backward()


def test_what_has_not_changed_keeps_its_version() -> None:
    """So that a backward that waits still runs."""
    model, x = nn.Sequential(nn.Linear(3, 3), nn.Tanh()), jg.ones(2, 3)
    y, versions = model(x), [t._version for t in (x, *model.parameters())]
    nn.summary(model, x)
    nn.diagnose(model, x)
    assert [t._version for t in (x, *model.parameters())] == versions
    y.sum().backward()


def test_a_container_that_has_not_changed_is_left_alone() -> None:
    """Also where someone walks it."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model.queue = deque([1, 2])
    for _ in model.queue:
        for _, child in model.named_children():
            surgery.index(child, (1, 2))
            nn.summary(model, (1, 2), time=False)


@dataclass(slots=True)
class Slots:
    y: Any


class Plain:
    def __init__(self, y: Any) -> None:
        self.y = y


def cyclic(y: Any) -> Any:
    found: dict[str, Any] = {"y": y}
    found["self"] = found
    return found


@pytest.mark.parametrize("made", [Slots, Plain, cyclic, lambda y: [(y,), None, 3]], ids=["slots", "object", "cycle", "nested"])
def test_tensors_are_found_in_outputs_of_any_kind(made: Callable[[Any], Any]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(8, 2)

        def forward(self, x: Any) -> Any:
            return made(self.a(x))

    y = jg.ones(1)
    assert tensors_in(made(y)) == [y]
    assert nn.summary(Net(), (4, 8), time=False).rows[0].shapes == ((4, 2),)
    assert ":::output" in jg.viz.graph(Net(), (4, 8)).mermaid
    assert surgery.index(Net(), (4, 8))[0].output == "(4, 2)" and surgery.replace(Net(), "a", nn.Linear(8, 3), example=(4, 8))


def test_tensors_are_found_in_order_and_what_cannot_be_looked_into_is_told() -> None:
    a, b, c = jg.ones(1), jg.ones(2), jg.ones(3)
    found, opaque = searched({"a": a, "b": (b, [c, a])})
    assert [id(t) for t in found] == [id(t) for t in (a, b, c, a)] and not opaque
    assert searched(iter([a])) == ([], True)
