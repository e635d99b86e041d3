"""The graph of a model: its modules as boxes, in frames for those that call others, and the operations between them."""

from __future__ import annotations

from textwrap import fill

from jitgrad.autograd import Tensor
from jitgrad.errors import JitgradError
from jitgrad.nn._place import short_name
from jitgrad.nn._trace import Call, Op, Trace, tensors_in
from jitgrad.viz.drawing import Box, Cluster, Graph


def graph_of_model(trace: Trace, error: Exception | None, depth: int | None, limit: int) -> Graph:
    """What happened in a run: depth levels of calls are unfolded, and no more than limit boxes drawn."""
    return _Drawer(trace, error, depth, limit).draw()


class _Drawer:
    """Goes through a trace from the first call to the last, and remembers which box each tensor came out of."""

    def __init__(self, trace: Trace, error: Exception | None, depth: int | None, limit: int) -> None:
        self.trace = trace
        self.error = error
        self.failed = trace.failed_call(error)
        self.depth = depth
        self.limit = limit
        self.graph = Graph(type(self.trace.model).__name__)
        self._left = 0
        self._made: dict[int, int] = {}  # box by tensor
        self._edges: dict[tuple[int, int, str], None] = {}
        self._frames: dict[tuple[int, str], int] = {}
        self._times: dict[str, int] = {}
        self._below: dict[int, list[Call]] = {}
        for call in self.trace.calls:
            self._below.setdefault(id(call.parent), []).append(call)
        self._names = {id(t): name for name, t in (*self.trace.model.named_parameters(), *self.trace.model.named_buffers())}

    def draw(self) -> Graph:
        """The graph."""
        root, g = self.trace.calls[0], self.graph
        for i, t in enumerate(tensors_in((root.args, root.kwargs))):
            self._made[id(t)] = self._box("input", f"input {i}" if i else "input", "", None)
        if self.depth == 0:
            self._as_box(root, short_name(root.module), None)
        else:
            self._inside(root, None, 0)
        if root.error is None:
            for i, t in enumerate(tensors_in(root.output)):
                self._flow(t, self._box("output", f"output {i}" if i else "output", "", None))
        g.edges = list(self._edges)
        g.clusters = self._with_boxes()
        if self._left:
            g.note = f"The first {self.limit:,} boxes; {self._left:,} more are left out: depth= folds modules, limit= shows more."
        return g

    def _inside(self, call: Call, frame: int | None, level: int) -> None:
        """The calls and operations of a module's forward, in order."""
        ops, at = self.trace.ops, call.ops.start
        for child in self._below.get(id(call), ()):
            for op in ops[at : child.ops.start]:
                self._op(op, frame)
            self._call(child, call, frame, level + 1)
            at = child.ops.stop
        for op in ops[at : call.ops.stop]:
            self._op(op, frame)
        if call is self.failed:
            self._box("failed", self._complaint(), "", frame)

    def _call(self, call: Call, parent: Call, frame: int | None, level: int) -> None:
        """One call of a module below: a box, or a frame around what happens in it."""
        steps = call.path.removeprefix(f"{parent.path}." if parent.path else "").split(".")
        if parent.path and not call.path.startswith(f"{parent.path}."):
            steps = [call.path]  # it stands elsewhere in the model
        for i in range(1, len(steps)):  # lists and dicts that are not called themselves
            path = ".".join([*([parent.path] if parent.path else []), *steps[:i]])
            frame = self._frame((id(parent), path), f"{steps[i - 1]}: {short_name(self.trace.model.get_submodule(path))}", frame)
        times = self._times[call.path] = self._times.get(call.path, 0) + 1
        label = f"{steps[-1]}: " * bool(steps[-1]) + short_name(call.module) + (f", call {times}" if times > 1 else "")
        if id(call) in self._below and (self.depth is None or level < self.depth):
            own = self._frame((id(call), call.path), label, frame)
            self._inside(call, own, level)
        else:
            self._as_box(call, label, frame)

    def _as_box(self, call: Call, label: str, frame: int | None) -> None:
        """A module of which only what goes in and comes out is shown."""
        failed = call.error is not None
        label = f"{label}\n{self._complaint()}" if failed else label
        key = self._box("failed" if failed else "module", label, str(call.line or ""), frame)
        for t in tensors_in((call.args, call.kwargs)):
            self._flow(t, key)
        for op in self.trace.ops[call.ops.start : call.ops.stop]:
            for given in op.inputs:
                if id(given) in self._made and id(given) not in self._names:
                    self._flow(given, key)  # type: ignore[arg-type]  # also what reaches it round its arguments
            for y in op.outputs:
                self._made[id(y)] = key
        for t in tensors_in(call.output):
            self._made[id(t)] = key

    def _op(self, op: Op, frame: int | None) -> None:
        """An operation between modules; the making of a number is not shown, nor the state of random numbers."""
        state = op.inputs[op.prim.args.index("state")] if "state" in op.prim.args else None
        inputs = [t for t in op.inputs if t is not None and t is not state]
        if not inputs and not any(y.ndim for y in op.outputs):
            return
        key = self._box("op", op.prim.name, str(op.line or ""), frame)
        for t in inputs:
            self._flow(t, key, frame)
        for y in op.outputs:
            self._made[id(y)] = key

    def _flow(self, t: Tensor, key: int, frame: int | None = None) -> None:
        """An edge to a box from where a tensor came from; a parameter or a constant has a box of its own."""
        source = self._made.get(id(t))
        if source is None:
            name = self._names.get(id(t))
            if name is None and not t.ndim:
                return
            source = self._made[id(t)] = self._box("parameter", name or "constant", "", frame)
        if -1 not in (source, key) and source != key:
            self._edges[source, key, str(t.shape)] = None

    def _box(self, kind: str, label: str, tooltip: str, frame: int | None) -> int:
        """A new box's key; -1 where there are too many already."""
        key = len(self.graph.nodes)
        if key >= self.limit:
            self._left += 1
            return -1
        self.graph.nodes.append(Box(key, kind, label, tooltip, frame))
        return key

    def _frame(self, which: tuple[int, str], label: str, parent: int | None) -> int:
        if which not in self._frames:
            self._frames[which] = len(self.graph.clusters)
            self.graph.clusters.append(Cluster(self._frames[which], label, parent))
        return self._frames[which]

    def _with_boxes(self) -> list[Cluster]:
        """The frames that have a box inside."""
        parents = {c.key: c.parent for c in self.graph.clusters}
        used: set[int | None] = set()
        for b in self.graph.nodes:
            frame = b.cluster
            while frame is not None and frame not in used:
                used.add(frame)
                frame = parents[frame]
        return [c for c in self.graph.clusters if c.key in used]

    def _complaint(self) -> str:
        error = self.error
        return fill(f"✗ {type(error).__name__}: {error.args[0] if isinstance(error, JitgradError) else error}", 60)
