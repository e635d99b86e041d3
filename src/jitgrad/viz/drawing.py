"""Graph: nodes, edges and nested clusters, as DOT for Graphviz and as text for Mermaid."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from jitgrad.errors import ArgumentError

# Fill and edge of the box by kind of node; text is black on all of them, so that light and dark pages show them alike.
_COLOURS = {
    "input": ("#d5e8d4", "#82b366"),
    "output": ("#d5e8d4", "#82b366"),
    "parameter": ("#dae8fc", "#6c8ebf"),
    "op": ("#f0f0f0", "#999999"),
    "module": ("#fff2cc", "#d6b656"),
    "failed": ("#f8cecc", "#b85450"),
    "more": ("#ffffff", "#999999"),
}
_GREY = "#888888"  # of lines and words outside the boxes: seen on dark and on light pages
_MERMAID = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "`": "#96;", "\n": "<br/>", "\\": "#92;"}


@dataclass(frozen=True)
class Box:
    """One node: its kind (input, output, parameter, op, module, failed, more), its lines, its tooltip, the cluster it stands in."""

    key: int
    kind: str
    label: str
    tooltip: str = ""
    cluster: int | None = None


@dataclass(frozen=True)
class Cluster:
    """A frame around boxes and other frames."""

    key: int
    label: str
    parent: int | None = None


@dataclass
class Graph:
    """A picture of a graph: shows in notebooks, prints as Mermaid text, and is written to a file by ``render``.

    Attributes
    ----------
    name
        What it is a picture of.
    nodes, edges, clusters
        Boxes; (from, to, label) with the keys of boxes; frames around boxes.
    note
        What is left out, in words; empty where nothing is.
    """

    name: str
    nodes: list[Box] = field(default_factory=list)
    edges: list[tuple[int, int, str]] = field(default_factory=list)
    clusters: list[Cluster] = field(default_factory=list)
    note: str = ""

    @property
    def source(self) -> str:
        """The graph in the DOT language, for Graphviz."""
        note = f"label={_quoted(self.note)} " if self.note else ""
        return "\n".join([
            f"digraph {_quoted(self.name)} {{",
            f'  graph [{note}bgcolor=transparent fontname=Helvetica fontsize=11 fontcolor="{_GREY}" color="{_GREY}" style=rounded]',
            "  node [shape=box style=filled fontname=Helvetica fontsize=11 height=0.3]",
            f'  edge [fontname=Helvetica fontsize=9 fontcolor="{_GREY}" color="{_GREY}" arrowsize=0.7]',
            *self._nested(_dot_open, _dot_box),
            *(f"  n{a} -> n{b}" + (f" [label={_quoted(label)}]" if label else "") for a, b, label in self.edges),
            "}",
        ])  # fmt: skip

    @property
    def mermaid(self) -> str:
        """The graph as Mermaid text, which Markdown shows as a picture on many sites and in notebooks."""
        used = dict.fromkeys(b.kind for b in self.nodes)
        return "\n".join([
            "flowchart TD",
            *self._nested(_mermaid_open, _mermaid_box),
            *(f"  n{a} -->" + (f'|"{_escaped(label)}"|' if label else "") + f" n{b}" for a, b, label in self.edges),
            *([f'  note["{_escaped(self.note)}"]:::more'] if self.note else []),
            *(f"  classDef {kind} fill:{_COLOURS[kind][0]},stroke:{_COLOURS[kind][1]},color:#000" for kind in used),
            *(["  classDef more fill:#ffffff,stroke:#999999,color:#000"] if self.note and "more" not in used else []),
        ])  # fmt: skip

    def _nested(self, opened: Any, box: Any) -> Iterator[str]:
        """The boxes in their frames; both languages close a frame by one word, which comes with its opening."""
        inside: dict[int | None, list[Cluster | Box]] = {}
        parts: list[Cluster | Box] = [*self.nodes, *self.clusters]
        for part in parts:
            inside.setdefault(part.cluster if isinstance(part, Box) else part.parent, []).append(part)
        stack: list[tuple[Iterator[Cluster | Box], str]] = [(iter(inside.get(None, ())), "")]
        while stack:
            rest, close = stack[-1]
            following = next(rest, None)
            indent = "  " * len(stack)
            if following is None:
                stack.pop()
                if close:
                    yield indent[2:] + close
            elif isinstance(following, Box):
                yield indent + box(following)
            else:
                text, close = opened(following)
                yield indent + text
                stack.append((iter(inside.get(following.key, ())), close))

    def __str__(self) -> str:
        return self.mermaid

    def __repr__(self) -> str:
        return f"<Graph of {self.name}: {len(self.nodes)} nodes, {len(self.edges)} edges>"

    # ---- pictures
    @cached_property
    def _svg(self) -> str | None:
        """The picture, where Graphviz is there."""
        try:
            return self._drawn("svg").decode()
        except ImportError:
            return None

    def _drawn(self, kind: str) -> bytes:
        try:
            import graphviz
        except ImportError:
            raise ImportError("a picture of a graph needs graphviz: pip install jitgrad[viz], and the program dot") from None
        try:
            drawn: bytes = graphviz.Source(self.source).pipe(format=kind)
        except graphviz.ExecutableNotFound:
            raise ImportError(
                "a picture of a graph needs Graphviz's program dot: see graphviz.org/download, or apt install graphviz"
            ) from None
        return drawn

    def _repr_mimebundle_(self, include: Collection[str] | None = None, exclude: Collection[str] | None = None) -> dict[str, str]:
        """A picture where Graphviz is there, else Mermaid text, which JupyterLab draws."""
        bundle = {"text/plain": repr(self)}
        if self._svg is not None:
            bundle["image/svg+xml"] = self._svg
        else:
            bundle |= {"text/plain": self.mermaid, "text/vnd.mermaid": self.mermaid, "text/markdown": f"```mermaid\n{self.mermaid}\n```"}
        return {k: v for k, v in bundle.items() if (not include or k in include) and (not exclude or k not in exclude)}

    def render(self, path: str | Path) -> Path:
        """Write the picture to a file, whose ending says how: ``.svg``, ``.png``, ``.pdf``; ``.dot`` and ``.mmd`` are its texts.

        Pictures need Graphviz: ``pip install jitgrad[viz]`` and the program dot; ImportError without them. Returns the path.

        >>> import tempfile
        >>> import jitgrad as jg
        >>> y = jg.ones(2, requires_grad=True).tanh()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print(jg.viz.graph(y).render(folder + "/y.mmd").read_text().splitlines()[0])
        flowchart TD
        """
        path = Path(path)
        texts = {".dot": lambda: self.source, ".gv": lambda: self.source, ".mmd": lambda: self.mermaid}
        kind = path.suffix.lower()
        if kind in texts:
            path.write_text(texts[kind]() + "\n", encoding="utf-8")
        elif kind in (".svg", ".png", ".pdf"):
            path.write_bytes(self._drawn(kind[1:]))
        else:
            raise ArgumentError(f"render: expected a path ending in .svg, .png, .pdf, .dot or .mmd, given {str(path)!r}.")
        return path


def _quoted(text: str) -> str:
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def _dot_open(cluster: Cluster) -> tuple[str, str]:
    return f"subgraph cluster_{cluster.key} {{ labeljust=l label={_quoted(cluster.label)}", "}"


def _dot_box(box: Box) -> str:
    fill, edge = _COLOURS[box.kind]
    tooltip = f" tooltip={_quoted(box.tooltip)}" if box.tooltip else ""
    dashed = ' style="filled,dashed"' if box.kind == "more" else ""
    return f'n{box.key} [label={_quoted(box.label)} fillcolor="{fill}" color="{edge}"{dashed}{tooltip}]'


def _escaped(text: str) -> str:
    return "".join(_MERMAID.get(c, c) for c in text)


def _mermaid_open(cluster: Cluster) -> tuple[str, str]:
    return f'subgraph c{cluster.key}["{_escaped(cluster.label)}"]', "end"


def _mermaid_box(box: Box) -> str:
    opening, closing = ("([", "])") if box.kind in ("input", "output", "parameter") else ("[", "]")
    return f'n{box.key}{opening}"{_escaped(box.label)}"{closing}:::{box.kind}'
