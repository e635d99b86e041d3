"""The graph behind tensors: the operations that backward would walk through, and the leaves where gradients arrive."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jitgrad.autograd import Leaf, Node, Tensor, current_node
from jitgrad.errors import GradError
from jitgrad.viz.drawing import Box, Graph


def graph_of_tensors(tensors: Sequence[Tensor], params: Mapping[str, Tensor], limit: int) -> Graph:
    """Operations nearest to the tensors first, until limit; the others are one box."""
    ends = [current_node(t) for t in tensors]
    if None in ends:
        raise GradError(
            "graph: expected a tensor that requires gradients or was computed from one that does: there is no graph behind the one given."
        )
    names: dict[int, str] = {id(current_node(t)): name for name, t in params.items() if current_node(t) is not None}
    graph = Graph(f"a tensor {tensors[0].shape}" if len(tensors) == 1 else f"{len(tensors)} tensors")
    order = _order([_made_by(e) for e in ends])
    shown = {id(n): i for i, n in enumerate(order[:limit])}
    more = len(shown)  # the key of the box for all others
    for n in order[:limit]:
        graph.nodes.append(_box(shown[id(n)], n, names))
    for n in order[:limit]:
        for edge in getattr(n, "edges", ()):
            if edge is not None:
                graph.edges.append((shown.get(id(_made_by(edge)), more), shown[id(n)], _shape(edge)))
    for i, (t, e) in enumerate(zip(tensors, ends, strict=True)):
        key = more + 1 + i
        graph.nodes.append(Box(key, "output", "output" if len(ends) == 1 else f"output {i}"))
        graph.edges.append((shown.get(id(_made_by(e)), more), key, str(t.shape)))
    left = len(order) - limit
    if left > 0:
        graph.nodes.append(Box(more, "more", f"{left:,} more"))
        graph.note = f"The {limit:,} nodes next to the result, of {len(order):,}: limit= shows more."
        graph.edges = list(dict.fromkeys(graph.edges))  # many lead from the box of all others
    return graph


def _made_by(edge: Any) -> Any:
    """The node of the operation: one of several outputs has a node of its own before it."""
    return edge.edges[0] if isinstance(edge, Node) and edge.prim.name == "output" else edge


def _order(ends: Sequence[Node | Leaf]) -> list[Node | Leaf]:
    """All nodes, breadth first: without recursion, for chains are long."""
    seen = {id(e) for e in ends}
    found: list[Node | Leaf] = []
    queue = deque(dict.fromkeys(ends))
    while queue:
        n = queue.popleft()
        found.append(n)
        for edge in _behind(n):
            if id(edge) not in seen:
                seen.add(id(edge))
                queue.append(edge)
    return found


def _behind(n: Node | Leaf) -> Iterator[Node | Leaf]:
    for edge in getattr(n, "edges", ()):
        if edge is not None:
            yield _made_by(edge)


def _shape(edge: Node | Leaf) -> str:
    return "" if edge.shape is None else str(tuple(edge.shape))


def _box(key: int, n: Node | Leaf, names: Mapping[int, str]) -> Box:
    if isinstance(n, Leaf):
        return Box(key, "parameter", f"{names.get(id(n), 'leaf')}\n{_shape(n)}", f"{n.dtype}: its gradient arrives in .grad")
    static = "" if n.saved is None else ", ".join(map(repr, n.saved[1]))
    return Box(key, "op", n.prim.name, f"{n.prim.name}({static})" if static else "")
