"""Sequential, ModuleList and ModuleDict beside Python's list and dict."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import nn


def _names(m: nn.Module) -> list[str]:
    return [n for n, _ in m.named_children()]


@pytest.mark.parametrize("kind", [lambda ms: nn.Sequential(*ms), nn.ModuleList])
def test_containers_are_lists(kind: Any) -> None:
    plain = [nn.Linear(1, n) for n in range(1, 6)]
    box = kind(plain)
    assert len(box) == 5 and list(box) == plain and box[-1] is plain[4] and box[np.int64(1)] is plain[1]
    assert list(box[1:4:2]) == plain[1:4:2] and type(box[1:]) is type(box) and _names(box[2:]) == ["0", "1", "2"]
    new = nn.ReLU()
    box[-2] = plain[-2] = new
    del box[0], plain[0]
    assert list(box) == plain and _names(box) == ["0", "1", "2", "3"]
    for at in (-1, 99, 0, -99):
        m = nn.Tanh()
        assert box.insert(at, m) is (box if isinstance(box, nn.Sequential) else None)
        plain.insert(at, m)
        assert list(box) == plain and _names(box) == [str(i) for i in range(len(plain))]
    assert box.pop(1) is plain.pop(1) and box.pop() is plain.pop()
    assert box.append(new).extend([nn.GELU(), nn.Tanh()])[-3] is new
    del box[::2]
    assert _names(box) == [str(i) for i in range(len(box))]
    for bad, error in ((lambda: box[99], IndexError), (lambda: box["0"], TypeError), (lambda: box.append(3), TypeError),
                       (lambda: box.extend([nn.ReLU(), 3]), TypeError), (lambda: box.__setitem__(0, None), TypeError),
                       (lambda: box.insert("a", nn.ReLU()), TypeError), (lambda: box.extend(nn.ReLU()), TypeError)):  # fmt: skip
        before = list(box)
        with pytest.raises(error):
            bad()
        assert list(box) == before
    assert bool(box) and not kind([])


def test_sequential() -> None:
    named = nn.Sequential(OrderedDict(conv=nn.Linear(2, 3), act=nn.ReLU()))
    assert _names(named) == ["conv", "act"] and named.conv is named[0]
    named.insert(0, nn.Identity())
    assert _names(named) == ["0", "conv", "act"]
    del named[1]
    assert _names(named) == ["0", "act"]
    assert nn.Sequential()(3) == 3
    for bad in (lambda: nn.Sequential([nn.ReLU()]), lambda: nn.Sequential(3), lambda: nn.Sequential({"a": 3})):
        with pytest.raises(TypeError, match="expected"):
            bad()

    class Block(nn.Sequential):
        def __init__(self, n: int) -> None:
            super().__init__(nn.Linear(n, n), nn.ReLU())

    assert type(Block(2)[:1]) is nn.Sequential


def test_module_list_and_dict_are_not_called() -> None:
    for box in (nn.ModuleList([nn.ReLU()]), nn.ModuleDict({"a": nn.ReLU()})):
        with pytest.raises(NotImplementedError, match="cannot be called"):
            box(jg.ones(1))


def test_repr_of_containers() -> None:
    assert repr(nn.ModuleList([nn.Linear(1, 2), nn.Linear(1, 2), nn.Sequential(nn.ReLU())])) == (
        "ModuleList(\n  (0-1): 2 x Linear(in_features=1, out_features=2, bias=True)\n  (2): Sequential(\n    (0): ReLU()\n  )\n)"
    )
    assert repr(nn.ModuleDict({"a": nn.ReLU(), "b": nn.ModuleList()})) == "ModuleDict(\n  (a): ReLU()\n  (b): ModuleList()\n)"


def test_module_dict() -> None:
    d = nn.ModuleDict([("type", nn.ReLU()), ("fc", nn.Linear(1, 1))])
    assert list(d) == list(d.keys()) == ["type", "fc"] and d.fc is d["fc"] and "fc" in d and len(d) == 2
    d.update({"fc": nn.Tanh()})
    assert [n for n, _ in d.items()] == ["type", "fc"] and isinstance(d.pop("fc"), nn.Tanh)
    for key, error in (("", KeyError), ("a.b", KeyError), (3, TypeError)):
        with pytest.raises(error):
            d[key] = nn.ReLU()  # type: ignore[index]
    with pytest.raises(TypeError):
        d.update({"x": nn.ReLU(), "y": 3})
    with pytest.raises(KeyError):
        d["x"]
    assert list(d) == ["type"]
    d.clear()
    assert not d
