"""Edits with adapt=True: what is resized with them, undo, and what is refused."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from surgery_models import ComplexModel, Net, everything, state

import jitgrad as jg
from jitgrad import nn
from jitgrad.errors import ArgumentError, SurgeryError
from jitgrad.nn import surgery


def test_adapt_resizes_what_follows_and_undo_gives_the_parameters_back() -> None:
    model = ComplexModel()
    before = state(model)
    kept = model.nested[1].weight[:, :16].tolist()
    change = surgery.replace(model, 4, lambda old: nn.Linear(old.in_features, old.out_features + 5), example=(1, 3, 8, 8), adapt=True)
    assert change.resized == ("nested.1: Linear(16, 8) -> Linear(21, 8)",) and change.output_after == "(1, 8)"
    assert model.nested[1].weight[:, :16].tolist() == kept and model(jg.zeros(2, 3, 8, 8)).shape == (2, 8)
    assert "  + nested.1  Linear(21, 8)   176  weight (8, 21), bias (8,)" in str(change).splitlines()
    assert "resized" not in str(change) + change._repr_html_()  # the diff says it
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
