"""ParameterList and ParameterDict beside Python's list and dict."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import jitgrad as jg
from jitgrad import nn


def test_parameter_list() -> None:
    one = nn.Parameter(jg.ones(2))
    pl = nn.ParameterList([one, jg.zeros(3), "word"])
    assert pl[0] is one and pl[-3] is one and type(pl[1]) is nn.Parameter and pl[2] == "word" and len(pl) == 3
    assert list(pl.state_dict()) == ["0", "1"] and [p.shape for p in pl.parameters()] == [(2,), (3,)]
    assert pl.append(jg.ones(1)) is pl and pl.extend([one]) is pl and list(pl)[4] is one
    pl += (jg.ones(5),)
    assert list(pl.state_dict()) == ["0", "1", "3", "4", "5"] and len(list(pl.parameters())) == 4
    assert [v if isinstance(v, str) else v.shape for v in pl[1:4]] == [(3,), "word", (1,)] and type(pl[1:]) is nn.ParameterList
    pl[2] = jg.ones(7)
    assert type(pl[2]) is nn.Parameter and "2" in pl.state_dict()
    for bad, error in ((lambda: pl[9], IndexError), (lambda: pl["0"], TypeError), (lambda: pl.extend(3), TypeError),
                       (lambda: pl.extend(jg.ones(2)), TypeError), (lambda: pl.extend([jg.ones(1), jg.tensor([1])]), jg.errors.DTypeError),
                       (lambda: pl.__setitem__(0, 3), TypeError), (lambda: pl(1), NotImplementedError)):  # fmt: skip
        with pytest.raises(error):
            bad()
        assert len(pl) == 6 and pl[0] is one


def test_parameter_dict() -> None:
    one = nn.Parameter(jg.ones(2))
    pd = nn.ParameterDict({"w": one, "type": jg.zeros(3), "size": 4})
    assert list(pd) == ["size", "type", "w"], "a plain dict is entered in the order of its keys"
    assert pd["w"] is pd.w is one and type(pd["type"]) is nn.Parameter and callable(pd.type) and pd.size == pd["size"] == 4
    assert [n for n, _ in pd.named_parameters()] == list(pd.state_dict()) == ["type", "w"] and {"w", "size"} <= set(dir(pd))
    pd.update([("w", jg.ones(5)), ("keys", jg.ones(1))])
    assert list(pd) == ["size", "type", "w", "keys"] and pd.w.shape == (5,) and list(pd.state_dict()) == ["type", "w", "keys"]
    pd["size"], pd["w"] = jg.ones(1), "word"
    assert list(pd) == ["size", "type", "w", "keys"] and pd["w"] == "word" and "w" not in pd.state_dict()
    pd.size = one
    assert pd["size"] is one
    del pd.size
    assert "size" not in pd and pd.pop("keys").shape == (1,) and list(pd.state_dict()) == ["type"]
    with pytest.raises(AttributeError):
        pd.size
    for bad, error in ((lambda: pd["q"], KeyError), (lambda: pd.__setitem__("a.b", 1), KeyError), (lambda: pd.__setitem__("", 1), KeyError),
                       (lambda: pd.__setitem__(3, 1), TypeError), (lambda: pd.update({"x": 1, "y": jg.tensor([1])}), jg.errors.DTypeError),
                       (lambda: pd.update(jg.ones(2)), TypeError), (lambda: pd.update(["ab"]), TypeError),
                       (lambda: pd.update([("a", 1, 2)]), ValueError), (lambda: pd.pop("q"), KeyError),
                       (lambda: pd.__delitem__("q"), KeyError), (lambda: pd(1), NotImplementedError)):  # fmt: skip
        with pytest.raises(error):
            bad()
        assert list(pd) == ["type", "w"]
    assert pd.setdefault("type") is pd["type"] and pd.get("q") is None and list(reversed(pd)) == ["w", "type"]
    more = pd | {"z": jg.ones(1)}
    assert type(more) is nn.ParameterDict and list(more) == ["type", "w", "z"] and more["type"] is pd["type"] and len(pd) == 2
    assert list({"z": 1} | pd) == ["z", "type", "w"] and list(pd.fromkeys("ab", 2).values()) == [2, 2]
    assert pd.popitem() == ("w", "word") and [k for k, _ in pd.items()] == list(pd.keys()) == ["type"]
    pd.clear()
    assert not len(pd) and not list(pd.parameters())
    with pytest.raises(KeyError, match="empty"):
        pd.popitem()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scales = nn.ParameterList([jg.ones(1), jg.ones(1) * 2])
        self.by_name = nn.ParameterDict({"shift": jg.zeros(1), "count": 3})

    def forward(self, x: Any) -> Any:
        for scale in self.scales:
            x = x * scale
        return x * self.by_name["count"] + self.by_name.shift


def test_they_are_part_of_a_model() -> None:
    net = Net()
    net.scales[1] = net.scales[0]
    assert list(net.state_dict()) == ["scales.0", "scales.1", "by_name.shift"] and len(list(net.parameters())) == 2
    for twin in (net, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert twin.scales[0] is twin.scales[1] and twin.by_name["count"] == 3
        y = twin.double()(jg.ones(1, dtype=jg.float64))
        y.backward()
        assert y.item() == 3.0 and [p.grad.item() for p in twin.parameters()] == [6.0, 1.0]
    assert repr(net) == (
        "Net(\n  (scales): ParameterList(\n"
        "      (0): Parameter containing: [jitgrad.float64 of size 1]\n"
        "      (1): Parameter containing: [jitgrad.float64 of size 1]\n  )\n"
        "  (by_name): ParameterDict(\n      (count): Object of type: int\n"
        "      (shift): Parameter containing: [jitgrad.float64 of size 1]\n  )\n)"
    )
    net.load_state_dict({k: v + 1 for k, v in net.state_dict().items()}, assign=True)
    assert net.by_name["shift"] is net.by_name.shift and net.by_name["shift"].item() == 1.0
