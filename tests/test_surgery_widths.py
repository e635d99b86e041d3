"""Which layers follow when one gets another width, that they keep what they knew, and where a width is refused."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, strategies as st
from surgery_models import everything
from width_cases import CASES, REFUSALS
from width_models import ConvNetwork, Forward, WrittenModel, resnet, sum_of_cat

import jitgrad as jg
from jitgrad import nn
from jitgrad.autograd import Primitive
from jitgrad.autograd.dry import _MOVES
from jitgrad.errors import JitgradError, SurgeryError
from jitgrad.nn import surgery
from jitgrad.nn._place import short_name
from jitgrad.nn._preserve import preserved
from jitgrad.nn._trace import Trace
from jitgrad.nn.surgery._resize import Resize
from jitgrad.nn.surgery._rules import RULES, rule_of
from jitgrad.nn.surgery._widths import _WITH_SIZES, plan


# ---- an edit by hand
def edit(model: nn.Module, path: str, new: nn.Module, *x: Any) -> tuple[list[Resize], Callable[[], str | None]]:
    """What must follow; and, after the edit, which line has a size written in it."""
    old = model.get_submodule(path)
    with preserved(model), Trace(model, dry=True) as trace:
        model(*x)
    changed = []
    with jg.autograd.DryRun():
        for call in trace.calls:
            if call.module is old:
                changed.append((call.output, new(*call.args).shape))
    planned = plan(trace, changed, {old})

    def line() -> str | None:
        with preserved(model), Trace(model, dry=True) as after, suppress(JitgradError):
            model(*x)
        return planned.written(after)

    return planned.resizes, line


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_what_follows(name: str, training: bool) -> None:
    case = CASES[name]
    model, x = case.model().train(training), case.x()
    new = case.new().train(training)
    resizes, line = edit(model, case.path, new, x)
    assert [r.text for r in resizes] == case.texts
    for r in resizes:
        r.apply("overlap")
    model.set_submodule(case.path, new)
    for r in resizes:
        assert r.text.endswith(f"-> {short_name(r.module)}")
    y = model(x)
    y.sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())
    assert line() is None


def copied(new: Any, old: Any) -> None:
    """Units of old into new; those that old does not have give 0."""
    for name, p in new.named_parameters():
        q = old.get_parameter(name)
        values = jg.zeros(p.shape)
        values[tuple(slice(0, n) for n in q.shape)] = q.detach()
        p.data = values


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.exact])
def test_units_that_stay_keep_their_weights(name: str) -> None:
    case = CASES[name]
    model, x = case.model().eval(), case.x()
    for b in model.buffers():
        b.data = jg.rand(*b.shape) + 0.5 if b.is_floating_point() else b.data
    y = model(x)
    old, new = model.get_submodule(case.path), case.new().eval()
    copied(new, old)
    resizes, _ = edit(model, case.path, new, x)
    for r in resizes:
        before = {n: p.shape for n, p in r.module.named_parameters()}
        r.apply("overlap")
        if case.model is sum_of_cat and r.path == "c":  # its new row stands between the groups
            with jg.no_grad():
                r.module.weight[3:4] = 0.0
                r.module.bias[3:4] = 0.0
            continue
        if isinstance(r.module, nn.Embedding):
            with jg.no_grad():
                r.module.weight[:, before["weight"][1] :] = 0.0
            continue
        for n, p in r.module.named_parameters():
            if p.shape[0] > before[n][0] and "BatchNorm" not in r.text:
                with jg.no_grad():
                    p[before[n][0] :] = 0.0
    model.set_submodule(case.path, new)
    got = model(x)
    got = got[tuple(slice(0, n) for n in y.shape)]
    assert jg.allclose(got, y, atol=1e-5)


# ---- undo
@pytest.mark.parametrize("keep", ["overlap", "none"])
def test_undo_brings_back_the_very_objects(keep: str) -> None:
    model, x = resnet(), jg.rand(2, 3, 6, 6)
    model[3].conv1.requires_grad_(False)
    model(x).sum().backward()
    before = [(k, t, t.tolist()) for k, t in (*model.named_parameters(), *model.named_buffers())]
    text = repr(model)
    resizes, _ = edit(model, "0", nn.Conv2d(3, 5, 3, padding=1), x)
    assert repr(model) == text
    undo = [r.apply(keep) for r in resizes]
    assert repr(model) != text
    assert not model[3].conv1.weight.requires_grad and model[3].conv2.weight.requires_grad
    for back in reversed(undo):
        back()
    after = [*model.named_parameters(), *model.named_buffers()]
    assert [k for k, _, _ in before] == [k for k, _ in after]
    assert all(t is u and values == u.tolist() for (_, t, values), (_, u) in zip(before, after, strict=True))
    assert repr(model) == text


def test_what_is_kept() -> None:
    layer = nn.Linear(3, 4)
    model = nn.Sequential(nn.Linear(2, 3), layer)
    weight, bias = layer.weight, layer.bias
    resizes, _ = edit(model, "0", nn.Linear(2, 5), jg.ones(1, 2))
    undo = resizes[0].apply("overlap")
    assert layer.bias is bias and layer.weight is not weight and layer.weight[:, :3].tolist() == weight.tolist()
    assert bool((layer.weight[:, 3:].abs() <= 5**-0.5).all()) and bool((layer.weight[:, 3:] != 0).all())
    undo()
    resizes[0].apply("none")
    assert layer.bias is not bias and layer.weight[:, :3].tolist() != weight.tolist() and layer.in_features == 5
    with pytest.raises(ValueError, match="'overlap' or 'none', given 'all'"):
        resizes[0].apply("all")


def test_images_keep_their_places() -> None:
    """A larger image: the weights of a pixel stay with the pixel, counted from the first corner."""
    model = ConvNetwork()
    before = model.fc.weight.reshape(10, 32, 2, 2).tolist()
    resizes, _ = edit(model, "conv_layers.3", nn.Conv2d(16, 33, 3, padding=2), jg.rand(2, 3, 8, 8))
    resizes[0].apply()
    assert model.fc.weight.shape == (10, 33 * 3 * 3)
    assert model.fc.weight.reshape(10, 33, 3, 3)[:, :32, :2, :2].tolist() == before


def test_running_statistics_are_kept() -> None:
    model = resnet()
    model(jg.rand(2, 3, 6, 6))
    norm = model[1]
    mean, count = norm.running_mean.tolist(), norm.num_batches_tracked
    resizes, _ = edit(model, "0", nn.Conv2d(3, 5, 3, padding=1), jg.rand(2, 3, 6, 6))
    resizes[0].apply()
    assert norm.running_mean.tolist() == [*mean, 0.0] and norm.num_batches_tracked is count and count.item() == 1


def test_dtype_and_buffers_stay_what_they_are() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 4)).double()
    model[1].running_var = nn.Buffer(jg.ones(3, dtype=jg.float64), persistent=False)
    resizes, _ = edit(model, "0", nn.Linear(2, 5).double(), jg.ones(2, 2, dtype=jg.float64))
    for r in resizes:
        r.apply()
    assert {p.dtype for m in (model[1], model[2]) for p in m.parameters()} == {jg.float64}
    assert isinstance(model[1].running_var, nn.Buffer) and not model[1].running_var.persistent and model[1].running_var.shape == (5,)


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_refused(name: str) -> None:
    case = REFUSALS[name]
    model, x, new = case.model(), case.x(), case.new()
    before = everything(model)
    with pytest.raises(SurgeryError) as error:
        surgery.replace(model, case.path, new, example=x, adapt=True)
    assert everything(model) == before
    said, _, fix = str(error.value).partition("\n  Nothing was changed. ")
    assert said.startswith(f"replace {case.path!r}: ") and fix.startswith(case.fix) and fix.endswith(".")
    for words in case.words:
        assert words in said


def test_what_does_not_meet_the_change_never_refuses() -> None:
    """Heads, groups, slices and the like beside the change."""

    def run(m: Any, x: Any) -> Any:
        y = m.conv(x).flatten(1)[:, 1:5].as_strided((2, 2), (4, 1))
        return m.b(m.a(y)) + jg.ones(2)

    model = Forward(run, conv=nn.Conv2d(4, 4, 3, groups=2), a=nn.Linear(2, 3), b=nn.Linear(3, 2))
    resizes, _ = edit(model, "a", nn.Linear(2, 5), jg.rand(2, 4, 5, 5))
    assert [r.text for r in resizes] == ["b: Linear(3, 2) -> Linear(5, 2)"]


@pytest.mark.parametrize("batch", [1, 2, 4])  # of 4 images 20 channels make 5 of 16: only the next layer fails
def test_a_written_size_is_named(batch: int) -> None:
    model, x, new = nn.Sequential(nn.Conv2d(1, 3, 1), WrittenModel()), jg.rand(batch, 1, 8, 8), nn.Conv2d(3, 20, 3)
    resizes, line = edit(model, "1.conv1", new, x)
    for r in resizes:
        r.apply()
    model.set_submodule("1.conv1", new)
    text = line()
    assert text is not None and "x = x.view(-1, 16 * 6 * 6)  # the size is written here" in text and f"({batch}, 720) follows" in text


def test_an_insertion() -> None:
    """A tensor changes for those who read it, not for the layer that made it."""
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), jg.ones(1, 3)
    with Trace(model, dry=True) as trace:
        model(x)
    resizes = plan(trace, [(trace.calls[2].output, (1, 6))], set()).resizes
    assert [r.text for r in resizes] == ["2: Linear(4, 2) -> Linear(6, 2)"]


# ---- random nets
@st.composite
def nets(draw: st.DrawFn) -> tuple[nn.Module, Any, list[str]]:
    """A net of random blocks on rows or images, an input, and the paths of layers whose width is free."""
    widths = st.integers(2, 5)
    image = draw(st.booleans())
    width, layers, free = 3, nn.ModuleDict(), []
    kinds: list[str] = draw(st.lists(st.sampled_from(["plain", "residual", "cat"]), min_size=1, max_size=4))

    def layer(name: str, a: int, b: int) -> None:
        body = nn.Conv2d(a, b, 3, padding=1) if image else nn.Linear(a, b)
        layers[name] = nn.Sequential(body, nn.BatchNorm2d(b) if image else nn.BatchNorm1d(b), nn.ReLU())
        free.append(f"layers.{name}.0")

    for i, kind in enumerate(kinds):
        a, b = draw(widths), draw(widths)
        if kind == "plain":
            layer(f"{i}a", width, a)
            width = a
        elif kind == "cat":
            layer(f"{i}a", width, a)
            layer(f"{i}b", width, b)
            width = a + b
        else:
            layer(f"{i}a", width, a)
            layer(f"{i}b", a, width)
            free.pop()  # it would change the width of the way round it, which the layer itself may read
    flat = image and draw(st.booleans())

    def run(m: Any, x: Any) -> Any:
        for i, kind in enumerate(kinds):
            first = m.layers[f"{i}a"](x)
            if kind == "plain":
                x = first
            elif kind == "cat":
                x = jg.cat([first, m.layers[f"{i}b"](x)], 1)
            else:
                x = x + m.layers[f"{i}b"](first)
        return m.head(x.flatten(1) if flat else x.mean((2, 3)) if image else x)

    model = Forward(run, layers=layers, head=nn.Linear(width * 16 if flat else width, 2))
    return model, jg.rand(2, 3, 4, 4) if image else jg.rand(4, 3), free


@given(nets(), st.data())
def test_random_nets(net: tuple[nn.Module, Any, list[str]], data: st.DataObject) -> None:
    model, x, free = net
    model.eval()
    path = data.draw(st.sampled_from(free))
    old = model.get_submodule(path)
    own = old.out_features if isinstance(old, nn.Linear) else old.out_channels
    size = data.draw(st.integers(1, 7))
    new = nn.Linear(old.in_features, size) if isinstance(old, nn.Linear) else nn.Conv2d(old.in_channels, size, 3, padding=1)
    y = model(x)
    with jg.no_grad():
        n = min(own, size)
        for p, q in zip(new.parameters(), old.parameters(), strict=True):
            p[:n] = q[:n]
            p[n:] = 0.0
    reason = ""
    try:
        resizes, line = edit(model, path, new, x)
    except SurgeryError as error:
        reason = str(error)
    if reason:  # the way round a residual block comes from the input, or is a cat
        assert "the model's input" in reason or "cannot be told" in reason
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.init, "weight_and_bias_", lambda *tensors: [nn.init.zeros_(t) for t in tensors if t is not None])
        undo = [r.apply() for r in resizes]
    model.set_submodule(path, new)
    got = model(x)
    got.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert line() is None
    if size >= own:  # new units give 0: what was there gives what it gave
        assert jg.allclose(got, y, atol=1e-5)
    for back in reversed(undo):
        back()
    model.set_submodule(path, old)
    assert jg.equal(model(x), y)


# ---- names of primitives
_MODULES = [importlib.import_module(m.name) for m in pkgutil.walk_packages(jg.__path__, "jitgrad.") if not m.name.endswith("__main__")]
PRIMITIVES = {p.name: p for m in _MODULES for p in vars(m).values() if isinstance(p, Primitive)}


@pytest.mark.parametrize("names", [RULES, _WITH_SIZES, _MOVES], ids=["rules", "sizes", "moves"])
def test_names_of_operations_are_names_of_primitives(names: Collection[str]) -> None:
    """A renamed primitive would be one that nothing is known about."""
    assert set(names) <= set(PRIMITIVES)


@pytest.mark.parametrize("name", ["abs", "add", "eq", "exp", "gelu", "gt", "logistic_loss", "mul", "relu", "silu", "sqrt", "where"])
def test_pointwise_primitives_need_no_rule(name: str) -> None:
    assert name not in RULES and rule_of(PRIMITIVES[name]) is RULES["clone"]
