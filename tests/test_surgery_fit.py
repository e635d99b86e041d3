"""What a fitting edit does in a net of residual blocks, and what its refusals say: ties, image sizes, names, examples of after."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from surgery_models import Net, everything, state

import jitgrad as jg
from jitgrad import nn
from jitgrad.errors import SurgeryError, UnknownPathError
from jitgrad.nn import functional, surgery

X = (2, 3, 8, 8)


class Block(nn.Module):
    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.conv1, self.norm, self.conv2 = nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.Conv2d(b, b, 3, padding=1)
        self.short = nn.Identity() if a == b else nn.Conv2d(a, b, 1)

    def forward(self, x: Any) -> Any:
        return self.conv2(self.norm(self.conv1(x)).relu()) + self.short(x)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.blocks = nn.Sequential(Block(4, 4), Block(4, 4), Block(4, 6))
        self.fc = nn.Linear(6, 2)

    def forward(self, x: Any) -> Any:
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))


def wider(old: Any, out: int | None = None, **others: Any) -> nn.Module:
    return nn.Conv2d(old.in_channels, out or 2 * old.out_channels, old.kernel_size, padding=old.padding, **others)


def outputs(model: nn.Module) -> list[int]:
    convs: dict[str, Any] = surgery.select(model, nn.Conv2d)
    assert all(m.weight.shape[:2] == (m.out_channels, m.in_channels) for m in convs.values())
    return [m.out_channels for m in convs.values()]


# ---- outputs that meet
def first(do: Callable[[Any], Any], then: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """One function for the first module, another for the others."""
    met: list[Any] = []
    return lambda old: (met.append(old), do(old) if len(met) == 1 else then(old))[1]


TIED: list[tuple[str, Any, Callable[[Any], Any], list[int]]] = [
    ("every one doubled", nn.Conv2d, wider, [8, 8, 8, 8, 8, 12, 12, 12]),
    ("one size for all", nn.Conv2d, partial(wider, out=5), [5] * 8),
    ("blocks doubled", "blocks.*", lambda old: Block(old.conv1.in_channels, 2 * old.conv2.out_channels), [4, 8, 8, 8, 8, 8, 12, 12, 12]),
    ("the others copied", nn.Conv2d, first(wider, copy.deepcopy), [8, 4, 8, 4, 8, 6, 6, 6]),
    ("the others kept", nn.Conv2d, first(wider, lambda old: nn.Sequential(old, nn.Dropout())), [8, 4, 8, 4, 8, 6, 6, 6]),
    ("one of them", "stem.0", wider, [8, 4, 8, 4, 8, 6, 6, 6]),
]


@pytest.mark.parametrize(("key", "new", "sizes"), [row[1:] for row in TIED], ids=[row[0] for row in TIED])
def test_outputs_that_meet_get_one_size_once(key: Any, new: Callable[[Any], Any], sizes: list[int]) -> None:
    model = ResNet().eval()
    before = state(model)
    change = surgery.replace(model, key, new, example=X, adapt=True)
    assert outputs(model) == sizes and model(jg.ones(*X)).shape == (2, 2) and change.output_after == "(2, 2)"
    change.undo()
    assert state(model) == before and outputs(model) == [4, 4, 4, 4, 4, 6, 6, 6]


def test_embeddings_that_are_added_get_one_size_once() -> None:
    class Embedded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token, self.place = nn.Embedding(9, 4), nn.Embedding(5, 4)

        def forward(self, x: Any) -> Any:
            return self.token(x) + self.place(jg.arange(5))

    model = Embedded()
    surgery.replace(
        model, nn.Embedding, lambda o: nn.Embedding(o.num_embeddings, 2 * o.embedding_dim), example=jg.zeros(2, 5).long(), adapt=True
    )
    assert model.token.weight.shape == (9, 8) and model.place.weight.shape == (5, 8)


# ---- what is refused, and in which words
class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.short = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)), nn.Conv2d(3, 3, 5)

    def forward(self, x: Any) -> Any:
        return self.body(x) + self.short(x)


def line() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


fit = partial(surgery.replace, example=X, adapt=True)
SAID: list[tuple[str, Callable[[], nn.Module], Callable[[Any], Any], list[str]]] = [
    ("two sizes", ResNet, lambda m: fit(m, nn.Conv2d, lambda old: wider(old, 2 * len(old.weight))), [
        "replace Conv2d: the outputs of stem.0 and blocks.0.conv2 must be of one size, as they meet (in an addition, say): "
        "the new stem.0 has made it 8 already, and what is put in at blocks.0.conv2 would make it 16.",
        "Nothing was changed. Replace only one of them, which the other follows, or give the same size for both."]),
    ("padding forgotten", ResNet, lambda m: fit(m, "blocks.0.conv1", nn.Conv2d(4, 4, 5)), [
        "the new Conv2d(4, 4, (5, 5)) changes the size of the image at blocks.0.conv1 from 8 x 8 to 4 x 4, which does not fit in "
        "blocks.0 (the forward of Block): shapes (2, 4, 4, 4) and (2, 4, 8, 8) do not broadcast",
        "test_surgery_fit.py:", "Try padding=2, which gives 8 x 8 again."]),
    ("and another width", ResNet, lambda m: fit(m, "blocks.0.conv1", nn.Conv2d(4, 7, (5, 3), padding=(0, 1))), [
        "from 8 x 8 to 4 x 8, which does not fit in blocks.0", "Try padding=(2, 1), which gives 8 x 8 again."]),
    ("a stride", ResNet, lambda m: fit(m, "blocks.0.conv1", nn.Conv2d(4, 4, 3, stride=2, padding=1)), [
        "from 8 x 8 to 4 x 4", "Give it the stride and padding that give 8 x 8 again."]),
    ("an image's size without a new layer", Branches, lambda m: surgery.remove(m, "body.1", example=X, adapt=True), [
        "the image size 4 cannot become 6: an operation here gives 4.", "in conv2d of short"]),
    ("adapt before", ResNet, lambda m: fit(m, "fc", nn.Linear(6, 3), example=(2, 4, 8, 8)), [
        "the example does not fit ResNet as it is, before any edit: stem.0", "With adapt=True it must fit before the edit",
        "leave adapt=True out"]),
    ("an example for neither", ResNet, lambda m: surgery.replace(m, "stem.0", nn.Conv2d(1, 4, 3), example=(2, 2, 8, 8)), [
        "the example does not fit ResNet as it is, before any edit: stem.0 (Conv2d(3, 4, (3, 3)))",
        "Give an example that the model takes."]),
    ("removed", line, lambda m: surgery.remove(m, 0, example=(1, 4)), [
        "remove 0: 2 (Linear(8, 2), now 1) no longer fits", "or take that layer out too."]),
    ("swapped", line, lambda m: surgery.swap(m, 0, 2, example=(1, 4)), [
        "swap 0 and 2: 2 (Linear(8, 2), now 0) no longer fits", "Nothing was changed. Swap layers whose sizes are the same."]),
]  # fmt: skip


@pytest.mark.parametrize(("make", "edit", "words"), [row[1:] for row in SAID], ids=[row[0] for row in SAID])
def test_what_refusals_say(make: Callable[[], nn.Module], edit: Callable[[Any], Any], words: list[str]) -> None:
    model = make()
    before = state(model)
    with pytest.raises(SurgeryError) as error:
        edit(model)
    assert state(model) == before
    at = -1
    for text in words:  # in this order
        assert (at := str(error.value).find(text, at + 1)) >= 0, str(error.value)


def test_an_image_may_change_its_size_where_all_follows() -> None:
    model = ResNet()
    fit(model, "stem.0", nn.Conv2d(3, 5, 5, stride=2))
    assert model(jg.ones(*X)).shape == (2, 2) and outputs(model)[:3] == [5, 4, 5]


# ---- examples of what comes
GREY = nn.Conv2d(1, 4, 3, padding=1)


def test_an_example_may_fit_the_edited_model_only() -> None:
    model = ResNet().eval()
    before = everything(model)
    change = surgery.replace(model, "stem.0", copy.deepcopy(GREY), example=(2, 1, 8, 8))
    assert (change.output_before, change.output_after, change.batch_changed) == ("", "(2, 2)", False)
    assert str(change).endswith("  output: (2, 2); before, the example did not fit")
    assert model(jg.ones(2, 1, 8, 8)).shape == (2, 2)
    change.undo()
    assert everything(model) == before
    with surgery.temporarily(model, {"stem.0": GREY}, example=(2, 1, 8, 8)):
        assert model(jg.ones(2, 1, 8, 8)).shape == (2, 2)


# ---- keys and functions
def test_a_path_is_a_key_of_the_table() -> None:
    table = surgery.index(Net())
    assert table["norm"] is table[-1] and table["blocks.0.mlp.0"].layer == "Linear(4, 8)"
    with pytest.raises(UnknownPathError, match=r"there is no layer 'nrom' in Net. Did you mean 'norm'\?"):
        table["nrom"]
    with pytest.raises(KeyError, match=r"'blocks.0.mlp' is no layer of Net, and has no row; its layers have: blocks.0.mlp.0, "):
        table["blocks.0.mlp"]


FUNCTIONS: list[tuple[Any, str]] = [
    (functional.gelu, r"returns a Module; for blocks.0.mlp.1 \(ReLU\(\)\) given gelu, which takes Tensors. Try lambda old: nn.GELU\(\).$"),
    (functional.leaky_relu, r"given leaky_relu, which takes Tensors. Try lambda old: nn.LeakyReLU\(\).$"),
    (functional.max_pool2d, "given max_pool2d, which takes Tensors. Try a function that makes one, such as lambda old: nn.GELU"),
    (lambda old: functional.gelu(old), "it raised InputTypeError: gelu: expected a Tensor, given ReLU. .* Try a function that makes one"),
    (partial(functional.gelu, approximate="tanh"), "it raised InputTypeError: gelu(_tanh)?: expected a Tensor, given ReLU"),
]


@pytest.mark.parametrize(("new", "words"), FUNCTIONS, ids=[words[-30:] for _, words in FUNCTIONS])
def test_a_function_of_tensors_is_no_module(new: Any, words: str) -> None:
    model = Net()
    before = state(model)
    with pytest.raises(TypeError, match=words):
        surgery.replace(model, nn.ReLU, new)
    assert state(model) == before


def test_freeze_without_a_key_is_the_whole_model() -> None:
    model = Net()
    assert surgery.freeze(model).trainable_after == 0 and not any(p.requires_grad for p in model.parameters())
    change = surgery.unfreeze(model)
    assert change.trainable_after == change.parameters_after


# ---- wrap, and rows of a diff
class Backwards(nn.Sequential):
    def forward(self, x: Any) -> Any:
        for m in reversed(list(self)):
            x = m(x)
        return x


def test_wrap_inserts_directly_where_a_sequential_calls_in_order() -> None:
    model = ResNet()
    change = surgery.insert_after(model, nn.Conv2d, lambda old: nn.BatchNorm2d(old.out_channels), wrap=True, example=X)
    assert [type(m).__name__ for m in model.stem] == ["Conv2d", "BatchNorm2d", "ReLU"]
    assert [type(m).__name__ for m in model.blocks[0].conv1] == ["Conv2d", "BatchNorm2d"]
    assert change.output_after == "(2, 2)"
    for other in (nn.ModuleList([nn.ReLU()]), Backwards(nn.ReLU())):  # what stands beside a module may not be called next to it
        surgery.insert_before(other, 0, nn.Tanh(), wrap=True)
        assert len(other) == 1 and [type(m).__name__ for m in other[0]] == ["Tanh", "ReLU"]


def test_rows_that_are_the_same_in_full_stay_short() -> None:
    model = ResNet()
    assert str(surgery.replace(model, "blocks.0.norm", copy.deepcopy)).splitlines()[1:3] == [
        "  - blocks.0.norm  BatchNorm2d(4)  8  weight (4,), bias (4,)",
        "  + blocks.0.norm  BatchNorm2d(4)  8  weight (4,), bias (4,)",
    ]


# ---- depthwise convolutions
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d])
def test_a_depthwise_convolution_follows(kind: Any) -> None:
    model = nn.Sequential(kind(3, 4, 1), kind(4, 4, 3, groups=4), kind(4, 4, 3, stride=2, groups=4, bias=False), kind(4, 2, 1))
    x = (2, 3, 9, 9)[: 3 if kind is nn.Conv1d else 4]
    before, weight = state(model), model[1].weight.tolist()
    change = surgery.replace(model, 0, kind(3, 6, 1), example=x, adapt=True)
    for m in (model[1], model[2]):
        assert (m.in_channels, m.out_channels, m.groups) == (6, 6, 6) and m.weight.shape[:2] == (6, 1)
    assert model[1].weight[:4].tolist() == weight and model[3].in_channels == 6 and model(jg.ones(*x)).shape[1] == 2
    model(jg.ones(*x)).sum().backward()
    change.undo()
    assert state(model) == before
    model[1] = kind(4, 8, 3, groups=4)
    model[2] = kind(8, 4, 3)
    with pytest.raises(SurgeryError, match="groups=4 cuts its channels into groups"):
        surgery.replace(model, 0, kind(3, 6, 1), example=x, adapt=True)
