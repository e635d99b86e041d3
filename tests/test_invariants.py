"""What containers hold to, each invariant in one program. Most would fail in PyTorch; where torch is installed, that is shown too."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest

import jitgrad as jg


@pytest.fixture
def lib() -> Any:
    """What the programs are about; the last test puts PyTorch in its place."""
    return jg


def _names(box: Any) -> list[str]:
    return [name for name, _ in box.named_modules(remove_duplicate=False) if name and "." not in name]


def _values(m: Any) -> dict[str, Any]:
    return {k: v.tolist() for k, v in m.state_dict().items()}


def test_index_and_slice_give_references_never_copies(lib: Any) -> None:
    """An edit of what is found is an edit of the model; a member that is replaced leaves its place to the new one."""
    nn = lib.nn
    for kind in (nn.ModuleList, lambda ms: nn.Sequential(*ms)):
        layers = [nn.Linear(1, n) for n in range(1, 6)]
        box = kind(layers)
        assert all(box[i] is layers[i] and box[i - 5] is layers[i] for i in range(5))
        for s in (slice(None), slice(1, 4), slice(-2, None), slice(None, None, 2), slice(None, None, -1), slice(9, 3)):
            part = box[s]
            assert type(part) is type(box) and len(part) == len(layers[s])
            assert all(a is b for a, b in zip(part, layers[s], strict=True)), s
            assert all(p is q for p, q in zip(part.parameters(), (q for m in layers[s] for q in m.parameters()), strict=True))
        with lib.no_grad():
            box[1:][0].bias.fill_(7.0)
        assert box[1].bias.tolist() == layers[1].bias.tolist() == [7.0, 7.0]

        new = nn.ReLU()
        box[1], box[-2] = new, box[1]
        assert box[1] is new and [box[i] is layers[i] for i in range(5)] == [True, False, True, False, True] and box[3] is layers[1]
        assert _names(box) == ["0", "1", "2", "3", "4"] and len(box) == 5
        part = box[:2]
        part[0] = nn.Tanh()  # a slice is a list of its own, of the same modules
        assert box[0] is layers[0]
    listed = nn.ParameterList([lib.ones(n) for n in range(1, 4)])
    assert listed[-1] is listed[2] is next(iter(listed[2:])) and list(listed.parameters())[1] is listed[1]


def test_after_any_edit_the_state_is_what_pythons_list_or_dict_would_hold(lib: Any) -> None:
    """The same edits of a container and of Python's own, one after the other; one that is refused changes nothing."""
    nn = lib.nn
    pool = [nn.Identity() for _ in range(9)]
    edits: list[Callable[[Any], Any]] = [
        lambda box: box.append(pool[4]), lambda box: box.insert(-1, pool[5]), lambda box: box.insert(99, pool[6]),
        lambda box: box.insert(-99, pool[7]), lambda box: box.pop(), lambda box: box.pop(0), lambda box: box.pop(-2),
        lambda box: box.extend([pool[8], pool[0]]), lambda box: box.__delitem__(0), lambda box: box.__delitem__(slice(0, 5, 2)),
        lambda box: box.__setitem__(slice(1, 2), [pool[1], pool[2], pool[3]]), lambda box: box.__setitem__(-1, pool[4]),
        lambda box: box.reverse(), lambda box: box.remove(pool[2]), lambda box: box.insert(1, pool[2]), lambda box: box.extend(box),
        lambda box: box.pop(99), lambda box: box.__delitem__(-99), lambda box: box.__setitem__(99, pool[0]), lambda box: box[99],
        lambda box: box.__setitem__(slice(0, 4, 2), [pool[0]]), lambda box: box.remove(nn.ReLU()), lambda box: box.extend(3),
        lambda box: box.clear(), lambda box: box.pop(),
    ]  # fmt: skip
    for kind in (nn.ModuleList, lambda ms: nn.Sequential(*ms)):
        box, plain = kind(pool[:4]), pool[:4]
        identity = hash(box)
        for number, edit in enumerate(edits):
            try:
                expected = edit(plain)
            except Exception as error:
                with pytest.raises(type(error)):
                    edit(box)
            else:
                given = edit(box)
                assert given is expected or given is box, f"edit {number}"  # PyTorch's append, extend return the container
            assert len(box) == len(plain) and all(a is b for a, b in zip(box, plain, strict=True)), f"edit {number}"
            assert _names(box) == [str(i) for i in range(len(plain))], f"edit {number}"
        assert hash(box) == identity and box == box and box != kind([]) and kind(pool) != kind(pool)

        for refused in (lambda b: b.extend([pool[0], 3]), lambda b: b.append(b), lambda b: b.__setitem__(slice(0, 1), [pool[0], None])):
            box = kind(pool[:3])
            with pytest.raises((TypeError, ValueError)):
                refused(box)
            assert len(box) == 3 and all(a is b for a, b in zip(box, pool[:3], strict=True))
    d, plain_dict = nn.ModuleDict(), {}
    for edit in (lambda d: d.update([("b", pool[0]), ("a", pool[1])]), lambda d: d.__setitem__("b", pool[2]), lambda d: d.pop("b"),
                 lambda d: d.setdefault("c", pool[3]), lambda d: d.setdefault("c", pool[4]), lambda d: d.popitem(),
                 lambda d: d.__ior__({"z": pool[5]}), lambda d: d.pop("q", None)):  # fmt: skip
        edit(d), edit(plain_dict)
        assert list(d.items()) == list(plain_dict.items())
    with pytest.raises(TypeError):
        d.update([("new", pool[0]), ("bad", 3)])
    assert list(d.items()) == list(plain_dict.items())


def test_in_sequential_a_digit_name_is_its_position_always_and_other_names_never_change(lib: Any) -> None:
    """Through del, insert, slices and an append on a slice; so the keys of a state dict are what you think."""
    nn = lib.nn
    stem, act, head = nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 3)
    net = nn.Sequential(OrderedDict([("stem", stem), ("1", act), ("head", head)]))
    net.insert(1, nn.Tanh())
    assert _names(net) == ["stem", "1", "2", "head"] and net.stem is stem and net[2] is act and net.head is head
    del net[1]
    assert _names(net) == ["stem", "1", "head"] and net[1] is act
    del net[0]
    assert _names(net) == ["0", "head"] and net[0] is act and list(net.state_dict()) == ["head.weight", "head.bias"]
    net.insert(0, stem)
    part = net[1:]
    part.append(nn.Tanh())
    assert _names(part) == ["0", "head", "2"] and len(part) == 3 and part[2] is not head and part[1] is head
    net.append(nn.Tanh(), name="last").insert(nn.GELU(), after="head", name="gelu")
    assert _names(net) == ["0", "1", "head", "gelu", "last"]
    net.pop(0)
    net.add_module("7", nn.Tanh())
    assert _names(net) == ["0", "head", "gelu", "last", "4"] and net[4] is getattr(net, "4")
    with pytest.raises(ValueError, match="a name of digits is a position"):
        net.append(nn.Tanh(), name="9")
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), net.copy()):
        assert _names(twin) == _names(net) and repr(twin) == repr(net)
    net.load_state_dict(copy.deepcopy(net).state_dict())


def test_sequential_chains_a_module_list_inside_it_and_a_bare_one_says_where_it_stands(lib: Any) -> None:
    """With its hooks, and gradients; a ModuleList that is called is NotImplementedError with its path and two ways to go on."""
    nn = lib.nn
    layers = nn.ModuleList([nn.Linear(2, 3), nn.ModuleList([nn.Tanh()]), nn.Linear(3, 2)])
    net = nn.Sequential(nn.ReLU(), layers, nn.Tanh())
    x, heard = lib.randn(4, 2), []
    layers.register_forward_hook(lambda m, args, y: heard.append((args[0].shape, y.shape)))
    y = net(x)
    by_hand = nn.Sequential(nn.ReLU(), layers[0], layers[1][0], layers[2], nn.Tanh())
    assert y.tolist() == by_hand(x).tolist() and heard == [((4, 2), (4, 2))]
    y.sum().backward()
    assert all(p.grad is not None for p in net.parameters())

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.ModuleDict({"layers": layers})

        def forward(self, x: Any) -> Any:
            return self.encoder["layers"](x)

    with pytest.raises(NotImplementedError) as caught:
        Net()(x)
    text = str(caught.value)
    assert "for layer in layers: x = layer(x)" in text and "nn.Sequential(*layers)" in text
    assert text.endswith("in encoder.layers (ModuleList) of Net, input (4, 2) float32")


def test_module_dict_is_a_full_mapping_and_any_string_without_a_dot_is_a_key(lib: Any) -> None:
    """Attributes reach a member unless Module or ModuleDict has that name; both ways lead to one object, with equal gradients."""
    nn = lib.nn
    keys = ["fc", "type", "keys", "forward", "train", "0", "two words", "weight", "ö", "__class__"]
    plain = {k: nn.Linear(1, 1) for k in keys}
    d = nn.ModuleDict(plain)
    assert list(d) == list(d.keys()) == keys and list(d.values()) == list(plain.values()) and list(d.items()) == list(plain.items())
    assert all(d[k] is m and k in d for k, m in plain.items()) and len(d) == len(keys)
    own = [k for k in keys if hasattr(nn.ModuleDict, k)]
    assert own == ["type", "keys", "forward", "train", "__class__"] and callable(d.type) and d.__class__ is nn.ModuleDict
    assert all(getattr(d, k) is d[k] for k in keys if k not in own)
    d["fc"](lib.ones(1, 1)).sum().backward()
    first = d["fc"].weight.grad.tolist()
    d.zero_grad()
    d.fc(lib.ones(1, 1)).sum().backward()
    assert d.fc.weight.grad is d["fc"].weight.grad and d.fc.weight.grad.tolist() == first == [[1.0]]
    assert list(d.state_dict()) == [f"{k}.{end}" for k in keys for end in ("weight", "bias")]
    twin = nn.ModuleDict({k: nn.Linear(1, 1) for k in keys})
    twin.load_state_dict(d.state_dict())
    assert _values(twin) == _values(d) and twin.get_submodule("two words") is twin["two words"]
    lacking = [name for name in dir(dict) if not name.startswith("__") and not callable(getattr(d, name, None))]
    assert not lacking and {"__or__", "__ior__", "__ror__", "__reversed__"} <= set(dir(type(d)))
    for key in ("", "a.b"):
        with pytest.raises(KeyError):
            d[key] = nn.ReLU()
    assert list(d) == keys and list(reversed(d)) == keys[::-1] and list(d | {"more": nn.ReLU()}) == [*keys, "more"]
    assert d.get("none") is None and d.pop("none", 3) == 3 and d.popitem()[0] == "__class__" and d == d and d != twin


def test_repetition_says_what_is_shared(lib: Any) -> None:
    """repeat(n, mode) makes new weights, equal ones, or shares them; the repr marks shared modules, and is PyTorch's otherwise."""
    nn = lib.nn
    unit = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    assert repr(unit * 2) == (
        "Sequential(\n  (0): Linear(in_features=2, out_features=2, bias=True)\n  (1): ReLU()\n"
        "  (2): Linear(in_features=2, out_features=2, bias=True) (shared)\n  (3): ReLU() (shared)\n)"
    )
    fresh, equal, shared = (unit.repeat(3, mode=mode) for mode in ("init", "copy", "share"))
    assert repr(unit.repeat(3)) == repr(fresh), "new weights are the default"
    for model, weights, values in ((fresh, 3, 3), (equal, 3, 1), (shared, 1, 1)):
        assert len(model) == 6 and model[0] is unit[0] and len(unit) == 2
        assert len({id(m.weight) for m in model[::2]}) == weights and len({str(m.weight.tolist()) for m in model[::2]}) == values
        assert len(list(model.parameters())) == 2 * weights
        assert repr(model).count("(shared)") == (0 if weights > 1 else 4)
        model.zero_grad()
        model(lib.ones(1, 2)).sum().backward()
    assert all(m.weight.grad is shared[0].weight.grad for m in shared[::2])
    with lib.no_grad():
        shared[2].weight.fill_(5.0)
    assert shared[0].weight.tolist() == [[5.0, 5.0], [5.0, 5.0]] != equal[2].weight.tolist()
    with pytest.raises(ValueError, match="'init', 'copy' or 'share'"):
        unit.repeat(2, mode="alias")


def test_load_state_dict_is_all_or_nothing_and_reports_every_key(lib: Any) -> None:
    """Missing, unexpected and misshapen ones together, with the key that was meant; tied weights count once."""
    nn = lib.nn

    def build(hidden: int = 3) -> Any:
        return nn.Sequential(OrderedDict(stem=nn.Linear(2, hidden), norm=nn.BatchNorm1d(hidden), head=nn.Linear(hidden, hidden)))

    net = build()
    before = _values(net)
    given = {k: v + 1 for k, v in net.state_dict().items()}
    given["head.wieght"] = given.pop("head.weight")
    given["norm.running_var"] = lib.ones(5)
    for strict in (True, False):
        with pytest.raises(RuntimeError) as caught:
            net.load_state_dict(given, strict=strict)
        assert _values(net) == before, "nothing was copied, of what fits neither"
        assert ("wieght" in str(caught.value)) == strict
        assert [line.split() for line in str(caught.value).split("\n") if "running_var" in line] == [
            ["norm.running_var", "wrong", "shape", "(3,)", "(5,)"]
        ]
    with pytest.raises(ValueError, match=r"3 of the keys") as caught:
        net.load_state_dict(given)
    told = [" ".join(line.split()) for line in str(caught.value).split("\n")]
    assert "head.weight missing (3, 3) - (did you mean head.wieght?)" in told and "head.wieght unexpected - (3, 3)" in told
    with pytest.raises(RuntimeError, match=r"Without the prefix 'module\.' all keys fit"):
        net.load_state_dict({f"module.{k}": v for k, v in build().state_dict().items()})

    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    state = {k: v + 1 for k, v in tied.state_dict().items() if k != "0.weight"}
    assert repr(tied.load_state_dict(state)) == "<All keys matched successfully>"
    assert tied[0].weight is tied[1].weight and tied[0].weight.tolist() == state["1.weight"].tolist()
    net.load_state_dict(build().state_dict())
    assert _values(net) != before


def test_modules_and_parameters_in_plain_containers_are_found_and_named_once(lib: Any) -> None:
    """In a list, tuple, dict or set, filled before or after it was set: parameters(), state_dict() and so an optimizer's line warn."""
    nn = lib.nn
    holders: dict[str, Callable[[Any], Any]] = {
        "list": lambda x: [x], "tuple": lambda x: (x, 3), "dict": lambda x: {"a": x}, "set": lambda x: {x}
    }  # fmt: skip
    looks = [lambda net: list(net.parameters()), lambda net: net.state_dict(), lambda net: lib.optim.SGD(net.parameters(), lr=0.1)]
    for kind, hold in holders.items():
        for hidden, proper in ((nn.Linear(1, 1), "nn.Module"), (nn.Parameter(lib.ones(1)), "nn.Parameter")):
            for look in looks:
                net = nn.Sequential(OrderedDict(body=nn.Linear(1, 1)))
                net.body.extra = hold(hidden)
                with pytest.warns(UserWarning, match=rf"body\.extra of Sequential is a plain {kind} with 1 .* Use {proper}"):
                    look(net)
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    for again in looks:
                        again(net)
    net = nn.Linear(1, 1)
    net.later = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(net.parameters())
    net.later.append(nn.Linear(1, 1))
    with pytest.warns(UserWarning, match=r"later of Linear is a plain list"):
        list(net.parameters())
    with warnings.catch_warnings():  # a list that is filled first and registered then hides nothing
        warnings.simplefilter("error")
        net = nn.Module()
        net.blocks = [nn.Linear(1, 1)]
        net.registered = nn.ModuleList(net.blocks)
        assert len(list(net.parameters())) == 2


def test_an_optimizer_built_from_a_models_parameters_notices_what_left_and_what_was_gained(lib: Any) -> None:
    """What left is an error before anything is updated, what was gained a warning that names it."""
    nn = lib.nn
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    opt = lib.optim.Adam(net.parameters(), lr=0.1)
    net(lib.ones(1, 2)).sum().backward()
    opt.step()
    gone, before = net[1].weight, _values(net[0])
    net[1] = nn.Linear(2, 3)
    net(lib.ones(1, 2)).sum().backward()
    with pytest.raises(ValueError, match=r"2 parameters have left Sequential .* 1\.weight \(1, 2\) and 1\.bias \(1,\)"):
        opt.step()
    assert _values(net[0]) == before
    opt.sync(net)
    opt.step()
    assert _values(net[0]) != before and gone not in opt.state and opt.state[net[0].weight]["step"] == 2
    net.append(nn.Linear(3, 1))
    with pytest.warns(UserWarning, match=r"gained 2 parameters .* 2\.weight \(1, 3\) and 2\.bias \(1,\)"):
        opt.step()


@pytest.mark.parametrize(
    ("program", "error", "what"),
    [
        (test_an_optimizer_built_from_a_models_parameters_notices_what_left_and_what_was_gained, pytest.fail.Exception, "DID NOT RAISE"),
        (test_after_any_edit_the_state_is_what_pythons_list_or_dict_would_hold, KeyError, "-1"),
        (test_in_sequential_a_digit_name_is_its_position_always_and_other_names_never_change, KeyError, "2"),
        (test_sequential_chains_a_module_list_inside_it_and_a_bare_one_says_where_it_stands, NotImplementedError, "forward"),
        (test_module_dict_is_a_full_mapping_and_any_string_without_a_dot_is_a_key, KeyError, "type"),
        (test_repetition_says_what_is_shared, AssertionError, "shared"),
        (test_load_state_dict_is_all_or_nothing_and_reports_every_key, AssertionError, "nothing was copied"),
        (test_modules_and_parameters_in_plain_containers_are_found_and_named_once, pytest.fail.Exception, "DID NOT WARN"),
    ],
)
def test_pytorch_does_not_hold_to_it(program: Any, error: Any, what: str) -> None:
    """So that each of these programs is known to see what it is about."""
    torch = pytest.importorskip("torch")
    with pytest.raises(error, match=what):
        program(torch)


def test_pytorch_gives_references_too() -> None:
    test_index_and_slice_give_references_never_copies(pytest.importorskip("torch"))
