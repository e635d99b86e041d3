"""State dicts beyond the plain round trip: hooks, extra state, sharing, and that a load that fails leaves no trace."""

from __future__ import annotations

import copy
import itertools
import pickle
import random
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import nn
from jitgrad.errors import DTypeError, StateDictError
from jitgrad.nn._misfits import renaming_advice


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
    with pytest.raises(StateDictError, match=r"0._extra_state +missing +extra state +-"):
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
    with pytest.raises(StateDictError, match=r"1 of the keys do not fit Sequential, nothing was loaded:\n.*\n    more +missing"):
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
    with pytest.raises(StateDictError, match=r"2 of the keys.*\n.*\n    1.weight +missing .*\n    1.bias +missing "):
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
    rows = [line.split() for line in str(caught.value).split("\n")[2:]]
    assert rows == [["1.old", "missing", "-", "-"], ["1.new", "unexpected", "-", "-"], ["a", "word", "of", "the", "hook's", "own"]]
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
        ("1.b", AttributeError, "'1.b': ModuleDict has no submodule 'b'; it has a and type"), ("0.weight", AttributeError, "no submodule"),
        ("8.a", AttributeError, "'8': Sequential has no submodule '8'"), ("", ValueError, "path is empty"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            net.set_submodule(path, new, strict=True)
    for name in ("weight", "bias", "in_features"):
        with pytest.raises(AttributeError, match=f"'0.{name}': '{name}' of Linear is no submodule"):
            net.set_submodule(f"0.{name}", new)
    with pytest.raises(ValueError, match="expected a Module, given int"):
        net.set_submodule("0", 3)  # type: ignore[arg-type]


def _box(**parts: nn.Module) -> nn.Module:
    m = nn.Module()
    for name, part in parts.items():
        setattr(m, name, part)
    return m


def _mlp(*sizes: int, every: int = 1) -> nn.Sequential:
    """Linear layers, with activations between them if every is 2."""
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(*(m for layer in layers for m in (layer, *(nn.ReLU() for _ in range(every - 1)))))


def _many(n: int, every: int = 1) -> nn.Module:
    return _box(layers=_mlp(*range(2, n + 3), every=every))


def _cut(state: Any, *keys: str, **more: Any) -> Any:
    return {k: v for k, v in state.items() if k not in keys} | {k.replace("__", "."): v for k, v in more.items()}


HEAD = "key problem model state dict"
# The model, the state dict, lines that the error has (spaces apart), and whether the code that it ends with makes all fit.
MISFITS: dict[str, tuple[Any, Any, list[str], bool | None]] = {
    "missing": (_mlp(2, 3), {"0.bias": jg.ones(3)}, ["1 of the keys do not fit Sequential", HEAD, "0.weight missing (3, 2) -"], None),
    "unexpected": (nn.ReLU(), {"w": jg.ones(3)}, ["1 of the keys do not fit ReLU", HEAD, "w unexpected - (3,)"], None),
    "a wrong shape": (_mlp(2, 3), _mlp(2, 4).state_dict(), ["0.weight wrong shape (3, 2) (4, 2)", "0.bias wrong shape (3,) (4,)"], None),
    "no tensor, no float": (
        _mlp(1, 1), {"0.weight": jg.tensor([[1]]), "0.bias": [1.0]}, ["0.weight wrong dtype float32 int64", "0.bias no Tensor (1,) list"],
        None,
    ),
    "a typing error": (
        _mlp(2, 3), _cut(_mlp(2, 3).state_dict(), "0.weight", **{"0.wieght": jg.ones(3, 2)}),
        ["0.weight missing (3, 2) - (did you mean 0.wieght?)", "0.wieght unexpected - (3, 2)"], None,
    ),
    "a name alike, of another shape": (
        _mlp(2, 3), _cut(_mlp(2, 3).state_dict(), "0.weight", **{"0.weights": jg.ones(9)}),
        ["0.weight missing (3, 2) -", "0.weights unexpected - (9,)"], None,
    ),
    "a prefix too many": (
        _mlp(2, 3, 4), _box(module=_mlp(2, 3, 4)).state_dict(),
        ["Without the prefix 'module.' all keys fit. Try:", "state_dict = {k.removeprefix('module.'): v for k, v in state_dict.items()}"],
        True,
    ),
    "a prefix lost": (
        _box(net=_mlp(2, 3, 4)), _mlp(2, 3, 4).state_dict(),
        ["With the prefix 'net.' all keys fit. Try:", "state_dict = {'net.' + k: v for k, v in state_dict.items()}"], True,
    ),
    "a prefix lost, and a head is new": (
        _box(net=_mlp(2, 3, 4), head=nn.Linear(9, 9)), _mlp(2, 3, 4).state_dict(),
        ["With the prefix 'net.' all keys fit but head.weight and head.bias. Try:"],
        False,
    ),
    "a prefix that may be one of two": (_box(a=nn.Linear(2, 2), b=nn.Linear(2, 2)), nn.Linear(2, 2).state_dict(), [], None),
    "a prefix, but of other shapes": (_box(net=_mlp(2, 3)), _mlp(4, 5).state_dict(), [], None),
    "an activation was put in": (
        _many(2, every=2), _many(2).state_dict(),
        ["layers.2.weight missing (4, 3) -", "layers.1.weight unexpected - (4, 3)", "With layers.1 -> layers.2 all keys fit. Try:"], True,
    ),
    "activations were put in, shapes collide": (
        _box(layers=_mlp(2, 2, 2, 2, every=2)), _box(layers=_mlp(2, 2, 2, 2)).state_dict(),
        ["With layers.1 -> layers.2 and layers.2 -> layers.4 all keys fit. Try:"], True,
    ),
    "activations were taken out": (
        _mlp(2, 3, 3, 4), _mlp(2, 3, 3, 4, every=2).state_dict(), ["With 2 -> 1 and 4 -> 2 all keys fit. Try:"], True,
    ),
    "a norm was put in": (
        nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2)), nn.Sequential(*_mlp(2, 3, 2, every=2)).state_dict(),
        ["With 2 -> 3 all keys fit but 1.weight, 1.bias, 1.running_mean, 1.running_var and 1.num_batches_tracked. Try:"], False,
    ),
    "one of several equal layers is new": (_mlp(2, 2, 2, 2), _mlp(2, 2, 2).state_dict(), ["2.weight missing (2, 2) -"], None),
    "indices would fit, shapes do not": (_mlp(2, 3, 4, every=2), _mlp(2, 3, 5).state_dict(), ["2.weight missing (4, 3) -"], None),
    "in lists within a list, both shifted": (
        nn.Sequential(nn.Tanh(), _many(2, every=2), nn.Tanh(), _many(2, every=2)), nn.Sequential(_many(2), _many(2)).state_dict(),
        ["With 0.layers.1 -> 1.layers.2, 0 -> 1, 1.layers.1 -> 3.layers.2 and 1 -> 3 all keys fit. Try:"], True,
    ),
    "in each of two lists": (
        _box(a=_many(2, every=2), b=_many(3, every=2)), _box(a=_many(2), b=_many(3)).state_dict(),
        ["With a.layers.1 -> a.layers.2, b.layers.1 -> b.layers.2 and b.layers.2 -> b.layers.4 all keys fit. Try:"], True,
    ),
    "many are shifted": (
        _many(20, every=2), _many(20).state_dict(),
        ["layers.7 -> layers.14, layers.8 -> layers.16 and 11 more all keys fit", "= dict(zip(model.state_dict(), state_dict.values()))"],
        True,
    ),
    "many are shifted, and in another order": (
        _many(20, every=2), dict(reversed(_many(20).state_dict().items())), ["and 11 more all keys fit", "'layers.19.': 'layers.38.'}"],
        True,
    ),
    "a part has another name": (
        _box(body=_mlp(2, 3), head=nn.Linear(3, 2)), _box(body=_mlp(2, 3), fc=nn.Linear(3, 2)).state_dict(),
        ["head.weight missing (2, 3) -", "With fc -> head all keys fit. Try:"], True,
    ),
    "a part has another name in each block": (
        nn.Sequential(*(_box(attention=nn.Linear(n, 2), fc=nn.Linear(2, n)) for n in (3, 4))),
        nn.Sequential(*(_box(attn=nn.Linear(n, 2), fc=nn.Linear(2, n)) for n in (3, 4))).state_dict(),
        ["With 0.attn -> 0.attention and 1.attn -> 1.attention all keys fit. Try:"], True,
    ),
    "a part that might be either": (
        _box(a=nn.Linear(2, 2), b=nn.Linear(2, 2)), _box(c=nn.Linear(2, 2), d=nn.Linear(2, 2)).state_dict(), ["a.weight missing (2, 2) -"],
        None,
    ),
    "other names for two parts": (
        _box(a=nn.Linear(2, 2), b=nn.Linear(3, 3)), _box(c=nn.Linear(2, 2), d=nn.Linear(3, 3)).state_dict(), ["a.weight missing (2, 2) -"],
        None,
    ),
    "a parameter alone is not guessed at": (
        nn.Linear(2, 2), {"weight": jg.ones(2, 2), "running_mean": jg.ones(2)},
        ["bias missing (2,) -", "running_mean unexpected - (2,)"], None,
    ),
    "tied weights, given once": (_box(a=_tied(), b=_tied()), _cut(_box(c=_tied()).state_dict(), "c.1.weight"), ["a.0.bias missing"], None),
    "extra state has shifted along": (
        nn.Sequential(nn.ReLU(), Counted(1)), {"0.weight": jg.ones(1), "0._extra_state": 5},
        ["1._extra_state missing extra state -", "With 0 -> 1 all keys fit."], True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_is_told_in_a_table(name: str) -> None:
    model, state, lines, mends = MISFITS[name]
    before = _snapshot(model)
    with pytest.raises(StateDictError) as caught:
        model.load_state_dict(state)
    assert _snapshot(model) == before
    text = str(caught.value)
    told = re.sub(" +", " ", text)
    assert text.startswith("load_state_dict: ") and all(line in told for line in lines), text
    table = [line for line in text.split("\n") if re.match("    (key|[\\w.]+)  +(problem|missing|unexpected|wrong|no )", line)]
    for column in ("problem", "model", "state dict"):
        at = table[0].index(column)
        assert all(line[at - 1] == " " != line[at] for line in table), "columns are aligned"
    assert ("Try:\n" in text) == (mends is not None), text
    if mends is not None:
        found = {"model": model, "state_dict": state}
        exec(text.split("Try:\n")[1].strip(), found)
        keys = model.load_state_dict(found["state_dict"], strict=mends)
        assert not keys.unexpected_keys and bool(keys.missing_keys) == (not mends)


def test_a_checkpoint_that_holds_the_state_dict_is_told() -> None:
    net = nn.Linear(2, 3)
    with pytest.raises(StateDictError, match=r"The model's keys are in an entry of it. Try state_dict\['model'\]."):
        net.load_state_dict({"epoch": 3, "model": net.state_dict()})


def test_a_table_has_an_end() -> None:
    net = nn.Sequential(*(nn.Linear(1, 1) for _ in range(30)))
    wrapped = nn.Module()
    wrapped.module = net
    with pytest.raises(StateDictError) as caught:
        net.load_state_dict(wrapped.state_dict())
    lines = str(caught.value).split("\n")
    assert lines[0] == "load_state_dict: 120 of the keys do not fit Sequential, nothing was loaded:"
    assert lines[2] == "    0.weight         missing     (1, 1)  -" and len(lines) == 13 and lines[10] == "    and 112 more"


def test_no_renaming_is_proposed_where_a_hook_renames() -> None:
    """It would be applied to the keys that the hook has not seen yet."""
    net = nn.Sequential(nn.Linear(1, 1))
    state = {f"module.{k}": v for k, v in net.state_dict().items()}
    net.register_load_state_dict_pre_hook(lambda m, state, *rest: state.update({f"x.{k}": state.pop(k) for k in list(state)}))
    with pytest.raises(StateDictError) as caught:
        net.load_state_dict(state)
    assert "Try" not in str(caught.value)


def _random_shapes(rng: random.Random, depth: int) -> dict[str, Any]:
    """Keys and shapes of a made-up model, with many shapes alike."""
    if depth == 0 or rng.random() < 0.3:
        shape = rng.choice([(2, 2), (3,), (2, 3)])
        return {"weight": shape, "bias": shape[:1]}
    n = rng.randint(1, 4)
    names = sorted(map(str, rng.sample(range(6), n))) if rng.random() < 0.6 else rng.sample(["fc", "head", "layers", "a", "b"], n)
    return {f"{name}.{k}": shape for name in names for k, shape in _random_shapes(rng, depth - 1).items()}


def _as_saved_elsewhere(rng: random.Random, shapes: dict[str, Any]) -> dict[str, Any]:
    changes: list[Callable[[str], str]] = [
        lambda k: f"module.{k}", lambda k: k.partition(".")[2] or k, lambda k: re.sub("[0-9]+", lambda m: str(2 * int(m[0])), k),
        lambda k: k.replace("fc", "lin"), lambda k: k if rng.random() < 0.8 else f"{k}s",
    ]  # fmt: skip
    change = rng.choice(changes)
    return {change(k): shape if rng.random() < 0.97 else (9, 9) for k, shape in shapes.items()}


@pytest.mark.parametrize("seed", range(20))
def test_a_renaming_that_is_proposed_keeps_what_it_promises(seed: int) -> None:
    """Over made-up models and state dicts: the code runs, loses no key, and leaves as many that do not fit as it says."""
    rng, proposed = random.Random(seed), 0
    for _ in range(100):
        ours = _random_shapes(rng, 3)
        theirs = _as_saved_elsewhere(rng, ours)
        ids = {k: i for i, k in enumerate(ours)}
        advice = renaming_advice(ours, ids, theirs)
        if not advice:
            continue
        proposed += 1
        found = {"state_dict": theirs, "model": SimpleNamespace(state_dict=lambda ours=ours: ours)}
        exec(advice.split("Try:\n")[1].strip(), found)
        new: Any = found["state_dict"]
        left = len(ours.keys() ^ new.keys()) + sum(new[k] != shape for k, shape in ours.items() if k in new)
        before = len(ours.keys() ^ theirs.keys()) + sum(theirs[k] != shape for k, shape in ours.items() if k in theirs)
        assert len(new) == len(theirs) and left < before
        assert (" all keys fit but " if left else " all keys fit. ") in advice, advice
    assert proposed > 10
