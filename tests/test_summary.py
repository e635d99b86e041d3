"""nn.summary: its texts word for word, operations counted by hand, what fails is marked, and the model stays as it is."""

from __future__ import annotations

import contextlib
import gc
import re
from pathlib import Path
from typing import Any

import pytest

import jitgrad as jg
from jitgrad import nn
from jitgrad.autograd import Listener, Primitive
from jitgrad.errors import ArgumentError, DTypeError, InputTypeError, NoDataError, OutOfRangeError, ShapeError
from jitgrad.nn.summarizing.flops import _NOTHING, _TABLE
from jitgrad.nn.summarizing.text import in_seconds, in_short

F = nn.functional


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.up = nn.Linear(8, 16)
        self.down = nn.Linear(16, 8)

    def forward(self, x: Any) -> Any:
        return x + self.down(F.relu(self.up(self.norm(x))))


class Decoder(nn.Module):
    """Repeated blocks, a shared weight, a layer that is called twice and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.act = nn.Tanh()
        self.unused = nn.Dropout()
        self.head = nn.Linear(8, 50, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: Any) -> Any:
        x = self.act(self.embed(x))
        for block in self.blocks:
            x = block(x)
        return self.head(self.act(x))


class Net(nn.Module):
    def __init__(self, features: int = 144) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        self.fc = nn.Linear(features, 10)
        self.last = nn.Sequential(nn.Tanh(), nn.Tanh())

    def forward(self, x: Any) -> Any:
        h = self.features(x).flatten(1)
        h = self.fc(h)  # the line of fc
        return self.last(h)


class Asks(nn.Module):
    """Its forward needs values."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Any) -> Any:
        return self.fc(x) if x.sum() < 1e9 else x


def masked(text: str) -> str:
    """The times of a text as ###; they stand at the ends of lines."""
    text = re.sub(r" +(time|[\d.]+ (us|ms|s))$", lambda found: " time" if found[1] == "time" else " ###", text, flags=re.M)
    return re.sub(r"(?<=time {10})[\d.]+ (us|ms|s), median of \d+ runs?", "###", text)


DECODER = """\
layer          class             output      calls  parameters   FLOPs  weights  activations time
Decoder                          (2, 5, 50)      1       1,288  25.9 k  5.15 kB      9.68 kB ###
├─ embed       Embedding(50, 8)  (2, 5, 8)       1         400          1.60 kB        320 B ###
├─ blocks      ModuleList                                  888  17.8 k  3.55 kB      6.72 kB ###
│  └─ 0-2      3 x Block, each:  (2, 5, 8)       1         888  17.8 k  3.55 kB      6.72 kB ###
│     ├─ norm  LayerNorm((8,))   (2, 5, 8)       1          16     560     64 B        320 B ###
│     ├─ up    Linear(8, 16)     (2, 5, 16)      1         144  2.56 k    576 B        640 B ###
│     └─ down  Linear(16, 8)     (2, 5, 8)       1         136  2.56 k    544 B        320 B ###
├─ act         Tanh()            (2, 5, 8)       2                 160                 640 B ###
├─ unused      Dropout()         not called
└─ head        Linear(8, 50)     (2, 5, 50)      1              8.00 k               2.00 kB ###

parameters    1,288, all trainable
weights       5.15 kB
activations   9.68 kB
FLOPs         25.9 k, forward in training mode; a multiply and an add are two
input         (2, 5) int64
time          ###
counted once  head.weight is embed.weight"""


def test_text_with_repeated_blocks_and_times() -> None:
    found = nn.summary(Decoder(), (2, 5), dtype=jg.int64)
    assert masked(str(found)) == DECODER
    assert repr(found) == str(found)
    assert found.seconds and found.seconds > 0 and 1 <= found.runs <= 30
    block = next(r for r in found.rows if r.path == "blocks.1")
    assert block.seconds and block.seconds >= sum(r.seconds or 0 for r in block.children) > 0


FAILED = """\
layer        class                 output          parameters   FLOPs  weights  activations
Net                                                     1,058  31.1 k  4.27 kB      17.3 kB
├─ features  Sequential            (2, 4, 6, 6)            48  31.1 k    232 B      17.3 kB
│  ├─ 0      Conv2d(1, 4, (3, 3))  (2, 4, 12, 12)          40  20.7 k    160 B      4.61 kB
│  ├─ 1      BatchNorm2d(4)        (2, 4, 12, 12)           8  8.09 k     72 B      4.65 kB
│  ├─ 2      ReLU()                (2, 4, 12, 12)              1.15 k               4.61 kB
│  └─ 3      MaxPool2d(2)          (2, 4, 6, 6)                1.15 k               3.46 kB
└─ fc        Linear(100, 10)       failed               1,010          4.04 kB
   ✗ ShapeError: linear: expected an input (..., 100) for the weight (10, 100), given (2, 144).
     in fc (Linear(100, 10)) of Net, input (2, 144) float32
     at test_summary.py:LINE in forward: h = self.fc(h)  # the line of fc
     Give the layer in_features=144, or what comes before it 100 outputs.

parameters   1,058, all trainable
weights      4.27 kB
activations  17.3 kB
FLOPs        31.1 k, up to the error; a multiply and an add are two
input        (2, 1, 14, 14) float32
not reached  3 modules"""


def test_text_up_to_the_layer_that_fails() -> None:
    found = nn.summary(Net(100), (2, 1, 14, 14))
    assert re.sub(r"\.py:\d+", ".py:LINE", str(found)) == FAILED
    assert isinstance(found.error, ShapeError)
    assert [r.path for r in found.rows if r.error is not None] == ["fc"] and found.seconds is None


PARAMETERS = """\
layer       class                             parameters  weights
Sequential                                            18     72 B
├─ 0        Linear(2, 2)                               6     24 B
├─ 1-2      2 x Linear(2, 2) (shared with 0)
└─ 3        Linear(3, 3)                              12     48 B

parameters  18, 12 trainable, 6 frozen
weights     72 B"""


def test_text_of_parameters_only() -> None:
    shared = nn.Linear(2, 2).requires_grad_(False)
    assert str(nn.summary(nn.Sequential(shared, shared, shared, nn.Linear(3, 3)))) == PARAMETERS


DEPTH = """\
layer        class            output        parameters   FLOPs  weights  activations
Net                           (2, 10)            1,498  36.9 k  6.03 kB      17.6 kB
├─ features  Sequential       (2, 4, 6, 6)          48  31.1 k    232 B      17.3 kB
├─ fc        Linear(144, 10)  (2, 10)            1,450  5.76 k  5.80 kB         80 B
└─ last      Sequential       (2, 10)                       40                 160 B"""


def test_text_to_a_depth() -> None:
    found = nn.summary(Net(), (2, 1, 14, 14), time=False, depth=1)
    assert str(found).split("\n\n")[0] == DEPTH
    assert len(found.rows) == 10  # all of them


@pytest.mark.parametrize(
    ("dtype", "inputs", "error", "words"),
    [
        (jg.float32, [(4, 3)], DTypeError, ["✗ DTypeError", "input (4, 3) float32; others than floats by dtype=jg.int64"]),
        (jg.int64, [jg.ones(4, 3)], DTypeError, ["✗ DTypeError", "input (4, 3) float32\n"]),
        (jg.int64, [jg.full((1,), 60)], OutOfRangeError, ["✗ OutOfRangeError", "60 is out of range"]),  # only a real run knows
        (jg.int64, [(4,), 3], TypeError, ["✗ TypeError", "inputs (4,) int64, 3"]),
    ],
)
def test_other_errors_are_marked(dtype: Any, inputs: list[Any], error: type[Exception], words: list[str]) -> None:
    found = nn.summary(nn.Sequential(nn.Embedding(50, 8)), *inputs, dtype=dtype)
    assert type(found.error) is error
    for w in words:
        assert w in re.sub(" +", " ", str(found)) + "\n"


def test_an_error_of_the_models_own_and_one_that_it_catches() -> None:
    class Tries(nn.Module):
        def __init__(self, last: Any) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)
            self.last = last

        def forward(self, x: Any) -> Any:
            with contextlib.suppress(ShapeError):
                self.fc(x)
            if self.last:
                raise KeyError("<own>")
            return x

    found = nn.summary(Tries(True), (2, 2))
    assert [r.path for r in found.rows if r.error is not None] == [""]
    assert str(found).split("\n")[2:5:2] == ["│  ✗ KeyError: '<own>'", "└─ fc  Linear(3, 2)                   8     32 B"]
    assert "&lt;own&gt;" in found._repr_html_() and "<own>" not in found._repr_html_()
    assert nn.summary(Tries(False), (2, 2)).error is None


# Operations of one call by hand: N C H W = 2 3 6 6 where the input is an image, else 4 x 5.
FLOPS = [
    (nn.Linear(5, 7), (4, 5), 2 * 4 * 5 * 7),
    (nn.Linear(5, 7, bias=False), (4, 5), 2 * 4 * 5 * 7),
    (nn.Conv2d(3, 8, 3, padding=1), (2, 3, 6, 6), 2 * (2 * 8 * 36) * (3 * 9)),
    (nn.Conv2d(3, 6, 3, stride=2, groups=3), (2, 3, 6, 6), 2 * (2 * 6 * 4) * 9),
    (nn.Conv1d(3, 8, 3), (2, 3, 6), 2 * (2 * 8 * 4) * (3 * 3)),
    (nn.MaxPool2d(2), (2, 3, 6, 6), 2 * 3 * 9 * 4),
    (nn.AvgPool2d(3), (2, 3, 6, 6), 2 * 3 * 4 * 9),
    (nn.AdaptiveAvgPool2d(1), (2, 3, 6, 6), 2 * 3 * 36),
    (nn.ReLU(), (4, 5), 20),
    (nn.GELU(), (4, 5), 20),
    (nn.Dropout(), (4, 5), 20),
    (nn.Dropout().eval(), (4, 5), 0),
    (nn.Softmax(1), (4, 5), 5 * 20),
    (nn.LayerNorm(5), (4, 5), 5 * 20 + 2 * 20),
    (nn.LayerNorm(5, elementwise_affine=False), (4, 5), 5 * 20),
    (nn.Flatten(), (4, 5), 0),
    (nn.Identity(), (4, 5), 0),
]


@pytest.mark.parametrize(("layer", "shape", "count"), FLOPS, ids=lambda v: str(v))
def test_operations_of_layers(layer: nn.Module, shape: tuple[int, ...], count: int) -> None:
    assert nn.summary(layer, shape, time=False).total_flops == count


def in_function(function: Any) -> nn.Module:
    class Of(nn.Module):
        def forward(self, *x: Any) -> Any:
            return function(*x)

    return Of()


OPERATIONS: list[tuple[Any, list[tuple[int, ...]], int]] = [
    (lambda a, b: a @ b, [(3, 4, 5), (3, 5, 6)], 2 * 3 * 4 * 5 * 6),
    (lambda a, b: a @ b, [(3, 1, 4, 5), (2, 5, 6)], 2 * 3 * 2 * 4 * 5 * 6),
    (lambda a, b: F.bilinear(a, b, jg.ones(2, 3, 5)), [(4, 3), (4, 5)], 2 * 4 * (2 * 3) * 5 + 2 * 4 * 2 * 3),
    (lambda a: a.sum(1), [(4, 5)], 20),
    (lambda a: a.mean(), [(4, 5)], 20),
    (lambda a: a.max(1)[0], [(4, 5)], 20),
    (lambda a: a.var(0), [(4, 5)], 80),
    (lambda a: a + 1, [(4, 5)], 20),
    (lambda a: a[:, :1] + a, [(4, 5)], 20),
    (lambda a: a.reshape(5, 4).t()[1:].expand(2, 3, 5).contiguous(), [(4, 5)], 0),
    (lambda a: jg.cat([a, a]).double(), [(4, 5)], 0),
    (lambda a: jg.arange(4) * 2 + a.shape[0], [(4, 5)], 0),  # ints
    (lambda a: a.clone().mul_(2), [(4, 5)], 20),
    (lambda a: F.cross_entropy(a, jg.zeros(4, dtype=jg.int64)), [(4, 5)], 100),
]


@pytest.mark.parametrize(("function", "shapes", "count"), OPERATIONS)
def test_operations_between_layers(function: Any, shapes: list[tuple[int, ...]], count: int) -> None:
    assert nn.summary(in_function(function), *shapes, time=False).total_flops == count


def test_the_table_of_operations_names_primitives() -> None:
    names = {p.name for p in gc.get_objects() if type(p) is Primitive}
    assert set(_TABLE) | _NOTHING <= names


@pytest.mark.parametrize("depth", [-1, 1.0, True])
def test_depths_that_are_none(depth: Any) -> None:
    with pytest.raises(ArgumentError, match="depth is expected to be an int of at least 0, or None"):
        nn.summary(nn.ReLU(), depth=depth)


def test_a_real_run_where_values_are_asked_for() -> None:
    dry = nn.summary(Asks(), (4, 3), time=False)
    assert isinstance(dry.error, NoDataError) and "time=True runs the model for real" in str(dry)
    found = nn.summary(Asks(), (4, 3))
    assert found.error is None and [r.output for r in found.rows] == ["(4, 2)", "(4, 2)"]
    assert found.total_flops == 12 + 1 + 48 and found.seconds


def test_nothing_is_computed_without_times() -> None:
    ran = []
    model = Net()

    class Heard(Listener):
        def __call__(self, prim: Any, inputs: Any, p: Any) -> Any:
            ran.append(prim.name)
            return self.run(prim, inputs, p)

    with Heard():
        assert nn.summary(model, (2, 1, 14, 14), time=False).seconds is None
    assert not ran


@pytest.mark.parametrize("time", [False, True])
def test_the_model_is_as_before(time: bool) -> None:
    model, x = Net(), jg.ones(2, 1, 14, 14)
    model(x).sum().backward()
    jg.manual_seed(5)
    state = {k: v.tolist() for k, v in model.state_dict().items()}
    grads, modes = [p.grad for p in model.parameters()], [m.training for m in model.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    nn.summary(model, x, time=time)
    nn.summary(model, (2, 1, 9, 9), time=time)  # which fails
    nn.summary(model, (2, 1, 14, 14), time=time)
    assert {k: v.tolist() for k, v in model.state_dict().items()} == state
    assert all(p.grad is g for p, g in zip(model.parameters(), grads, strict=True))
    assert [m.training for m in model.modules()] == modes
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == hooks
    assert jg.get_rng_state().tolist() == [5, 0] and jg.is_grad_enabled()


def test_an_input_that_forward_writes_into_is_as_before() -> None:
    x = jg.full((2, 3), -1.0)
    found = nn.summary(nn.Sequential(nn.ReLU(inplace=True)), x)
    assert found.error is None and found.seconds and x.tolist() == [[-1.0] * 3] * 2


def test_inputs_by_name_in_lists_and_outputs_of_several() -> None:
    class Several(nn.Module):
        def forward(self, xs: Any, *, scale: Any, size: Any) -> Any:
            return {"y": xs[0] * scale, "rest": [xs[1].long(), None]}

    found = nn.summary(Several(), [jg.ones(2), jg.ones(3)], kwargs={"scale": 2.0, "size": (1, 2)}, time=False)
    assert found.error is None and found.inputs == ["list of (2,) float32, (3,) float32", "scale=2.0", "size=tuple"]
    assert found.rows[0].output == "(2,), (3,) int64" and found.rows[0].shapes == ((2,), (3,))


def test_dtypes_of_shapes() -> None:
    model = in_function(lambda a, b, c: (a, b, c))
    found = nn.summary(model, (2,), jg.ones(1), (), dtype=[jg.int64, jg.float64], time=False)
    assert found.inputs == ["(2,) int64", "(1,) float32", "() float64"]
    with pytest.raises(ArgumentError, match=r"a dtype for each of 2 shapes, or one for all, given 1\."):
        nn.summary(model, (2,), (2,), dtype=[jg.int64])


def test_a_model_in_float64_and_frozen_parts() -> None:
    model = nn.Sequential(nn.Linear(2, 3).requires_grad_(False), nn.Linear(3, 1)).double()
    found = nn.summary(model, (1, 2), dtype=jg.float64, time=False)
    assert (found.total_parameters, found.trainable_parameters, found.weight_bytes) == (13, 4, 104)
    assert [r.output for r in found.rows] == ["(1, 1) float64", "(1, 3) float64", "(1, 1) float64"]
    assert found.activation_bytes == 32


def test_calls_that_differ_and_a_module_inside_its_own_call() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.Tanh()

        def forward(self, x: Any, again: bool = True) -> Any:
            return self(self.act(x[:1]), False) if again else self.act(x)

    found = nn.summary(Twice(), (3, 2))
    top, act = found.rows
    assert (act.calls, act.output, act.flops, top.calls) == (2, "(1, 2)", 4, 2)
    assert nn.summary(nn.Sequential(a := nn.Tanh(), nn.Linear(2, 3), a), (1, 2), time=False).rows[1].output == "(1, 2), then (1, 3)"


def test_empty_and_uncallable_parts() -> None:
    class Holds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList()
            self.weights = nn.ParameterList([nn.Parameter(jg.ones(2))])

        def forward(self, x: Any) -> Any:
            return x * self.weights[0]

    found = nn.summary(Holds(), (3, 2), time=False)
    assert [(r.name, r.output, r.parameters) for r in found.rows] == [("", "(3, 2)", 2), ("layers", "", 0), ("weights", "", 2)]
    assert str(nn.summary(nn.Sequential())).split("\n")[1] == "Sequential()"


def test_blocks_that_differ_are_not_one() -> None:
    for other in (nn.Linear(3, 3, bias=False), nn.Linear(3, 3).requires_grad_(False), nn.Linear(3, 4)):
        text = str(nn.summary(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), other), (1, 3), time=False))
        assert "0-1" in text and "└─ 2" in text


def test_html() -> None:
    class Odd(nn.Linear):
        pass

    Odd.__name__ = "Odd<b>"
    html = nn.summary(nn.Sequential(Odd(2, 2), nn.Linear(3, 3)), (1, 2))._repr_html_()
    assert "Odd&lt;b&gt;(2, 2)" in html and "<b>" not in html
    assert "✗ ShapeError" in html and "#d33" in html and html.count("<table") == 2
    rows = re.findall(r"<tr>(.*?)</tr>", nn.summary(Net(), (2, 1, 14, 14), time=False)._repr_html_())
    assert sum("linear-gradient" in r for r in rows) == 8 and "linear-gradient" not in rows[1]  # all but the model's own
    assert re.search(r"transparent 96\.8%.*1,450</td>", rows[7])


def test_what_is_no_module() -> None:
    with pytest.raises(InputTypeError, match="summary: expected a Module, given type"):
        nn.summary(nn.Linear, (1, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0"), (999, "999"), (1000, "1.00 k"), (9_996, "10.0 k"), (999_499, "999 k"), (999_500, "1.00 M"), (10**18, "1000 P")],
)
def test_three_digits(count: int, words: str) -> None:
    assert in_short(count) == words


@pytest.mark.parametrize(("seconds", "words"), [(1.5e-6, "1.50 us"), (0.0123, "12.3 ms"), (0.9996, "1.00 s"), (3600.0, "3600 s")])
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_seconds(seconds) == words


def test_the_table_in_the_readme() -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1152, 10))
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert f"```\n{nn.summary(model, (32, 1, 28, 28))}\n```" in readme


def test_modules_in_the_other_mode_are_told() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout())
    model[1].eval()
    assert "forward in training mode, 1 module in evaluation; a multiply" in str(nn.summary(model, (4, 2), time=False))
    model.eval()
    model[1].train()
    model[2].train()
    assert "forward in evaluation mode, 2 modules in training; a multiply" in str(nn.summary(model, (4, 2), time=False))
