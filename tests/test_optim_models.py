"""Optimizers that were given models: what each kind of edit makes of the next step."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from edited_model import Net, editing, layer, new, said

import jitgrad as jg
from jitgrad import nn, optim
from jitgrad.errors import SurgeryError
from jitgrad.nn import _edit_mark, surgery

# The edit, and the first name that has left, or that was gained (+); None: nothing that an optimizer should speak of.
EDITS: dict[str, str | None] = {
    # attributes
    "m.scale = new()": "scale",
    "m.scale = None": "scale",
    "m.scale = layer()": "scale",
    "del m.scale": "scale",
    "m.free = new()": "+free",
    "m.more = new()": "+more",
    "m.register_parameter('more', new())": "+more",
    "m.register_parameter('scale', None)": "scale",
    "m.head.weight = new()": "head.weight",
    "m.head = layer()": "head.weight",
    "m.head = None": "head.weight",
    "m.head = new()": "head.weight",
    "del m.head": "head.weight",
    "m.more = layer()": "+more.weight",
    "m.add_module('more', layer())": "+more.weight",
    "m.register_module('head', None)": "head.weight",
    "m.set_submodule('head', layer())": "head.weight",
    "m.set_submodule('seq.0', layer())": "seq.0.weight",
    "m.set_submodule('dict.type', layer())": "dict.type.weight",
    "m.head.__init__(1, 1)": "head.weight",
    "nn.Module.__init__(m.head)": "head.weight",
    "nn.Sequential.__init__(m.seq, layer())": "seq.0.weight",
    "nn.ModuleList.__init__(m.list)": "list.0.weight",
    "nn.ParameterList.__init__(m.plist)": "plist.0",
    # Sequential and ModuleList
    "m.seq[0] = layer()": "seq.0.weight",
    "m.seq[-1] = nn.Tanh()": "seq.2.weight",
    "m.seq[0:1] = [layer()]": "seq.0.weight",
    "m.seq[::2] = [layer(), layer()]": "seq.0.weight",
    "setattr(m.seq, '0', layer())": "seq.0.weight",
    "delattr(m.seq, '0')": "seq.0.weight",
    "del m.seq[0]": "seq.0.weight",
    "del m.seq[1:]": "seq.2.weight",
    "m.seq.append(layer())": "+seq.3.weight",
    "m.seq.append(layer(), name='last')": "+seq.last.weight",
    "m.seq.insert(0, layer())": "+seq.0.weight",
    "m.named.insert(layer(), after='a', name='b')": "+named.b.weight",
    "m.named.a = layer()": "named.a.weight",
    "m.seq.extend([layer()])": "+seq.3.weight",
    "m.seq += nn.Sequential(layer())": "+seq.3.weight",
    "m.seq.pop()": "seq.2.weight",
    "m.seq.pop(0)": "seq.0.weight",
    "m.seq.remove(m.seq[0])": "seq.0.weight",
    "m.seq.clear()": "seq.0.weight",
    "m.seq.add_module('3', layer())": "+seq.3.weight",
    "m.seq *= 2": None,
    "m.seq.reverse()": None,
    "m.list.insert(1, layer())": "+list.1.weight",
    "m.list += [layer()]": "+list.2.weight",
    "m.list *= 0": "list.0.weight",
    "m.list[1] = layer()": "list.1.weight",
    "m.list = m.list.repeat(2)": "+list.2.weight",
    "m.list = m.list[:1]": "list.1.weight",
    # ModuleDict
    "m.dict['x'] = layer()": "dict.x.weight",
    "m.dict.x = layer()": "dict.x.weight",
    "m.dict['y'] = layer()": "+dict.y.weight",
    "m.dict.y = layer()": "+dict.y.weight",
    "del m.dict['type']": "dict.type.weight",
    "del m.dict.x": "dict.x.weight",
    "m.dict.pop('x')": "dict.x.weight",
    "m.dict.popitem()": "dict.type.weight",
    "m.dict.clear()": "dict.x.weight",
    "m.dict.update({'y': layer()})": "+dict.y.weight",
    "m.dict.setdefault('y', layer())": "+dict.y.weight",
    "m.dict |= {'x': layer()}": "dict.x.weight",
    # ParameterList and ParameterDict
    "m.plist[0] = new()": "plist.0",
    "setattr(m.plist, '0', new())": "plist.0",
    "m.plist[0] = jg.ones(1)": "plist.0",
    "m.plist.append(jg.ones(1))": "+plist.2",
    "m.plist.append('word')": None,
    "m.plist += [new()]": "+plist.2",
    "m.plist.insert(0, new())": "+plist.0",
    "del m.plist[0]": "plist.0",
    "m.plist.pop()": "plist.1",
    "m.plist.clear()": "plist.0",
    "m.plist.reverse()": None,
    "m.pdict['w'] = new()": "pdict.w",
    "m.pdict.w = new()": "pdict.w",
    "m.pdict['w'] = 3": "pdict.w",
    "m.pdict['u'] = new()": "+pdict.u",
    "m.pdict.update({'u': new()})": "+pdict.u",
    "m.pdict.setdefault('u', new())": "+pdict.u",
    "del m.pdict['w']": "pdict.w",
    "del m.pdict.w": "pdict.w",
    "m.pdict.pop('w')": "pdict.w",
    "m.pdict.popitem()": "pdict.w",
    "m.pdict.clear()": "pdict.v",
    # what keeps the parameters, or only makes them common or moves them
    "m.load_state_dict(m.state_dict())": None,
    "m.load_state_dict(m.state_dict(), assign=True)": "scale",
    "m.load_state_dict({'head.weight': jg.ones(1, 1)}, strict=False, assign=True)": "head.weight",
    "m.requires_grad_(False)": None,
    "m.double().float()": None,
    "m.scale.data = jg.zeros(1)": None,
    "m.scale = m.scale": None,
    "m.mean = jg.ones(1)": None,
    "m.other = m.head": None,
    "m.other = m.head; del m.head": None,
    "m.seq.append(m.list.pop())": None,
    "m.dict['head'], m.head = m.head, None": None,
    "m.tied = m.scale; del m.scale": None,
    "m.head.weight = m.seq[0].weight": "head.weight",
    "m.more = nn.ReLU()": None,
}


GIVEN: dict[str, Callable[[Any], Any]] = {
    "model": lambda m: m,
    "parameters": lambda m: m.parameters(),
    "named": lambda m: m.named_parameters(),
    "group": lambda m: [{"params": m.parameters()}],
    "groups": lambda m: [{"params": c.named_parameters() if c is m.seq else c} for c in m.children()] + [{"params": m.parameters(False)}],
}


@pytest.mark.parametrize("edit", EDITS)
def test_each_kind_of_edit_is_noticed(edit: str) -> None:
    m, make = Net(), editing(edit)
    opt = optim.SGD(m, lr=0.1)
    assert said(opt) is None
    make(m)
    expected = EDITS[edit]
    assert said(opt) == expected
    assert said(opt) == (expected if expected and expected[0] != "+" else None)  # a warning once, an error as long as it is one
    opt.sync(m)
    assert said(opt) is None
    assert [id(p) for p in opt.param_groups[0]["params"]] == [id(p) for p in m.parameters()]
    assert opt.param_groups[0]["param_names"] == [name for name, _ in m.named_parameters()]


def test_an_edit_that_is_refused_or_of_buffers_costs_no_look() -> None:
    m = Net()
    mark = _edit_mark.mark
    m.mean = jg.ones(1)
    m.register_buffer("other", jg.ones(1))
    del m.other
    m.word = "word"
    nn.ReLU(), nn.CrossEntropyLoss()
    copy.deepcopy(m)
    with pytest.raises(TypeError):
        m.seq[0] = 3
    m.train().eval().requires_grad_(True).zero_grad()
    assert _edit_mark.mark is mark


@pytest.mark.parametrize("given", [g for g in GIVEN if g != "groups"])
def test_ways_to_give_all_parameters(given: str) -> None:
    m = Net()
    opt = optim.SGD(GIVEN[given](m), lr=0.1)
    assert [id(p) for p in opt.param_groups[0]["params"]] == [id(p) for p in m.parameters()]
    assert ("param_names" in opt.param_groups[0]) == (given in ("model", "named"))
    m.more = new()
    assert said(opt) == "+more" and said(opt) is None
    del m.head
    assert said(opt) == "head.weight"


def test_parts_in_groups() -> None:
    m = Net()
    opt = optim.SGD(GIVEN["groups"](m), lr=0.1)
    m.seq.append(m.list.pop())  # from one group's module to another's
    assert said(opt) is None
    m.seq.append(layer())
    assert said(opt) == "+4.weight"
    del m.dict["x"]
    assert said(opt) == "x.weight"


LISTS: dict[str, tuple[Callable[[Any], Any], str | None]] = {
    # What is given, and what is said of a parameter that is gained; one that left is an error always.
    "list": (lambda m: list(m.parameters()), "+more"),
    "generator": (lambda m: (p for p in m.parameters()), "+more"),
    "pairs": (lambda m: filter(None, m.named_parameters()), "+more"),
    "trained": (lambda m: [p for p in m.requires_grad_(True).parameters() if p.requires_grad], "+more"),
    "some": (lambda m: [p for p in m.parameters() if p is not m.scale], None),
    "head": (lambda m: [p for n, p in m.named_parameters() if n.startswith("head")], None),
    "groups": (lambda m: [{"params": list(m.parameters())[k::2]} for k in (0, 1)], "+more"),
    "parts": (lambda m: [{"params": [p for p in m.parameters() if p.ndim == k]} for k in (2, 1)], "+more"),
}


@pytest.mark.parametrize("given", LISTS)
def test_lists_are_of_the_model_that_was_asked_for_them(given: str) -> None:
    m, other = Net(), Net()
    make, gained = LISTS[given]
    list(other.parameters())
    opt = optim.SGD(make(m), lr=0.1)
    other.head = layer()
    assert said(opt) is None
    m.more = new()
    assert said(opt) == gained
    kept, m.head = m.head, layer()
    assert said(opt) == "head.weight"
    m.head = kept
    assert said(opt) is None


def test_what_a_list_is_not_said_to_have_lost() -> None:
    def gan(m: Any) -> Any:
        other = Net()
        opt = optim.SGD([*m.parameters(), *other.parameters()], lr=0.1)
        other.head = layer()
        return opt, other

    def rebuilt(m: Any) -> Any:
        rest = nn.Sequential(*list(m.children())[:2])
        opt = optim.SGD(list(rest.parameters()), lr=0.1)
        m.seq = layer()
        return opt, rest

    def alone(m: Any) -> Any:
        head = m.head
        opt = optim.SGD(list(head.parameters()), lr=0.1)
        m.head = nn.Identity()
        return opt, head

    def shared(m: Any) -> Any:
        twin = nn.Sequential(m.head)
        opt = optim.SGD(list(twin.parameters()), lr=0.1)
        m.head = layer()
        return opt, twin

    def loose(m: Any) -> Any:
        opt = optim.SGD([*m.parameters(), new()], lr=0.1)
        m.head = layer()
        return opt, None

    for case in (gan, rebuilt, alone, shared, loose):
        m = Net()
        list(m.parameters())
        opt, kept = case(m)
        assert said(opt) is None, (case.__name__, kept)


TAKEN: dict[str, Callable[[Any], Any]] = {
    "walk": lambda m: m.head.parameters(),
    "module": lambda m: m.head,
    "list": lambda m: list(m.head.parameters()),
    "tensors": lambda m: [m.head.weight, m.head.bias],
    "two": lambda m: [m.head.weight, m.seq[0].weight],
    "group": lambda m: [{"params": [m.scale]}, {"params": m.head.parameters()}],
    "model": lambda m: m,
    "all": lambda m: list(m.parameters()),
}


@pytest.mark.parametrize("given", TAKEN)
def test_what_surgery_takes_out_has_left_whatever_was_given(given: str) -> None:
    m = Net()
    opt = optim.SGD(TAKEN[given](m), lr=0.1)
    old = m.head
    change = surgery.replace(m, "head", nn.Linear(1, 1))
    assert said(opt) == "head.weight" and said(opt) == "head.weight"
    change.undo()
    assert said(opt) is None
    surgery.replace(m, "head", nn.Linear(1, 1))
    assert said(opt) == "head.weight"
    user = nn.Sequential(old)  # registered again
    assert said(opt) == ("head.weight" if given in ("model", "all") else None), user  # m has lost it all the same
    again = optim.SGD(old.parameters(), lr=0.1)  # somebody wants what has left
    m.more = layer()
    assert said(again) is None


def test_what_else_surgery_says_of_an_optimizer() -> None:
    m = Net()
    first, seq = m.seq[0], optim.SGD([m.seq[2].weight], lr=0.1)
    surgery.remove(m, "seq.0")
    assert said(seq) is None and first not in list(m.modules())
    whole = optim.SGD(list(m.parameters()), lr=0.1)
    change = surgery.replace(m, "head", nn.Linear(1, 1))
    with pytest.raises(
        SurgeryError, match=r"2 parameters have left Net .*: head.weight \(1, 1\) and head.bias .* Call optimizer.sync\(model\): it"
    ):
        whole.step()
    whole.sync(m)
    assert said(whole) is None
    change.undo()
    assert said(whole) == "head.weight"
    part = optim.SGD(m.head.parameters(), lr=0.1)
    surgery.replace(m, "head", nn.Linear(1, 1))
    with pytest.raises(SurgeryError, match=r"Call optimizer.sync\(model.head\): it"):
        part.step()
    moved = optim.SGD(m.list[0].parameters(), lr=0.1)
    both = nn.ModuleList([m, nn.Sequential(m.list[0])])
    list(both.parameters())
    change = surgery.replace(m, "list.0", nn.Linear(1, 1))
    assert said(moved) is None  # another model has it


def test_a_head_without_gradients() -> None:
    m: Any = nn.Module()
    m.body, m.fc = layer(), layer()
    opt = optim.SGD(m.fc.parameters(), lr=0.1)
    old, m.fc = m.fc, layer()
    with pytest.warns(
        UserWarning, match=r"SGD.step: no parameter of the Linear that was given has a gradient.*sync with .* model.fc\."
    ) as heard:
        opt.step()
    assert len(heard) == 1 and heard[0].filename == __file__
    m.other = layer()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opt.step()  # once
        frozen = optim.SGD(old.requires_grad_(False).parameters(), lr=0.1)
        m.third = layer()
        frozen.step()
    list(m.parameters())
    guessed = optim.SGD(list(m.fc.parameters()), lr=0.1)
    old, m.fc = m.fc, layer()
    with pytest.warns(UserWarning, match=r"fc.weight \(1, 1\) and fc.bias \(1,\)\. .* Call optimizer.sync\(model.fc\)\."):
        guessed.step()


def test_rests() -> None:
    m = Net()
    walk = m.parameters()
    first = next(walk)
    opt = optim.SGD(walk, lr=0.1)  # not all were given: what is gained is no news, but what leaves is
    assert all(p is not first for p in opt.param_groups[0]["params"])
    m.further = new()
    assert said(opt) is None
    del m.pdict
    assert said(opt) == "pdict.v"


def test_the_error_comes_before_anything_changes_and_after_the_closure() -> None:
    a, b = layer(), layer()
    m = nn.ModuleList([a, b])
    opt = optim.SGD([{"params": a}, {"params": m[1].parameters()}], lr=1.0, momentum=0.5)
    for p in m.parameters():
        p.grad = jg.ones_like(p)
    before = [p.tolist() for p in m.parameters()]
    old = a.weight

    def closure() -> None:
        a.weight = new()

    with pytest.raises(
        ValueError, match=r"SGD.step: a parameter has left Linear since .*: weight \(1, 1\)\. Nothing .* optimizer.sync\(model"
    ):
        opt.step(closure)
    assert [p.tolist() for p in (old, a.bias, b.weight, b.bias)] == before and not opt.state
    a.weight = old
    opt.step()
    assert a.bias.tolist() != before[1]


def test_words() -> None:
    m = nn.Sequential(*(layer() for _ in range(6)))
    opt = optim.Adam(m)
    m.append(layer())
    with pytest.warns(
        UserWarning, match=r"Adam.step: Sequential has gained 2 parameters that .*: 6.weight \(1, 1\) and 6.bias \(1,\)\. Call"
    ) as heard:
        opt.step()
    assert heard[0].filename == __file__
    m.clear()
    with pytest.raises(SurgeryError, match=r"12 parameters have left Sequential .* 3.bias \(1,\) and 4 more\. Nothing"):
        opt.step()


def test_each_gained_parameter_is_named_once() -> None:
    m = Net()
    opt = optim.SGD(m)
    m.one = new()
    assert said(opt) == "+one"
    m.two = new()
    assert said(opt) == "+two"
    del m.one
    m.one = new()
    assert said(opt) == "+one"
    m.three = new()
    opt.add_param_group({"params": [m.three]})
    assert said(opt) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        m.four = new()
        with pytest.raises(UserWarning, match="four"):
            opt.step()
        opt.step()


def test_frozen_parameters_are_named_when_they_want_gradients() -> None:
    m = Net()
    opt = optim.SGD(m)
    m.teacher = layer().requires_grad_(False)
    assert said(opt) is None
    m.teacher.bias.requires_grad_()
    assert said(opt) == "+teacher.bias" and said(opt) is None
    m.requires_grad_(False)
    assert said(opt) is None


def test_groups_edited_by_hand_are_the_users() -> None:
    m = Net()
    opt = optim.SGD(m.parameters())
    opt.param_groups[0]["params"].remove(m.scale)  # the first: tensors compare elementwise
    assert said(opt) is None
    del m.scale
    m.more = new()
    opt.param_groups[0]["params"].append(m.more)
    assert said(opt) is None


def test_a_model_that_is_gone() -> None:
    m = Net()
    opt = optim.SGD(m, lr=0.1)
    m = Net()
    with pytest.warns(UserWarning, match="SGD.step: the Net whose parameters were given does not exist any more"):
        opt.step()
    assert said(opt) is None
    m = Net()
    assert said(opt) is None
    opt.sync(m)
    assert [id(p) for p in opt.param_groups[0]["params"]] == [id(p) for p in m.parameters()]
    # Parameters in use are in order without their module.
    opt = optim.SGD(layer().parameters(), lr=0.1)
    for p in opt.param_groups[0]["params"]:
        p.grad = jg.ones_like(p)
    Net()
    assert said(opt) is None


def test_the_model_is_held_weakly_and_stays_out_of_copies() -> None:
    m = Net()
    opt = optim.SGD(m, lr=0.1)
    assert "_watch" in opt.__dict__ and "_watch" not in opt.state_dict()
    for twin in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt)), copy.deepcopy({"opt": opt, "m": m})["opt"]):
        del m.scale
        assert said(twin) is None and said(opt) == "scale"
        m.scale = opt.param_groups[0]["params"][0]
    both = copy.deepcopy((m, opt))
    both[1].sync(both[0])
    del both[0].scale
    assert said(both[1]) == "scale"
    gc.disable()
    try:
        watched = opt._watch.modules[0].module  # type: ignore[union-attr]
        del m
        assert watched() is None
    finally:
        gc.enable()


# ---- iterators
def test_parameters_is_an_iterator_as_a_generator_is() -> None:
    m = Net()
    names = [name for name, _ in m.named_parameters()]
    walk = m.named_parameters()
    assert next(walk)[0] == names[0] and next(iter(walk))[0] == names[1]
    assert [name for name, _ in walk] == names[2:] and list(walk) == [] and next(walk, None) is None
    one, two = m.parameters(), m.parameters(recurse=False)
    assert [p is q for p, q in zip(one, two, strict=False)] == [True]
    assert iter(one) is iter(one) and isinstance(next(one), nn.Parameter)
    assert [*m.parameters()][-1] is m.head.bias and len(tuple(m.parameters())) == len(names)


def test_hidden_modules_are_named_once_by_the_constructor() -> None:
    for give in (lambda m: m, lambda m: m.parameters(), lambda m: [{"params": m}]):
        m = Net()
        m.hidden = [layer()]
        with pytest.warns(UserWarning, match=r"hidden of Net is a plain list with 1 Module that .* Use nn.ModuleList") as heard:
            opt = optim.SGD(give(m))
        assert len(heard) == 1 and said(opt) is None


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: optim.SGD(nn.ReLU()), ValueError, "SGD: no parameters were given.$"),
        (lambda: optim.SGD(nn.ReLU().parameters()), ValueError, "no parameters were given. A generator"),
        (lambda: optim.SGD([layer()]), TypeError, "parameter 0 is expected to be a Tensor, given Linear"),
        (lambda: optim.SGD([new()]).sync(nn.ReLU()), ValueError, "SGD.sync: ReLU has no parameters"),
        (lambda: optim.SGD([new()]).sync([new()]), TypeError, "SGD.sync: expected a model, given list"),
    ],
)
def test_wrong_use(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_a_model_with_parameters_of_its_own_choice() -> None:
    class Chosen(Net):
        def named_parameters(self, *args: Any, **kwargs: Any) -> Any:
            return (pair for pair in super().named_parameters(*args, **kwargs) if not pair[0].startswith("seq"))

    m = Chosen()
    opt = optim.SGD(m)
    assert not any(name.startswith("seq") for name in opt.param_groups[0]["param_names"])
    m.seq = layer()
    assert said(opt) is None
    m.head = layer()
    assert said(opt) == "head.weight"
