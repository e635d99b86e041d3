"""temporarily: what the block does, and that all is as before it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from surgery_models import Net, state

from jitgrad import nn
from jitgrad.errors import SurgeryError
from jitgrad.nn import surgery


def test_temporarily() -> None:
    model = Net()
    before = state(model)
    with surgery.temporarily(model, {nn.ReLU: lambda old: nn.Tanh(), "norm": nn.Identity()}, example=(5, 4)) as same:
        assert same is model and isinstance(model.norm, nn.Identity) and isinstance(model.act, nn.Tanh)
        with surgery.temporarily(model, {-1: nn.Dropout(), ("heads.*",): lambda old: nn.Linear(4, 1)}):
            assert model.heads["a"].out_features == 1
        assert isinstance(model.norm, nn.Identity)
    assert state(model) == before
    with pytest.raises(ZeroDivisionError), surgery.temporarily(model, {"norm": nn.Identity()}):
        raise ZeroDivisionError
    assert state(model) == before
    with surgery.temporarily(model, {"blocks.0.mlp.1": nn.Tanh()}, shared="here"):
        model.blocks[0].mlp.append(nn.ReLU())  # another place: the exit leaves it
        assert isinstance(model.act, nn.ReLU)
    assert len(model.blocks[0].mlp) == 4 and model.blocks[0].mlp[1] is model.act
    with surgery.temporarily(model, {}):
        pass


BLOCKS: list[tuple[str, Callable[[Any], Any], Callable[[Any], list[Any]]]] = [
    ("moved", lambda net: net.insert(0, nn.GELU()), lambda net: list(net)[1:]),
    ("exchanged", lambda net: surgery.swap(net, 1, 2), lambda net: [net[0], net[2], net[1]]),
    (
        "wrapped",
        lambda net: surgery.replace(net, 0, lambda old: nn.Sequential(old, nn.GELU()), shared="here"),
        lambda net: [net[0][0], *net[1:]],
    ),
    ("copied", lambda net: net.append(net[1]), lambda net: list(net)[:3]),
    ("taken away", lambda net: net.pop(2), lambda net: [*net, OLD[2]]),
]
OLD = [nn.Linear(2, 2), nn.ReLU(), nn.Dropout()]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("one", [False, True], ids=["each its own", "one for all"])
@pytest.mark.parametrize(("block", "where"), [row[1:] for row in BLOCKS], ids=[row[0] for row in BLOCKS])
def test_what_temporarily_put_in_is_found_wherever_the_block_has_moved_it(block: Any, where: Any, one: bool, fails: bool) -> None:
    net = nn.Sequential(*OLD).eval()
    tanh = nn.Tanh()
    stop = pytest.raises(ZeroDivisionError, check=lambda e: not hasattr(e, "__notes__")) if fails else nullcontext()
    with stop, surgery.temporarily(net, {i: (lambda old: tanh) if one else nn.Tanh() for i in (0, 1)}):
        assert isinstance(net[0], nn.Tanh) and isinstance(net[1], nn.Tanh) and (net[0] is net[1]) == one
        block(net)
        assert 1 // (not fails)
    assert [a is b for a, b in zip(where(net), OLD, strict=True)] == [True] * 3
    assert tanh.training and not any(m.training for m in OLD)


def test_what_the_block_has_taken_away_does_not_come_back_and_is_named() -> None:
    model = Net()
    act, before = model.act, state(model)
    words = r"BatchNorm1d\(4\) is not back at norm, where GELU\(\) stays: the block took away the Identity\(\) that stood there for it. All"
    with pytest.raises(SurgeryError, match=words), surgery.temporarily(model, {"norm": nn.Identity(), nn.ReLU: lambda old: nn.Tanh()}):
        norm, model.norm = model.norm, nn.GELU()
    assert isinstance(model.norm, nn.GELU) and model.act is act and isinstance(norm, nn.Identity)
    with pytest.raises(KeyError) as caught, surgery.temporarily(model, {"heads.a": nn.Tanh()}):
        del model.heads["a"], model.heads["b"]
    assert caught.value.__notes__[0].startswith("temporarily: Linear(4, 2) is not back at heads.a: the block took away the Tanh()")
    assert list(model.heads) == ["type"] and state(model) != before
