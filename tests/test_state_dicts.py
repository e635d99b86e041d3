"""State dicts beyond the plain round trip: hooks, extra state, sharing, and that a load that fails leaves no trace."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import nn
from jitgrad.errors import DTypeError, StateDictError


class Counted(nn.Module):
    """A layer with something to keep that is no tensor."""

    def __init__(self, seen: Any = 0) -> None:
        super().__init__()
        self.seen = seen
        self.weight = nn.Parameter(jg.ones(1))

    def get_extra_state(self) -> Any:
        return self.seen

    def set_extra_state(self, state: Any) -> None:
        if state == "bad":
            raise OverflowError("bad state")
        self.seen = state


def _tied() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    return net


def _snapshot(net: nn.Module) -> Any:
    return {k: v.tolist() if isinstance(v, jg.Tensor) else v for k, v in net.state_dict().items()}


def test_state_dict_fills_what_it_is_given() -> None:
    net, given = _tied(), {"other": 1}
    assert net.state_dict(destination=given, prefix="net.") is given
    assert list(given) == ["other", "net.0.weight", "net.0.bias", "net.1.weight", "net.1.bias"]
    state = nn.Sequential(Counted(3)).state_dict()
    assert list(state) == ["0.weight", "0._extra_state"] and state["0._extra_state"] == 3
    assert state._metadata == {"": {"version": 1}, "0": {"version": 1}}
    for twin in (copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
        assert list(twin) == list(state) and twin._metadata == state._metadata


@pytest.mark.parametrize("assign", [False, True])
def test_tied_weights_stay_tied(assign: bool) -> None:
    """Whichever name the values come under."""
    for state in (_tied().state_dict(), {k: v for k, v in _tied().state_dict().items() if k != "0.weight"}):
        net = _tied()
        assert repr(net.load_state_dict(state, assign=assign)) == "<All keys matched successfully>"
        assert net[0].weight is net[1].weight and net[0].weight.tolist() == state["1.weight"].tolist()
        assert len(list(net.parameters())) == 3
        assert np.shares_memory(net[0].bias.detach().numpy(), state["0.bias"].numpy()) == assign


def test_assign_keeps_what_is_trained() -> None:
    net = nn.Linear(1, 1)
    net.bias.requires_grad_(False)
    given = {"weight": jg.zeros(1, 1, dtype=jg.float64), "bias": nn.Parameter(jg.ones(1))}
    net.load_state_dict(given, assign=True)
    assert type(net.weight) is nn.Parameter and net.weight.dtype == jg.float64 and net.weight.requires_grad
    assert net.bias is given["bias"] and not net.bias.requires_grad


def test_extra_state() -> None:
    net, other = nn.Sequential(Counted(1), nn.ModuleList([Counted(2)])), nn.Sequential(Counted(8), nn.ModuleList([Counted(9)]))
    net.load_state_dict(other.state_dict())
    assert (net[0].seen, net[1][0].seen) == (8, 9)
    keys = net.load_state_dict({"0.weight": jg.zeros(1), "_extra_state": 3}, strict=False)
    assert keys.missing_keys == ["1.0.weight", "0._extra_state", "1.0._extra_state"] and keys.unexpected_keys == ["_extra_state"]
    with pytest.raises(StateDictError, match=r"missing 0._extra_state"):
        net.load_state_dict({k: v for k, v in other.state_dict().items() if k != "0._extra_state"})
    with pytest.raises(NotImplementedError, match="define get_extra_state and set_extra_state"):
        nn.ReLU().get_extra_state()


@pytest.mark.parametrize("assign", [False, True])
def test_a_load_that_fails_leaves_no_trace(assign: bool) -> None:
    """In extra state, in a hook, or by keys that a hook has put on the list: tensors and extra states are as before."""
    given = {"0.weight": jg.zeros(1), "0._extra_state": 5, "1.weight": jg.zeros(1), "1._extra_state": "bad"}
    net = nn.Sequential(Counted(1), Counted(2))
    before, weight = _snapshot(net), net[0].weight
    with pytest.raises(OverflowError):
        net.load_state_dict(given, assign=assign)
    assert _snapshot(net) == before and net[0].weight is weight
    given["1._extra_state"] = 6
    heard: list[Any] = []
    handle = net[1].register_load_state_dict_post_hook(lambda m, keys: heard.append(net[0].seen) or keys.missing_keys.append("more"))
    with pytest.raises(StateDictError, match=r"1 of the keys do not fit Sequential, nothing was loaded:\n    missing more"):
        net.load_state_dict(given, assign=assign)
    assert heard == [5] and _snapshot(net) == before and net[0].weight is weight
    assert net.load_state_dict(given, strict=False, assign=assign).missing_keys == ["more"] and net[1].seen == 6
    handle.remove()
    net.register_load_state_dict_post_hook(lambda m, keys: keys)
    before = _snapshot(net)
    with pytest.raises(RuntimeError, match="post-hook of Sequential returned something"):
        net.load_state_dict({k: v + 1 for k, v in given.items()}, assign=assign)
    assert _snapshot(net) == before


def test_keys_that_are_no_names() -> None:
    with pytest.raises(TypeError, match="expected names as keys, given 0"):
        nn.Linear(1, 1).load_state_dict({0: jg.ones(1, 1)})  # type: ignore[dict-item]


def test_hooks_that_rename_and_forgive() -> None:
    net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    heard: list[Any] = []

    def rename(module: Any, state: Any, prefix: str, local_metadata: Any, strict: bool, missing: Any, unexpected: Any, errors: Any) -> None:
        heard.append((prefix, sorted(state), local_metadata, strict))
        if prefix + "w" in state:
            state[prefix + "weight"] = state.pop(prefix + "w")

    net[0].register_load_state_dict_pre_hook(rename)
    given = {"0.w": jg.zeros(1, 1), "0.bias": jg.zeros(1)}
    with pytest.raises(StateDictError, match=r"2 of the keys.*\n    missing 1.weight\n    missing 1.bias"):
        net.load_state_dict(given)
    forgive = net.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
    assert repr(net.load_state_dict(given)) == "<All keys matched successfully>"
    assert net[0].weight.item() == 0.0 and list(given) == ["0.w", "0.bias"]
    assert heard == [("0.", ["0.bias", "0.w"], {}, True)] * 2
    forgive.remove()

    def complain(module: Any, state: Any, prefix: str, meta: Any, strict: bool, missing: Any, unexpected: Any, errors: Any) -> None:
        missing.append(prefix + "old")
        unexpected.append(prefix + "new")
        errors.append("a word of the hook's own")

    net[1].register_load_state_dict_pre_hook(complain)
    with pytest.raises(StateDictError) as caught:
        net.load_state_dict(net.state_dict())
    assert str(caught.value).split("\n    ")[1:] == ["missing 1.old", "unexpected 1.new", "a word of the hook's own"]
    with pytest.raises(StateDictError, match=r"1 of the keys.*\n    a word of the hook's own"):
        net.load_state_dict(net.state_dict(), strict=False)


def test_hooks_of_state_dict() -> None:
    net, heard = nn.Sequential(Counted()), []
    net[0].register_state_dict_pre_hook(lambda m, prefix, keep_vars: heard.append((m.seen, prefix, keep_vars)))
    net[0].register_state_dict_post_hook(lambda m, state, prefix, meta: state.update({prefix + "more": meta["version"]}))
    handle = net.register_state_dict_post_hook(lambda m, state, prefix, meta: heard.append(list(state)))
    assert list(net.state_dict(keep_vars=True)) == ["0.weight", "0._extra_state", "0.more"]
    assert heard == [(0, "0.", True), ["0.weight", "0._extra_state", "0.more"]]
    handle.remove()
    net.register_state_dict_post_hook(lambda m, state, prefix, meta: state)
    with pytest.raises(RuntimeError, match="post-hook of Sequential returned something"):
        net.state_dict()


@pytest.mark.parametrize("name", ["_load_from_state_dict", "_save_to_state_dict"])
def test_private_ways_into_state_dicts_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match=f"Old defines {name}, which is never called. Use register_"):
        type("Old", (nn.Linear,), {name: lambda self, *args: None})


def test_type_casts_all() -> None:
    bn = nn.BatchNorm1d(2).type(jg.float64)
    assert {t.dtype for t in bn.state_dict().values()} == {jg.float64}
    with pytest.raises(DTypeError, match=r"Module.type: expected a float dtype, as parameters require gradients, given jitgrad.int64"):
        bn.type(jg.int64)
    assert bn.weight.dtype == jg.float64
    assert bn.requires_grad_(False).type(jg.int64).running_mean.dtype == jg.int64


def test_paths() -> None:
    net = nn.Sequential(nn.Linear(1, 1), nn.ModuleDict({"a": nn.ReLU()}))
    new = nn.Tanh()
    for path in ("1.a", "1.type", "0.inner", "2"):
        net.set_submodule(path, new)
        assert net.get_submodule(path) is new
    assert net[1]["type"] is new and net[0].inner is new and net[2] is new and len(net) == 3
    net.set_submodule("0", nn.Linear(1, 1), strict=True)
    for path, error, message in (
        ("1.b", AttributeError, "'1.b': ModuleDict has no submodule 'b'; it has a, type"), ("0.weight", AttributeError, "no submodule"),
        ("8.a", AttributeError, "'8': Sequential has no submodule '8'"), ("", ValueError, "path is empty"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            net.set_submodule(path, new, strict=True)
    for name in ("weight", "bias", "in_features"):
        with pytest.raises(AttributeError, match=f"'0.{name}': '{name}' of Linear is no submodule"):
            net.set_submodule(f"0.{name}", new)
    with pytest.raises(ValueError, match="expected a Module, given int"):
        net.set_submodule("0", 3)  # type: ignore[arg-type]


def test_keys_that_differ_by_a_prefix() -> None:
    """A state saved from inside a wrapper, or loaded into one: the error says what to write, and lists no hundred keys."""
    net = nn.Sequential(*(nn.Linear(1, 1) for _ in range(30)))
    state = net.state_dict()
    wrapped = nn.Module()
    wrapped.module = net
    with pytest.raises(StateDictError) as caught:
        net.load_state_dict(wrapped.state_dict())
    text = str(caught.value)
    assert text.startswith("load_state_dict: 120 of the keys do not fit Sequential, nothing was loaded:\n    missing 0.weight\n")
    assert "and 80 more\nAll keys given begin with 'module.'. Try {k.removeprefix('module.'): v for k, v in state_dict.items()}." in text
    with pytest.raises(StateDictError, match=r"The model's keys begin with 'module.'. Try \{'module.' \+ k: v"):
        wrapped.load_state_dict(state)
    net.load_state_dict({k.removeprefix("module."): v for k, v in wrapped.state_dict().items()})
