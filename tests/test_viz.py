"""viz.graph: boxes, edges and frames counted and named, texts that Graphviz and Mermaid take, and what is missing said in words."""

from __future__ import annotations

import builtins
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import jitgrad as jg
from jitgrad import nn
from jitgrad.errors import ArgumentError, GradError, InputTypeError
from jitgrad.viz import Graph, graph


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.act = nn.Tanh()
        self.scale = nn.Parameter(jg.ones(4))

    def forward(self, x: Any) -> Any:
        return self.act(self.fc(x)) * self.scale + x  # the sum


class Net(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
        self.blocks = nn.ModuleList(Residual() for _ in range(2))
        self.head = nn.Linear(width, 2)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(0))


def arrows(g: Graph) -> list[str]:
    """Edges as ``from > to shape`` with the first lines of the boxes."""
    label = {b.key: b.label.split("\n")[0] for b in g.nodes}
    return [f"{label[a]} > {label[b]} {shape}" for a, b, shape in g.edges]


def frames(g: Graph) -> dict[str, list[str]]:
    """The path of frames and what stands in each."""
    by_key = {c.key: c for c in g.clusters}

    def path(key: int | None) -> str:
        return "" if key is None else f"{path(by_key[key].parent)}/{by_key[key].label}"

    found: dict[str, list[str]] = {}
    for b in g.nodes:
        found.setdefault(path(b.cluster), []).append(b.label)
    return found


def is_mermaid(text: str) -> bool:
    """Each line is of a known form, labels are quoted and have no sign that means something, frames are closed."""
    label = r'"(?:[^"<>`\\#]|<br/>|#(?:35|96|92|quot|lt|gt);)*"'
    first, *lines = text.split("\n")
    forms = (
        rf"subgraph c\d+\[{label}\]", "end", rf"(n\d+|note)(\[{label}\]|\(\[{label}\]\)):::[a-z]+",
        rf"n\d+ -->(\|{label}\|)? n\d+", r"classDef [a-z]+ fill:#\w{6},stroke:#\w{6},color:#000",
    )  # fmt: skip
    depth = 0
    for line in lines:
        depth += line.strip().startswith("subgraph") - (line.strip() == "end")
        if depth < 0 or not any(re.fullmatch(f, line.strip()) for f in forms):
            return False
    return first == "flowchart TD" and depth == 0


def is_dot(text: str) -> bool:
    """Braces and quotes are closed, a line a statement; Graphviz itself is asked where it is installed."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "_", text)
    return '"' not in bare and bare.count("{") == bare.count("}") == bare.count("subgraph") + 1


def test_a_model() -> None:
    g = graph(Net(), (5, 3))
    assert frames(g) == {
        "": ["input", "mean", "head: Linear(4, 2)", "output"],
        "/stem: Sequential": ["0: Linear(3, 4)", "1: ReLU()"],
        "/blocks: ModuleList/0: Residual": ["fc: Linear(4, 4)", "act: Tanh()", "mul", "blocks.0.scale", "add"],
        "/blocks: ModuleList/1: Residual": ["fc: Linear(4, 4)", "act: Tanh()", "mul", "blocks.1.scale", "add"],
    }
    assert arrows(g) == [
        "input > 0: Linear(3, 4) (5, 3)",
        "0: Linear(3, 4) > 1: ReLU() (5, 4)",
        "1: ReLU() > fc: Linear(4, 4) (5, 4)",
        "fc: Linear(4, 4) > act: Tanh() (5, 4)",
        "act: Tanh() > mul (5, 4)",
        "blocks.0.scale > mul (4,)",
        "mul > add (5, 4)",
        "1: ReLU() > add (5, 4)",
        "add > fc: Linear(4, 4) (5, 4)",
        "fc: Linear(4, 4) > act: Tanh() (5, 4)",
        "act: Tanh() > mul (5, 4)",
        "blocks.1.scale > mul (4,)",
        "mul > add (5, 4)",
        "add > add (5, 4)",
        "add > mean (5, 4)",
        "mean > head: Linear(4, 2) (4,)",
        "head: Linear(4, 2) > output (2,)",
    ]
    tooltip = next(b.tooltip for b in g.nodes if b.label == "add")
    assert re.fullmatch(r"test_viz\.py:\d+ in forward: return self\.act.*  # the sum", tooltip)
    assert is_mermaid(g.mermaid) and is_dot(g.source) and str(g) == g.mermaid and not g.note
    assert repr(g) == "<Graph of Net: 16 nodes, 17 edges>"


def test_levels_of_a_model() -> None:
    g = graph(Net(), (5, 3), depth=1)
    assert frames(g) == {
        "": ["input", "stem: Sequential", "mean", "head: Linear(4, 2)", "output"],
        "/blocks: ModuleList": ["0: Residual", "1: Residual"],
    }
    assert len(g.edges) == 6 and is_mermaid(g.mermaid) and is_dot(g.source)
    assert arrows(graph(Net(), (5, 3), depth=0)) == ["input > Net (5, 3)", "Net > output (2,)"]


def test_a_model_that_fails_is_drawn_up_to_there() -> None:
    g = graph(Net(7), (5, 3), depth=1)
    assert [b.kind for b in g.nodes] == ["input", "module", "module", "module", "op", "failed"]
    assert g.nodes[-1].label.startswith("head: Linear(7, 2)\n✗ ShapeError: linear: expected an input (..., 7)")
    assert arrows(g)[-1] == "mean > head: Linear(7, 2) (4,)" and is_mermaid(g.mermaid)

    class Between(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 4)

        def forward(self, x: Any) -> Any:
            return self.fc(x) + x

    g = graph(Between(), (5, 3))
    assert [b.kind for b in g.nodes] == ["input", "module", "failed"] and "✗ ShapeError" in g.nodes[-1].label
    assert [b.kind for b in graph(Between(), (5, 3), depth=0).nodes] == ["input", "failed"]


def test_modules_called_twice_passed_through_and_reached_by_other_ways() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout().eval()
            self.fc = nn.Linear(3, 3)
            self.inner = nn.Sequential(self.fc)
            self.shift = jg.ones(3)

        def forward(self, x: Any, y: Any, k: Any = None) -> Any:
            return {"a": self.inner(self.fc(self.drop(x))) * 2 + self.shift, "b": nn.functional.dropout(y, 0.5) * k}

    g = graph(Model(), (4, 3), (2,), kwargs={"k": jg.ones(1)})
    assert arrows(g) == [
        "input > drop: Dropout() (4, 3)",
        "drop: Dropout() > fc: Linear(3, 3) (4, 3)",
        "fc: Linear(3, 3) > fc: Linear(3, 3), call 2 (4, 3)",
        "fc: Linear(3, 3), call 2 > mul (4, 3)",
        "mul > add (4, 3)",
        "constant > add (3,)",
        "input 1 > dropout (2,)",
        "dropout > mul (2,)",
        "input 2 > mul (1,)",
        "add > output (4, 3)",
        "mul > output 1 (2,)",
    ]
    assert "fc: Linear(3, 3), call 2" in frames(g)["/inner: Sequential"]


def test_a_model_is_as_before_and_nothing_is_computed() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout())
    jg.manual_seed(2)
    graph(model, (4, 3))
    assert model[0].num_batches_tracked.item() == 0 and jg.get_rng_state().tolist() == [2, 0]


def test_a_model_that_asks_for_values_is_run() -> None:
    class Asks(nn.Module):
        def forward(self, x: Any) -> Any:
            return x + 1 if x.sum() < 1e9 else x

    assert [b.label for b in graph(Asks(), (3,)).nodes] == ["input", "sum", "lt", "add", "output"]


def test_a_tensor() -> None:
    model = nn.Linear(3, 2)
    x = jg.ones(5, 3)
    y = (model(x).tanh() * 2).sum()
    for params in (dict(model.named_parameters()), model):
        g = graph(y, params=params)
        assert sorted(b.label for b in g.nodes) == ["bias\n(2,)", "linear", "mul", "output", "sum", "tanh", "weight\n(2, 3)"]
        assert sorted(arrows(g)) == [
            "bias > linear (2,)", "linear > tanh (5, 2)", "mul > sum (5, 2)", "sum > output ()", "tanh > mul (5, 2)",
            "weight > linear (2, 3)",
        ]  # fmt: skip
        assert is_mermaid(g.mermaid) and is_dot(g.source)
    assert [b.label for b in graph(y).nodes if b.kind == "parameter"] == ["leaf\n(2, 3)", "leaf\n(2,)"]


def test_a_leaf_several_tensors_and_several_outputs_of_one_operation() -> None:
    w = jg.ones(2, 3, requires_grad=True)
    assert arrows(graph(w, params={"w": w})) == ["w > output (2, 3)"]
    values, _ = (w * 2).max(1)
    g = graph([values, w * 3])
    assert sorted(arrows(g)) == ["leaf > mul (2, 3)"] * 2 + ["max_dim > output 0 (2,)", "mul > max_dim (2, 3)", "mul > output 1 (2, 3)"]
    assert arrows(graph(w * w)).count("leaf > mul (2, 3)") == 2
    assert graph(w * w).name == "a tensor (2, 3)"


def test_a_tensor_whose_graph_is_freed() -> None:
    y = (x := jg.ones(2, requires_grad=True)) * x
    y.sum().backward()
    assert len(graph(y).nodes) == 3


def test_a_chain_of_100000_operations_is_cut() -> None:
    x = jg.ones(2, requires_grad=True)
    for _ in range(100_000):
        x = x * 2
    g = graph(x)
    assert len(g.nodes) == 402 and len(g.edges) == 401
    assert [b.label for b in g.nodes if b.kind == "more"] == ["99,601 more"]
    assert g.note == "The 400 nodes next to the result, of 100,001: limit= shows more."
    assert is_mermaid(g.mermaid) and is_dot(g.source) and g.note in g.mermaid and g.note in g.source


def test_a_long_model_is_cut() -> None:
    g = graph(nn.Sequential(*[nn.Sequential(nn.Tanh()) for _ in range(50)]), (2,), limit=10)
    assert len(g.nodes) == 10 and len(g.edges) == 9 and len(g.clusters) == 9
    assert g.note == "The first 10 boxes; 42 more are left out: depth= folds modules, limit= shows more."
    assert is_mermaid(g.mermaid) and is_dot(g.source)


ODD = 'a"b[c]<d>#e`f\\g|h end'


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({ODD: nn.Sequential(nn.Tanh())})

    def forward(self, x: Any) -> Any:
        return self.layers[ODD](x)


def test_odd_names_are_escaped() -> None:
    g = graph(Odd(), (2,))
    assert f"{ODD}: Sequential" in [c.label for c in g.clusters]
    assert is_mermaid(g.mermaid) and is_dot(g.source)
    assert 'subgraph c1["a#quot;b[c]#lt;d#gt;#35;e#96;f#92;g|h end: Sequential"]' in g.mermaid
    assert r'label="a\"b[c]<d>#e`f\\g|h end: Sequential"' in g.source


# ---- files and notebooks
@pytest.fixture
def small() -> Graph:
    return graph(nn.Sequential(nn.Tanh()), (2,))


def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the graphviz package is not installed."""
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "graphviz":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)


def with_dot(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[tuple[str, str]]:
    """As where the graphviz package is installed: asked for a picture it gives the answer, or raises it."""
    asked: list[tuple[str, str]] = []
    package = ModuleType("graphviz")
    package.ExecutableNotFound = type("ExecutableNotFound", (RuntimeError,), {})  # type: ignore[attr-defined]

    class Source:
        def __init__(self, source: str) -> None:
            self.source = source

        def pipe(self, format: str) -> bytes:
            asked.append((format, self.source))
            if answer is None:
                raise package.ExecutableNotFound
            return answer  # type: ignore[no-any-return]

    package.Source = Source  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "graphviz", package)
    return asked


def test_texts_are_written_without_graphviz(small: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch)
    assert small.render(tmp_path / "a.dot").read_text() == small.source + "\n"
    assert small.render(str(tmp_path / "a.mmd")).read_text() == small.mermaid + "\n"
    with pytest.raises(ImportError, match=r"needs graphviz: pip install jitgrad\[viz\], and the program dot$"):
        small.render(tmp_path / "a.png")
    with pytest.raises(ArgumentError, match=r"expected a path ending in \.svg, \.png, \.pdf, \.dot or \.mmd, given '.*a'\."):
        small.render(tmp_path / "a")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.dot", "a.mmd"]


def test_pictures_are_what_graphviz_draws(small: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = with_dot(monkeypatch, b"<svg/>")
    assert small.render(tmp_path / "a.PNG").read_bytes() == b"<svg/>" and asked == [("png", small.source)]
    assert small._repr_mimebundle_() == {"text/plain": repr(small), "image/svg+xml": "<svg/>"}
    assert small._repr_mimebundle_(include=["text/plain"]) == {"text/plain": repr(small)}
    assert asked[1:] == [("svg", small.source)]  # drawn once


def test_without_the_program_dot(small: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_dot(monkeypatch, None)
    with pytest.raises(ImportError, match=r"needs Graphviz's program dot: see graphviz\.org/download"):
        small.render(tmp_path / "a.svg")
    bundle = small._repr_mimebundle_(exclude=["text/plain"])
    assert "image/svg+xml" not in bundle and bundle["text/vnd.mermaid"] == small.mermaid
    assert bundle["text/markdown"] == f"```mermaid\n{small.mermaid}\n```" and set(bundle) == {"text/vnd.mermaid", "text/markdown"}


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
@pytest.mark.parametrize("make", [lambda: graph(Net(), (5, 3)), lambda: graph(Net(), (5, 3), limit=4), lambda: graph(Odd(), (2,))])
def test_graphviz_takes_the_source(make: Any) -> None:
    pytest.importorskip("graphviz")
    g = make()
    svg = g._repr_mimebundle_()["image/svg+xml"]
    assert svg.count('class="node"') == len(g.nodes) and svg.count('class="edge"') == len(g.edges)
    assert svg.count('class="cluster"') == len(g.clusters)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: graph(jg.ones(2)), GradError, "there is no graph behind"),
        (lambda: graph(3), InputTypeError, "expected a Tensor, several in a list, or a Module, given int"),
        (lambda: graph([]), InputTypeError, "given list"),
        (lambda: graph(nn.Linear(2, 2)), ArgumentError, r"as in graph\(model, \(1, 3, 32, 32\)\)"),
        (lambda: graph(jg.ones(2, requires_grad=True), (2,)), ArgumentError, "are for the graph of a model"),
        (lambda: graph(jg.ones(2, requires_grad=True), depth=1), ArgumentError, "are for the graph of a model"),
        (lambda: graph(nn.ReLU(), (2,), params={}), ArgumentError, "params is for the graph of a tensor"),
        (lambda: graph(nn.ReLU(), (2,), depth=-1), ArgumentError, "depth is expected to be an int of at least 0, given -1"),
        (lambda: graph(nn.ReLU(), (2,), limit=0), ArgumentError, "limit is expected to be an int of at least 1, given 0"),
        (lambda: graph(nn.ReLU(), (2,), limit=None), ArgumentError, "limit is expected"),
    ],
)
def test_what_cannot_be_drawn(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


class NoInput(nn.Module):
    def forward(self, n: int = 2) -> Any:
        return jg.ones(n) @ jg.ones(3)


def test_an_error_of_a_model_without_inputs_is_shown_as_it_is() -> None:
    """Only a missing argument asks for inputs."""
    assert "ShapeError" in graph(NoInput()).mermaid
    with pytest.raises(ArgumentError, match="expected a model's inputs, or their shapes"):
        graph(nn.ReLU())
