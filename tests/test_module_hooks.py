"""Backward hooks of modules, what copies and pickles keep of hooks, and what they must not disturb."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import nn
from jitgrad.errors import GradError, InputTypeError, ShapeError


class Three(nn.Module):
    """Two outputs of use, and one that needs no gradient."""

    def forward(self, a: Any, b: Any, word: str = "", *, c: Any = None) -> Any:
        return a * 2, b * 3, jg.ones(1)


def _leaves() -> tuple[Any, Any]:
    return jg.ones(2, requires_grad=True), jg.ones(2, requires_grad=True)


def test_what_backward_hooks_see() -> None:
    m, heard = Three(), []
    m.register_full_backward_pre_hook(lambda m, go: heard.append([None if g is None else g.tolist() for g in go]))
    m.register_full_backward_hook(lambda m, gi, go: heard.append([None if g is None else g.tolist() for g in gi]))
    a, b = _leaves()
    y, z, _ = m(a, b, "word", c=jg.ones(1, requires_grad=True))
    (y.sum() + z.sum() * 2).backward()
    assert heard == [[[1.0, 1.0], [2.0, 2.0], None], [[2.0, 2.0], [6.0, 6.0], None]]
    heard.clear()
    a, b = _leaves()
    m(a, b)[0].sum().backward()
    assert heard == [[[1.0, 1.0], None, None], [[2.0, 2.0], [0.0, 0.0]]]
    assert a.grad.tolist() == [2.0, 2.0] and b.grad.tolist() == [0.0, 0.0]


def test_backward_hooks_change_no_result() -> None:
    """Values, gradients and second gradients are those without hooks, and the graph dies without the garbage collector."""
    plain = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Sequential(nn.Linear(4, 2)))
    hooked = copy.deepcopy(plain)
    for m in hooked.modules():
        m.register_full_backward_hook(lambda m, gi, go: None)
        m.register_full_backward_pre_hook(lambda m, go: None)
    found = []
    for net in (plain, hooked):
        x = jg.tensor(np.cos(np.arange(6.0)).reshape(2, 3).astype(np.float32), requires_grad=True)
        y = net(x)
        (g,) = jg.autograd.grad((y * y).sum(), x, create_graph=True)
        (g * g).sum().backward()
        found.append([y.tolist(), g.tolist(), x.grad.tolist(), *(p.grad.tolist() for p in net.parameters() if p.grad is not None)])
    assert found[0] == found[1]
    gc.disable()
    try:
        y = hooked(jg.ones(1, 3, requires_grad=True))
        alive = weakref.ref(y)
        y.sum().backward()
        del y
        assert alive() is None
    finally:
        gc.enable()


def test_backward_hooks_replace_gradients() -> None:
    for given in (lambda g: (g * 5,), lambda g: g * 5, lambda g: [g * 5]):
        m = nn.Identity()
        handle = m.register_full_backward_hook(lambda m, gi, go, given=given: given(gi[0]))
        m.register_full_backward_pre_hook(lambda m, go, given=given: given(go[0]), prepend=True)
        x = jg.ones(2, requires_grad=True)
        m(x).sum().backward()
        assert x.grad.tolist() == [25.0, 25.0]
        handle.remove()
        x.grad = None
        m(x).sum().backward()
        assert x.grad.tolist() == [5.0, 5.0]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ((1, 2), GradError, "expected 1 gradients, given 2"), (3, InputTypeError, "expected a tuple of 1 gradients or None, given int"),
        ((3,), InputTypeError, "expected Tensors or None as gradients, given int"),
        (jg.ones(3), ShapeError, r"expected a gradient \(1, 2\) jitgrad.float32, given \(3,\)"),
        (jg.ones(1, 2, dtype=jg.float64), ShapeError, "given .* jitgrad.float64"),
    ],
)  # fmt: skip
def test_what_backward_hooks_must_not_return(given: Any, error: Any, message: str) -> None:
    for register in (nn.Module.register_full_backward_hook, nn.Module.register_full_backward_pre_hook):
        m, x = nn.Tanh(), jg.ones(1, 2, requires_grad=True)
        register(m, lambda *args: given)
        with pytest.raises(error, match=f"hook of Tanh: .*{message}"):
            m(x).sum().backward()
        assert x.grad is None


def test_hooks_where_no_input_wants_a_gradient() -> None:
    m, heard = nn.Linear(2, 1), []
    handle = m.register_full_backward_hook(lambda m, gi, go: heard.append((gi, go[0].tolist())))
    m(jg.ones(1, 2)).sum().backward()
    assert heard == [((None,), [[1.0]])] and m.weight.grad.tolist() == [[1.0, 1.0]]
    with jg.no_grad():
        m(jg.ones(1, 2, requires_grad=True))
    m.requires_grad_(False)
    assert not m(jg.ones(1, 2)).requires_grad and len(heard) == 1
    handle.remove()
    m.requires_grad_()
    m.register_full_backward_hook(lambda m, gi, go: (go[0],))
    with pytest.raises(GradError, match="none of its inputs wants a gradient"):
        m(jg.ones(1, 2)).sum().backward()


def test_writing_into_an_input_under_hooks_is_refused() -> None:
    m = nn.ReLU(inplace=True)
    m.register_full_backward_hook(lambda *args: None)
    with pytest.raises(GradError, match="ReLU wrote into its input"):
        m(jg.ones(1, requires_grad=True) * 1)
    x = jg.tensor([-1.0])
    assert m(x) is x and x.tolist() == [0.0]


def test_an_output_without_tensors_in_sight_is_told() -> None:
    class Words(nn.Module):
        def forward(self, x: Any) -> Any:
            return {"y": x * 2}

    m = Words()
    m.register_full_backward_hook(lambda *args: pytest.fail("there is nothing to see"))
    x = jg.ones(1, requires_grad=True)
    with pytest.warns(UserWarning, match="hooks of Words see no gradients: .* given dict"):
        y = m(x)["y"]
    y.backward()
    assert x.grad.tolist() == [2.0]


def _double(module: nn.Module, args: Any) -> Any:
    return (args[0] * 2,)


def test_copies_and_pickles_keep_hooks() -> None:
    """A key that came with a pickle is not given again, so that a new hook takes no old one's place."""
    m = nn.Identity()
    handle = m.register_forward_pre_hook(_double)
    twins = [copy.deepcopy(m), pickle.loads(pickle.dumps(m))]
    handle.remove()
    assert m(jg.ones(1)).item() == 1.0
    for twin in twins:
        (key,) = twin._forward_pre_hooks
        twin._forward_pre_hooks = type(twin._forward_pre_hooks)(
            (key + i, v) for i, v in enumerate([*twin._forward_pre_hooks.values()] * 50)
        )
        twin.register_forward_pre_hook(_double).remove()
        assert len(twin._forward_pre_hooks) == 50
        assert twin(jg.ones(1)).item() == 2.0**50


def test_hooks_may_be_removed_while_they_run() -> None:
    m, heard = nn.Identity(), []
    handles: list[Any] = []

    def once(name: str) -> Any:
        def hook(*args: Any) -> None:
            heard.append(name)
            for handle in handles:
                handle.remove()

        return hook

    handles += [m.register_forward_pre_hook(once("pre")), m.register_full_backward_hook(once("back"))]
    m(jg.ones(1, requires_grad=True)).backward()
    handles.append(m.register_forward_hook(once("after")))
    m(jg.ones(1, requires_grad=True)).backward()
    assert heard == ["pre", "after"]


def test_a_hook_that_raises_while_another_error_passes() -> None:
    m = nn.Linear(1, 1)

    def fails(*args: Any) -> None:
        raise KeyError("second")

    m.register_forward_hook(fails, always_call=True)
    with pytest.raises(ShapeError), pytest.warns(UserWarning, match="raised after forward had raised: KeyError"):
        m(jg.ones(2))


def test_backward_hooks_take_callables_only() -> None:
    m = nn.ReLU()
    registers: Iterator[Any] = (getattr(m, n) for n in dir(m) if n.startswith("register_") and n.endswith("hook"))
    names = []
    for register in registers:
        with pytest.raises(TypeError, match="callable"):
            register(3)
        names.append(register.__name__)
    assert len(names) == 8
