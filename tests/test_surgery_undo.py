"""Changes and what comes after them: undo, training modes, optimizers, examples, adapt=True; and edits at random."""

from __future__ import annotations

import copy
import functools
import gc
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given, strategies as st
from surgery_models import Block, ComplexModel, Net, Sized, everything, state

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
        self.again = self.block


TIES: list[tuple[Callable[[Any], surgery.Change], list[str]]] = [
    (lambda m: surgery.replace(m, "o", nn.Linear(3, 5)), ["o.weight was also e.weight, and no longer is"]),
    (lambda m: surgery.replace(m, "e", copy.deepcopy),
     ["o.weight was also e.weight, and no longer is", "block.0.weight was also e.weight, and no longer is"]),
    (lambda m: surgery.replace(m, "o", nn.ReLU()), []),
    (lambda m: surgery.replace(m, "o", lambda old: nn.Sequential(nn.ReLU(), old)), []),
    (lambda m: surgery.replace(m, "block", copy.deepcopy, shared="here"), []),
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


# ---- temporarily
def test_temporarily() -> None:
    model = Net()
    before = state(model)
    with surgery.temporarily(model, {nn.ReLU: lambda old: nn.Tanh(), "norm": nn.Identity()}, example=X) as same:
        assert same is model and isinstance(model.norm, nn.Identity) and isinstance(model.act, nn.Tanh)
        with surgery.temporarily(model, {-1: nn.Dropout(), ("heads.*",): lambda old: nn.Linear(4, 1)}):
            assert model.heads["a"].out_features == 1
        assert isinstance(model.norm, nn.Identity)
    assert state(model) == before
    with pytest.raises(ZeroDivisionError), surgery.temporarily(model, {"norm": nn.Identity()}):
        raise ZeroDivisionError
    assert state(model) == before
    with surgery.temporarily(model, {"blocks.0.mlp.1": nn.Tanh()}, shared="here"):
        model.blocks[0].mlp.append(nn.ReLU())  # another place: the exit leaves it
        assert isinstance(model.act, nn.ReLU)
    assert len(model.blocks[0].mlp) == 4 and model.blocks[0].mlp[1] is model.act
    with surgery.temporarily(model, {}):
        pass


BLOCKS: list[tuple[str, Callable[[Any], Any], Callable[[Any], list[Any]]]] = [
    ("moved", lambda net: net.insert(0, nn.GELU()), lambda net: list(net)[1:]),
    ("exchanged", lambda net: surgery.swap(net, 1, 2), lambda net: [net[0], net[2], net[1]]),
    ("wrapped", lambda net: surgery.insert_after(net, 0, nn.GELU(), wrap=True), lambda net: [net[0][0], *net[1:]]),
    ("copied", lambda net: net.append(net[1]), lambda net: list(net)[:3]),
    ("taken away", lambda net: net.pop(2), lambda net: [*net, OLD[2]]),
]
OLD = [nn.Linear(2, 2), nn.ReLU(), nn.Dropout()]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("one", [False, True], ids=["each its own", "one for all"])
@pytest.mark.parametrize(("block", "where"), [row[1:] for row in BLOCKS], ids=[row[0] for row in BLOCKS])
def test_what_temporarily_put_in_is_found_wherever_the_block_has_moved_it(block: Any, where: Any, one: bool, fails: bool) -> None:
    net = nn.Sequential(*OLD).eval()
    tanh = nn.Tanh()
    stop = pytest.raises(ZeroDivisionError, check=lambda e: not hasattr(e, "__notes__")) if fails else nullcontext()
    with stop, surgery.temporarily(net, {i: (lambda old: tanh) if one else nn.Tanh() for i in (0, 1)}):
        assert isinstance(net[0], nn.Tanh) and isinstance(net[1], nn.Tanh) and (net[0] is net[1]) == one
        block(net)
        assert 1 // (not fails)
    assert [a is b for a, b in zip(where(net), OLD, strict=True)] == [True] * 3
    assert tanh.training and not any(m.training for m in OLD)


def test_what_the_block_has_taken_away_does_not_come_back_and_is_named() -> None:
    model = Net()
    act, before = model.act, state(model)
    words = r"BatchNorm1d\(4\) is not back at norm, where GELU\(\) stays: the block took away the Identity\(\) that stood there for it. All"
    with pytest.raises(SurgeryError, match=words), surgery.temporarily(model, {"norm": nn.Identity(), nn.ReLU: lambda old: nn.Tanh()}):
        norm, model.norm = model.norm, nn.GELU()
    assert isinstance(model.norm, nn.GELU) and model.act is act and isinstance(norm, nn.Identity)
    with pytest.raises(KeyError) as caught, surgery.temporarily(model, {"heads.a": nn.Tanh()}):
        del model.heads["a"], model.heads["b"]
    assert caught.value.__notes__[0].startswith("temporarily: Linear(4, 2) is not back at heads.a: the block took away the Tanh()")
    assert list(model.heads) == ["type"] and state(model) != before


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


# ---- adapt=True
def test_adapt_resizes_what_follows_and_undo_gives_the_parameters_back() -> None:
    model = ComplexModel()
    before = state(model)
    kept = model.nested[1].weight[:, :16].tolist()
    change = surgery.replace(model, 4, lambda old: nn.Linear(old.in_features, old.out_features + 5), example=(1, 3, 8, 8), adapt=True)
    assert change.resized == ("nested.1: Linear(16, 8) -> Linear(21, 8)",) and change.output_after == "(1, 8)"
    assert model.nested[1].weight[:, :16].tolist() == kept and model(jg.zeros(2, 3, 8, 8)).shape == (2, 8)
    assert "  resized to fit: nested.1: Linear(16, 8) -> Linear(21, 8)" in str(change).splitlines()
    change.undo()
    assert state(model) == before
    change = surgery.replace(model, 4, lambda old: nn.Linear(32, 21), example=(1, 3, 8, 8), adapt=True, keep="none")
    assert model.nested[1].weight[:, :16].tolist() != kept
    change.undo()
    assert state(model) == before


def test_adapt_one_after_the_other() -> None:
    """A chain, all of whose layers get wider: each function meets the old layer with the input it has got."""
    model = ComplexModel()
    before = state(model)
    change = surgery.replace(
        model, nn.Linear, lambda old: nn.Linear(old.in_features, old.out_features + 5), example=(1, 3, 8, 8), adapt=True
    )
    assert [m.in_features for m in surgery.select(model, nn.Linear).values()] == [576, 133, 69, 37, 21]  # type: ignore[attr-defined]
    assert change.resized == () and change.output_after == "(1, 13)"
    change.undo()
    assert state(model) == before


ADAPTED: list[tuple[Callable[[Any], Any], list[tuple[int, ...]]]] = [
    (lambda m: surgery.remove(m, 1, example=(1, 2), adapt=True), [(3, 2), (5, 3)]),
    (lambda m: surgery.insert_after(m, 0, nn.Linear(3, 7), example=(1, 2), adapt=True), [(3, 2), (7, 3), (4, 7), (5, 4)]),
    (lambda m: surgery.insert_before(m, 1, nn.Linear(3, 7), example=(1, 2), adapt=True), [(3, 2), (7, 3), (4, 7), (5, 4)]),
    (lambda m: surgery.insert_before(m, 0, nn.Linear(2, 7), example=(1, 2), adapt=True, wrap=True), [(7, 2), (3, 7), (4, 3), (5, 4)]),
    (lambda m: surgery.insert_after(m, -1, nn.Linear(5, 7), example=(1, 2), adapt=True), [(3, 2), (4, 3), (5, 4), (7, 5)]),
    (lambda m: surgery.insert_after(m, nn.Linear, lambda old: nn.Linear(old.out_features, 9), example=(1, 2), adapt=True),
     [(3, 2), (9, 3), (4, 9), (9, 4), (5, 9), (9, 5)]),
    (lambda m: surgery.remove(m, [0, 1], example=(1, 2), adapt=True), [(5, 2)]),
    (lambda m: surgery.remove(m, slice(1, 3), example=(1, 2), adapt=True), [(3, 2)]),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "shapes"), ADAPTED)
def test_adapt_of_insertions_and_removals(edit: Callable[[Any], Any], shapes: list[tuple[int, ...]]) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4), nn.Linear(4, 5))
    before = state(model)
    change = edit(model)
    assert [p.shape for name, p in model.named_parameters() if name.endswith("weight")] == shapes
    assert model(jg.ones(1, 2)).shape == (1, shapes[-1][0])
    change.undo()
    assert state(model) == before


class Skip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unused, self.inner, self.pair = nn.Linear(2, 2), nn.Sequential(nn.Linear(4, 4)), nn.Bilinear(4, 4, 4)
        self.twice = nn.Linear(4, 4)
        self.again = self.twice

    def forward(self, x: Any) -> Any:
        x = x * 1
        return self.again(self.twice(self.pair(x, self.inner(x)))).reshape(-1, 4)


one = functools.cache(nn.Linear)  # the same layer each time
NOT_ADAPTED: list[tuple[Callable[[Any], Any], str]] = [
    (lambda m: surgery.replace(m, "unused", one(2, 3), example=(1, 4), adapt=True), "unused is not called with this example"),
    (lambda m: surgery.replace(m, "inner", one(5, 3), example=(1, 4), adapt=True),
     r"the new Linear\(5, 3\) does not take what comes to inner, \(\(1, 4\),\): linear: expected .* Nothing was changed"),
    (lambda m: surgery.insert_before(m, "inner.0", one(4, 3), example=(1, 4), adapt=True),
     "what comes to inner.0 also goes to reshape in pair, whose sizes stay"),
    (lambda m: surgery.insert_before(m, "pair", one(4, 3), example=(1, 4), adapt=True, wrap=True),
     r"pair takes \(\(1, 4\), \(1, 4\)\): adapt=True follows one Tensor"),
    (lambda m: surgery.replace(m, "twice", one(4, 3), example=(1, 4), adapt=True, shared="here"),
     "adapt=True cannot tell calls of twice from those of its other places"),
    (lambda m: surgery.insert_after(m, "again", one(4, 3), example=(1, 4), adapt=True, wrap=True),
     r"adapt=True cannot tell calls of again .* surgery.replace\(model, 'again', copy.deepcopy, shared='here'\)"),
    (lambda m: surgery.replace(m, "twice", one(4, 6), example=(2, 4), adapt=True, shared="everywhere"), "twice"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "words"), NOT_ADAPTED, ids=[w[:40] for _, w in NOT_ADAPTED])
def test_what_adapt_cannot_follow_changes_nothing(edit: Callable[[Any], Any], words: str) -> None:
    model = Skip()
    for _ in range(2):  # the first time makes the new layers, which draws random numbers
        before = everything(model)
        with pytest.raises(SurgeryError, match=words):
            edit(model)
    assert everything(model) == before


def test_a_resize_that_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first layers are resized already when another's reset_parameters raises."""
    model = ComplexModel()
    before = state(model)
    calls: list[nn.Module] = []

    def reset(self: Any) -> None:
        calls.append(self)
        if self is model.module_list[0]:
            raise MemoryError

    monkeypatch.setattr(nn.Linear, "reset_parameters", reset)
    with pytest.raises(MemoryError):
        surgery.replace(model, ["linear1", "module_list.0"], lambda old: nn.Linear(old.in_features, 70), example=(1, 3, 8, 8), adapt=True)
    assert state(model) == before and len(calls) > 1


def test_adapt_says_what_is_missing() -> None:
    with pytest.raises(ArgumentError, match="adapt=True needs an example"):
        surgery.remove(Net(), "blocks.0", adapt=True)


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


def test_a_reshape_that_takes_samples_in_is_mentioned() -> None:
    """view(-1, 144) makes two rows of one where a layer before it gives twice as much; each layer fits."""

    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(144, 2)

        def forward(self, x: Any) -> Any:
            return self.fc(self.conv(x).view(-1, 144))

    model = Written()
    change = surgery.replace(model, "conv", nn.Conv2d(1, 8, 3), example=(1, 1, 8, 8))
    assert change.batch_changed and "note: the batch size of the output has changed from 1 to 2: a size written" in str(change)
    change.undo()
    new = nn.Conv2d(1, 8, 3)
    before = everything(model)
    with pytest.raises(SurgeryError, match=r"(?s)replace 'conv': reshape at .* a size is written there.*Nothing was changed."):
        surgery.replace(model, "conv", new, example=(1, 1, 8, 8), adapt=True)
    assert everything(model) == before  # also the generator, from which the resized layer has been drawn
