"""Changes and what comes after them: undo, training modes, optimizers, ties, examples; and edits at random."""

from __future__ import annotations

import copy
import gc
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st
from surgery_models import Block, Net, Sized, everything, state

import jitgrad as jg
from jitgrad import nn
from jitgrad.errors import ArgumentError, SurgeryError
from jitgrad.nn import surgery

X = (5, 4)


# ---- undo
def test_independent_edits_are_undone_in_any_order() -> None:
    model = Net()
    before = state(model)
    changes = [
        surgery.replace(model, "heads.a", nn.Linear(4, 9)),
        surgery.remove(model, "blocks.0.mlp.1"),
        surgery.freeze(model, "blocks.1.attn"),
        surgery.insert_after(model, "blocks.1", nn.ReLU()),
        surgery.swap(model, "norm", "act"),
    ]
    for change in changes:
        change.undo()
    assert state(model) == before


SINCE: list[tuple[Callable[[Any], surgery.Change], Callable[[Any], Any], str]] = [
    (lambda m: surgery.replace(m, "norm", nn.ReLU()), lambda m: surgery.replace(m, "norm", nn.Tanh()), "norm is another module now"),
    (lambda m: surgery.replace(m, "norm", nn.ReLU()), lambda m: m.__delattr__("norm"), "norm is another module now"),
    (lambda m: surgery.replace(m, "blocks.0.attn", nn.ReLU()), lambda m: m.blocks.insert(0, nn.ReLU()) and m.blocks.pop(1),
     "the Block around blocks.0.attn has left the model"),
    (lambda m: surgery.insert_after(m, "blocks.0", nn.ReLU()), lambda m: m.blocks.append(nn.ReLU()), "blocks has other members now"),
    (lambda m: surgery.remove(m, "heads.a"), lambda m: m.heads.update({"a": nn.ReLU()}), "heads has other members now"),
    (lambda m: surgery.remove(m, "blocks.0.mlp.0"), lambda m: surgery.replace(m, "blocks.0.mlp", nn.ReLU()),
     "blocks.0.mlp has left the model"),
    (lambda m: surgery.freeze(m, "blocks.0"), lambda m: surgery.unfreeze(m, "blocks.0.attn"),
     "requires_grad of blocks.0.attn.weight is True now; requires_grad of blocks.0.attn.bias is True now"),
    (lambda m: surgery.replace(m, "blocks.0.mlp.0", nn.Linear(4, 9), example=X, adapt=True),
     lambda m: surgery.replace(m, "blocks.0.mlp.2", nn.Linear(9, 4)), "blocks.0.mlp.2, which was resized, is another module now"),
    (lambda m: surgery.replace(m, "blocks.0.mlp.0", nn.Linear(4, 9), example=X, adapt=True),
     lambda m: setattr(m.blocks[0].mlp[2], "weight", nn.Parameter(jg.ones(4, 9))), "blocks.0.mlp.2 has other parameters now"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "then", "words"), SINCE, ids=[w[:40] for _, _, w in SINCE])
def test_undo_is_refused_where_the_model_has_been_edited_since(edit: Any, then: Any, words: str) -> None:
    model = Net()
    before = state(model)
    change = edit(model)
    done = then(model)
    between = state(model)
    with pytest.raises(SurgeryError, match=f"cannot be undone, as the model has been edited since: {words}. Undo that first."):
        change.undo()
    assert state(model) == between and not change.undone
    if isinstance(done, surgery.Change):
        done.undo()
        change.undo()
        assert state(model) == before


def test_several_edits_of_one_container_are_undone_together() -> None:
    for adapt in (False, True):
        model = nn.Sequential(*(nn.Linear(3, 3) for _ in range(4)))
        before = state(model)
        changes = [
            surgery.insert_after(model, nn.Linear, lambda old: nn.BatchNorm1d(3), example=(2, 3), adapt=adapt),
            surgery.remove(model, [0, 3, 5], example=(2, 3), adapt=adapt),
        ]
        assert [type(m).__name__ for m in model] == ["BatchNorm1d", "Linear", "Linear", "Linear", "BatchNorm1d"]
        for change in reversed(changes):
            change.undo()
        assert state(model) == before


def test_an_optimizer_goes_on_after_undo() -> None:
    model = Sized()
    optimizer = jg.optim.SGD([*model.a.parameters(), *model.b.parameters()], lr=0.1)
    change = surgery.replace(model, "a", nn.Linear(4, 9), example=(1, 4), adapt=True)
    change.undo()
    before = model.b.weight.tolist()
    model(jg.ones(2, 4)).sum().backward()
    optimizer.step()
    assert model.b.weight.tolist() != before


def test_an_optimizer_that_was_synced_before_undo_is_synced_again() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    optimizer = jg.optim.Adam(model)

    def step() -> None:
        model(jg.ones(1, 2)).sum().backward()
        optimizer.step()

    step()
    change = surgery.replace(model, 0, nn.Linear(2, 3))
    optimizer.sync(model)
    change.undo()
    with pytest.raises(SurgeryError, match="2 parameters have left"):
        step()
    optimizer.sync(model)
    step()
    assert sorted(float(s["step"]) for s in optimizer.state_dict()["state"].values()) == [1, 1, 2, 2]  # what came back begins anew


def test_a_change_and_its_model_are_freed_without_the_collector() -> None:
    gc.disable()
    try:
        model = Net()
        change = surgery.replace(model, "blocks.0.mlp.0", nn.Linear(4, 9), example=X, adapt=True)
        dead = [weakref.ref(model), weakref.ref(change)]
        del model, change
        assert [d() for d in dead] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("name", ["a", "b", "same", "twin"])
def test_undo_gives_back_the_order_where_a_name_was_deleted_and_set_again(name: str) -> None:
    model = Sized()
    before = state(model)
    change = surgery.replace(model, name, nn.Identity(), shared="here")
    new = getattr(model, name)
    delattr(model, name)
    setattr(model, name, new)
    assert list(model._modules)[-1] == name
    change.undo()
    assert state(model) == before


def test_undo_leaves_an_order_that_was_chosen_since() -> None:
    net = nn.Sequential(OrderedDict(a=nn.ReLU(), b=nn.Tanh()))
    change = surgery.replace(net, "a", nn.Identity())
    net.reverse()
    net.c = nn.GELU()
    change.undo()
    assert [(name, type(m).__name__) for name, m in net.named_children()] == [("b", "Tanh"), ("a", "ReLU"), ("c", "GELU")]


# ---- training modes
def test_a_new_module_takes_over_the_mode_and_an_old_one_inside_keeps_its_own() -> None:
    model = nn.Sequential(nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)), nn.ReLU()).eval()
    model[0][1].train()
    block = model[0]
    surgery.replace(model, "0", lambda old: nn.Sequential(old, nn.Dropout()))
    assert [m.training for m in (model[0], model[0][0], block[0], block[1], model[0][1])] == [False, False, False, True, False]
    surgery.insert_after(model, "0", nn.Sequential(nn.Dropout()))
    assert not any(m.training for m in model[1].modules())
    wrapped = surgery.insert_before(model, "2", nn.Dropout(), wrap=True)
    assert not any(m.training for m in model[2].modules())
    wrapped.undo()


def test_what_comes_back_follows_a_train_or_eval_since() -> None:
    model = Net()
    replaced, removed = surgery.replace(model, "norm", nn.Identity()), surgery.remove(model, "blocks.0.mlp.1")
    model.eval()
    replaced.undo()
    removed.undo()
    assert not any(m.training for m in model.modules())
    with surgery.temporarily(model, {"norm": nn.Identity()}):
        assert not model.norm.training
        model.train()
    assert all(m.training for m in model.modules())


def test_a_module_given_to_a_refused_edit_is_as_it_was() -> None:
    model, new = Sized().eval(), nn.Sequential(nn.Linear(4, 7), nn.Dropout())
    new[1].eval()
    with pytest.raises(SurgeryError, match="no longer fits"):
        surgery.replace(model, "a", new, example=(1, 4))
    assert [m.training for m in new.modules()] == [True, True, False]


# ---- shared modules, and one module for several places
def test_one_module_for_several_places() -> None:
    model = Net()
    new = nn.Dropout(0.3)
    surgery.replace(model, nn.ReLU, new)
    assert model.blocks[0].mlp[1] is new is model.act and model.blocks[1].mlp[1] is not new and model.blocks[1].mlp[1].p == 0.3
    olds: list[nn.Module] = []
    surgery.replace(model, nn.Dropout, lambda old: olds.append(old) or nn.ReLU())
    assert len(olds) == 2 and olds[0] is new and model.act is model.blocks[0].mlp[1]
    made: list[nn.Module] = []
    surgery.insert_before(model, [nn.ReLU], lambda old: made.append(nn.BatchNorm1d(8)) or made[-1], wrap=True)
    assert len(made) == 3 == len(set(made))


def test_a_place_of_its_own_for_a_shared_block() -> None:
    model = Sized()
    surgery.replace(model, "twin", copy.deepcopy, shared="here")
    assert model.twin is not model.same and model.twin[0].weight is not model.same[0].weight
    surgery.replace(model, "twin.0", nn.ReLU())
    assert isinstance(model.same[0], nn.Linear)
    surgery.replace(model, "twin", model.same)
    change = surgery.replace(model, "twin.0", nn.Tanh(), shared="everywhere")
    assert isinstance(model.same[0], nn.Tanh) and change.paths == ("same.0", "twin.0")


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e, self.o, self.block = nn.Embedding(5, 3), nn.Linear(3, 5), nn.Sequential(nn.Linear(3, 5))
        self.o.weight = self.block[0].weight = self.e.weight
        self.again, self.free = self.block, nn.Linear(3, 5)
        self.bound = self.free


TIES: list[tuple[Callable[[Any], surgery.Change], list[str]]] = [
    (lambda m: surgery.replace(m, "o", nn.Linear(3, 5)), ["o.weight was also e.weight, and no longer is"]),
    (lambda m: surgery.replace(m, "e", copy.deepcopy), ["o.weight was also e.weight, and no longer is"]),
    (lambda m: surgery.replace(m, "o", nn.ReLU()), []),
    (lambda m: surgery.replace(m, "o", lambda old: nn.Sequential(nn.ReLU(), old)), []),
    (lambda m: surgery.replace(m, "block", copy.deepcopy, shared="here"), ["block.0.weight was also e.weight, and no longer is"]),
    (lambda m: surgery.replace(m, "again", copy.deepcopy, shared="here"), ["again.0.weight was also e.weight, and no longer is"]),
    (lambda m: surgery.replace(m, "free", copy.deepcopy, shared="here"), []),
    (lambda m: surgery.swap(m, "o", "free"), []),
    (lambda m: surgery.replace(m, "block", copy.deepcopy, shared="everywhere"), ["block.0.weight was also e.weight, and no longer is"]),
    (lambda m: surgery.swap(m, "o", "e"), []),
    (lambda m: surgery.insert_before(m, ["block.0", "again.0"], nn.Linear(3, 3)), []),
    (lambda m: surgery.insert_before(m, "o", nn.Linear(3, 3), wrap=True), []),
    (lambda m: surgery.remove(m, ["block.0", "again.0"]), []),
    (lambda m: surgery.freeze(m, "o"), []),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "notes"), TIES)
def test_a_tie_that_an_edit_ends_is_named(edit: Callable[[Any], surgery.Change], notes: list[str]) -> None:
    change = edit(Tied())
    assert change.notes == tuple(notes) and [line for line in str(change).splitlines() if "note" in line] == [f"  note: {n}" for n in notes]


# ---- examples
class ByValue(nn.Module):
    """Its forward looks at values, counts its calls, and draws at random."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)
        self.calls = 0

    def forward(self, x: Any, *, twice: bool = False) -> Any:
        self.calls += 1
        y = self.norm(self.a(x))
        if y.sum().item() > 1e9 or twice:
            y = y * 2
        return self.b(y + jg.randn(4))


def test_a_forward_that_asks_for_values_is_run_and_the_model_is_as_before() -> None:
    model, x = ByValue(), jg.randn(6, 3)
    wider, other = nn.Linear(4, 5), nn.Linear(3, 5)
    before = everything(model)
    for adapt in (False, True):
        change = surgery.replace(model, "b", wider, example={"x": x, "twice": True}, adapt=adapt)
        assert change.output_after == "(6, 5)"
        change.undo()
        assert everything(model) == before and model.calls == 0
    with pytest.raises(SurgeryError, match=r"norm \(BatchNorm1d\(4\)\) no longer fits"):
        surgery.replace(model, "a", other, example=x)
    assert everything(model) == before and model.calls == 0


def test_an_example_does_not_need_arithmetic() -> None:
    model = nn.Sequential(nn.Linear(10, 10))
    model[0].weight.data = jg.zeros(1).expand(100_000, 100_000)  # 40 GB, were they read
    model[0].bias.data = jg.zeros(1).expand(100_000)
    change = surgery.insert_after(model, 0, nn.ReLU(), example=(4, 100_000))
    assert change.output_after == "(4, 100000)" == change.output_before


def test_the_error_of_a_layer_is_chained() -> None:
    with pytest.raises(SurgeryError) as caught:
        surgery.replace(Sized(), "a", nn.Linear(4, 7), example=(1, 4))
    assert isinstance(caught.value.__cause__, jg.errors.ShapeError) and "in b (Linear(6, 2)) of Sized" in str(caught.value.__cause__)


# ---- programs of edits
NEW = [
    lambda old: nn.Identity(), lambda old: nn.Linear(4, 4), lambda old: nn.Sequential(old, nn.Dropout()), copy.deepcopy, lambda old: old,
    lambda old: nn.Sequential(), lambda old: Block(), nn.Tanh(),
]  # fmt: skip
KEYS = ["blocks.0", "blocks.*", "**.attn", "**.mlp.0", "heads.a", "heads.*", "act", "norm", "empty", nn.Linear, nn.ReLU, Block,
        0, 3, -1, -4, slice(1, 3), slice(None, None, 4), lambda m: len(m._modules) == 3, ["act", "norm"]]  # fmt: skip
KEY = st.sampled_from(KEYS)
FITTED = st.sampled_from([{}, {"example": X}, {"example": X, "adapt": True}])
EDIT = st.one_of(
    st.builds(lambda k, n, s, f: lambda m: surgery.replace(m, k, n, shared=s, **f), KEY, st.sampled_from(NEW),
              st.sampled_from([None, "everywhere", "here"]), FITTED),
    st.builds(lambda f, k, n, w, x: lambda m: f(m, k, n, wrap=w, **x), st.sampled_from([surgery.insert_before, surgery.insert_after]), KEY,
              st.sampled_from(NEW), st.booleans(), FITTED),
    st.builds(lambda k, f: lambda m: surgery.remove(m, k, **f), KEY, FITTED),
    st.builds(lambda a, b: lambda m: surgery.swap(m, a, b), KEY, KEY),
    st.builds(lambda f, k: lambda m: f(m, k), st.sampled_from([surgery.freeze, surgery.unfreeze]), KEY),
)  # fmt: skip


@given(st.lists(EDIT, min_size=1, max_size=6))
def test_programs_of_edits_and_back(edits: list[Callable[[nn.Module], surgery.Change]]) -> None:
    """A refused edit leaves all as it was, and undoing the others from the last to the first gives back every object."""
    model = Net()
    done = []
    for edit in edits:
        before, rng_state = everything(model)
        try:
            change = edit(model)
        except (SurgeryError, KeyError, IndexError, ArgumentError):
            assert everything(model) == (before, rng_state)
            continue
        assert (str(change).splitlines()[1] == "  nothing has changed") == (state(model) == before)
        assert change.parameters_after == sum(p.numel() for p in model.parameters()) and change._repr_html_()
        done.append((change, before))
    for change, before in reversed(done):
        change.undo()
        assert state(model) == before


def test_undo_brings_back_what_is_shared_on_purpose() -> None:
    model = nn.Sequential(*nn.ModuleList([nn.Linear(2, 2)]).repeat(1))
    model = model.repeat(2, mode="share")
    assert nn.diagnose(model, jg.ones(3, 2)).ok
    change = surgery.remove(model, 1)
    assert len(model) == 1
    change.undo()
    assert nn.diagnose(model, jg.ones(3, 2)).ok
