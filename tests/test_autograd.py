"""The engine: graph, modes, hooks, views and in-place, Function, devices; each behaviour that a user can see."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import DeviceError, DTypeError, GradError, JitgradError, ShapeError
from jitgrad.nn import functional


def leaf(*values: float) -> jg.Tensor:
    return jg.tensor([float(v) for v in values], requires_grad=True)


# ---- backward
def test_gradients_accumulate_and_grad_leaves_them_alone() -> None:
    x = leaf(1, 2)
    (x * x).sum().backward()
    (x * x).sum().backward()
    assert x.grad.tolist() == [4, 8]
    (g,) = jg.autograd.grad((x * x).sum(), x)
    assert g.tolist() == [2, 4]
    assert x.grad.tolist() == [4, 8]


def test_leaves_of_one_sum_do_not_share_their_gradient() -> None:
    x, y = leaf(1), leaf(2)
    g = jg.tensor([3.0])
    (x + y).backward(g)
    x.grad.mul_(10)
    assert y.grad.tolist() == g.tolist() == [3]


def test_backward_twice_is_explained_and_retain_graph_allows_it() -> None:
    x = leaf(1, 2)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4, 8]
    with pytest.raises(GradError, match=r"second time.*retain_graph=True"):
        y.backward()


def test_non_scalar_backward_and_no_grad_outputs_are_explained() -> None:
    x = leaf(1, 2)
    with pytest.raises(GradError, match=r"one number only.*y\.sum\(\)\.backward\(\)"):
        (x * x).backward()
    with pytest.raises(GradError, match="does not require grad"):
        jg.ones(1).backward()
    for bad, error in ((jg.ones(3), ShapeError), (jg.ones(2, dtype=jg.float64), DTypeError), (1.0, TypeError)):
        with pytest.raises(error):
            (x * x).backward(bad)
    assert x.grad is None


def test_an_error_in_a_rule_leaves_every_grad_unchanged() -> None:
    class Broken(jg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: jg.Tensor) -> jg.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, g: jg.Tensor) -> jg.Tensor:
            raise ZeroDivisionError

    x, w = leaf(1), leaf(2)
    with pytest.raises(ZeroDivisionError):
        (Broken.apply(x) * w).sum().backward()
    assert x.grad is None
    assert w.grad is None


def test_inputs_and_allow_unused() -> None:
    x, y, z = leaf(1), leaf(2), leaf(3)
    (x * y).sum().backward(inputs=[x])
    assert x.grad.tolist() == [2]
    assert y.grad is None
    with pytest.raises(GradError, match="do not depend on input 0"):
        jg.autograd.grad((x * y).sum(), z)
    assert jg.autograd.grad((x * y).sum(), z, allow_unused=True) == (None,)
    assert jg.autograd.grad((x * y).sum(), z, materialize_grads=True)[0].tolist() == [0]


def test_higher_orders() -> None:
    x = jg.tensor(2.0, requires_grad=True)
    y = x**4
    orders = [y]
    for _ in range(4):
        orders += jg.autograd.grad(orders[-1], x, create_graph=True)
    assert [g.item() for g in orders] == [16, 32, 48, 48, 24]


def test_retain_grad_and_hooks() -> None:
    x = leaf(1, 2)
    y = x * 3
    y.retain_grad()
    seen: list[Any] = []
    y.register_hook(lambda g: g * 2)
    handle = x.register_hook(lambda g: seen.append(g.tolist()))
    x.register_post_accumulate_grad_hook(lambda t: seen.append(t.grad.tolist()))
    y.sum().backward()
    assert seen == [[6, 6], [6, 6]]
    assert y.grad.tolist() == [2, 2]
    handle.remove()
    (x * 3).sum().backward()
    assert seen[2:] == [[9, 9]]
    x.register_hook(lambda g: jg.ones(5))
    loss = (x * 3).sum()
    with pytest.raises(ShapeError, match="hook"):
        loss.backward()


def test_grad_adds_to_what_is_retained() -> None:
    x = leaf(1, 2)
    y = x * 3
    y.retain_grad()
    loss = y.sum()
    loss.backward(retain_graph=True)
    jg.autograd.grad(loss, x, retain_graph=True)
    assert y.grad.tolist() == [2, 2]
    with pytest.raises(GradError, match="do not depend"):
        jg.autograd.grad(loss, [x, leaf(1)], retain_graph=True)
    assert y.grad.tolist() == [2, 2]


def test_a_walk_that_ends_at_an_input_frees_nothing_behind_it() -> None:
    x = leaf(1, 2)
    middle = x.exp()
    (g,) = jg.autograd.grad((middle * middle).sum(), middle)
    middle.backward(g)
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.exp([2.0, 4.0]), 1e-6)
    (middle * 3).sum().backward(inputs=middle)  # what exp had kept is freed now, and not needed
    assert jg.autograd.grad(middle.sum(), leaf(1), allow_unused=True) == (None,)
    other = leaf(1)
    other.backward(inputs=middle)
    assert other.grad is None


def test_a_frozen_leaf_keeps_its_gradient() -> None:
    x = leaf(1)
    (x * 2).sum().backward()
    x.requires_grad_(False)
    assert x.grad.tolist() == [2]
    assert not (x * 2).requires_grad
    x.requires_grad_()
    assert x.grad.tolist() == [2]


def test_the_door_refuses_mixed_dtypes_that_no_op_has_promoted() -> None:
    from jitgrad.ops.pointwise import DIV

    for a, b in ((jg.float32, jg.float64), (jg.float64, jg.float32)):
        with pytest.raises(DTypeError, match="expected equal dtypes"):
            DIV.apply(jg.ones(2, dtype=a), jg.ones(2, dtype=b))


# ---- memory
def test_a_long_chain_neither_recurses_nor_leaks() -> None:
    gc.collect()
    gc.disable()
    try:
        x = leaf(1)
        h = x
        for _ in range(20_000):
            h = h * x
        h.sum().backward()
        assert x.grad.tolist() == [20_001]
        for _ in range(20_000):
            h = h * x
        node = weakref.ref(h)
        del h
        assert node() is None
        before = 0
        for i in range(100):
            if i == 1:  # everything is compiled
                before = len(gc.get_objects())
            (g,) = jg.autograd.grad((x.exp() * x).sum(), x, create_graph=True)
            g.sum().backward()
            x.grad = None
            del g
        assert len(gc.get_objects()) - before < 50
    finally:
        gc.enable()


# ---- grad modes
def test_modes_as_decorators_in_threads_tasks_and_generators() -> None:
    @jg.no_grad()
    def plain() -> bool:
        return jg.is_grad_enabled()

    @jg.no_grad
    def bare() -> bool:
        return jg.is_grad_enabled()

    @jg.no_grad()
    def generator() -> Any:
        yield jg.is_grad_enabled()
        yield jg.is_grad_enabled()

    @jg.no_grad()
    async def coroutine() -> bool:
        await asyncio.sleep(0)
        return jg.is_grad_enabled()

    assert not plain()
    assert not bare()
    for inside in generator():
        assert not inside
        assert jg.is_grad_enabled()
    assert not asyncio.run(coroutine())
    seen: list[bool] = []
    with jg.no_grad():
        thread = threading.Thread(target=lambda: seen.append(jg.is_grad_enabled()))
        thread.start()
        thread.join()
        with jg.enable_grad():
            seen.append(jg.is_grad_enabled())
        seen.append(jg.is_grad_enabled())
    assert seen == [True, True, False]
    jg.set_grad_enabled(False)
    assert not jg.is_grad_enabled()
    jg.set_grad_enabled(True)


def test_threads_that_share_a_leaf_lose_nothing() -> None:
    x = leaf(1)

    def work() -> None:
        for _ in range(50):
            (x * 1.0).sum().backward()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert x.grad.tolist() == [400]


# ---- views and in-place
def test_writing_through_a_view_rewrites_base_and_other_views() -> None:
    x = leaf(1, 2, 3, 4)
    base = x * 1
    rows = base.view(2, 2)
    column = rows[:, 0]
    other = base[2:]
    column.mul_(10)
    assert base.tolist() == [10, 2, 30, 4]
    assert other.grad_fn.name() == "AsStridedBackward"
    (other * jg.tensor([1.0, 100.0])).sum().backward()
    assert x.grad.tolist() == [0, 0, 10, 100]


def test_item_assignment_cuts_and_connects() -> None:
    x, v = leaf(1, 2, 3), leaf(7)
    y = x * 2
    y[1:2] = v
    y[[0]] = 5.0
    y.sum().backward()
    assert x.grad.tolist() == [0, 0, 2]
    assert v.grad.tolist() == [1]


def test_what_cannot_be_recorded_in_place_is_refused_and_nothing_changes() -> None:
    x = leaf(1, 2)
    with pytest.raises(GradError, match="a leaf that requires gradients"):
        x.add_(1)
    with pytest.raises(GradError, match="view of a leaf"):
        x[0].zero_()
    with pytest.raises(GradError, match="clone"):
        jg.ones(1).expand(3).add_(1)
    with pytest.raises(DTypeError, match="without the underscore"):
        jg.arange(2).add_(0.5)
    with pytest.raises(ShapeError, match="must keep"):
        jg.ones(2).add_(jg.ones(3, 2))
    assert x.tolist() == [1, 2]
    with jg.no_grad():
        x.add_(1)
    assert x.tolist() == [2, 3]


@pytest.mark.parametrize("write", [lambda t: t.add_(1), lambda t: t[0:1].zero_(), lambda t: t.detach().fill_(0.0)])
def test_an_overwritten_saved_value_is_an_error_that_names_both_ops(write: Any) -> None:
    x = leaf(1, 2)
    y = x * 1
    z = y * y  # keeps its inputs
    with jg.no_grad():
        write(y)
    with pytest.raises(GradError, match=r"backward of mul.*overwritten later by (add_|zero_|fill_)"):
        z.sum().backward()
    e = (x * 1).exp()  # keeps its output
    with jg.no_grad():
        write(e)
    with pytest.raises(GradError, match="backward of exp"):
        e.sum().backward()


def test_writing_through_a_view_of_transposed_or_reversed_memory() -> None:
    for base in (jg.zeros(3, 2).t().relu(), jg.from_numpy(np.zeros((2, 3))[::-1, ::-1]).float(), jg.zeros(3, 2).t() * 1.0):
        w = leaf(1, 2, 3)
        base[0] = w * 2
        base[0, 1:] *= 3
        (base * jg.tensor([[0.0, 1, 2], [3, 4, 5]])).sum().backward()
        assert w.grad.tolist() == [0, 6, 12]


def test_a_leaf_that_is_a_view_is_a_leaf() -> None:
    v = jg.zeros(4).view(2, 2).requires_grad_()
    with pytest.raises(GradError, match="view of a leaf"):
        v[0] = jg.ones(2)
    assert v.is_leaf


def test_gradients_own_their_memory() -> None:
    x, z, g = leaf(1, 2), leaf(1, 2), jg.ones(2)
    (x + z).backward(g, create_graph=True)
    with jg.no_grad():
        x.grad.mul_(5)
    assert z.grad.tolist() == g.tolist() == [1, 1]


def test_item_assignment_of_numbers_is_exact_and_bools_are_no_indices() -> None:
    a = jg.zeros(2, dtype=jg.float64)
    a[0] = 0.1
    a[[1]] = 0.1
    assert a.tolist() == [0.1, 0.1]
    ints = jg.zeros(1, dtype=jg.int64)
    with pytest.raises(DTypeError, match="does not fit"):
        ints[0] = float("nan")
    for flag in (True, np.bool_(True), jg.tensor(True)):
        with pytest.raises(TypeError, match="bool is not an index"):
            a[flag] = 1.0


# ---- Function
class Scale(jg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: jg.Tensor, factor: float) -> tuple[jg.Tensor, jg.Tensor]:
        y = jg.from_numpy(x.numpy() * factor)
        ctx.save_for_backward(x, y)
        ctx.factor = factor
        return y, y.to(jg.int64)

    @staticmethod
    def backward(ctx: Any, g: jg.Tensor, _: Any) -> tuple[Any, None]:
        assert ctx.needs_input_grad == (True, False)
        return g * ctx.factor, None


def test_function_runs_unrecorded_and_its_rule_is_checked() -> None:
    x = leaf(1, 2)
    y, ints = Scale.apply(x, 3.0)
    assert y.requires_grad
    assert not ints.requires_grad
    y.sum().backward()
    assert x.grad.tolist() == [3, 3]

    class Wrong(Scale):
        @staticmethod
        def backward(ctx: Any, g: jg.Tensor, _: Any) -> Any:
            return g.sum(), None

    with pytest.raises(GradError, match=r"rule of Wrong returned shape \(\): expected \(2,\)"):
        Wrong.apply(x, 3.0)[0].sum().backward()


def test_once_differentiable_is_never_silently_a_constant() -> None:
    class Square(jg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: jg.Tensor) -> jg.Tensor:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @jg.autograd.once_differentiable
        def backward(ctx: Any, g: jg.Tensor) -> jg.Tensor:
            return g * 2 * ctx.saved_tensors[0]

    x = leaf(3)
    Square.apply(x).backward()
    assert x.grad.tolist() == [6]
    with pytest.raises(GradError, match="once_differentiable"):
        jg.autograd.grad(Square.apply(x), x, create_graph=True)


def test_a_window_that_steps_over_the_image_is_refused() -> None:
    with pytest.raises(ShapeError, match="wholly in the padding"):
        jg.nn.functional.max_pool2d(jg.ones(1, 1, 1, 1), 2, stride=1, padding=1, dilation=2)


def test_forward_that_writes_into_its_input_is_an_error() -> None:
    class Writes(jg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: jg.Tensor) -> jg.Tensor:
            return x.mul_(2)

    with pytest.raises(GradError, match="wrote into one of its inputs"):
        Writes.apply(leaf(1) * 1)


def test_gradcheck_sees_a_cut_graph() -> None:
    x = jg.tensor([1.0], dtype=jg.float64, requires_grad=True)
    assert not jg.autograd.gradcheck(lambda x: x.detach() * 2, x, raise_exception=False)


def test_one_mode_object_in_several_threads() -> None:
    off, seen = jg.no_grad(), []
    barrier = threading.Barrier(4)

    def work() -> None:
        with off:
            barrier.wait()
            seen.append(jg.is_grad_enabled())
        seen.append(jg.is_grad_enabled())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(seen) == [False] * 4 + [True] * 4


# ---- dtypes, devices, construction
def test_construction() -> None:
    assert jg.Tensor([1, 2]).dtype is jg.float32
    with pytest.raises(TypeError, match=r"jg\.empty\(2, 3\)"):
        jg.Tensor(2, 3)
    for bad in ([[1], [1, 2]], ["a"], [None], {}, object(), [2**70]):
        with pytest.raises((JitgradError, TypeError)):
            jg.tensor(bad)
    big = np.arange(3, dtype=">f4")
    assert jg.tensor(big).tolist() == [0, 1, 2]
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        jg.from_numpy(frozen)
    jg.as_tensor(frozen)[0] = 5
    assert frozen[0] == 0


@pytest.mark.skipif(jg.cuda.is_available(), reason="this machine has a CUDA device")
def test_devices() -> None:
    assert jg.ones(1).to("cpu").device == jg.device("cpu")
    with pytest.raises(DeviceError, match="no CUDA device"):
        jg.ones(1).to("cuda")
    with pytest.raises(DeviceError, match="expected 'cpu' or 'cuda'"):
        jg.device("tpu")


def test_labels_that_numpy_overwrites_never_reach_a_kernel() -> None:
    for loss_of in (functional.cross_entropy, functional.nll_loss):
        labels = np.array([0, 1])
        loss = loss_of(jg.tensor([[0.0, 1.0], [1.0, 0.0]], requires_grad=True), jg.from_numpy(labels))
        labels[:] = 10**9
        with pytest.raises(IndexError, match="out of range"):
            loss.backward()
    y, indices = functional.max_pool2d(jg.tensor(np.arange(16.0).reshape(1, 1, 4, 4), requires_grad=True), 2, return_indices=True)
    indices.numpy()[:] = 10**9
    with pytest.raises(IndexError, match="written to"):
        y.sum().backward()


def test_a_first_call_with_odd_arguments_leaves_no_trace() -> None:
    x, labels = jg.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 0.0]]), jg.tensor([1, 0])
    plain = functional.cross_entropy(x, labels).item()
    for odd in (True, 1.5, None, "x"):
        with pytest.raises(TypeError, match="ignore_index"):
            functional.cross_entropy(x, labels, ignore_index=odd)
    with pytest.raises(ValueError, match="int64"):
        functional.cross_entropy(x, labels, ignore_index=2**70)
    assert functional.cross_entropy(x, labels, ignore_index=np.uint8(255)).item() == functional.cross_entropy(x, labels).item() == plain
    assert x.sum(np.int64(1)).tolist() == x.sum(1).tolist()


def test_ignored_rows_do_not_count_whatever_they_hold() -> None:
    x = jg.tensor([[0.0, 1.0, 2.0], [float("-inf"), 0.0, 1.0]])
    alone = functional.cross_entropy(x[:1], jg.tensor([1]), label_smoothing=0.1)
    assert functional.cross_entropy(x, jg.tensor([1, -100]), label_smoothing=0.1).item() == pytest.approx(alone.item())
    assert functional.cross_entropy(x, jg.tensor([1, 2], dtype=jg.uint8), ignore_index=2, label_smoothing=0.1).item() == pytest.approx(
        alone.item()
    )


def test_products_without_output_features() -> None:
    x, w = jg.ones(1, 7, 4, requires_grad=True), jg.ones(0, 4, requires_grad=True)
    functional.linear(x, w).sum().backward()
    assert w.grad.shape == (0, 4) and x.grad.tolist() == np.zeros((1, 7, 4)).tolist()
