"""Sequential, ModuleList and ModuleDict beside Python's list and dict; what they refuse is in test_container_errors.py."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import nn


def _names(m: nn.Module) -> list[str]:
    return list(m._modules)


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
    assert bool(box) and not kind([])


def test_sequential() -> None:
    named = nn.Sequential(OrderedDict(conv=nn.Linear(2, 3), act=nn.ReLU()))
    assert _names(named) == ["conv", "act"] and named.conv is named[0]
    named.insert(0, nn.Identity())
    assert _names(named) == ["0", "conv", "act"]
    del named[1]
    assert _names(named) == ["0", "act"]
    assert nn.Sequential()(3) == 3

    class Block(nn.Sequential):
        def __init__(self, n: int) -> None:
            super().__init__(nn.Linear(n, n), nn.ReLU())

    assert type(Block(2)[:1]) is nn.Sequential


def test_module_list_and_dict_are_not_called() -> None:
    """The error has the path, and two ways to go on."""

    class Net(nn.Module):
        def __init__(self, layers: nn.Module) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.ReLU(), nn.ModuleDict({"inner": layers}))

        def forward(self, x: Any) -> Any:
            return self.body[1]["inner"](self.body[0](x))

    for box, ways in (
        (nn.ModuleList([nn.ReLU()]), ("for layer in layers", "nn.Sequential(*layers)")),
        (nn.ModuleDict({"a": nn.ReLU()}), ("layers['fc'](x)", "layers.values()")),
    ):
        name = type(box).__name__
        with pytest.raises(NotImplementedError, match="cannot be called") as caught:
            box(jg.ones(1))
        assert str(caught.value).endswith(f"in {name}, input (1,) float32")
        with pytest.raises(NotImplementedError) as caught:
            Net(box)(jg.ones(1))
        assert str(caught.value).endswith(f"in body.1.inner ({name}) of Net, input (1,) float32")
        assert all(way in str(caught.value) for way in ways)
    with pytest.raises(NotImplementedError, match=r"in 1 \(ModuleDict\) of Sequential, input \(1,\) float32"):
        nn.Sequential(nn.ReLU(), nn.ModuleDict({"a": nn.ReLU()}))(jg.ones(1))
    with pytest.raises(NotImplementedError, match=r"Base has no forward method.*\n  in 0 \(Base\(\)\) of Sequential"):
        nn.Sequential(type("Base", (nn.Module,), {})())(jg.ones(1))


def test_sequential_chains_lists() -> None:
    """At any depth, with their hooks, and with the path in an error; a list with a forward of its own is called."""

    class Twice(nn.ModuleList):
        def forward(self, x: Any) -> Any:
            return self[0](self[0](x))

    inner = nn.ModuleList([nn.Linear(2, 3), nn.ModuleList([nn.Tanh(), nn.Linear(3, 2)]), nn.ModuleList()])
    model = nn.Sequential(nn.ReLU(), inner, Twice([nn.Linear(2, 2)]))
    plain = nn.Sequential(nn.ReLU(), inner[0], nn.Tanh(), inner[1][1], model[2][0], model[2][0])
    x = jg.randn(3, 2)
    assert model(x).tolist() == plain(x).tolist()
    heard: list[Any] = []
    inner.register_forward_pre_hook(lambda m, args: heard.append(args[0].shape) or (args[0] * 0,))
    inner.register_forward_hook(lambda m, args, y: heard.append(y.shape) or y * 0 + 1)
    inner.register_full_backward_hook(lambda m, gi, go: heard.append(gi[0].shape))
    y = model(x)
    assert y.tolist() == plain[4](plain[4](jg.ones(3, 2))).tolist()
    model(x.requires_grad_()).sum().backward()
    assert heard == [(3, 2), (3, 2), (3, 2), (3, 2), (3, 2)]
    inner[1][1] = nn.Linear(4, 2)
    with pytest.raises(jg.errors.ShapeError, match=r"in 1.1.1 \(Linear\(4, 2\)\) of Sequential, input \(3, 3\) float32"):
        model(x)


def test_sequential_operators() -> None:
    a, b = nn.Sequential(OrderedDict(own=nn.ReLU())), nn.Sequential(nn.Tanh())
    both = a + b
    assert _names(both) == ["0", "1"] and both[0] is a[0] and _names(a) == ["own"]
    a += b
    assert _names(a) == ["own", "1"] and a[1] is b[0]
    a *= 2
    assert _names(b * 2) == ["0", "1"] and len(b * 2) == len(2 * b) == 2 and len(a) == 4 and a[2] is a.own
    assert [type(m).__name__ for m in a.pop(slice(1, 3))] == ["Tanh", "ReLU"] and len(a) == 2
    before = list(a)
    for bad, error in ((lambda: a + nn.ModuleList(), ValueError), (lambda: a.__iadd__(nn.ModuleList()), ValueError),
                       (lambda: a * 0, ValueError), (lambda: a.__imul__(-1), ValueError), (lambda: a * 1.5, TypeError)):  # fmt: skip
        with pytest.raises(error, match="expected"):
            bad()
    assert list(a) == before


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
    assert list(d) == ["type"]
    d.clear()
    assert not d


def test_edits_keep_names_of_their_own() -> None:
    """A digit name is the position, always; another name stays with its module through every edit."""
    conv, act, fc = nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)
    net = nn.Sequential(OrderedDict(conv=conv, act=act, fc=fc))
    assert _names(net.insert(nn.Identity(), after="conv")) == ["conv", "1", "act", "fc"]
    assert _names(net.append(nn.Tanh(), name="last")) == ["conv", "1", "act", "fc", "last"]
    del net[0]
    assert _names(net) == ["0", "act", "fc", "last"] and net.fc is fc
    net.reverse()
    assert _names(net) == ["last", "fc", "act", "3"]
    net[1:2] = [nn.GELU(), nn.SiLU()]
    assert _names(net) == ["last", "1", "2", "act", "4"] and net.act is act
    net[::2] = [nn.Tanh()] * 3
    assert _names(net) == ["last", "1", "2", "act", "4"]  # so many places, so many modules: each takes over a name
    assert _names(net[::2]) == ["last", "1", "2"] and _names(net.copy()) == _names(net)
    assert _names(nn.Sequential(OrderedDict({"7": act, "x": fc, "0": conv}))) == ["0", "x", "2"]
    net = nn.Sequential(act, fc)
    net.add_module("7", conv)
    assert _names(net) == ["0", "1", "2"] and net[2] is conv
    delattr(net, "0")
    assert _names(net) == ["0", "1"] and net[0] is fc
    net.register_module("own", act)
    for bad, error in ((lambda: net.append(act, name="own"), KeyError), (lambda: net.append(act, name="3"), ValueError),
                       (lambda: net.append(act, name="a.b"), KeyError), (lambda: net.append(act, name="forward"), KeyError),
                       (lambda: net.insert(act, after="none"), KeyError), (lambda: net.insert(0, act, after="own"), TypeError),
                       (lambda: setattr(net, "0", None), TypeError), (lambda: net.add_module("x", None), TypeError),
                       (lambda: net.__setitem__(slice(0, 3, 2), [act]), ValueError)):  # fmt: skip
        with pytest.raises(error):
            bad()
        assert _names(net) == ["0", "1", "own"] and list(net) == [fc, conv, act]


def test_a_module_is_not_inside_itself() -> None:
    net = nn.Sequential(nn.ReLU())
    outer = nn.ModuleDict({"net": net})
    for bad in (lambda: net.append(net), lambda: net.append(outer), lambda: net.insert(0, outer), lambda: net.__setitem__(0, outer),
                lambda: setattr(net, "more", outer), lambda: outer.update({"x": nn.ReLU(), "y": outer}),
                lambda: net.register_module("more", outer), lambda: net.set_submodule("0", outer)):  # fmt: skip
        with pytest.raises(ValueError, match="cannot be inside itself"):
            bad()
        assert len(net) == 1 and list(outer) == ["net"] and "more" not in net._modules


@pytest.mark.parametrize("kind", [lambda m: nn.Sequential(m, nn.Tanh()), lambda m: nn.ModuleList([m, nn.Tanh()])])
def test_repeat_says_what_is_shared(kind: Any) -> None:
    first = nn.Linear(2, 2)
    block = kind(first)
    shared, copied, fresh = (block.repeat(3, mode=mode) for mode in ("share", "copy", "init"))
    assert type(fresh) is type(block) and _names(fresh) == [str(i) for i in range(6)]
    assert [m is first for m in shared][::2] == [True] * 3 and shared[1] is shared[3]
    assert copied[0] is fresh[0] is first and copied[2] is not first and copied[2].weight.tolist() == first.weight.tolist()
    assert len({str(fresh[i].weight.tolist()) for i in (0, 2, 4)}) == 3 and len(list(fresh.parameters())) == 6
    assert len(block) == 2 and len(block.repeat(1)) == 2
    tied = kind(first)
    tied.append(first)
    again = tied.repeat(2, mode="copy")
    assert again[3] is again[5] and again[3] is not first, "what a repetition shares within itself stays shared"

    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(jg.ones(1))

    with pytest.raises(TypeError, match=r"0.0 \(Scale\) owns parameters and has no reset_parameters"):
        kind(nn.Sequential(Scale())).repeat(2)
    for n, mode in ((0, "init"), (True, "init"), (1.5, "init"), (2, "deep")):
        with pytest.raises(ValueError, match="is expected to be"):
            block.repeat(n, mode)


def test_repr_marks_what_is_shared() -> None:
    act = nn.ReLU()
    net = nn.Sequential(OrderedDict(a=act, b=nn.Sequential(act), c=nn.Tanh()))
    assert repr(net) == "Sequential(\n  (a): ReLU()\n  (b): Sequential(\n    (0): ReLU() (shared)\n  )\n  (c): Tanh()\n)"
    assert repr(nn.ModuleList([act, act, act])) == "ModuleList(\n  (0): ReLU()\n  (1-2): 2 x ReLU() (shared)\n)"
    assert repr(net) == repr(net) and repr(act) == "ReLU()"


def test_loops_may_edit() -> None:
    net = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))
    for i, m in enumerate(net):
        net[i] = nn.Sequential(m)
    assert [type(m[0]) for m in net] == [nn.Linear, nn.ReLU, nn.Linear]
    for m in net:
        if isinstance(m[0], nn.ReLU):
            net.remove(m)
    assert _names(net) == ["0", "1"]


def test_what_type_checkers_are_told_also_runs() -> None:
    import typed_containers

    assert type(typed_containers.layers) is nn.ModuleList and len(typed_containers.inferred) == 2
    assert nn.ModuleList[nn.Linear] is nn.ModuleList and nn.ModuleDict[nn.Linear] is nn.ModuleDict
