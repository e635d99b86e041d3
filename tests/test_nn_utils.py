"""Clipping and vectors: modes, strides, and what they refuse. Values are compared with torch's in test_parity_optim_torch."""

from __future__ import annotations

from typing import Any

import pytest

import jitgrad as jg
from jitgrad import nn
from jitgrad.errors import DTypeError, ShapeError
from jitgrad.nn.utils import clip_grad_norm_, clip_grad_value_, get_total_norm, parameters_to_vector, vector_to_parameters


def parameter(*grad: float) -> nn.Parameter:
    p = nn.Parameter(jg.zeros(len(grad)))
    p.grad = jg.tensor(list(grad))
    return p


def test_in_place_outside_the_graph() -> None:
    p = parameter(3.0, 4.0)
    held = p.grad
    total = clip_grad_norm_(iter([p]), 1.0)
    assert p.grad is held and not total.requires_grad and total.item() == 5.0
    assert clip_grad_norm_([nn.Parameter(jg.ones(2))], 1.0).item() == 0.0
    assert clip_grad_norm_(nn.Linear(2, 2).parameters(), 1.0).item() == 0.0
    assert get_total_norm([jg.zeros(0)]).item() == 0.0


def test_gradients_with_a_graph() -> None:
    x = nn.Parameter(jg.tensor([3.0]))
    (x * x).sum().backward(create_graph=True)
    clip_grad_norm_([x], 1.0)
    clip_grad_value_([x], 0.5)
    assert x.grad is not None and x.grad.tolist() == [0.5]


def test_below_the_limit_nothing_changes() -> None:
    p = parameter(0.1, 0.2)
    before = p.grad.tolist()  # type: ignore[union-attr]
    clip_grad_norm_([p], 1.0)
    assert p.grad.tolist() == before  # type: ignore[union-attr]


def test_mixed_dtypes() -> None:
    p, q = parameter(3.0), nn.Parameter(jg.zeros(1, dtype=jg.float64))
    q.grad = jg.tensor([4.0], dtype=jg.float64)
    assert clip_grad_norm_([p, q], 2.5).item() == pytest.approx(5.0)
    assert [p.grad.item(), q.grad.item()] == pytest.approx([1.5, 2.0]) and p.grad.dtype == jg.float32  # type: ignore[union-attr]


def test_vectors() -> None:
    model = nn.Linear(2, 2)
    vector = parameters_to_vector(model.parameters())
    vector.sum().backward()
    assert model.bias.grad.tolist() == [1.0, 1.0]
    strided = nn.Parameter(jg.zeros(3, 2).t())
    vector_to_parameters(jg.arange(6).float(), [strided])
    assert strided.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]] and strided.is_leaf


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p: clip_grad_norm_(3, 1.0), TypeError, "clip_grad_norm_: expected tensors, given int"),
        (lambda p: clip_grad_norm_([p, 3], 1.0), TypeError, "given int at 1"),
        (lambda p: clip_grad_norm_([p], "1"), TypeError, "max_norm is expected to be a number"),
        (lambda p: clip_grad_norm_([p], float("nan")), TypeError, "max_norm"),
        (lambda p: clip_grad_norm_([p], 1.0, 0.0), ValueError, "norm_type is expected above 0"),
        (lambda p: clip_grad_norm_([p], 1.0, -2), ValueError, "norm_type"),
        (lambda p: clip_grad_value_([p], -1.0), ValueError, "clip_value is expected to be at least 0"),
        (lambda p: get_total_norm([jg.arange(3)]), DTypeError, "expected float32 or float64"),
        (lambda p: vector_to_parameters(jg.zeros(3), [p]), ShapeError, r"expected shape \(2,\), given \(3,\)"),
        (lambda p: vector_to_parameters(jg.zeros(2, dtype=jg.float64), [p]), DTypeError, "parameter 0 is jitgrad.float32"),
        (lambda p: vector_to_parameters([1.0, 2.0], [p]), TypeError, "expected a Tensor, given list"),
    ],
)
def test_wrong_use(make: Any, error: type[Exception], words: str) -> None:
    p = parameter(3.0, 4.0)
    with pytest.raises(error, match=words):
        make(p)
    assert p.grad.tolist() == [3.0, 4.0] and p.tolist() == [0.0, 0.0]  # type: ignore[union-attr]
