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
    assert _names(b * 2) == ["0"] and len(b * 2) == len(2 * b) == 2 and len(a) == 4 and a[2] is a.own
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
