"""The first hour in a shell or notebook: how tensors print, what NumPy and other libraries do with them, states of generators."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import _html, nn
from jitgrad.autograd import display
from jitgrad.errors import ArgumentError, DTypeError


@pytest.fixture(autouse=True)
def _default_printing() -> Iterator[None]:
    yield
    jg.set_printoptions(profile="default")


# ---- printing
@pytest.mark.parametrize(
    ("x", "text"),
    [
        (2.5, "tensor(2.5000)"),
        (3.0, "tensor(3.)"),
        (7, "tensor(7)"),
        (True, "tensor(True)"),
        ([1.0, 2.0], "tensor([1., 2.])"),
        ([1.5, 20.0], "tensor([ 1.5000, 20.0000])"),
        ([1, -20], "tensor([  1, -20])"),
        ([True, False], "tensor([ True, False])"),
        ([1e-9, 1.0], "tensor([1.0000e-09, 1.0000e+00])"),
        ([123456789.0, 0.5], "tensor([1.2346e+08, 5.0000e-01])"),
        ([float("nan"), 1.0, float("-inf")], "tensor([nan, 1., -inf])"),
        ([0.0, float("nan")], "tensor([0., nan])"),
        ([], "tensor([])"),
        (np.zeros((0, 3), np.float32), "tensor([], size=(0, 3))"),
        (np.zeros(0, np.int64), "tensor([], dtype=jitgrad.int64)"),
        (np.float64([1.5]), "tensor([1.5000], dtype=jitgrad.float64)"),
        ([[1, 2], [3, 4]], "tensor([[1, 2],\n        [3, 4]])"),
        (np.arange(2000), "tensor([   0,    1,    2,  ..., 1997, 1998, 1999])"),
    ],
)
def test_repr(x: Any, text: str) -> None:
    assert repr(jg.tensor(x)) == text


def test_repr_says_what_is_recorded() -> None:
    x = jg.ones(1, requires_grad=True)
    assert repr(x) == "tensor([1.], requires_grad=True)"
    assert repr(x * 2) == "tensor([2.], grad_fn=<MulBackward>)"
    assert repr(jg.nn.Parameter(jg.ones(1))) == "Parameter containing:\ntensor([1.], requires_grad=True)"


def test_repr_breaks_a_line_that_is_too_long() -> None:
    lines = repr(jg.full((9,), 1.5).requires_grad_()).splitlines()
    assert lines[1] == "       requires_grad=True)" and max(map(len, lines)) <= 80


@pytest.mark.parametrize("options", [{}, {"precision": 2}, {"linewidth": 120}, {"threshold": 10, "edgeitems": 1}, {"sci_mode": True},
                                     {"sci_mode": False}, {"profile": "short"}])  # fmt: skip
def test_repr_has_torchs_words(options: dict[str, Any]) -> None:
    """The same numbers in the same forms; only where lines break may differ."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    torch.set_printoptions(**options)
    jg.set_printoptions(**options)
    try:
        for shape in [(), (1,), (0, 3), (30,), (2, 3, 4), (40, 30), (1001,)]:
            n = np.asarray(rng.standard_normal(shape))
            for a in (
                n,
                n.astype("f4"),
                (n * 1e6).astype("f4"),
                n * 1e-5,
                (n * 100).astype("i8"),
                n > 0,
                np.where(n > 0, np.nan, n),
                np.round(n * 9),
            ):
                theirs = repr(torch.tensor(a)).replace("torch.", "jitgrad.")
                assert repr(jg.tensor(a)).split() == theirs.split()
    finally:
        torch.set_printoptions(profile="default")


def test_printoptions_are_checked() -> None:
    for wrong in ({"precision": -1}, {"edgeitems": 0}, {"profile": "long"}, {"threshold": float("nan")}):
        with pytest.raises(ArgumentError, match="set_printoptions"):
            jg.set_printoptions(**wrong)
    assert display.options == display.PROFILES["default"]


def test_format() -> None:
    x = jg.tensor([1.0, 2.0], requires_grad=True)
    assert f"{x.sum():.3f} {x.sum()} {x[:1]:5.1f}" == "3.000 3.0   1.0"
    assert f"{x}" == repr(x)
    assert f"{jg.tensor(3):d}" == "3"
    with pytest.raises(TypeError, match=r"has shape \(2,\)"):
        f"{x:.3f}"


# ---- NumPy
def test_asarray_shares_and_converts() -> None:
    x = jg.ones(2, 3)
    a = np.asarray(x)
    a[0, 0] = 5
    assert x[0, 0].item() == 5
    assert np.shares_memory(np.array(x, copy=False), a) and not np.shares_memory(np.array(x), a)
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="without a copy"):
        np.array(x, dtype=np.float64, copy=False)
    assert np.asarray([x[0], x[1]]).shape == (2, 3)


def test_numpy_functions_compute_on_tensors() -> None:
    x = jg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    a = x.detach().numpy()
    for f in (np.sum, np.mean, np.max, np.std, np.median, np.sin, np.transpose, np.linalg.norm, np.argsort):
        np.testing.assert_array_equal(f(x), f(a))
    assert isinstance(np.sum(x, axis=0), np.ndarray)
    assert np.concatenate([x, a]).shape == (4, 2) and np.allclose(x, a) and np.where(a > 2, x, 0).sum() == 7


def test_numpy_cannot_write_to_a_tensor() -> None:
    """A write that backward would not notice is refused."""
    x = jg.ones(2, 2)
    for write in (lambda: np.copyto(x, 2.0), lambda: np.fill_diagonal(x, 2.0), lambda: np.put(x, 0, 2.0)):
        with pytest.raises((ValueError, TypeError)):
            write()
    with pytest.raises(TypeError):
        np.add(np.ones((2, 2)), 1, out=x)
    assert x.tolist() == [[1, 1], [1, 1]]


def test_operators_with_arrays_on_either_side() -> None:
    x = jg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    a = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    for y in (a + x, x + a, a - x, a * x, x / a, a**x, a @ x, x @ a, np.float64(2) * x, np.float32(2) ** x):
        assert isinstance(y, jg.Tensor) and y.requires_grad and y.dtype is jg.float32
    assert (a @ x).tolist() == (a @ a).tolist()
    for truth in (a > x, x >= a, a == x, np.float64(1) < x):
        assert isinstance(truth, jg.Tensor) and truth.dtype is jg.bool
    assert 1 < jg.tensor(2) < 3 and not 1 < jg.tensor(5) < 3
    with pytest.raises(DTypeError, match="equal dtypes"):
        x @ np.ones((2, 2))
    with pytest.raises(TypeError, match="unsupported operand"):
        x @ [[1.0]]


# ---- DLPack
def test_dlpack_with_numpy() -> None:
    x = jg.arange(4)
    a = np.from_dlpack(x)
    y = jg.from_dlpack(a.copy() if not a.flags.writeable else a)
    x[0] = 9
    assert a[0] == 9 and y[0] == 9
    assert jg.from_dlpack(x).tolist() == x.tolist() and not np.shares_memory(jg.from_dlpack(x, copy=True).numpy(), a)


def test_dlpack_refuses_in_words() -> None:
    fixed = np.arange(3.0)
    fixed.flags.writeable = False
    with pytest.raises(BufferError, match="copy=True"):
        jg.from_dlpack(fixed)
    assert jg.from_dlpack(fixed, copy=True).tolist() == [0, 1, 2]
    for x, word in ((jg.ones(2, requires_grad=True), "detach"), (jg.arange(3)[::-1], "contiguous")):
        with pytest.raises(BufferError, match=word):
            np.from_dlpack(x)
    with pytest.raises(TypeError, match="given list"):
        jg.from_dlpack([1.0])


def test_dlpack_with_torch() -> None:
    torch = pytest.importorskip("torch")
    x = jg.zeros(2, 3)
    t = torch.from_dlpack(x)
    t[0, 1] = 5
    y = jg.from_dlpack(t)
    y[1, 2] = 7
    assert x.tolist() == t.tolist() == y.tolist() == [[0, 5, 0], [0, 0, 7]]
    assert jg.from_dlpack(t.T).stride() == t.T.stride()
    for name in ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"):
        assert jg.from_dlpack(torch.from_dlpack(jg.ones(2).to(name))).dtype == name
    with pytest.raises(BufferError):
        jg.from_dlpack(torch.ones(2, requires_grad=True))
    with pytest.raises((DTypeError, BufferError)):
        jg.from_dlpack(torch.ones(2, dtype=torch.bfloat16))


# ---- copies
def test_copies_and_pickles() -> None:
    for x in (jg.ones(2, requires_grad=True), nn.Parameter(jg.ones(2)), jg.ones(2)):
        shared, deep, pickled = copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))
        for y in (shared, deep, pickled):
            assert type(y) is type(x) and y is not x and y.requires_grad == x.requires_grad and y.tolist() == [1, 1]
        x.detach()[0] = 5
        assert shared.tolist() == [5, 1] and deep.tolist() == pickled.tolist() == [1, 1]
    computed = jg.ones(2, requires_grad=True) * 2
    shared = copy.copy(computed)
    assert shared.is_leaf and shared.requires_grad and shared.tolist() == [2, 2]
    for act in (copy.deepcopy, pickle.dumps):
        with pytest.raises(RuntimeError, match="only leaves"):
            act(computed)


def test_plots_of_tensors() -> None:
    """Matplotlib takes tensors as they are, also those that require gradients, and columns of them."""
    figure = pytest.importorskip("matplotlib.figure")
    axes = figure.Figure().add_subplot()
    w = jg.tensor([[1.0, 4.0], [2.0, 3.0]], requires_grad=True)
    for y in (w[0], w[:, 0], (w * 2)[:, 1], w.detach()[1], jg.arange(2)):
        (line,) = axes.plot(y)
        assert np.asarray(line.get_ydata()).tolist() == y.tolist()
    (line,) = axes.plot(w[:, 0], w[:, 1])
    assert np.asarray(line.get_xdata()).tolist() == [1.0, 2.0]
    assert len(axes.plot(w)) == 2
    axes.scatter(w[:, 0], w[:, 1])
    axes.imshow(w)
    axes.hist(w[0])
    axes.bar(jg.arange(2), w[0])
    figure.Figure.draw_without_rendering(axes.figure)


# ---- answers
def test_equal_allclose_numel() -> None:
    x = jg.tensor([1.0, float("nan")])
    assert jg.equal(jg.ones(2), jg.ones(2)) is True and not jg.equal(x, x) and not jg.equal(jg.ones(2), jg.ones(2, 1))
    assert jg.allclose(x, x, equal_nan=True) is True and not jg.allclose(x, x)
    assert jg.numel(jg.zeros(2, 3)) == jg.zeros(2, 3).numel() == 6


# ---- random states
def test_generator_states() -> None:
    assert jg.manual_seed(3) is jg.default_generator and jg.initial_seed() == 3
    jg.rand(5)
    state = jg.get_rng_state()
    first = jg.randn(4)
    jg.set_rng_state(state)
    assert jg.equal(jg.randn(4), first)
    assert jg.seed() == jg.initial_seed() != 3
    g = jg.Generator().manual_seed(7)
    saved = g.get_state()
    draws: list[Any] = [
        lambda: jg.randint(9, (8,), generator=g), lambda: jg.randperm(8, generator=g), lambda: jg.rand_like(first, generator=g),
        lambda: jg.normal(0.0, 1.0, (8,), generator=g), lambda: jg.bernoulli(jg.full((8,), 0.5), generator=g),
        lambda: jg.multinomial(jg.ones(8), 4, generator=g), lambda: jg.zeros(8).uniform_(generator=g),
        lambda: jg.zeros(8).normal_(generator=g),
    ]  # fmt: skip
    untouched = jg.get_rng_state()
    for draw in draws:
        g.set_state(saved)
        once, twice = draw(), draw()
        g.set_state(saved)
        assert jg.equal(draw(), once) and not jg.equal(once, twice)
    assert jg.equal(jg.get_rng_state(), untouched)


def test_creation_takes_dtype_device_requires_grad() -> None:
    x = jg.ones(2, 3)
    makers: list[Any] = [
        lambda **k: jg.linspace(0, 1, 3, **k), lambda **k: jg.eye(2, **k), lambda **k: jg.full_like(x, 2, **k),
        lambda **k: jg.empty_like(x, **k), lambda **k: jg.rand_like(x, **k), lambda **k: jg.randn_like(x, **k),
        lambda **k: jg.randint(0, 5, (2,), **k), lambda **k: jg.randperm(4, **k), lambda **k: jg.zeros_like(x, **k),
        lambda **k: x.new_zeros(2, **k), lambda **k: x.new_ones(2, **k), lambda **k: x.new_full((2,), 1, **k),
        lambda **k: x.new_tensor([1, 2], **k), lambda **k: x.new_empty(2, **k), lambda **k: jg.normal(0.0, 1.0, (2,), **k),
    ]  # fmt: skip
    for make in makers:
        y = make(dtype=jg.float64, device="cpu", requires_grad=True)
        assert y.dtype is jg.float64 and y.is_leaf and y.requires_grad


def test_arange_takes_numbers_of_any_library() -> None:
    assert jg.arange(np.int64(3)).tolist() == jg.arange(jg.tensor(3)).tolist() == [0, 1, 2]


def test_in_place_draws_are_refused_before_the_generator_moves() -> None:
    w = jg.ones(2, requires_grad=True)
    before = jg.get_rng_state()
    for draw in (w.uniform_, w.normal_, w.bernoulli_):
        with pytest.raises(RuntimeError):
            draw()
    assert jg.equal(jg.get_rng_state(), before) and w.tolist() == [1, 1]
    y = w * 1
    y.normal_()
    y.sum().backward()
    assert w.grad is not None and w.grad.tolist() == [0, 0]


# ---- notebooks
class Page(HTMLParser):
    """Tags as they open and close, the text, and no tag left open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        self.attributes.update(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_escapes_all_but_html() -> None:
    inner = _html.element("b", "<i>")
    assert _html.element("div", inner, "&", title="'\"", open=True, hidden=False) == (
        '<div title="&#x27;&quot;" open><b>&lt;i&gt;</b>&amp;</div>'
    )


def test_tensor_html() -> None:
    page = Page((jg.ones(3, 4, requires_grad=True))._repr_html_())
    assert (page.tags.count("tr"), page.tags.count("td")) == (4, 12)
    assert "shape (3, 4) · float32 · cpu · requires grad" in page.text
    large = Page(jg.zeros(100, 50)._repr_html_())
    assert (large.tags.count("tr"), large.tags.count("td")) == (12, 121) and "99" in large.text
    assert Page(jg.arange(3)._repr_html_()).tags.count("td") == 3
    for other in (jg.tensor(2.5), jg.zeros(2, 2, 2), jg.zeros(0, 3)):
        assert "pre" in Page(other._repr_html_()).tags
    assert "grad_fn=<MulBackward>" in Page((jg.ones(2, requires_grad=True) * 2)._repr_html_()).text
    assert {"script", "link", "img", "style"}.isdisjoint(page.tags) and "src" not in page.attributes


def test_module_html() -> None:
    shared = nn.Linear(4, 4)
    frozen = nn.Linear(4, 2).requires_grad_(False)
    model = nn.Sequential(shared, nn.Tanh(), shared, nn.Sequential(frozen, nn.BatchNorm2d(2)))
    page = Page(model._repr_html_())
    assert page.tags.count("details") == page.tags.count("summary") == 5
    assert page.text.count("(shared)") == 1 and page.text.count("frozen") == 2 and "buffer (2,) float32" in page.text
    assert "Linear(in_features=4, out_features=4, bias=True) 20 parameters" in page.text
    assert "34 parameters, 24 trainable" in page.text
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    assert "8 parameters, 8 trainable" in Page(tied._repr_html_()).text
    named = nn.ModuleDict({"<script>": nn.Tanh()})
    assert "(<script>)" in Page(named._repr_html_()).text and "script" not in Page(named._repr_html_()).tags
