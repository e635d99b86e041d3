"""Surgery: keys and what they mean, edits and what they do, errors and that nothing has changed, undo."""

from __future__ import annotations

import contextlib
import functools
import io
import linecache
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from surgery_models import Block, ComplexModel, Net, Sized, everything, state

import jitgrad as jg
from jitgrad import nn
from jitgrad.errors import ArgumentError, InputTypeError, OutOfRangeError, SurgeryError, UnknownPathError
from jitgrad.nn import surgery

X = (5, 4)
LAYERS = ["blocks.0.attn", "blocks.0.mlp.0", "blocks.0.mlp.1", "blocks.0.mlp.2", "blocks.1.attn", "blocks.1.mlp.0", "blocks.1.mlp.1",
          "blocks.1.mlp.2", "heads.a", "heads.type", "act", "norm"]  # fmt: skip
LINEAR = [p for p in LAYERS if p not in ("blocks.0.mlp.1", "blocks.1.mlp.1", "act", "norm")]


# ---- keys
@pytest.mark.parametrize(
    ("key", "paths"),
    [
        (0, LAYERS[:1]), (-1, ["norm"]), (10, ["act"]), (slice(2), LAYERS[:2]), (slice(-1, None, -5), [LAYERS[1], LAYERS[6], LAYERS[11]]),
        (slice(99, None), []),
        ("", [""]), ("blocks", ["blocks"]), ("blocks.1.mlp", ["blocks.1.mlp"]), ("heads.type", ["heads.type"]), ("empty", ["empty"]),
        ("blocks.*", ["blocks.0", "blocks.1"]), ("blocks.*.attn", ["blocks.0.attn", "blocks.1.attn"]), ("*.attn", []),
        ("blocks.?", ["blocks.0", "blocks.1"]),
        ("**.attn", ["blocks.0.attn", "blocks.1.attn"]), ("**.act", ["act"]),
        ("blocks.1.**", ["blocks.1.attn", "blocks.1.mlp", "blocks.1.mlp.0", "blocks.1.mlp.1", "blocks.1.mlp.2"]),
        ("blocks.[!0].attn", ["blocks.1.attn"]),
        ("blocks.[01].mlp.[0-1]", ["blocks.0.mlp.0", "blocks.0.mlp.1", "blocks.1.mlp.0", "blocks.1.mlp.1"]),
        ("**2", ["blocks.0.mlp.2", "blocks.1.mlp.2"]),
        (nn.Linear, LINEAR), ((nn.BatchNorm1d, nn.ReLU), ["blocks.0.mlp.1", "blocks.1.mlp.1", "act", "norm"]),
        (Block, ["blocks.0", "blocks.1"]),
        (nn.Conv2d, []), (lambda m: getattr(m, "out_features", 0) == 8, ["blocks.0.mlp.0", "blocks.1.mlp.0"]),
        (["act", 0, "heads.*"], [LAYERS[0], "heads.a", "heads.type", "act"]), (("norm", nn.BatchNorm1d), ["norm"]), ([], []),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_keys(key: Any, paths: list[str]) -> None:
    model = Net()
    assert list(surgery.select(model, key)) == paths
    every = dict(model.named_modules(remove_duplicate=False))
    assert all(m is every[path] for path, m in surgery.select(model, key).items())


def test_a_module_is_a_key_for_all_its_places_and_a_path_wins_over_a_pattern() -> None:
    model = Net()
    assert list(surgery.select(model, model.act)) == ["blocks.0.mlp.1", "act"]
    assert surgery.get(model, model.act) is surgery.get(model, "act") is model.act
    starred = nn.ModuleDict({"*": nn.ReLU(), "a": nn.Tanh()})
    assert list(surgery.select(starred, "*")) == ["*"] and list(surgery.select(starred, "[*]")) == ["*"]
    assert surgery.get(nn.Linear(1, 1), 0).in_features == 1


BAD_KEYS: list[tuple[Any, type[Exception], str]] = [
    ("blocks.2.attn", KeyError, r"no module 'blocks.2.attn' in Net. In 'blocks' there is: 0 and 1."),
    ("type", KeyError, r"no module 'type' in Net. Did you mean 'heads.type'\? At its top"),
    ("model.heads.a", KeyError, r"Did you mean 'heads.a'\?"), ("blocks.0.atn", KeyError, r"Did you mean 'blocks.0.attn'\? In 'blocks.0'"),
    ("attn", KeyError, r"no module 'attn' in Net. At its top there is: blocks, heads, act, empty and norm."),
    ("blocks.0.attn.weight", KeyError, "'weight' is a parameter of blocks.0.attn; surgery works on modules."),
    ("scale", KeyError, "'scale' is a parameter of the model itself"),
    ("norm.running_mean", KeyError, "'running_mean' is a buffer of norm"),
    ("h[e", KeyError, r"no module 'h\[e' in Net"),
    ("zzz", KeyError, r"no module 'zzz' in Net. At its top"),
    (12, IndexError, "layer 12 is out of range: the model has 12 layers, 0 to 11"),
    (-13, IndexError, "layer -13 is out of range"),
    (nn.ReLU(), KeyError, r"ReLU\(\) is no part of this Net"),
    (1.5, TypeError, "given float"), (None, TypeError, "given NoneType"), (True, TypeError, "given bool"),
    ({"act"}, TypeError, "given set"),
]  # fmt: skip
EDITS: dict[str, Callable[[nn.Module, Any], Any]] = {
    "get": surgery.get,
    "select": surgery.select,
    "freeze": surgery.freeze,
    "unfreeze": surgery.unfreeze,
    "remove": surgery.remove,
    "replace": lambda m, k: surgery.replace(m, k, nn.Identity()),
    "insert_before": lambda m, k: surgery.insert_before(m, k, nn.Identity()),
    "insert_after": lambda m, k: surgery.insert_after(m, k, nn.Identity()),
    "swap": lambda m, k: surgery.swap(m, k, "act"),
    "temporarily": lambda m, k: surgery.temporarily(m, {(k,) if isinstance(k, set | slice) else k: nn.Identity()}).__enter__(),
}


@pytest.mark.parametrize("name", EDITS)
def test_bad_keys_are_the_same_error_everywhere(name: str) -> None:
    model = Net()
    before = state(model)
    bad = [*BAD_KEYS]
    if name != "select":
        bad += [(k, KeyError, "nothing in Net matches") for k in (nn.Conv2d, "z*", lambda m: False, [])]
    for key, error, words in bad:
        if name == "temporarily" and isinstance(key, (set, list)):
            continue  # no keys of a dict
        with pytest.raises(error, match=words):
            EDITS[name](model, key)
        assert state(model) == before


def test_errors_of_keys_are_jitgrads_own() -> None:
    with pytest.raises(UnknownPathError):
        surgery.get(Net(), "zzz")
    with pytest.raises(OutOfRangeError):
        surgery.get(Net(), 99)
    with pytest.raises(ArgumentError, match=r"get: ReLU means 3 modules: blocks.0.mlp.1, blocks.1.mlp.1 and act. Use surgery.select"):
        surgery.get(Net(), nn.ReLU)
    with pytest.raises(TypeError, match="expected a model"):
        surgery.index([nn.ReLU()])  # type: ignore[arg-type]


# ---- the table
def test_index_4_of_the_complex_model_is_nested_0() -> None:
    model = ComplexModel()
    table = surgery.index(model)
    assert table[4].path == "nested.0" and table[4].module is model.nested[0] is surgery.get(model, 4)
    assert [r.path for r in table] == ["conv1", "linear1", "module_list.0", "module_list.1", "nested.0", "nested.1"]
    assert [r.index for r in table[-2:]] == [4, 5] and len(table) == 6 and table[-1].path == "nested.1"
    with pytest.raises(IndexError, match="layer 6 is out of range: ComplexModel has 6 layers"):
        table[6]
    assert repr(surgery.index(model, (2, 3, 8, 8))) == "\n".join([
        "   path           layer                  parameters  output",
        "0  conv1          Conv2d(3, 16, (3, 3))         448  (2, 16, 6, 6)",
        "1  linear1        Linear(576, 128)           73,856  (2, 128)",
        "2  module_list.0  Linear(128, 64)             8,256  (2, 64)",
        "3  module_list.1  Linear(64, 32)              2,080  (2, 32)",
        "4  nested.0       Linear(32, 16)                528  (2, 16)",
        "5  nested.1       Linear(16, 8)                 136  (2, 8)",
        "ComplexModel: 6 layers, 85,304 parameters",
    ])  # fmt: skip


def test_table_of_shared_layers_and_parameters_of_blocks() -> None:
    table = surgery.index(Net(), jg.zeros(X))
    by_path = {r.path: r for r in table}
    assert list(by_path) == LAYERS
    assert by_path["act"].shared == "shared with blocks.0.mlp.1" and by_path["blocks.0.mlp.1"].shared == "shared with act"
    assert by_path["act"].output == "(5, 8), (5, 4)" and by_path["heads.type"].output == "not called" and by_path["norm"].output == "(5, 4)"
    assert table.parameters == sum(p.numel() for p in Net().parameters())
    assert repr(table).endswith(f"Net: 12 layers, {table.parameters} parameters, 4 of them in blocks themselves")
    shared = nn.Linear(2, 2)
    assert surgery.index(nn.Sequential(shared, nn.Sequential(), shared)).parameters == 6
    assert "2 (shared with 0)" in surgery.index(nn.Sequential(shared, nn.ReLU(), shared))._repr_html_()
    assert repr(surgery.index(nn.Sequential())).endswith("Sequential: 0 layers, 0 parameters")
    with pytest.raises(jg.errors.ShapeError, match=r"in blocks.0.attn \(Linear\(4, 4\)\) of Net"):
        surgery.index(Net(), (5, 3))


class Times(nn.Module):
    def forward(self, a: Any, b: Any = 1, c: Any = 1) -> Any:
        return jg.ones(2) * a * b * c


def test_an_index_takes_what_summary_takes() -> None:
    """Ints are arguments, a tuple of ints is a shape, also the empty one; dtypes and keywords are those of nn.summary."""
    assert surgery.index(Times(), 3)[0].output == surgery.index(Times(), 2, 3)[0].output == "(2,)"
    assert surgery.index(Times(), (np.int64(4), 1))[0].output == "(4, 2)"
    assert surgery.index(Times(), ())[0].output == "(2,)" and surgery.index(Times(), (4, 1))[0].output == "(4, 2)"
    assert surgery.index(Times(), kwargs={"a": 2, "c": jg.ones(4, 1)})[0].output == "(4, 2)"
    assert surgery.index(Times(), (4, 1), (3, 1, 1), dtype=[jg.int64, jg.float32])[0].output == "(3, 4, 2)"
    assert surgery.index(nn.Embedding(5, 2), (3,), dtype=jg.int64)[0].output == "(3, 2)"
    for look in (surgery.index, nn.summary, jg.viz.graph):
        with pytest.raises(ArgumentError, match=f"^{look.__name__}: expected a dtype for each of 1 shapes, or one for all, given 2"):
            look(Times(), (2,), dtype=[jg.float32, jg.float32])
        with pytest.raises(InputTypeError, match=r"expected .*, given (str|dict|int)"):
            look("model", (2,))


def test_an_example_may_be_made_for_real() -> None:
    """Where forward takes values out by an array of its own, which is no error of jitgrad."""

    class Out(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(3, 2)

        def forward(self, x: Any) -> Any:
            return self.a(jg.tensor(x.array * 2))

    model = Out()
    assert surgery.index(model, (4, 3))[0].output == "(4, 2)"
    surgery.replace(model, "a", nn.Linear(3, 5), example=(4, 3))
    assert jg.viz.graph(model, (4, 3)).nodes and nn.summary(model, (4, 3)).rows[0].output == "(4, 5)"


class Hidden(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(OrderedDict(a=nn.ReLU(), act=nn.Tanh()))
        self.layers = [nn.Linear(1, 1)]


@pytest.mark.parametrize("name", [name for name in EDITS if name not in ("get", "select")])
def test_every_edit_names_layers_in_a_plain_list(name: str) -> None:
    model = Hidden()
    with pytest.warns(UserWarning, match="layers of Hidden is a plain list with 1 Module") as caught:
        EDITS[name](model, "a")
    assert [w.filename for w in caught] == [__file__]


def test_a_path_into_a_plain_list_says_so() -> None:
    model = nn.ModuleDict({"block": Hidden()})
    model["block"].more = {"a": nn.ReLU()}
    with pytest.raises(KeyError, match=r"'block.layers.0' in ModuleDict. 'block.layers' is a plain list, .*: use nn.ModuleList."):
        surgery.get(model, "block.layers.0")
    with pytest.raises(KeyError, match=r"'more' is a plain dict, whose modules are no part of the model: use nn.ModuleDict."):
        surgery.get(model["block"], "more")


def test_layers_in_a_plain_list_have_no_row_and_are_named() -> None:
    with pytest.warns(UserWarning, match="layers of Hidden is a plain list with 1 Module") as caught:
        assert len(surgery.index(Hidden())) == 2
    assert caught[0].filename == __file__


# ---- edits
def norm_after(old: Any) -> nn.Module:
    return nn.LayerNorm(old.out_features)


def lora(old: Any) -> nn.Module:
    return nn.Sequential(old, nn.Dropout(0.1))


DONE: list[tuple[str, Callable[[Any], surgery.Change], list[str]]] = [
    ("a layer by number", lambda m: surgery.replace(m, -1, nn.LayerNorm(4), example=X), [
        "replace -1 in Net",
        "  - norm  BatchNorm1d(4)   8  weight (4,), bias (4,)",
        "  + norm  LayerNorm((4,))  8  weight (4,), bias (4,)",
        "  parameters: 229, as before",
        "  output: (5, 2), as before",
    ]),
    ("what differs in options only", lambda m: surgery.replace(m, "norm", nn.BatchNorm1d(4, eps=0.5)), [
        "replace 'norm' in Net",
        "  - norm  BatchNorm1d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)  8  weight (4,), bias (4,)",
        "  + norm  BatchNorm1d(4, eps=0.5, momentum=0.1, affine=True, bias=True, track_running_stats=True)    8  weight (4,), bias (4,)",
        "  parameters: 229, as before",
    ]),
    ("the output changes", lambda m: surgery.replace(m, "heads.a", lambda old: nn.Linear(old.in_features, 7), example=X), [
        "replace 'heads.a' in Net",
        "  - heads.a  Linear(4, 2)  10  weight (2, 4), bias (2,)",
        "  + heads.a  Linear(4, 7)  35  weight (7, 4), bias (7,)",
        "  parameters: 229 -> 254 (+25)",
        "  output: (5, 2) -> (5, 7)",
    ]),
    ("all of a class, the shared one once", lambda m: surgery.replace(m, nn.ReLU, lambda old: nn.Tanh()), [
        "replace ReLU in Net",
        "  - blocks.0.mlp.1  ReLU()",
        "  + blocks.0.mlp.1  Tanh()",
        "  - blocks.1.mlp.1  ReLU()",
        "  + blocks.1.mlp.1  Tanh()",
        "  - act             ReLU() (shared with blocks.0.mlp.1)",
        "  + act             Tanh() (shared with blocks.0.mlp.1)",
        "  parameters: 229, as before",
    ]),
    ("a wrapper of the old", lambda m: surgery.replace(m, "blocks.1.attn", lora, example=X), [
        "replace 'blocks.1.attn' in Net",
        "  + blocks.1.attn    Sequential",
        "  > blocks.1.attn is now blocks.1.attn.0: Linear(4, 4)",
        "  + blocks.1.attn.1  Dropout()",
        "  parameters: 229, as before",
        "  output: (5, 2), as before",
    ]),
    ("everywhere", lambda m: surgery.replace(m, "act", nn.Tanh(), shared="everywhere"), [
        "replace 'act' in Net",
        "  - blocks.0.mlp.1  ReLU()",
        "  + blocks.0.mlp.1  Tanh()",
        "  - act             ReLU() (shared with blocks.0.mlp.1)",
        "  + act             Tanh() (shared with blocks.0.mlp.1)",
        "  parameters: 229, as before",
    ]),
    ("here", lambda m: surgery.replace(m, "act", nn.Tanh(), shared="here"), [
        "replace 'act' in Net",
        "  - act  ReLU() (shared with blocks.0.mlp.1)",
        "  + act  Tanh()",
        "  parameters: 229, as before",
    ]),
    ("inserted in a Sequential", lambda m: surgery.insert_before(m, "blocks.0.mlp.2", nn.Dropout(0.2), name="drop", example=X), [
        "insert_before 'blocks.0.mlp.2' in Net",
        "  + blocks.0.mlp.drop  Dropout()",
        "  > blocks.0.mlp.2 is now blocks.0.mlp.3: Linear(8, 4)",
        "  parameters: 229, as before",
        "  output: (5, 2), as before",
    ]),
    ("inserted at several places", lambda m: surgery.insert_after(m, "blocks.*.mlp.0", norm_after, example=X), [
        "insert_after 'blocks.*.mlp.0' in Net",
        "  + blocks.0.mlp.1  LayerNorm((8,))  16  weight (8,), bias (8,)",
        "  > blocks.0.mlp.1 is now blocks.0.mlp.2: ReLU()",
        "  > blocks.0.mlp.2 is now blocks.0.mlp.3: Linear(8, 4)",
        "  + blocks.1.mlp.1  LayerNorm((8,))  16  weight (8,), bias (8,)",
        "  > blocks.1.mlp.1 is now blocks.1.mlp.2: ReLU()",
        "  > blocks.1.mlp.2 is now blocks.1.mlp.3: Linear(8, 4)",
        "  parameters: 229 -> 261 (+32)",
        "  output: (5, 2), as before",
    ]),
    ("wrapped where it stands", lambda m: surgery.insert_before(m, "heads.a", nn.Tanh(), wrap=True, name="pre", example=X), [
        "insert_before 'heads.a' in Net",
        "  + heads.a      Sequential",
        "  + heads.a.pre  Tanh()",
        "  > heads.a is now heads.a.1: Linear(4, 2)",
        "  parameters: 229, as before",
        "  output: (5, 2), as before",
    ]),
    ("taken out of a Sequential and a dict", lambda m: surgery.remove(m, ["blocks.1", "heads.type"], example=X), [
        "remove ['blocks.1', 'heads.type'] in Net",
        "  - blocks.1        Block",
        "  - blocks.1.attn   Linear(4, 4)  20  weight (4, 4), bias (4,)",
        "  - blocks.1.mlp    Sequential",
        "  - blocks.1.mlp.0  Linear(4, 8)  40  weight (8, 4), bias (8,)",
        "  - blocks.1.mlp.1  ReLU()",
        "  - blocks.1.mlp.2  Linear(8, 4)  36  weight (4, 8), bias (4,)",
        "  - heads.type      Linear(4, 3)  15  weight (3, 4), bias (3,)",
        "  parameters: 229 -> 118 (-111)",
        "  output: (5, 2), as before",
    ]),
    ("swapped", lambda m: surgery.swap(m, "heads.a", "heads.type", example=X), [
        "swap 'heads.a' and 'heads.type' in Net",
        "  > heads.type is now heads.a: Linear(4, 3)",
        "  > heads.a is now heads.type: Linear(4, 2)",
        "  parameters: 229, as before",
        "  output: (5, 2) -> (5, 3)",
    ]),
    ("frozen", lambda m: surgery.freeze(m, "heads"), [
        "freeze 'heads' in Net",
        "  ~ heads.a is now frozen: Linear(4, 2)",
        "  ~ heads.type is now frozen: Linear(4, 3)",
        "  parameters: 229, as before",
        "  trainable: 229 -> 204",
    ]),
    ("nothing", lambda m: surgery.unfreeze(m, ""), ["unfreeze '' in Net", "  nothing has changed", "  parameters: 229, as before"]),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "text"), [row[1:] for row in DONE], ids=[row[0] for row in DONE])
def test_edits_and_their_diffs(edit: Callable[[Any], surgery.Change], text: list[str]) -> None:
    """What the change says, that it was done, and that undo gives back every object."""
    model = Net()
    before = state(model)
    change = edit(model)
    assert str(change).splitlines() == text
    assert (state(model) == before) == (text[1] == "  nothing has changed")
    assert "".join(text[0].split(" in Net")) in change._repr_html_().replace("&#x27;", "'")
    assert change.parameters_after == sum(p.numel() for p in model.parameters())
    for line in change.lines:
        assert line.sign != "+" or surgery.get(model, line.path) is not None
    change.undo()
    assert state(model) == before and str(change).splitlines()[0].endswith("(undone)")
    with pytest.raises(SurgeryError, match="undone already"):
        change.undo()


S = jg.zeros(1, 4)
one = functools.cache(lambda kind, *args, **kwargs: kind(*args, **kwargs))  # the same layer each time
REFUSED: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (lambda m: surgery.replace(m, "a", one(nn.Linear, 4, 7), example=S), SurgeryError,
     r"replace 'a': b \(Linear\(6, 2\)\) no longer fits: linear: expected an input \(..., 6\) .*, given \(1, 7\).\n"
     r"  at surgery_models.py:\d+ in "
     r"forward: return self.b\(self.a\(x\).relu\(\)\)\n  Nothing was changed. Try adapt=True"),
    (lambda m: surgery.replace(m, "a", one(nn.Linear, 5, 6), example=S), SurgeryError,
     r"the new a \(Linear\(5, 6\)\) does not fit there: .* given \(1, 4\).*\n"
     r".*\n  Nothing was changed. Give it the sizes of what comes in."),
    (lambda m: surgery.replace(m, "a", lambda old: nn.Flatten(0), example=(1, 4)), SurgeryError, r"b \(Linear\(6, 2\)\) no longer fits"),
    (lambda m: surgery.replace(m, "a", nn.Identity(), example=jg.zeros(1, 5)), SurgeryError,
     r"the example does not fit Sized as it is, before any edit: a \(Linear\(4, 6\)\): .*given \(1, 5\)"),
    (lambda m: surgery.replace(m, "a", nn.Identity(), example={"y": S}), SurgeryError, "before any edit: the forward of Sized: TypeError"),
    (lambda m: surgery.replace(m, "a", one(nn.Linear, 4, 6, dtype=jg.float64), example=S), SurgeryError,
     r"the new a \(Linear\(4, 6\)\) does not fit there: .*float64.*Give the new layer the dtype and device of those around it first"),
    (lambda m: surgery.replace(m, "a", one(Block), example=(1, 4)), SurgeryError, r"b \(Linear\(6, 2\)\) no longer fits"),
    (lambda m: surgery.replace(m, "a", nn.ModuleList([one(nn.Linear, 4, 6)]), example=S), SurgeryError,
     r"the new a \(.*ModuleList\) does not fit there: a ModuleList cannot be called: .*Nothing was changed.$"),
    (lambda m: surgery.replace(m, "a", nn.Identity(), example=[S]), TypeError, "example: expected a Tensor, a shape, .* given list"),
    (lambda m: surgery.replace(m, "a", nn.ReLU), TypeError, r"given the class ReLU. Try lambda old: nn.ReLU\(...\)"),
    (lambda m: surgery.replace(m, "a", Block), TypeError, r"Try lambda old: Block\(...\)"),
    (lambda m: surgery.replace(m, "a", None), TypeError, r"given None. Try nn.Identity\(\), or surgery.remove"),
    (lambda m: surgery.replace(m, "a", 3), TypeError, "given int"),
    (lambda m: surgery.replace(m, nn.Linear, lambda old: None), TypeError, "to return a Module, for a it returned NoneType"),
    (lambda m: surgery.replace(m, nn.Linear, lambda old: nn.ReLU if old is m.b else nn.ReLU()), TypeError,
     "for b it returned the class ReLU"),
    (lambda m: surgery.replace(m, nn.Linear, lambda old: {}[old] if old is m.b else nn.ReLU()), KeyError, "Linear"),
    (lambda m: surgery.replace(m, nn.Linear, one(nn.Linear, 1, 1)), SurgeryError,
     r"one Linear\(1, 1\) for 3 places would tie .* lambda old: nn.Linear"),
    (lambda m: surgery.replace(m, ["a", "b"], nn.BatchNorm1d(3, affine=False)), SurgeryError, "for 2 places would tie"),
    (lambda m: surgery.replace(m, "", nn.ReLU()), SurgeryError, "the path '' is the model itself"),
    (lambda m: surgery.replace(m, m, nn.ReLU()), SurgeryError, "the path '' is the model itself"),
    (lambda m: surgery.replace(m, ["a", "b"], lambda old: nn.Sequential(m) if old is m.b else nn.ReLU()), SurgeryError,
     "the new Sequential for b contains the Sized it is to be part of"),
    (lambda m: surgery.replace(m, ["a", "b"], lambda old: nn.ReLU(), adapt=True), ArgumentError, "adapt=True needs an example"),
    (lambda m: surgery.replace(m, "a", nn.ReLU(), keep="none"), ArgumentError, "keep='none' says what adapt=True keeps"),
    (lambda m: surgery.replace(m, "a", nn.ReLU(), keep="all"), ArgumentError, "keep is expected to be 'overlap' or 'none', given 'all'"),
    (lambda m: surgery.replace(m, "a", nn.ReLU(), shared="no"), ArgumentError, "shared is expected to be None or 'everywhere' or 'here'"),
    (lambda m: surgery.replace(m, "same", nn.ReLU()), SurgeryError, r"same \(Sequential\) also stands at twin. Say shared='everywhere'"),
    (lambda m: surgery.replace(m, "twin.0", nn.ReLU(), shared="here"), SurgeryError,
     r"twin.0 is also same.0, as the Sequential around it stands at several places. .*"
     r"surgery.replace\(model, path, copy.deepcopy, shared='here'\)"),
    (lambda m: surgery.replace(m, "**", nn.ReLU()), SurgeryError, "same.0 is inside same, and both are meant"),
    (lambda m: surgery.insert_after(m, "a", nn.ReLU()), SurgeryError,
     r"a is an attribute of Sized, .* wrap=True, which puts Sequential\(old, new\) in its place, or "
     "call the new layer in the forward of Sized"),
    (lambda m: surgery.insert_before(m, "twin.0", nn.ReLU()), SurgeryError, "twin.0 is also same.0"),
    (lambda m: surgery.insert_before(m, m.same[0], nn.ReLU(), name="7"), ArgumentError, "a name of digits is a position"),
    (lambda m: surgery.insert_before(m, m.same[0], nn.ReLU(), name="x.y"), KeyError, "without dots"),
    (lambda m: surgery.insert_before(m, m.same[0], m.same), SurgeryError, "contains the Sequential it is to be part of"),
    (lambda m: surgery.insert_before(m, "a", one(nn.Linear, 4, 5), wrap=True, example=S), SurgeryError,
     r"a \(Linear\(4, 6\), now a.1\) no longer fits: .* or a layer that gives the sizes of what it takes."),
    (lambda m: surgery.insert_before(m, "a", nn.ReLU()), SurgeryError, r"Sequential\(new, old\)"),
    *((lambda m, f=f, name=name: f(m, "a", nn.ReLU(), wrap=True, name=name), ArgumentError, f"a name of digits .* given {name!r}")
      for f in (surgery.insert_before, surgery.insert_after) for name in ("0", "1", "7")),
    (lambda m: surgery.insert_after(m, "a", nn.ReLU(), wrap=True, name=""), KeyError, "non-empty"),
    (lambda m: surgery.insert_after(m, "a", nn.ReLU(), wrap=True, name="forward"), KeyError, "has an attribute 'forward' already"),
    (lambda m: surgery.remove(m, "a"), SurgeryError, r"whose forward would miss it. Try surgery.replace\(model, 'a', nn.Identity\(\)\)"),
    (lambda m: surgery.remove(m, "same.0"), SurgeryError, "same.0 is also twin.0"),
    (lambda m: surgery.swap(m, "a", "a"), SurgeryError, "a and a are one module"),
    (lambda m: surgery.swap(m, "a", "b", example=S), SurgeryError,
     r"swap 'a' and 'b': b \(Linear\(6, 2\), now a\) no longer fits: .* Swap layers whose sizes are the same.$"),
    (lambda m: surgery.swap(m, nn.Linear, "b"), ArgumentError, "Linear means 3 places: a, b and same.0. Give the path of one"),
    (lambda m: surgery.swap(m, ["same", "twin"], "b"), ArgumentError, "means 2 places"),
    (lambda m: surgery.swap(m, "same.0", "b"), SurgeryError, "same.0 is also twin.0"),
    (lambda m: surgery.temporarily(m, [nn.ReLU()]).__enter__(), TypeError, "expected a dict of keys and modules, given list"),
    (lambda m: surgery.temporarily(m, {"a": nn.ReLU(), 0: nn.ReLU()}).__enter__(), SurgeryError, "a is meant by two keys"),
    (lambda m: surgery.temporarily(m, {m.same: nn.ReLU(), m.same[0]: nn.ReLU()}).__enter__(), SurgeryError, "same.0 is inside same"),
    (lambda m: surgery.temporarily(m, {"a": nn.Tanh(), "b": None}).__enter__(), TypeError, "given None"),
    (lambda m: surgery.temporarily(m, {"b": one(nn.Linear, 3, 1), "a": one(nn.Linear, 4, 4)}, example=S).__enter__(), SurgeryError,
     r"temporarily: the new b \(Linear\(3, 1\)\) does not fit there"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "error", "words"), REFUSED, ids=[w[:40] for _, _, w in REFUSED])
def test_refused_edits_change_nothing(edit: Callable[[Any], Any], error: type[Exception], words: str) -> None:
    model = Sized()
    model.b.eval()
    for _ in range(2):  # the first time makes the new layers, which draws random numbers
        before = everything(model)
        with pytest.raises(error, match=f"(?s){words}"):
            edit(model)
    assert everything(model) == before


# ---- the page
def test_what_the_page_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of docs/surgery.md run in turn; each text block is what the expression above it shows, or its error."""
    page = Path(__file__).parent.parent / "docs" / "surgery.md"
    text = page.read_text()
    names: dict[str, Any] = {}
    shown = 0
    for expression, kind, body in re.findall(r"(?:<!-- ([^\n]*) -->\n)?```(python|text)\n(.*?)```", text, flags=re.S):
        if kind == "python":
            if "class " in body:  # where the model is
                lines = body.splitlines(keepends=True)
                monkeypatch.setitem(linecache.cache, "net.py", (len(lines), None, lines, "net.py"))
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(body, "net.py", "exec"), names)
            continue
        shown += 1
        if expression.startswith("error of "):
            with pytest.raises((KeyError, SurgeryError)) as caught:
                eval(expression.removeprefix("error of "), names)
            assert f"{caught.value}\n" == body
        else:
            assert f"{eval(expression, names)!r}\n" == body
    assert shown == 5
