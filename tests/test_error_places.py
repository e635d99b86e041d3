"""An error raised inside a model says where: the path of the layer, its input, and what of it was running."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import jitgrad as jg
from jitgrad import nn
from jitgrad.errors import DTypeError, JitgradError, NoForwardError, ShapeError

X = jg.ones(2, 3)


def _fails(*args: Any) -> Any:
    """A hook of any kind that multiplies what does not fit."""
    return X @ X


class Caller(nn.Module):
    """A model whose forward is given."""

    def __init__(self, forward: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.call = forward

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(self, *args, **kwargs)


def _hooked(register: str) -> nn.Module:
    net = nn.Sequential(nn.Linear(3, 3), nn.ModuleList([nn.Tanh(), nn.Linear(3, 3)]))
    getattr(net[1][1], register)(_fails)
    return net


def _deep(levels: int) -> nn.Module:
    net: nn.Module = nn.Linear(9, 9)
    for _ in range(levels):
        net = nn.Sequential(nn.ReLU(), net)
    return net


def _shared() -> Any:
    return nn.Linear(3, 2)


def _in_both_ways(lin: nn.Module) -> Any:
    """One layer under several names, called through a list."""
    return Caller(lambda m, x: m.pair[1](m.first(x)), first=lin, again=lin, pair=nn.ModuleList([nn.ReLU(), lin]))


def _twofold(levels: int) -> nn.Module:
    """Paths to its leaf: 2 to the power of levels."""
    net: nn.Module = nn.Linear(9, 9)
    for _ in range(levels):
        net = nn.ModuleDict({"a": net, "b": net})
    return Caller(lambda m, x: next(leaf for leaf in m.tree.modules() if isinstance(leaf, nn.Linear))(x), tree=net)


def _root_hook() -> nn.Module:
    net = nn.Sequential(nn.Linear(3, 3))
    net.register_forward_hook(_fails)
    return net


def _list_hook() -> nn.Module:
    net = nn.Sequential(nn.ReLU(), nn.ModuleList([nn.ReLU()]))
    net[1].register_forward_pre_hook(_fails)
    return net


def _hook_that_calls(inside: bool) -> nn.Module:
    other = nn.Linear(9, 9)
    net = Caller(lambda m, x: m.body(x), body=nn.Sequential(nn.Linear(3, 3)))
    if inside:
        net.body.append(other)
    net.body[0].register_forward_hook(lambda m, args, y: other(y))
    return net


def _parent_of_a_list() -> nn.Module:
    net = Caller(lambda m, x: m.layers[0](x), layers=nn.ModuleList([nn.Linear(9, 9)]))
    net.layers.parent = [net]
    return net


LINEAR9 = "(Linear(9, 9)) of"
ONE = "input (2, 3) float32"
HOOKED = "1.1 (Linear(3, 3)) of Sequential, input (2, 3) float32"
# A model, what it is called with, and the end of the error.
TABLE: dict[str, tuple[Any, Any, str]] = {
    "in a Sequential": (nn.Sequential(nn.ReLU(), nn.Linear(9, 9)), X, f"in 1 {LINEAR9} Sequential, {ONE}"),
    "the layer alone": (nn.Linear(9, 9), X, f"in Linear(9, 9), {ONE}"),
    "in the model's own forward": (Caller(lambda m, x: x @ x), X, f"in Caller, {ONE}"),
    "in a list that is looped over": (
        Caller(lambda m, x: [layer(x) for layer in m.layers], layers=nn.ModuleList([nn.ReLU(), nn.Linear(9, 9)])), X,
        f"in layers.1 {LINEAR9} Caller, {ONE}",
    ),
    "in a list in a Sequential": (
        nn.Sequential(nn.ModuleList([nn.ReLU(), nn.ModuleList([nn.Linear(9, 9)])])), X, f"in 0.1.0 {LINEAR9} Sequential, {ONE}",
    ),
    "in a dict": (
        Caller(lambda m, x: m.heads["b"](x), heads=nn.ModuleDict({"a": nn.ReLU(), "b": nn.Linear(9, 9)})), X,
        f"in heads.b {LINEAR9} Caller, {ONE}",
    ),
    "under a name that is an attribute": (
        Caller(lambda m, x: m.heads["type"](x), heads=nn.ModuleDict({"type": nn.Linear(9, 9)})), X,
        f"in heads.type {LINEAR9} Caller, {ONE}",
    ),
    "at twenty levels": (_deep(20), X, f"in {'.'.join('1' * 20)} {LINEAR9} Sequential, {ONE}"),
    "at sixty levels": (_deep(60), X, f"in {'.'.join('1' * 60)} {LINEAR9} Sequential, {ONE}"),
    "a list that is called": (
        Caller(lambda m, x: m.layers(x), layers=nn.ModuleList([nn.ReLU()])), X, f"in layers (ModuleList) of Caller, {ONE}",
    ),
    # shared modules
    "twice in a Sequential, the second time": (
        (lambda lin: nn.Sequential(lin, nn.ReLU(), lin))(_shared()), X, "in 2 (Linear(3, 2)) of Sequential, input (2, 2) float32",
    ),
    "in two Sequentials, in the second": (
        (lambda lin: nn.Sequential(nn.Sequential(lin), nn.Sequential(nn.ReLU(), nn.ModuleList([lin]))))(_shared()), X,
        "in 1.1.0 (Linear(3, 2)) of Sequential, input (2, 2) float32",
    ),
    "under several names": (
        _in_both_ways(_shared()), X, "in first or again or pair.1 (Linear(3, 2)) of Caller, input (2, 2) float32",
    ),
    "under several names, further in": (
        nn.Sequential(nn.ReLU(), _in_both_ways(_shared())), X,
        "in 1.first or 1.again or 1.pair.1 (Linear(3, 2)) of Sequential, input (2, 2) float32",
    ),
    "under very many names": (
        _twofold(40), X,
        ".a or tree." + ".".join("a" * 39) + ".b or tree." + ".".join("a" * 38) + f".b.a or others {LINEAR9} Caller, {ONE}",
    ),
    "called twice": (
        Caller(lambda m, x: m.fc(m.fc(x)), fc=_shared()), X, "in fc (Linear(3, 2)) of Caller, input (2, 2) float32",
    ),
    # not registered
    "through a plain list": (Caller(lambda m, x: m.plain[1](x), plain=[3, nn.Linear(9, 9)]), X, f"in plain[1] {LINEAR9} Caller, {ONE}"),
    "through a plain dict, below a module": (
        Caller(lambda m, x: m.plain["a"][0][1](x), plain={"a": [nn.Sequential(nn.ReLU(), nn.Linear(9, 9))]}), X,
        f"in plain['a'][0].1 {LINEAR9} Caller, {ONE}",
    ),
    "through a plain list of a submodule": (
        nn.Sequential(nn.ReLU(), Caller(lambda m, x: m.plain[0](x), plain=(nn.Linear(9, 9),))), X,
        f"in 1.plain[0] {LINEAR9} Sequential, {ONE}",
    ),
    "through a set": (Caller(lambda m, x: next(iter(m.plain))(x), plain={nn.Linear(9, 9)}), X, f"in plain{{...}} {LINEAR9} Caller, {ONE}"),
    "through nothing at all": (
        Caller(lambda m, x: nn.Linear(9, 9)(x)), X, f"in <Linear that is not a submodule> {LINEAR9} Caller, {ONE}",
    ),
    "past a reference to the parent": (_parent_of_a_list(), X, f"in layers.0 {LINEAR9} Caller, {ONE}"),
    # hooks
    "in a forward hook": (_hooked("register_forward_hook"), X, f"in a forward hook of {HOOKED}"),
    "in a forward pre-hook": (_hooked("register_forward_pre_hook"), X, f"in a forward pre-hook of {HOOKED}"),
    "in a hook of the whole": (_root_hook(), X, f"in a forward hook of Sequential, {ONE}"),
    "in a hook of a list": (_list_hook(), X, f"in a forward pre-hook of 1 (ModuleList) of Sequential, {ONE}"),
    "in a backward hook": (
        _hooked("register_full_backward_hook"), X, "in a backward hook of Linear(3, 3), gradient (2, 3) float32",
    ),
    "in a backward pre-hook": (
        _hooked("register_full_backward_pre_hook"), X, "in a backward pre-hook of Linear(3, 3), gradient (2, 3) float32",
    ),
    "in a layer that a hook calls": (_hook_that_calls(True), X, f"in body.1 {LINEAR9} Caller, {ONE}"),
    "in a layer of no one's that a hook calls": (
        _hook_that_calls(False), X, f"in body.0.<Linear that is not a submodule> {LINEAR9} Caller, {ONE}",
    ),
    # inputs
    "several inputs": (
        Caller(lambda m, x, n, *, mask: m.f(x, n, mask=mask), f=Caller(lambda m, x, n, mask: x @ x)), (X, 3, {"mask": None}),
        "in f (Caller) of Caller, inputs (2, 3) float32, int, mask=NoneType",
    ),
    "a tuple from the layer before": (
        nn.Sequential(Caller(lambda m, x: (x, x.double())), Caller(lambda m, both: both[0] @ both[1])), X,
        "in 1 (Caller) of Sequential, input tuple of (2, 3) float32, (2, 3) float64",
    ),
    "no tensor": (nn.Sequential(nn.Linear(3, 3)), [1.0], "in 0 (Linear(3, 3)) of Sequential, input list"),
    "no tensor, for a layer that looks at it first": (nn.Sequential(nn.Flatten()), 3.0, "in 0 (Flatten()) of Sequential, input float"),
    "another dtype": (nn.Sequential(nn.Linear(3, 3)), X.double(), "in 0 (Linear(3, 3)) of Sequential, input (2, 3) float64"),
}  # fmt: skip


def _called(model: Any, given: Any) -> Any:
    *args, kwargs = given if isinstance(given, tuple) else (given, {})
    return model(*args, **kwargs).sum().backward()


@pytest.mark.parametrize("name", TABLE)
def test_the_error_ends_with_its_place(name: str) -> None:
    """The same when the model is called once more, or was copied; the message is before it, with what was expected and given."""
    model, given, place = TABLE[name]
    twin = model if "a hook calls" in name else copy.deepcopy(model)  # the hook of a copy would call the original's layer
    for net in (model, twin, model):
        with pytest.raises(JitgradError) as caught:
            _called(net, given)
        text = str(caught.value)
        assert text.endswith(place), text
        message, _, where = text.partition("\n  in ")
        assert ("expected" in message and "given" in message) or isinstance(caught.value, (NoForwardError, DTypeError))
        assert where == caught.value.place and where.count("\n") == 0
        again = pickle.loads(pickle.dumps(caught.value))
        assert str(again) == text and type(again) is type(caught.value)


def test_a_caught_error_leaves_no_trace() -> None:
    """A model that tries one way, and then another, fails or works as if there had been no first way."""

    class Tries(nn.Module):
        def __init__(self, second: nn.Module) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(9, 9), second

        def forward(self, x: Any) -> Any:
            try:
                return self.first(x)
            except ShapeError:
                return self.second(x)

    assert nn.Sequential(Tries(nn.Linear(3, 1)))(X).shape == (2, 1)
    with pytest.raises(ShapeError) as caught:
        nn.Sequential(Tries(nn.Linear(5, 5)))(X)
    assert str(caught.value).endswith("in 0.second (Linear(5, 5)) of Sequential, input (2, 3) float32")


def test_an_error_that_was_kept_says_where_it_came_from() -> None:
    """Also when it is raised again elsewhere, or turned into another."""
    inner = nn.Sequential(nn.Linear(9, 9))

    def forward(m: Any, x: Any) -> Any:
        try:
            m.inner(x)
        except ShapeError as error:
            raise DTypeError("expected another, given this.") from error

    with pytest.raises(DTypeError) as caught:
        Caller(forward, inner=inner)(X)
    assert str(caught.value) == "expected another, given this.\n  in Caller, input (2, 3) float32"
    assert str(caught.value.__cause__).endswith("in 0 (Linear(9, 9)) of Sequential, input (2, 3) float32")


def test_what_is_no_error_of_jitgrad_passes_as_it_is() -> None:
    def forward(m: Any, x: Any) -> Any:
        raise OverflowError("too much")

    with pytest.raises(OverflowError, match=r"^too much$"):
        nn.Sequential(Caller(forward))(X)
    net = _hooked("register_forward_hook")
    net.register_forward_hook(lambda m, args, y: 1 / 0, prepend=True, always_call=True)
    with pytest.raises(ShapeError, match=r"in a forward hook of 1\.1"), pytest.warns(UserWarning, match="ZeroDivisionError"):
        net(X)
