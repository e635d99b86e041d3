"""Situations that people write about ModuleList, ModuleDict and Sequential, with nothing changed but the imports.

One test for each program: what must hold, and the truth where a page says something else.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import jitgrad as torch
import jitgrad.nn as nn
from jitgrad import Tensor
from jitgrad.errors import DTypeError, ShapeError


def _values(t: Any) -> Any:
    return t.detach().numpy().copy()


# ---- indexing a ModuleList
class Chain(nn.Module):
    """Three layers in a list, called by index."""

    def __init__(self, *sizes: int) -> None:
        super(Chain, self).__init__()  # noqa: UP008
        self.steps = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise(sizes)])

    def forward(self, x: Any) -> Any:
        for i in range(len(self.steps)):
            x = self.steps[i](x)
        return x


def test_filling_the_weight_of_an_indexed_layer_fills_the_models() -> None:
    model = Chain(6, 4, 4, 4)
    x = torch.ones(2, 6)
    before = _values(model(x))
    model.steps[1].weight.data.fill_(0.1)
    assert (_values(model.steps[1].weight) == np.float32(0.1)).all()
    assert repr(model.steps[1].weight).startswith("Parameter containing:\ntensor([[0.1") and "requires_grad=True" in repr(
        model.steps[1].weight
    )
    assert (_values(model(x)) != before).any()
    model(x).sum().backward()
    assert model.steps[1].weight.grad is not None


def test_an_index_gives_the_layer_itself() -> None:
    model = Chain(6, 4, 4, 4)
    layer, weight = model.steps[0], model.steps[0].weight
    before = _values(weight)
    layer.weight.data *= 2.0
    assert model.steps[0] is layer and model.steps[0].weight is weight
    np.testing.assert_array_equal(_values(model.steps[0].weight), 2 * before)
    assert model.steps[-3] is layer and model.steps[:2][0] is layer


def test_deep_copies_put_in_place_leave_the_originals_alone() -> None:
    model = Chain(6, 4, 4, 4)
    originals = list(model.steps)
    before = [_values(m.weight) for m in originals]
    for i, layer in enumerate(model.steps):
        if i % 2 == 0:
            twin = copy.deepcopy(layer)
            twin.weight.data.fill_(0.0)
            model.steps[i] = twin
    assert [bool((m.weight == 0).sum() == m.weight.numel()) for m in model.steps] == [True, False, True]
    assert model.steps[1] is originals[1] and [n for n, _ in model.steps.named_children()] == ["0", "1", "2"]
    for m, old in zip(originals, before, strict=True):
        np.testing.assert_array_equal(_values(m.weight), old)


# ---- indexing a ModuleDict
class Keyed(nn.Module):
    """Two layers in a dict, called by key or by attribute."""

    def __init__(self, by_attribute: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({"layer1": nn.Linear(10, 5), "layer2": nn.Linear(5, 2)})
        self.by_attribute = by_attribute

    def forward(self, x: Any) -> Any:
        first = self.layers.layer1 if self.by_attribute else self.layers["layer1"]
        x = first(x)
        return self.layers["layer2"](x)


def test_a_module_dict_is_called_by_key() -> None:
    model = Keyed()
    model(torch.randn(1, 10)).mean().backward()
    assert [n for n, p in model.named_parameters() if p.grad is not None] == [
        "layers.layer1.weight", "layers.layer1.bias", "layers.layer2.weight", "layers.layer2.bias",
    ]  # fmt: skip


class Grown(nn.Module):
    """Layers entered into a dict one by one, and chained in the order of entry."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        for i, (a, b) in enumerate(pairwise(sizes)):
            self.layers[f"layer{i + 1}"] = nn.Linear(a, b)

    def forward(self, x: Any) -> Any:
        for _, layer in self.layers.items():
            x = layer(x)
        return x


def test_a_dict_of_layers_that_do_not_fit_each_other_names_the_one() -> None:
    """Three times (10, 5): the second is handed 5 features. With sizes that fit the same program trains."""
    model = Grown(10, 5)
    model.layers["layer2"], model.layers["layer3"] = nn.Linear(10, 5), nn.Linear(10, 5)
    with pytest.raises(ShapeError) as caught:
        model(torch.randn(1, 10))
    said = str(caught.value)
    assert "in layers.layer2 (Linear(10, 5)) of Grown, input (1, 5) float32" in said
    assert "expected" in said and "(..., 10)" in said and "given" in said and "(1, 5)" in said
    fitting = Grown(10, 8, 6, 5)
    fitting(torch.randn(1, 10)).mean().backward()
    assert all(p.grad is not None for p in fitting.parameters())


def test_taking_a_layer_out_of_a_dict_first_breaks_no_graph() -> None:
    """``d["a"]``, kept in a variable or not, and ``d.a`` are one object: gradients are equal, and nothing raises."""
    found = []
    by_key, x = Keyed(), torch.randn(3, 10)
    for model in (by_key, copy.deepcopy(by_key)):
        model.by_attribute = model is not by_key
        model(x).mean().backward()
        found.append([p.grad.tolist() for p in model.parameters()])
    assert found[0] == found[1] and by_key.layers["layer1"] is by_key.layers.layer1


# ---- a list does not chain
class Looped(nn.Module):
    """Layers in a list with a loop in forward, which hands each result on, or forgets to."""

    def __init__(self, chained: bool) -> None:
        super(Looped, self).__init__()  # noqa: UP008
        self.layers = nn.ModuleList([nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 10)])
        self.chained = chained

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            if self.chained:
                x = layer(x)
            else:
                layer(x)
        return x


LOOPED = [("layers.0.weight", (20, 10)), ("layers.0.bias", (20,)), ("layers.2.weight", (10, 20)), ("layers.2.bias", (10,))]


def test_a_loop_that_forgets_to_chain_is_told_where() -> None:
    """The third layer is handed the 10 features of the input, where it wants 20."""
    model = Looped(chained=False)
    with pytest.raises(ShapeError) as caught:
        model(torch.randn(1, 10))
    said = str(caught.value)
    assert "in layers.2 (Linear(20, 10)) of Looped, input (1, 10) float32" in said
    assert "expected" in said and "(..., 20)" in said and "given" in said and "(1, 10)" in said
    assert [(n, p.shape) for n, p in model.named_parameters()] == LOOPED


def test_a_loop_that_chains() -> None:
    model = Looped(chained=True)
    y = model(torch.randn(1, 10))
    assert y.shape == (1, 10) and [(n, p.shape) for n, p in model.named_parameters()] == LOOPED
    y.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_branches_from_one_list_joined_again() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super(Fork, self).__init__()  # noqa: UP008
            self.layers = nn.ModuleList([nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 30), nn.Linear(20, 10)])

        def forward(self, x: Any) -> Any:
            x = self.layers[1](self.layers[0](x))
            return torch.cat((self.layers[2](x), self.layers[3](x)), dim=1)

    model = Fork()
    y = model(torch.randn(1, 10))
    assert y.shape == (1, 40)
    y.sum().backward()
    assert {n.split(".")[1] for n, p in model.named_parameters() if p.grad is not None} == {"0", "2", "3"}


# ---- replacing a layer by its index
def test_a_layer_of_a_sequential_is_replaced_by_index() -> None:
    model = nn.Sequential(nn.Linear(10, 20), nn.Linear(20, 30), nn.Linear(30, 40))
    with torch.no_grad():
        old = model[1].weight.clone()
        model[1] = nn.Linear(20, 35)
    assert old.shape == (30, 20) and model[1].weight.shape == (35, 20) and model[1].weight.requires_grad
    assert list(model.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"]
    with pytest.raises(ShapeError, match=r"in 2 \(Linear\(30, 40\)\) of Sequential, input \(1, 35\) float32"):
        model(torch.ones(1, 10))


class Mixed(nn.Module):
    """Layers of its own, a list and a Sequential."""

    def __init__(self) -> None:
        super(Mixed, self).__init__()  # noqa: UP008
        self.conv = nn.Conv2d(3, 4, kernel_size=3)
        self.wide = nn.Linear(4 * 6 * 6, 16)
        self.listed = nn.ModuleList([nn.Linear(16, 12), nn.Linear(12, 8)])
        self.nested = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4))

    def forward(self, x: Any) -> Any:
        x = self.wide(self.conv(x).view(-1, 4 * 6 * 6))
        for layer in self.listed:
            x = layer(x)
        return self.nested(x)


def test_a_counter_in_a_default_argument_works_once() -> None:
    """The first call replaces the fifth layer; the second starts where the first one stopped, at the convolution, and fails."""

    def widen(model: nn.Module, target: int, counter: list[int] = [0]) -> Any:  # noqa: B006  (the trap that the test is about)
        """Replace the layer with this number, counted through direct children and lists, by a wider one; the path of what was replaced."""
        for name, child in model.named_children():
            inside = list(enumerate(child)) if isinstance(child, (nn.ModuleList, nn.Sequential)) else [(None, child)]
            for i, layer in inside:
                if counter[0] == target:
                    wider = nn.Linear(layer.in_features, layer.out_features + 5)
                    if i is None:
                        setattr(model, name, wider)
                    else:
                        child[i] = wider
                    return name if i is None else f"{name}.{i}"
                counter[0] += 1
        return None

    model = Mixed()
    assert model(torch.ones(1, 3, 8, 8)).shape == (1, 4)
    with torch.no_grad():
        assert widen(model, 4) == "nested.0"
        assert model.nested[0].weight.shape == (11, 8) and model.get_submodule("nested.0") is model.nested[0]
        with pytest.raises(AttributeError, match="'Conv2d' object has no attribute 'in_features'"):
            widen(model, 4)
        assert widen(model, 1, [0]) == "wide" and model.wide.weight.shape == (21, 4 * 6 * 6)


def test_layers_flattened_with_their_paths_are_replaced_by_number() -> None:
    """The paths are those of named_modules, so get_ and set_submodule do what a page parses strings for."""
    model = Mixed()

    def flat(module: nn.Module) -> list[tuple[str, nn.Module]]:
        found: list[tuple[str, nn.Module]] = []
        for name, child in module.named_children():
            if isinstance(child, (nn.ModuleList, nn.Sequential)):
                for i, layer in enumerate(child):
                    found += [(f"{name}[{i}]", layer), *flat(layer)]
            else:
                found += [(name, child), *flat(child)]
        return found

    layers = flat(model)
    assert [n for n, _ in layers] == ["conv", "wide", "listed[0]", "listed[1]", "nested[0]", "nested[1]"]
    name, layer = layers[4]
    assert hasattr(layer, "weight") and isinstance(layer, nn.Linear)
    holder, index = name.rstrip("]").split("[")
    with torch.no_grad():
        getattr(model, holder)[int(index)] = nn.Linear(layer.in_features, layer.out_features + 5)
    assert model.nested[0].out_features == 11
    leaves = [(n, m) for n, m in model.named_modules() if not list(m.children())]
    assert [m for _, m in leaves] == [m for _, m in flat(model)]
    model.set_submodule(leaves[4][0], layer)
    assert model.nested[0] is layer and model(torch.ones(1, 3, 8, 8)).shape == (1, 4)


# ---- lists of layers, written for another library of the same names
def test_a_network_as_deep_as_its_list_of_sizes() -> None:
    class Deep(nn.Module):
        def __init__(self, features: int, hidden: list[int], out: int) -> None:
            super(Deep, self).__init__()  # noqa: UP008
            self.layers = nn.ModuleList()
            for size in hidden:
                self.layers.append(nn.Linear(features, size))
                self.layers.append(nn.ReLU())
                features = size
            self.layers.append(nn.Linear(features, out))

        def forward(self, x: Any) -> Any:
            for layer in self.layers:
                x = layer(x)
            return x

    model = Deep(features=10, hidden=[20, 30], out=5)
    assert [type(m).__name__ for m in model.layers] == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
    x = Tensor([[1.0] * 10], requires_grad=True)
    assert x.shape == (1, 10) and x.dtype == torch.float32
    y = model(x)
    assert y.shape == (1, 5) and repr(y).startswith("tensor([[")
    y.sum().backward()
    assert x.grad.shape == (1, 10) and all(p.grad is not None for p in model.parameters())


class Images(nn.Module):
    """Convolutions in a list under their other names, then a linear layer."""

    def __init__(self) -> None:
        super(Images, self).__init__()  # noqa: UP008
        self.body = nn.ModuleList([
            nn.Conv2D(in_channels=3, out_channels=16, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2D(kernel_size=2, stride=2),
            nn.Conv2D(in_channels=16, out_channels=32, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2D(kernel_size=2, stride=2),
        ])  # fmt: skip
        self.head = nn.Linear(in_features=32 * 8 * 8, out_features=10)

    def forward(self, x: Any) -> Any:
        for layer in self.body:
            x = layer(x)
        return self.head(x.view(x.size(0), -1))


def test_convolutions_in_a_list() -> None:
    assert nn.Conv2D is nn.Conv2d and nn.MaxPool2D is nn.MaxPool2d
    model = Images()
    x = torch.randn(1, 3, 32, 32).requires_grad_()
    y = model(x)
    assert y.shape == (1, 10)
    y.sum().backward()
    assert x.grad.shape == (1, 3, 32, 32) and all(p.grad is not None for p in model.parameters())
    for data in ([1.0, 2.0, ..., 32.0], [[[[1.0, ..., 32.0], [33.0, ..., 64.0], ..., [1025.0, ..., 1056.0]]]], ...):
        with pytest.raises(DTypeError, match=r"given a literal \.\.\., which stands for numbers that were left out"):
            Tensor(data, requires_grad=True)


def test_lists_in_a_list() -> None:
    class Groups(nn.Module):
        def __init__(self) -> None:
            super(Groups, self).__init__()  # noqa: UP008
            self.groups = nn.ModuleList()
            self.groups.append(nn.ModuleList([nn.Linear(in_features=10, out_features=20), nn.ReLU(), nn.Linear(20, 10)]))
            self.groups.append(nn.ModuleList([nn.Linear(10, 5), nn.Tanh(), nn.Linear(in_features=5, out_features=1)]))

        def forward(self, x: Any) -> Any:
            for group in self.groups:
                for layer in group:
                    x = layer(x)
            return x

    model = Groups()
    x = Tensor([[1.0] * 10], requires_grad=True)
    y = model(x)
    assert y.shape == (1, 1)
    y.backward()
    assert x.grad.shape == (1, 10) and [n for n, p in model.named_parameters() if p.grad is not None][-1] == "groups.1.2.bias"


def test_a_list_inside_a_sequential_is_chained() -> None:
    layers = nn.ModuleList([nn.Linear(in_features=10, out_features=20), nn.ReLU(), nn.Linear(in_features=20, out_features=10)])
    model = nn.Sequential(OrderedDict([("inner", layers), ("last", nn.Linear(in_features=10, out_features=1))]))
    x = Tensor([[1.0] * 10], requires_grad=True)
    y = model(x)
    assert y.shape == (1, 1) and y.item() == nn.Sequential(*layers, model.last)(x).item()
    y.backward()
    assert x.grad is not None and layers[0].weight.grad is not None
    assert list(model.state_dict())[:2] == ["inner.0.weight", "inner.0.bias"] and model[0] is layers
