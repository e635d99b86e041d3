"""Every method that PyTorch's containers have, called in jitgrad and in PyTorch: what it returns, and what the container is after it."""

from __future__ import annotations

import copy
import operator
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from module_programs import linear, values

Program = Callable[[Any, Any, list[Any]], Any]  # of the library, a container, and things to put into it


class Case(NamedTuple):
    """A call of a method; where the two differ on purpose, differs is in the row of docs/differences.md that says so."""

    kind: str
    method: str
    program: Program
    differs: str = ""


# The first cells of rows in docs/differences.md.
INSERT = "`ModuleList.insert(-1, m)`, `insert(99, m)`"
NAMES = "names in `Sequential` after `del`, in a slice, or given as digits"
OWN_NAME = "a name of its own in a `ModuleList`"
LISTS = "`Sequential`, `ModuleList`, `ParameterList`, `BufferList`"
DICTS = "`ModuleDict`"
KEYS = "keys of a `ModuleDict`, a `ParameterDict`"
NO_KEY = "a `ParameterDict` without the key"
VALUE = "another value for a parameter of a `ParameterDict`"
OR = "a dict or'ed with a `ParameterDict`"
NONE = "a module inside itself, `None` in a `Sequential`"
SHARED = "a shared module in a repr"


def pool(lib: Any, kind: str) -> list[Any]:
    """Things to put into a container."""
    nn = lib.nn
    if kind.startswith("Parameter"):
        return [*(nn.Parameter(lib.ones(n)) for n in range(1, 5)), lib.zeros(5), "word", nn.ReLU(), 7]
    named = nn.Sequential(OrderedDict(inner=linear(lib, 0.0, 2, 2)))
    return [linear(lib, 0.0, 1, 2), nn.ReLU(), linear(lib, 1.0, 2, 3), nn.Tanh(), linear(lib, 2.0, 3, 1), named, nn.BatchNorm1d(2)]


def make(lib: Any, kind: str, ps: list[Any]) -> Any:
    """A container of the first three, of a kind; "Named" is a Sequential with names."""
    nn = lib.nn
    if kind == "Sequential":
        return nn.Sequential(*ps[:3])
    if kind == "Named":
        return nn.Sequential(OrderedDict(fc=ps[0], act=ps[1], out=ps[2]))
    if kind in ("ModuleDict", "ParameterDict"):
        return getattr(nn, kind)(OrderedDict(b=ps[0], a=ps[1], c=ps[2]))
    return getattr(nn, kind)(ps[:3])


def described(lib: Any, x: Any, box: Any, ps: list[Any]) -> Any:
    """What can be compared: members by their numbers, containers by their members."""
    if x is box:
        return "the container"
    for i, p in enumerate(ps):
        if x is p:
            return f"thing {i}"
    if isinstance(x, lib.Tensor):
        return [type(x).__name__, x.tolist()]
    if isinstance(x, lib.nn.Module):
        return [repr_of(lib, x), *structure(x)]
    if isinstance(x, (str, int, float, type(None))):
        return x
    if isinstance(x, dict):
        return [[k, described(lib, v, box, ps)] for k, v in x.items()]
    return [described(lib, v, box, ps) for v in x]


def structure(box: Any) -> Any:
    """Keys, and parameters and modules in their order."""
    return [
        list(box.state_dict()), *([n for n, _ in box.named_parameters(remove_duplicate=r)] for r in (True, False)),
        [list(p.shape) for p in box.parameters()], *([n for n, _ in box.named_modules(remove_duplicate=r)] for r in (True, False)),
        [n for n, _ in box.named_children()], len(box) if hasattr(box, "__len__") else None,
    ]  # fmt: skip


def repr_of(lib: Any, m: Any) -> str:
    """Without what differs by its row: the marks of shared modules, and the old name of a dtype."""
    return repr(m).replace(f"{lib.__name__}.", "").replace("FloatTensor", "float32").replace(" (shared)", "")


def run(lib: Any, case: Case) -> Any:
    """What the call returned, and what the container is after it; or the error, and whether the container is as it was."""
    ps = pool(lib, case.kind)
    box = make(lib, case.kind, ps)
    before = state(lib, box, ps)
    try:
        result = described(lib, case.program(lib, box, ps), box, ps)
    except Exception as error:
        return error, before
    return result, state(lib, box, ps)


def state(lib: Any, box: Any, ps: list[Any]) -> Any:
    """What a container is."""
    return repr_of(lib, box), structure(box), [described(lib, x, box, ps) for x in (box.items() if hasattr(box, "items") else box)]


def _statement(edit: Callable[[Any, list[Any]], Any]) -> Program:
    """A program that edits and returns the container."""

    def program(lib: Any, box: Any, ps: list[Any]) -> Any:
        edit(box, ps)
        return box

    return program


def _inplace(name: str, other: Callable[[Any, Any, list[Any]], Any]) -> Program:
    return lambda lib, box, ps: getattr(box, name)(other(lib, box, ps))


def _cases(kinds: str, *rows: tuple[Any, ...]) -> list[Case]:
    return [Case(kind, *row) for kind in kinds.split() for row in rows]


CASES: list[Case] = [
    # ---- lists of modules
    *_cases(
        "Sequential Named ModuleList",
        ("__getitem__", lambda lib, box, ps: [box[0], box[2], box[-1], box[-3]]),
        ("__getitem__", lambda lib, box, ps: box[3]), ("__getitem__", lambda lib, box, ps: box[-4]),
        ("__getitem__", lambda lib, box, ps: box["0"]), ("__getitem__", lambda lib, box, ps: box[1.0]),
        ("__setitem__", _statement(lambda box, ps: box.__setitem__(1, ps[3]))),
        ("__setitem__", _statement(lambda box, ps: box.__setitem__(-1, ps[4]))),
        ("__setitem__", lambda lib, box, ps: box.__setitem__(3, ps[4])),
        ("__setitem__", lambda lib, box, ps: box.__setitem__(0, 3)),
        ("__setitem__", lambda lib, box, ps: box.__setitem__(slice(0, 1), [ps[4]]), LISTS),
        ("__setitem__", lambda lib, box, ps: box.__setitem__(0, None), NONE),
        ("__delitem__", lambda lib, box, ps: box.__delitem__(3)),
        ("__len__", lambda lib, box, ps: [len(box), bool(box), len(type(box)()), bool(type(box)())]),
        ("__iter__", lambda lib, box, ps: iter(box)), ("__iter__", lambda lib, box, ps: list(box) + list(box)),
        ("__iter__", lambda lib, box, ps: [ps[1] in box, ps[5] in box]),
        ("__dir__", lambda lib, box, ps: ["0" in dir(box), "append" in dir(box), "training" in dir(box)]),
        ("append", lambda lib, box, ps: box.append(ps[3])), ("append", lambda lib, box, ps: box.append(ps[0])),
        ("append", lambda lib, box, ps: box.append(3)), ("append", lambda lib, box, ps: box.append(ps[3]).append(ps[4])),
        ("append", lambda lib, box, ps: box.append(None), NONE),
        ("extend", lambda lib, box, ps: box.extend(type(box)())), ("extend", lambda lib, box, ps: box.extend([ps[3], ps[5]])),
        ("extend", lambda lib, box, ps: box.extend(ps[i] for i in (3, 4))), ("extend", lambda lib, box, ps: box.extend(3)),
        ("extend", lambda lib, box, ps: box.extend([3])), ("extend", lambda lib, box, ps: box.extend({"a": ps[3]})),
        ("add_module", lambda lib, box, ps: box.add_module("a.b", ps[5])),
        ("get_submodule", lambda lib, box, ps: box.append(ps[5]).get_submodule("3.inner")),
        ("__setattr__", _statement(lambda box, ps: setattr(box, next(iter(box._modules)), ps[4]))),
        ("__getattr__", lambda lib, box, ps: [getattr(box, name) for name, _ in box.named_children()]),
        ("__eq__", lambda lib, box, ps: [box == box, box == type(box)(), hash(box) == hash(box)]),
        ("deepcopy", lambda lib, box, ps: copy.deepcopy(box)), ("pickle", lambda lib, box, ps: pickle.loads(pickle.dumps(box))),
        ("apply", lambda lib, box, ps: box.apply(lambda m: None)), ("train", lambda lib, box, ps: [m.training for m in box.eval()]),
    ),
    *_cases(
        "Sequential ModuleList",
        ("__getitem__", lambda lib, box, ps: [box[:2], box[5:], box[:]]), ("__getitem__", lambda lib, box, ps: box[:2].append(ps[3])),
        ("__delitem__", _statement(lambda box, ps: box.__delitem__(0))), ("__delitem__", _statement(lambda box, ps: box.__delitem__(-1))),
        ("__delitem__", _statement(lambda box, ps: box.__delitem__(slice(0, 2)))),
        ("__delitem__", _statement(lambda box, ps: box.__delitem__(slice(0, 3, 2)))),
        ("pop", lambda lib, box, ps: box.pop(0)), ("pop", lambda lib, box, ps: box.pop(-1)),
        ("pop", lambda lib, box, ps: box.pop(slice(0, 2))), ("pop", lambda lib, box, ps: box.pop(9)),
        ("insert", lambda lib, box, ps: box.insert(0, ps[4])), ("insert", lambda lib, box, ps: box.insert(1, ps[4])),
        ("insert", lambda lib, box, ps: box.insert(3, ps[4])), ("insert", lambda lib, box, ps: box.insert("a", ps[4])),
    ),
    *_cases("Sequential Named", ("add_module", _statement(lambda box, ps: box.add_module("named", ps[5])))),
    *_cases(
        "Named",
        ("__getitem__", lambda lib, box, ps: [box[:2], box[1:], box[::2]]), ("__getitem__", lambda lib, box, ps: box[1:].append(ps[3])),
        ("__delitem__", _statement(lambda box, ps: box.__delitem__(0)), NAMES),
        ("__delitem__", _statement(lambda box, ps: box.__delitem__(slice(1, 3))), NAMES),
        ("pop", lambda lib, box, ps: box.pop(0), NAMES), ("insert", lambda lib, box, ps: box.insert(0, ps[3]), NAMES),
        ("insert", lambda lib, box, ps: box.insert(3, ps[3])), ("__add__", lambda lib, box, ps: box + type(box)(ps[3])),
        ("__mul__", lambda lib, box, ps: [box * 2, 2 * box]), ("__imul__", lambda lib, box, ps: box.__imul__(2), LISTS),
        ("__iadd__", lambda lib, box, ps: box.__iadd__(type(box)(ps[3]))), ("forward", lambda lib, box, ps: values(box(lib.ones(2, 1)))),
        ("add_module", _statement(lambda box, ps: box.add_module("9", ps[3])), NAMES),
        ("__delattr__", _statement(lambda box, ps: delattr(box, "act"))),
    ),
    *_cases(
        "Sequential",
        ("__getitem__", lambda lib, box, ps: [box[1:], box[-2:], box[::2]], NAMES),
        ("__getitem__", lambda lib, box, ps: box[1:].append(ps[3]), NAMES), ("pop", lambda lib, box, ps: box.pop(slice(1, 3)), NAMES),
        ("__init__", lambda lib, box, ps: [lib.nn.Sequential(), lib.nn.Sequential(ps[0]), lib.nn.Sequential(box, box)]),
        ("__init__", lambda lib, box, ps: lib.nn.Sequential(OrderedDict([("x", ps[0]), ("1", ps[1])]))),
        ("__init__", lambda lib, box, ps: lib.nn.Sequential(3)), ("__init__", lambda lib, box, ps: lib.nn.Sequential([ps[0]])),
        ("__init__", lambda lib, box, ps: lib.nn.Sequential(OrderedDict({"a.b": ps[0]}))),
        ("__init__", lambda lib, box, ps: lib.nn.Sequential(OrderedDict({"5": ps[0]})), NAMES),
        ("__add__", lambda lib, box, ps: box + lib.nn.Sequential(ps[3])), ("__add__", lambda lib, box, ps: box + box),
        ("__add__", lambda lib, box, ps: box + 3), ("__add__", lambda lib, box, ps: operator.add(box, [ps[3]])),
        ("__iadd__", _inplace("__iadd__", lambda lib, box, ps: lib.nn.Sequential(ps[3]))),
        ("__iadd__", _inplace("__iadd__", lambda lib, box, ps: 3)),
        ("__mul__", lambda lib, box, ps: box * 3), ("__mul__", lambda lib, box, ps: box * 0), ("__mul__", lambda lib, box, ps: box * 1.5),
        ("__rmul__", lambda lib, box, ps: 2 * box), ("__rmul__", lambda lib, box, ps: -1 * box),
        ("__imul__", _inplace("__imul__", lambda lib, box, ps: 2)), ("__imul__", _inplace("__imul__", lambda lib, box, ps: 1)),
        ("__imul__", _inplace("__imul__", lambda lib, box, ps: 0)),
        ("forward", lambda lib, box, ps: values(box(lib.ones(2, 1)))), ("forward", lambda lib, box, ps: values(box[1:2](lib.ones(1)))),
        ("forward", lambda lib, box, ps: box(lib.ones(1, 1), 2)), ("forward", lambda lib, box, ps: box()),
        ("insert", lambda lib, box, ps: box.insert(-1, ps[4])), ("insert", lambda lib, box, ps: box.insert(99, ps[4]), LISTS),
        ("add_module", _statement(lambda box, ps: box.add_module("7", ps[3])), NAMES),
        ("__delattr__", _statement(lambda box, ps: delattr(box, "0")), NAMES),
    ),
    *_cases(
        "ModuleList",
        ("__getitem__", lambda lib, box, ps: [box[1:], box[-2:], box[::2]]), ("__getitem__", lambda lib, box, ps: box[1:].append(ps[3])),
        ("add_module", _statement(lambda box, ps: box.add_module("named", ps[5])), OWN_NAME),
        ("__init__", lambda lib, box, ps: [lib.nn.ModuleList(), lib.nn.ModuleList([]), lib.nn.ModuleList(box), lib.nn.ModuleList([box])]),
        ("__init__", lambda lib, box, ps: lib.nn.ModuleList(iter(ps[:2]))), ("__init__", lambda lib, box, ps: lib.nn.ModuleList(3)),
        ("__init__", lambda lib, box, ps: lib.nn.ModuleList([3])),
        ("__add__", lambda lib, box, ps: operator.add(box, [ps[3]])),
        ("__add__", lambda lib, box, ps: box + lib.nn.ModuleList([ps[3], ps[0]])),
        ("__add__", lambda lib, box, ps: box + 3), ("__iadd__", _inplace("__iadd__", lambda lib, box, ps: [ps[3]])),
        ("__iadd__", _inplace("__iadd__", lambda lib, box, ps: (m for m in ps[3:5]))),
        ("insert", lambda lib, box, ps: box.insert(-1, ps[4]), INSERT), ("insert", lambda lib, box, ps: box.insert(99, ps[4]), INSERT),
        ("pop", lambda lib, box, ps: box.pop(), LISTS),
        ("__repr__", lambda lib, box, ps: lib.nn.ModuleList([*ps[:2], linear(lib, 0.0, 1, 2), *ps[:3], ps[5], ps[5]]), SHARED),
        ("__repr__", lambda lib, box, ps: lib.nn.ModuleList([*(linear(lib, 0.0, 1, 1) for _ in range(3)), ps[1], linear(lib, 0.0, 1, 1)])),
        ("__repr__", lambda lib, box, ps: lib.nn.ModuleList([lib.nn.ModuleList([ps[1], lib.nn.ReLU()]), box, box]), SHARED),
        ("forward", lambda lib, box, ps: box(lib.ones(1))),
    ),
    # ---- dicts of modules
    *_cases(
        "ModuleDict",
        ("__init__", lambda lib, box, ps: [lib.nn.ModuleDict(), lib.nn.ModuleDict({"z": ps[0], "y": ps[0]}), lib.nn.ModuleDict(box)]),
        ("__init__", lambda lib, box, ps: lib.nn.ModuleDict([["z", ps[3]], ("y", ps[4])])),
        ("__init__", lambda lib, box, ps: lib.nn.ModuleDict(3)), ("__init__", lambda lib, box, ps: lib.nn.ModuleDict({"a": 3})),
        ("__getitem__", lambda lib, box, ps: [box["b"], box["a"]]), ("__getitem__", lambda lib, box, ps: box["q"]),
        ("__getitem__", lambda lib, box, ps: box[0]),
        ("__setitem__", _statement(lambda box, ps: box.__setitem__("d", ps[3]))),
        ("__setitem__", _statement(lambda box, ps: box.__setitem__("b", ps[3]))),
        ("__setitem__", lambda lib, box, ps: box.__setitem__("a.b", ps[3])),
        ("__setitem__", lambda lib, box, ps: box.__setitem__("", ps[3])),
        ("__setitem__", lambda lib, box, ps: box.__setitem__(3, ps[3])), ("__setitem__", lambda lib, box, ps: box.__setitem__("x", 3)),
        ("__setitem__", lambda lib, box, ps: box.__setitem__("type", ps[3]), KEYS),
        ("__setitem__", lambda lib, box, ps: box.__setitem__("x", None), NONE),
        ("__delitem__", _statement(lambda box, ps: box.__delitem__("a"))), ("__delitem__", lambda lib, box, ps: box.__delitem__("q")),
        ("__len__", lambda lib, box, ps: [len(box), bool(box), bool(lib.nn.ModuleDict())]),
        ("__iter__", lambda lib, box, ps: iter(box)), ("__contains__", lambda lib, box, ps: ["a" in box, "q" in box, 3 in box]),
        ("clear", lambda lib, box, ps: box.clear()), ("pop", lambda lib, box, ps: box.pop("a")),
        ("pop", lambda lib, box, ps: box.pop("q")),
        ("pop", lambda lib, box, ps: box.pop("q", None), DICTS), ("keys", lambda lib, box, ps: box.keys()),
        ("items", lambda lib, box, ps: box.items()), ("values", lambda lib, box, ps: box.values()),
        ("update", lambda lib, box, ps: box.update({"z": ps[3], "b": ps[4]})),
        ("update", _statement(lambda box, ps: box.update([("z", ps[3]), ("y", ps[4])]))),
        ("update", _statement(lambda box, ps: box.update(type(box)({"q": ps[3]})))), ("update", lambda lib, box, ps: box.update(3)),
        ("update", lambda lib, box, ps: box.update([3])), ("update", lambda lib, box, ps: box.update([("a", ps[1], 3)])),
        ("update", lambda lib, box, ps: box.update({"a": 3})),
        ("add_module", _statement(lambda box, ps: box.add_module("more", ps[3]))),
        ("add_module", lambda lib, box, ps: box.add_module("a.b", ps[3])),
        ("__setattr__", _statement(lambda box, ps: setattr(box, "more", ps[3]))),
        ("__getattr__", lambda lib, box, ps: [box.a, box.c]), ("__getattr__", lambda lib, box, ps: box.q),
        ("__delattr__", _statement(lambda box, ps: delattr(box, "a"))),
        ("__dir__", lambda lib, box, ps: ["a" in dir(box), "pop" in dir(box)]),
        ("__eq__", lambda lib, box, ps: [box == box, box == lib.nn.ModuleDict(box), hash(box) == hash(box)]),
        ("deepcopy", lambda lib, box, ps: copy.deepcopy(box)), ("forward", lambda lib, box, ps: box(lib.ones(1))),
    ),
    # ---- lists of parameters
    *_cases(
        "ParameterList",
        ("__init__", lambda lib, box, ps: [lib.nn.ParameterList(), lib.nn.ParameterList(ps), lib.nn.ParameterList(box)]),
        ("__init__", lambda lib, box, ps: lib.nn.ParameterList(iter(ps[3:6]))),
        ("__init__", lambda lib, box, ps: lib.nn.ParameterList(3)),
        ("__init__", lambda lib, box, ps: lib.nn.ParameterList(ps[0])),
        ("__getitem__", lambda lib, box, ps: [box[0], box[-1], box[:2], box[1:], box[::2], box[9:]]),
        ("__getitem__", lambda lib, box, ps: box[3]), ("__getitem__", lambda lib, box, ps: box[-4]),
        ("__getitem__", lambda lib, box, ps: box["0"]),
        ("__setitem__", _statement(lambda box, ps: box.__setitem__(1, ps[3]))),
        ("__setitem__", _statement(lambda box, ps: box.__setitem__(-1, ps[4]))),
        ("__setitem__", lambda lib, box, ps: box.__setitem__(3, ps[4])), ("__setitem__", lambda lib, box, ps: box.__setitem__(0, "word")),
        ("__len__", lambda lib, box, ps: [len(box), bool(box), bool(lib.nn.ParameterList())]),
        ("__iter__", lambda lib, box, ps: iter(box)),
        ("__iadd__", _inplace("__iadd__", lambda lib, box, ps: ps[3:6])), ("__iadd__", _inplace("__iadd__", lambda lib, box, ps: 3)),
        ("__dir__", lambda lib, box, ps: ["0" in dir(box), "append" in dir(box)]),
        ("append", lambda lib, box, ps: box.append(ps[3])), ("append", lambda lib, box, ps: box.append(ps[5]).append(ps[0])),
        ("append", lambda lib, box, ps: box.append(ps[6])), ("append", lambda lib, box, ps: box.append(None)),
        ("extend", lambda lib, box, ps: box.extend(ps[3:])), ("extend", lambda lib, box, ps: box.extend(lib.nn.ParameterList(ps[3:5]))),
        ("extend", lambda lib, box, ps: box.extend(p for p in ps[3:5])), ("extend", lambda lib, box, ps: box.extend(3)),
        ("extend", lambda lib, box, ps: box.extend(ps[4])), ("extra_repr", lambda lib, box, ps: repr_of(lib, box.extend(ps[3:]))),
        ("__call__", lambda lib, box, ps: box(1)), ("__call__", lambda lib, box, ps: box()),
        ("__getattr__", lambda lib, box, ps: [getattr(box, "0"), getattr(box, "2")]),
        ("__setattr__", _statement(lambda box, ps: setattr(box, "1", ps[3]))),
        ("__eq__", lambda lib, box, ps: [box == box, box == lib.nn.ParameterList(box), hash(box) == hash(box)]),
        ("deepcopy", lambda lib, box, ps: copy.deepcopy(box)), ("pop", lambda lib, box, ps: box.pop(0), LISTS),
        ("__delitem__", lambda lib, box, ps: box.__delitem__(0), LISTS), ("insert", lambda lib, box, ps: box.insert(0, ps[3]), LISTS),
    ),
    # ---- dicts of parameters
    *_cases(
        "ParameterDict",
        ("__init__", lambda lib, box, ps: [lib.nn.ParameterDict(), lib.nn.ParameterDict({"z": ps[0], "y": ps[4], "x": ps[5]})]),
        ("__init__", lambda lib, box, ps: [lib.nn.ParameterDict([("z", ps[3]), ["y", ps[0]]]), lib.nn.ParameterDict(box)]),
        ("__init__", lambda lib, box, ps: lib.nn.ParameterDict(3)), ("__init__", lambda lib, box, ps: lib.nn.ParameterDict({3: ps[0]})),
        ("__getitem__", lambda lib, box, ps: [box["b"], box["a"]]), ("__getitem__", lambda lib, box, ps: box["q"], NO_KEY),
        ("__setitem__", _statement(lambda box, ps: box.__setitem__("d", ps[4]))),
        ("__setitem__", _statement(lambda box, ps: box.__setitem__("b", ps[3]))),
        ("__setitem__", _statement(lambda box, ps: box.__setitem__("b", "word")), VALUE),
        ("__setitem__", lambda lib, box, ps: box.__setitem__("a.b", ps[3])),
        ("__setitem__", lambda lib, box, ps: box.__setitem__(3, ps[3])),
        ("__setitem__", lambda lib, box, ps: box.__setitem__("type", ps[3]), KEYS),
        ("__delitem__", _statement(lambda box, ps: box.__delitem__("a"))), ("__delitem__", lambda lib, box, ps: box.__delitem__("q")),
        ("__len__", lambda lib, box, ps: [len(box), bool(box), bool(lib.nn.ParameterDict())]),
        ("__iter__", lambda lib, box, ps: iter(box)),
        ("__reversed__", lambda lib, box, ps: reversed(box)), ("copy", lambda lib, box, ps: box.copy()),
        ("__contains__", lambda lib, box, ps: ["a" in box, "q" in box, 3 in box]),
        ("setdefault", lambda lib, box, ps: [box.setdefault("a", ps[3]), box.setdefault("q", ps[3]), box.setdefault("r")]),
        ("clear", lambda lib, box, ps: box.clear()), ("pop", lambda lib, box, ps: box.pop("a")),
        ("pop", lambda lib, box, ps: box.pop("q"), NO_KEY),
        ("popitem", lambda lib, box, ps: [box.popitem(), box.popitem()]),
        ("popitem", lambda lib, box, ps: lib.nn.ParameterDict().popitem()),
        ("get", lambda lib, box, ps: [box.get("a"), box.get("q"), box.get("q", 3)]),
        ("fromkeys", lambda lib, box, ps: [box.fromkeys(["v", "u"], ps[3]), box.fromkeys("vu"), lib.nn.ParameterDict().fromkeys([])]),
        ("keys", lambda lib, box, ps: box.keys()), ("items", lambda lib, box, ps: box.items()),
        ("values", lambda lib, box, ps: box.values()),
        ("update", lambda lib, box, ps: box.update({"z": ps[3], "b": ps[4]})), ("update", lambda lib, box, ps: box.update(3)),
        ("update", _statement(lambda box, ps: box.update([("z", ps[3]), ("y", ps[4])]))),
        ("update", _statement(lambda box, ps: box.update(OrderedDict([("z", ps[3]), ("y", ps[4])])))),
        ("update", _statement(lambda box, ps: box.update({"z": ps[3], "y": ps[4]}))), ("update", lambda lib, box, ps: box.update([3])),
        ("update", lambda lib, box, ps: box.update([("a", 1, 2)])),
        ("extra_repr", lambda lib, box, ps: repr_of(lib, lib.nn.ParameterDict({"n": 3, "w": ps[1], "m": ps[6]}))),
        ("__call__", lambda lib, box, ps: box(1)), ("__or__", lambda lib, box, ps: box | lib.nn.ParameterDict({"z": ps[3], "a": ps[0]})),
        ("__or__", lambda lib, box, ps: box | 3),
        ("__ror__", lambda lib, box, ps: OrderedDict([("z", ps[3]), ("a", ps[0])]) | box, OR),
        ("__ior__", lambda lib, box, ps: box.__ior__(lib.nn.ParameterDict({"z": ps[3], "a": ps[0]}))),
        ("__getattr__", lambda lib, box, ps: [box.a, box.c]), ("__setattr__", _statement(lambda box, ps: setattr(box, "a", ps[3]))),
        ("deepcopy", lambda lib, box, ps: copy.deepcopy(box)),
        ("__eq__", lambda lib, box, ps: [box == box, box == lib.nn.ParameterDict(box), hash(box) == hash(box)]),
    ),
]  # fmt: skip


# ---- hooks
def _hear(heard: list[Any], word: str) -> dict[str, Callable[..., None]]:
    """Hooks of each kind that note that they were called, and what with."""
    return {
        "register_forward_pre_hook": lambda m, args: heard.append([f"pre {word}", type(m).__name__, values(args)]),
        "register_forward_hook": lambda m, args, y: heard.append([f"after {word}", values(args), values(y)]),
        "register_full_backward_pre_hook": lambda m, go: heard.append([f"back {word}", values(go)]),
        "register_full_backward_hook": lambda m, gi, go: heard.append([f"backed {word}", values(gi), values(go)]),
    }


def _hook_all(net: Any, heard: list[Any]) -> list[Any]:
    return [getattr(m, register)(hook) for name, m in net.named_modules() for register, hook in _hear(heard, name).items()]


def hooks_of_containers_and_members(lib: Any) -> Any:
    """Through a Sequential, members of a ModuleList and of a ModuleDict, and one that is used twice; lists and dicts are not called."""
    nn = lib.nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(OrderedDict(first=linear(lib, 0.5, 2, 2), act=nn.Tanh()))
            self.layers = nn.ModuleList([linear(lib, -1.0, 2, 2), self.body.act])
            self.heads = nn.ModuleDict({"a": nn.Sequential(linear(lib, 0.25, 2, 1)), "b": linear(lib, 1.0, 2, 1)})
            self.scales = nn.ParameterList([lib.ones(1) * 3])

        def forward(self, x: Any) -> Any:
            x = self.body(x)
            for layer in self.layers:
                x = layer(x)
            return sum(head(x) for head in self.heads.values()) * self.scales[0]

    net, heard = Net(), []
    handles = _hook_all(net, heard)
    x = lib.tensor([[0.5, -0.25]], requires_grad=True)
    net(x).sum().backward()
    first = list(heard)
    heard.clear()
    for handle in handles[::2]:
        handle.remove()
    net.heads.pop("b")
    net.layers.append(net.layers[0])
    net(x).sum().backward()
    return first, heard, values([x.grad, *(p.grad for p in net.parameters())])


def hooks_stay_with_members(lib: Any) -> Any:
    """Through slices, sums, edits and copies of their container; those of the container stay with it."""
    nn = lib.nn
    net, heard = nn.Sequential(linear(lib, 0.5, 2, 2), nn.Tanh(), linear(lib, -1.0, 2, 1)), []
    _hook_all(net, heard)
    x = lib.tensor([[0.5, -0.25]])
    found = []
    for part in (net[1:], net[:1] + net[2:], nn.Sequential(*net), net, nn.Sequential(net, nn.Tanh()), copy.deepcopy(net)):
        part(x)
        found.append(list(heard))
        heard.clear()
    net.insert(1, nn.Sigmoid())
    net[0] = linear(lib, 0.0, 2, 2)
    net(x)
    del net[0]
    net(x)
    return found, heard


def hooks_that_change_what_passes(lib: Any) -> Any:
    """Of a Sequential and its members: arguments, results, keywords, order of those put first, and always_call."""
    nn = lib.nn
    net, heard = nn.Sequential(nn.Tanh(), linear(lib, 1.0, 2, 2)), []
    net.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    net.register_forward_pre_hook(lambda m, args, kwargs: ((), {"input": args[0] + 1}), with_kwargs=True)
    net.register_forward_pre_hook(lambda m, args: heard.append(["put first", values(args)]), prepend=True)
    net[0].register_forward_hook(lambda m, args, y: y * 10)
    net[1].register_forward_hook(lambda m, args, kwargs, y: heard.append([values(args), dict(kwargs), values(y)]), with_kwargs=True)
    net.register_forward_hook(lambda m, args, kwargs, y: heard.append([values(args), values(kwargs["input"])]), with_kwargs=True)
    net.register_forward_hook(lambda m, args, y: y - 1)
    found = [values(net(lib.tensor([[0.5, -0.25]])))]
    box = nn.Sequential(nn.Sequential(linear(lib, 0.0, 3, 1)))
    box[0].register_forward_hook(lambda m, args, y: heard.append(["always", y]), always_call=True)
    box.register_forward_hook(lambda m, args, y: heard.append("not reached"))
    try:
        box(lib.ones(1, 2))
    except RuntimeError:
        found.append("refused")
    return found, heard


def hooks_of_state_in_containers(lib: Any) -> Any:
    """state_dict calls those of lists, dicts and members, with their prefixes."""
    nn = lib.nn
    net, heard = nn.Sequential(nn.ModuleList([linear(lib, 0.0, 1, 1)]), nn.ModuleDict({"a": nn.ParameterList([lib.ones(1)])})), []
    for name, m in net.named_modules():
        m.register_state_dict_pre_hook(lambda m, prefix, keep, name=name: heard.append(["pre", name, prefix]))
        m.register_state_dict_post_hook(lambda m, state, prefix, meta, name=name: heard.append(["post", name, prefix, list(state)]))
    return list(net.state_dict()), list(net.state_dict(prefix="p.")), heard


HOOKS: list[Callable[[Any], Any]] = [
    hooks_of_containers_and_members, hooks_stay_with_members, hooks_that_change_what_passes, hooks_of_state_in_containers
]  # fmt: skip
