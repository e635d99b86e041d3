"""Bad input to containers: each is a clear Python exception, and nothing is half done; and what is unusual, but no mistake."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import jitgrad as jg
from jitgrad import nn


def _sequential() -> nn.Sequential:
    return nn.Sequential(nn.Linear(1, 2), nn.ReLU())


def _list() -> nn.ModuleList[Any]:
    return nn.ModuleList([nn.Linear(1, 2), nn.ReLU()])


def _dict() -> nn.ModuleDict[Any]:
    return nn.ModuleDict({"first": nn.Linear(1, 2), "act": nn.ReLU()})


def _parameter_list() -> nn.ParameterList:
    return nn.ParameterList([jg.ones(1), jg.ones(2)])


def _parameter_dict() -> nn.ParameterDict:
    return nn.ParameterDict({"w": jg.ones(1), "n": 3})


def _buffer_list() -> nn.BufferList:
    return nn.BufferList([jg.ones(1), jg.ones(2)])


def _buffer_dict() -> nn.BufferDict:
    return nn.BufferDict({"mean": jg.ones(1)})


def _inner() -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(features=nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)), classifier=nn.ModuleList([nn.ReLU()] * 20))
    )


def _breaks_off(*first: Any) -> Iterator[Any]:
    yield from first
    raise OSError("disk")


def _through(index: Any) -> Callable[[Any], Any]:
    return lambda box: box[index]


Act = Callable[[Any], Any]
Bad = tuple[Act, type[Exception], str]
IN_LISTS: dict[str, Bad] = {
    "index too large": (_through(5), IndexError, "index 5 is out of range for 2 members"),
    "index too small": (_through(-3), IndexError, "index -3 is out of range for 2 members"),
    "a word as index": (_through("0"), TypeError, "indices are expected to be ints or slices, given str"),
    "a float as index": (_through(1.0), TypeError, "indices are expected to be ints or slices, given float"),
    "None as index": (_through(None), TypeError, "given NoneType"),
    "a slice of words": (_through(slice(0, "a")), TypeError, "slice indices must be integers"),
    "a slice without step": (_through(slice(0, 2, 0)), ValueError, "slice step cannot be zero"),
    "put too far": (lambda box: box.__setitem__(2, box[0]), IndexError, "index 2 is out of range for 2 members"),
    "put under a word": (lambda box: box.__setitem__("a", box[0]), TypeError, "indices are expected to be ints or slices, given str"),
    "put too many": (lambda box: box.__setitem__(slice(0, 2, 2), [box[0]] * 2), ValueError, "expected 1 members .*, given 2"),
    "put one for a slice": (lambda box: box.__setitem__(slice(0, 1), 3), TypeError, "expected several members, given int"),
    "delete too far": (lambda box: box.__delitem__(2), IndexError, "index 2 is out of range"),
    "delete a word": (lambda box: box.__delitem__("0"), TypeError, "given str"),
    "pop too far": (lambda box: box.pop(9), IndexError, "index 9 is out of range for 2 members"),
    "pop of nothing": (lambda box: type(box)().pop(), IndexError, "index -1 is out of range for 0 members"),
    "insert at a word": (lambda box: box.insert("a", box[0]), TypeError, "cannot be interpreted as an integer"),
    "remove a stranger": (lambda box: box.remove(nn.ReLU()), ValueError, "this ReLU is not one of its members"),
    "index of a stranger": (lambda box: box.index(nn.ReLU()), ValueError, "this ReLU is not one of its members"),
    "extend by one": (lambda box: box.extend(3), TypeError, "expected several members, given int"),
    "extend by nothing": (lambda box: box.extend(None), TypeError, "expected several members, given NoneType"),
    "extend by what breaks off": (lambda box: box.extend(_breaks_off(box[0])), OSError, "disk"),
    "times a word": (lambda box: box * "a", TypeError, "expected an int, given str"),
    "attribute that is not there": (lambda box: delattr(box, "5"), AttributeError, "has no attribute '5'|'5'"),
}
IN_MODULE_LISTS: dict[str, Bad] = {
    "a class": (lambda box: box.append(nn.ReLU), TypeError, "append: expected a Module, given type"),
    "None": (lambda box: box.append(None), TypeError, "append: expected a Module, given NoneType"),
    "None in place of one": (lambda box: box.__setitem__(0, None), TypeError, r"\[0\]: expected a Module, given NoneType"),
    "None by attribute": (lambda box: setattr(box, "0", None), TypeError, "cannot be None. Remove it by del, or put nn.Identity"),
    "None by name": (lambda box: box.add_module("0", None), TypeError, "expected a Module, given NoneType"),
    "None by path": (lambda box: box.set_submodule("0", None), ValueError, "expected a Module, given NoneType"),
    "a Tensor": (lambda box: box.insert(0, jg.ones(1)), TypeError, "insert: expected a Module, given Tensor"),
    "a list": (lambda box: box.append([nn.ReLU()]), TypeError, "append: expected a Module, given list"),
    "arguments the wrong way round": (lambda box: box.insert(nn.ReLU(), 0), TypeError, "expected a Module, given int"),
    "no module to insert": (lambda box: box.insert(0), TypeError, "expected a Module, given NoneType"),
    "one in several": (lambda box: box.extend([nn.ReLU(), 3, nn.ReLU()]), TypeError, "extend: expected a Module, given int"),
    "one in a slice": (lambda box: box.__setitem__(slice(0, 1), [nn.ReLU(), None]), TypeError, "expected a Module, given NoneType"),
    "extend by a module": (lambda box: box.extend(nn.ReLU()), TypeError, "expected several modules, given ReLU. Try append"),
    "extend by a dict": (lambda box: box.extend({"a": nn.ReLU()}), TypeError, "expected a Module, given str"),
    "itself": (lambda box: box.append(box), ValueError, "cannot be inside itself"),
    "itself, deep": (lambda box: box.append(nn.ModuleDict({"a": nn.Sequential(box)})), ValueError, "cannot be inside itself"),
    "itself, among others": (lambda box: box.extend([nn.ReLU(), box]), ValueError, "cannot be inside itself"),
    "itself, below": (lambda box: box[0].register_module("up", box), ValueError, "a Linear cannot be inside itself"),
    "itself, by path": (lambda box: box.set_submodule("1.up", box), ValueError, "cannot be inside itself"),
    "a name with a dot": (lambda box: box.add_module("a.b", nn.ReLU()), KeyError, "without dots, given 'a.b'"),
    "an empty name": (lambda box: box.append(nn.ReLU(), name=""), KeyError, "non-empty and without dots, given ''"),
    "a taken name": (lambda box: box.append(nn.ReLU(), name="forward"), KeyError, "has an attribute 'forward' already"),
    "a name that is a number": (lambda box: box.add_module(3, nn.ReLU()), TypeError, "is expected to be a string, given int"),
    "a name of digits": (lambda box: box.append(nn.ReLU(), name="7"), ValueError, "a name of digits is a position, given '7'"),
    "after what is not there": (lambda box: box.insert(nn.ReLU(), after="conv"), KeyError, "there is no module 'conv'; it has 0, 1"),
    "repeat none": (lambda box: box.repeat(0), ValueError, "n is expected to be an int of at least 1, given 0"),
}
IN_BUFFER_LISTS: dict[str, Bad] = {
    "a Parameter": (lambda box: box.append(nn.Parameter(jg.ones(1))), TypeError, "no Parameter, given Parameter. Try nn.ParameterList"),
    "a number": (lambda box: box.append(3), TypeError, "expected a Tensor .*, given int"),
    "None in place of one": (lambda box: box.__setitem__(0, None), TypeError, "given NoneType"),
    "None by attribute": (lambda box: setattr(box, "0", None), TypeError, "given NoneType"),
    "None by name": (lambda box: box.register_buffer("0", None), TypeError, "given NoneType"),
    "one that is not saved": (
        lambda box: box.register_buffer("2", jg.ones(1), False),
        ValueError,
        "persistent=False is for the whole list",
    ),
}
IN_PARAMETER_LISTS: dict[str, Bad] = {
    "ints": (lambda box: box.append(jg.tensor([1])), jg.errors.DTypeError, "only floats can require gradients"),
    "several, one of ints": (lambda box: box.extend([jg.ones(1), jg.tensor([1])]), jg.errors.DTypeError, "only floats"),
    "None for a parameter": (lambda box: box.__setitem__(0, None), TypeError, "expected a Tensor in its place, given NoneType"),
    "None by attribute": (lambda box: setattr(box, "1", None), TypeError, "expected a Tensor in its place, given NoneType"),
    "of a tensor": (lambda box: nn.ParameterList(jg.ones(3)), TypeError, "expected several members, given Tensor"),
    "itself": (lambda box: box.append(box), ValueError, "cannot be inside itself"),
}
IN_DICTS: dict[str, Bad] = {
    "no such key": (_through("q"), KeyError, "'q'"),
    "a number as key": (_through(0), KeyError, "0"),
    "no such attribute": (lambda box: box.q, AttributeError, "has no attribute 'q'"),
    "put under a number": (lambda box: box.__setitem__(0, nn.ReLU()), TypeError, "keys are expected to be strings, given int"),
    "a key with a dot": (lambda box: box.__setitem__("a.b", nn.ReLU()), KeyError, "non-empty and without dots, given 'a.b'"),
    "an empty key": (lambda box: box.__setitem__("", nn.ReLU()), KeyError, "non-empty and without dots, given ''"),
    "delete what is not there": (lambda box: box.__delitem__("q"), KeyError, "'q'"),
    "pop what is not there": (lambda box: box.pop("q"), KeyError, "'q'"),
    "popitem of nothing": (lambda box: type(box)().popitem(), KeyError, "it is empty"),
    "update by a number": (lambda box: box.update(3), TypeError, r"expected a mapping, or \(key, value\) pairs, given int"),
    "update by None": (lambda box: box.update(None), TypeError, "given NoneType"),
    "update by words": (lambda box: box.update(["ab"]), TypeError, "given str for a pair"),
    "update by modules": (lambda box: box.update([nn.ReLU()]), TypeError, "given ReLU for a pair"),
    "update by triples": (lambda box: box.update([("x", nn.ReLU(), 3)]), ValueError, "given 3 things for a pair"),
    "update by what breaks off": (lambda box: box.update(_breaks_off(("x", box[next(iter(box))]))), OSError, "disk"),
    "update by keywords": (lambda box: box.update(a=3), TypeError, "unexpected keyword argument 'a'"),
    "or a number": (lambda box: box | 3, TypeError, "unsupported operand"),
}
IN_MODULE_DICTS: dict[str, Bad] = {
    "None": (lambda box: box.__setitem__("x", None), TypeError, r"ModuleDict\['x'\]: expected a Module, given NoneType"),
    "None by attribute": (lambda box: setattr(box, "act", None), TypeError, "cannot be None. Remove it by del"),
    "None by name": (lambda box: box.register_module("x", None), TypeError, "'x': expected a Module, given NoneType"),
    "None under another name": (lambda box: box.add_module("x", None), TypeError, "'x': expected a Module, given NoneType"),
    "a class": (lambda box: box.__setitem__("x", nn.ReLU), TypeError, "expected a Module, given type"),
    "one in several": (lambda box: box.update({"x": nn.ReLU(), "y": 3}), TypeError, r"\['y'\]: expected a Module, given int"),
    "itself": (lambda box: box.__setitem__("me", box), ValueError, "cannot be inside itself"),
    "itself, deep": (lambda box: box.update([("x", nn.ReLU()), ("y", nn.Sequential(box))]), ValueError, "cannot be inside itself"),
    "itself, below": (lambda box: box.set_submodule("act.up", box), ValueError, "a ReLU cannot be inside itself"),
}
IN_BUFFER_DICTS: dict[str, Bad] = {
    "None": (lambda box: box.__setitem__("x", None), TypeError, "expected a Tensor .*, given NoneType"),
    "None by attribute": (lambda box: setattr(box, "mean", None), TypeError, "given NoneType"),
}
IN_PARAMETER_DICTS: dict[str, Bad] = {
    "ints": (lambda box: box.update({"x": 1, "y": jg.tensor([1])}), jg.errors.DTypeError, "only floats"),
    "itself": (lambda box: box.__setitem__("me", box), ValueError, "cannot be inside itself"),
    "a taken name": (lambda box: box.register_parameter("keys", nn.Parameter(jg.ones(1))), KeyError, "has an attribute 'keys' already"),
}
IN_SEQUENTIAL: dict[str, Bad] = {
    "a class": (lambda box: nn.Sequential(nn.ReLU), TypeError, "expected modules, given type at 0"),
    "a list of modules": (lambda box: nn.Sequential([nn.ReLU()]), TypeError, r"given list at 0. Try Sequential\(\*layers\)"),
    "a generator": (lambda box: nn.Sequential(m for m in box), TypeError, r"given generator at 0. Try Sequential\(\*layers\)"),
    "None between": (lambda box: nn.Sequential(nn.ReLU(), None), TypeError, "given NoneType at 1"),
    "None by name": (lambda box: nn.Sequential(OrderedDict(a=None)), TypeError, "name 'a': expected a Module, given NoneType"),
    "a name with a dot": (lambda box: nn.Sequential({"a.b": nn.ReLU()}), KeyError, "without dots, given 'a.b'"),
    "a name of a method": (lambda box: nn.Sequential({"forward": nn.ReLU()}), KeyError, "has an attribute 'forward' already"),
    "a name that is a number": (lambda box: nn.Sequential({1: nn.ReLU()}), TypeError, "expected to be a string, given int"),
    "plus a list": (lambda box: box.__add__([nn.ReLU()]), ValueError, "expected a Sequential, given list. Try append or extend"),
    "two inputs": (lambda box: box(jg.ones(1, 1), jg.ones(1, 1)), TypeError, "takes 2 positional arguments but 3 were given"),
    "no input": (lambda box: box(), TypeError, "missing 1 required positional argument: 'input'"),
    "the sum of lists without a start": (lambda box: sum([box, box]), TypeError, "unsupported operand"),
}
PATHS: dict[str, Bad] = {
    "unknown": (lambda m: m.get_submodule("head"), AttributeError, "has no submodule 'head'; it has features and classifier.$"),
    "misspelt": (
        lambda m: m.get_submodule("clasifier.3"), AttributeError,
        "'clasifier.3': Sequential has no submodule 'clasifier'; it has features and classifier. Did you mean 'classifier.3'?",
    ),
    "an index too large": (lambda m: m.get_submodule("classifier.20"), AttributeError, "has no submodule '20'; it has 0 to 19.$"),
    "a lost beginning": (lambda m: m.get_submodule("1"), AttributeError, "has no submodule '1'"),
    "one of two lost beginnings": (lambda m: m[0].get_parameter("weight"), AttributeError, "it has none.$"),
    "a lost beginning of both": (
        lambda m: nn.Sequential(m).get_submodule("features.0"), AttributeError, "'features'; it has 0. Did you mean '0.features.0'?",
    ),
    "a wrapper's name": (lambda m: m.get_submodule("module.features.0"), AttributeError, "Did you mean 'features.0'?"),
    "a parameter": (lambda m: m.get_submodule("features.0.bias"), AttributeError, "it has none. 'bias' is a parameter: see get_parameter."),
    "a buffer": (lambda m: m.get_parameter("features.1.running_mean"), AttributeError, "'running_mean' is a buffer: see get_buffer."),
    "a parameter for a buffer": (lambda m: m.get_buffer("features.1.bias"), AttributeError, "'bias' is a parameter: see get_parameter."),
    "a module for a parameter": (lambda m: m.get_parameter("features.1"), AttributeError, "'1' is a submodule: see get_submodule."),
    "a misspelt parameter": (
        lambda m: m.get_parameter("features.0.wieght"), AttributeError,
        "Linear has no parameter 'wieght'; it has weight and bias. Did you mean 'features.0.weight'?",
    ),
    "through a leaf": (lambda m: m.get_submodule("features.0.inner.deep"), AttributeError, "Linear has no submodule 'inner'; it has none."),
    "empty for a parameter": (lambda m: m.get_parameter(""), AttributeError, "has no parameter ''"),
    "two dots": (lambda m: m.get_submodule("features..0"), AttributeError, "has no submodule ''"),
    "a number": (lambda m: m.get_submodule(0), TypeError, "get_submodule: expected a path such as 'layers.0', given int"),
    "a number for a parameter": (lambda m: m.get_parameter(None), TypeError, "get_parameter: expected a path .*, given NoneType"),
    "set at a number": (lambda m: m.set_submodule(0, nn.ReLU()), TypeError, "set_submodule: expected a path .*, given int"),
    "set nothing": (lambda m: m.set_submodule("features", None), ValueError, "expected a Module, given NoneType"),
    "set the root": (lambda m: m.set_submodule("", nn.ReLU()), ValueError, "the path is empty"),
    "set below what is not there": (lambda m: m.set_submodule("feature.0", nn.ReLU()), AttributeError, "Did you mean 'features'?"),
    "set strictly": (lambda m: m.set_submodule("features.2", nn.ReLU(), strict=True), AttributeError, "'2'; it has 0 and 1.$"),
    "set over a parameter": (lambda m: m.set_submodule("features.0.bias", nn.ReLU()), AttributeError, "'bias' of Linear is no submodule"),
    "set what contains it": (lambda m: m.set_submodule("features.0", m), ValueError, "cannot be inside itself"),
}  # fmt: skip
TABLE: list[tuple[Callable[[], Any], dict[str, Bad]]] = [
    (_sequential, {**IN_LISTS, **IN_MODULE_LISTS, **IN_SEQUENTIAL}),
    (_list, {**IN_LISTS, **IN_MODULE_LISTS}),
    (_parameter_list, {**IN_LISTS, **IN_PARAMETER_LISTS}),
    (_buffer_list, {**IN_LISTS, **IN_BUFFER_LISTS}),
    (_dict, {**IN_DICTS, **IN_MODULE_DICTS}),
    (_parameter_dict, {**IN_DICTS, **IN_PARAMETER_DICTS}),
    (_buffer_dict, {**IN_DICTS, **IN_BUFFER_DICTS}),
    (_inner, PATHS),
]
ROWS = [pytest.param(make, bad, id=f"{make.__name__[1:]}, {name}") for make, rows in TABLE for name, bad in rows.items()]


def _seen(box: Any) -> Any:
    """All that can be seen of a container."""
    members = list(box.items()) if hasattr(box, "items") else list(box)
    return (
        repr(box),
        list(box.state_dict()),
        [n for n, _ in box.named_modules()],
        [id(x) for x in members if not isinstance(x, tuple)],
        len(box),
    )


@pytest.mark.parametrize(("make", "bad"), ROWS)
def test_bad_input_is_refused_and_changes_nothing(make: Callable[[], Any], bad: Bad) -> None:
    act, error, message = bad
    box = make()
    before = _seen(box)
    with pytest.raises(error, match=message):
        act(box)
    assert _seen(box) == before


@pytest.mark.parametrize("make", [make for make, _ in TABLE[:-1]], ids=lambda f: f.__name__[1:])
def test_empty_containers(make: Callable[[], Any]) -> None:
    """They are false, have nothing in a loop, and take members as others do."""
    full, empty = make(), type(make())()
    assert repr(empty) == f"{type(empty).__name__}()" and not empty and len(empty) == 0 and list(empty) == []
    assert list(empty.parameters()) == [] and dict(empty.state_dict()) == {} and list(empty.modules()) == [empty]
    empty.clear()
    assert not empty.copy() and type(empty.copy()) is type(empty)
    if hasattr(full, "items"):
        empty.update(full)
        assert list(empty.items()) == list(full.items()) and list(type(full)() | full) == list(full)
        return
    assert not empty[:] and not empty[5:] and list(reversed(empty)) == []
    both = sum([full, full.copy()], empty)
    assert type(both) is type(full) and len(both) == 4 and len(empty) == 0 and both[3] is full[1]
    empty.extend(full)
    assert list(empty) == list(full)
    full.clear()
    assert not full and len(empty) == 2


def test_an_empty_sequential_hands_on_its_input() -> None:
    x = jg.ones(1)
    assert nn.Sequential()(x) is x and nn.Sequential(nn.Sequential(), nn.ModuleList())(x) is x


def test_a_generator_is_read_once() -> None:
    layers = (nn.ReLU() for _ in range(3))
    box = nn.ModuleList(layers)
    box.extend(layers)  # nothing is left in it
    assert len(box) == 3 and len(nn.ModuleList(layers)) == 0
    box[:2] = (nn.Tanh() for _ in range(1))
    assert [type(m) for m in box] == [nn.Tanh, nn.ReLU] and len(box + (nn.ReLU() for _ in range(2))) == 4
    pairs = (pair for pair in [("a", nn.ReLU())])
    d = nn.ModuleDict(pairs)
    d.update(pairs)
    assert list(d) == ["a"]


def test_edits_in_a_loop_are_those_of_pythons_list_and_dict() -> None:
    """A loop over a list goes over what it held when the loop began; a dict refuses to change its keys, and takes other members."""
    box = nn.ModuleList([nn.ReLU(), nn.Tanh()])
    for m in box:
        box.append(m)
    assert len(box) == 4
    d = _dict()
    with pytest.raises(RuntimeError, match="changed size during iteration"):
        [d.update({f"{key}2": nn.ReLU()}) for key in d]
    assert list(d) == ["first", "act", "first2"], "the loop ends at the first edit, which is whole"
    for key in d:
        d[key] = nn.Tanh()
    assert {type(m) for m in d.values()} == {nn.Tanh}
    for key in list(d):
        del d[key]
    assert not d


def test_lists_of_tensors_stay_lists_whichever_way_they_are_edited() -> None:
    """By attribute or by name: a name of digits is a position."""
    p, b = nn.Parameter(jg.ones(9)), jg.ones(9)
    pl = _parameter_list()
    delattr(pl, "0")
    assert [v.shape for v in pl] == [(2,)] and list(pl.state_dict()) == ["0"]
    pl.register_parameter("7", p)
    setattr(pl, "9", nn.Parameter(jg.ones(3)))
    pl.add_module("8", nn.ReLU())
    assert len(pl) == 4 and pl[1] is p and list(pl.state_dict()) == ["0", "1", "2"] and isinstance(pl[3], nn.ReLU)
    pl.register_parameter("0", p)
    pl.register_parameter("extra", nn.Parameter(jg.ones(1)))
    assert pl[0] is p and len(pl) == 4 and list(pl.state_dict()) == ["0", "1", "2", "extra"]
    pd = _parameter_dict()
    pd.register_parameter("x", p)
    pd.y = p
    pd.add_module("m", nn.ReLU())
    assert list(pd) == ["n", "w", "x", "y", "m"] and pd["x"] is pd["y"] is pd.x is p
    for persistent in (True, False):
        bl = nn.BufferList([jg.ones(1), jg.ones(2)], persistent=persistent)
        delattr(bl, "0")
        bl.register_buffer("7", b)
        assert len(bl) == 2 and bl[1] is b and list(bl.state_dict()) == ["0", "1"] * persistent
    bd = _buffer_dict()
    bd.register_buffer("var", b)
    assert list(bd) == ["mean", "var"] and bd["var"] is bd.var is b
