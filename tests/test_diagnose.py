"""nn.diagnose: each kind of finding is made where it should be, and healthy models of every style are left in peace."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from diagnose_cases import FINDS, Net, dead, fc, hidden_model, shared, square, x
from diagnose_healthy import HEALTHY, V
from diagnose_training_cases import TRAINS_BADLY

import jitgrad as jg
from jitgrad import nn
from jitgrad.errors import InputTypeError
from jitgrad.nn.diagnosis import Finding, Report


# ---- the wrong examples of people's questions
class Unchained(nn.Module):
    """A ModuleList taken for a Sequential."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([fc(10, hidden), nn.ReLU(), fc(hidden, 10)])

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            layer(x)
        return x


def test_a_loop_that_does_not_chain_where_shapes_fit() -> None:
    report = nn.diagnose(Unchained(10), x(1, 10))
    (f,) = report
    assert (f.kind, f.severity, f.path) == ("output dropped", "error", "layers.0, layers.1 and layers.2")
    assert f.line is not None and f.line.text == "layer(x)" and f.line.function == "forward"
    assert f.fix.startswith("x = layer(x)")
    assert not report.ok
    assert str(f) == (
        "error: layers.0 (Linear(10, 10)), layers.1 (ReLU()) and layers.2 (Linear(10, 10)) were called, but what they\n"
        "    returned is dropped: the model returns something else.\n"
        f"    at: test_diagnose.py:{f.line.number} in forward: layer(x)\n"
        "    fix: x = layer(x), so that each layer gets what the one before it returned"
    )


def test_a_loop_that_does_not_chain_where_shapes_do_not_fit() -> None:
    dropped, failed = nn.diagnose(Unchained(20), x(1, 10))
    assert dropped.kind == "output dropped" and "so that layers.2 (Linear(20, 10)) was given what came before them" in dropped.text
    assert failed.kind == "error" and "expected an input (..., 20)" in failed.text and "layers.2" in failed.text
    assert failed.line == dropped.line


# ---- tables
@pytest.mark.parametrize("case", [*FINDS, *TRAINS_BADLY], ids=lambda c: c[0])
def test_finds(case: Any) -> None:
    _, make, args, loss, kind, severity, path, text, line, fix = case
    report = nn.diagnose(make(), *args, loss=loss)
    of_kind = report.of_kind(kind)
    assert of_kind, report
    f = of_kind[0]
    assert (f.severity, f.path) == (severity, path), report
    assert text in f.text, report
    assert (fix in f.fix) if fix else not f.fix, report
    if line:
        assert f.line is not None and line in f.line.text, report
    else:
        assert f.line is None or kind in ("error", "dtype", "zero gradient")
    assert report.ok is (severity == "note" and all(g.severity == "note" for g in report))
    # What one finding explains is not said again by another.
    beside = {"error", "warning"} & {g.severity for g in report if g.kind not in (kind, "never called")}
    assert not beside, report


@pytest.mark.parametrize("name", HEALTHY)
def test_leaves_healthy_models_in_peace(name: str) -> None:
    make, args, loss, notes = HEALTHY[name]
    kwargs = {"scale": 2.0} if name == "keyword" else {}
    report = nn.diagnose(make(), *args, loss=loss, kwargs=kwargs)
    assert report.ok and {f.kind for f in report} == notes, report


# ---- the model afterwards
def test_the_model_is_afterwards_as_it_was() -> None:
    def forward(m: Any, x: Any) -> Any:
        m.seen = x
        m.log.append(x)
        with jg.no_grad():
            m.fc.bias.add_(1)
        m.fc.weight.data.mul_(2)
        m.bn.bias.data = jg.ones(4)
        return m.plain[0](m.drop(m.bn(m.fc(x))))

    model = Net(forward, fc=fc(), bn=nn.BatchNorm1d(4), drop=nn.Dropout(0.5), plain=[nn.BatchNorm1d(4)], log=[])
    model.fc.weight.grad = jg.ones(4, 4)
    given = x(8, 4).requires_grad_()
    jg.manual_seed(3)
    parts = (model, model.plain[0])
    parameters = [p for m in parts for _, p in m._named("_parameters", "", True, True)]
    everything = lambda: [t.tolist() for t in (*parameters, *(b for m in parts for b in m.buffers()))]
    before, grads = everything(), [p.grad for p in parameters]
    with jg.no_grad():
        report = nn.diagnose(model, given)
        assert not jg.is_grad_enabled()
    assert [f.kind for f in report] == ["hidden"]
    assert everything() == before
    assert all(p.grad is g for p, g in zip(parameters, grads, strict=True))
    assert model.log == [] and given.grad is None and not hasattr(model, "seen") and jg.get_rng_state().tolist() == [3, 0]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_what_the_report_names_is_not_warned_of_again() -> None:
    model = hidden_model([fc()])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.diagnose(model, *V)
        list(model.parameters())


def test_findings_before_the_error_are_there() -> None:
    model = Net(lambda m, x: m.b(m.layers[0](x)), layers=[fc()], b=fc(5, 2), w=nn.ModuleList([shared] * 2))
    assert [f.kind for f in nn.diagnose(model, *V)] == ["hidden", "error", "shared"]


def test_values_that_are_taken_are_not_told_dropped_when_forward_fails() -> None:
    kept: list[Any] = []

    def forward(m: Any, x: Any) -> Any:
        kept.append(m.a(x))
        m.y = m.a(x)
        m.b(x)

    model = Net(forward, a=nn.Sequential(fc()), b=nn.Sequential(fc(), fc(5, 5)))
    dropped, failed = nn.diagnose(model, *V)
    assert (dropped.path, failed.path) == ("b", "b.1")
    assert dropped.text == "what b (Sequential) returns is dropped."


def test_the_line_that_calls_diagnose_is_no_line_of_the_model() -> None:
    report = nn.diagnose(nn.Sequential(fc(), fc(5, 5)), *V)
    assert [(f.kind, f.line) for f in report] == [("error", None)]
    report = nn.diagnose(nn.Sequential(dead(-100), nn.ReLU(), fc(16, 2)), x(64, 4))
    assert [(f.kind, f.line) for f in report] == [("dead relu", None)]


def test_interrupts_are_not_findings() -> None:
    def stop(m: Any, x: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nn.diagnose(Net(stop), *V)


@pytest.mark.parametrize(
    ("args", "kwargs", "kind", "words"),
    [
        ((3,), {}, InputTypeError, "expected a Module and then its inputs, given int"),
        ((fc, x(2, 4)), {}, InputTypeError, "expected a Module"),
        ((Net(square),), {"loss": 3}, TypeError, "loss is expected to be a function"),
        (
            (fc(), (2, 4)),
            {},
            InputTypeError,
            r"expected a batch of real data, given the shape \(2, 4\): random numbers do not show .* nn\.summary",
        ),
        ((fc(), 3, (4,)), {"kwargs": {"scale": 2}}, InputTypeError, r".* given the shape \(4,\)"),
    ],
)
def test_misuse(args: Any, kwargs: Any, kind: Any, words: str) -> None:
    with pytest.raises(kind, match=f"diagnose: {words}"):
        nn.diagnose(*args, **kwargs)


def test_a_tuple_of_ints_beside_a_tensor_is_an_argument() -> None:
    model = Net(lambda m, x, shape, *, loss: m.a(x).reshape(shape) * loss, a=fc())
    assert nn.diagnose(model, x(2, 4), (4, 2), kwargs={"loss": 2.0}).ok


def test_hidden_parameters_are_named_by_where_they_stand() -> None:
    layers = [3, fc(), {"a": [fc()], "w": nn.Parameter(jg.ones(4))}]
    model = Net(lambda m, x: (m.layers[1](m.layers[2]["a"][0](x)) * m.layers[2]["w"]).detach(), layers=layers)
    (f,) = nn.diagnose(model, *V).of_kind("no gradient")
    assert f.path == "layers[1] (weight, bias), layers[2]['a'][0] (weight, bias) and layers[2]['w']"


def test_what_is_shared_on_purpose_stays_so_in_copies_until_it_is_replaced() -> None:
    layers = nn.Sequential(fc()).repeat(3, mode="share")
    severities = lambda m: [f.severity for f in nn.diagnose(m, *V).of_kind("shared")]
    for same in (layers, copy.deepcopy(layers), pickle.loads(pickle.dumps(layers)), layers[1:], layers.copy(), layers.repeat(2, "share")):
        assert severities(same) == ["note"]
    layers[0] = fc()
    assert severities(layers) == ["note"]
    layers[1] = fc()
    assert severities(layers) == []
    layers.append(layers[2])
    assert severities(layers) == ["warning"]
    assert severities(nn.Sequential(fc()) * 2) == ["warning"]


# ---- the report
def test_a_report_reads_well() -> None:
    report = nn.diagnose(nn.Sequential(OrderedDict(a=fc(), b=nn.ReLU())), *V)
    assert repr(report) == "diagnose(Sequential): nothing wrong found (3 module calls, gradients for 2 of 2 parameters)"
    assert len(report) == 0 and list(report) == [] and report.ok
    with pytest.raises(TypeError, match=r"report\.ok"):
        bool(report)


def test_the_worst_comes_first_and_many_are_cut() -> None:
    findings = [Finding("frozen", "note", "p", f"note {i}") for i in range(30)] + [Finding("dtype", "error", "q", "wrong", fix="mend it")]
    report = Report("Net", findings, "facts")
    assert report[0].severity == "error" and not report.ok
    lines = str(report).splitlines()
    assert lines[0] == "diagnose(Net): 1 error, 30 notes (facts)"
    assert lines[2:4] == ["error: wrong", "    fix: mend it"]
    assert lines[-1] == "... and 18 more notes in report.findings"
    assert len(pickle.loads(pickle.dumps(report)).findings) == 31


def test_html_is_escaped_and_says_the_severity() -> None:
    html = Report("Net", [Finding("error", "error", "p", "a < b\n    in c", fix="<script>")], "facts")._repr_html_()
    assert "a &lt; b" in html and "<script>" not in html and ">error<" in html and "&lt;script&gt;" in html
    assert "nothing wrong found" in Report("Net", [], "facts")._repr_html_()
    assert "a &lt; b" in Finding("error", "error", "p", "a < b")._repr_html_()


def test_listeners_hear_where_values_leave() -> None:
    class Reads(jg.autograd.Listener):
        def __init__(self) -> None:
            self.shapes: list[Any] = []

        def read(self, tensor: Any) -> None:
            self.shapes.append(tensor.shape)

    with Reads() as outer, Reads() as inner:
        bool(jg.ones(()) > 0)
        jg.ones(2).tolist(), np.asarray(jg.ones(3)), jg.ones(4).numpy(), np.from_dlpack(jg.ones(5))
    assert outer.shapes == inner.shapes == [(), (2,), (3,), (4,), (5,)]
