"""Flow: what depends on what in a trace of operations. Backwards: what reaches the result; forwards: how far gradients could come."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from jitgrad.autograd import Tensor
from jitgrad.nn._trace import Op
from jitgrad.ops.norm import UPDATE_RUNNING_


class Flow:
    """The operations of a run, in order, and which tensors lie on one memory.

    The running statistics of a norm layer lead nowhere: what only they saw has not been used.
    """

    def __init__(self, ops: list[Op]) -> None:
        self.ops = ops
        self._memory: dict[int, int] = {}  # of tensors that operations made, by id: what stands for their memory
        for op in ops:
            for y in op.outputs:
                shares = op.prim.geometry is not None or op.prim.mutates
                self._memory.setdefault(id(y), self.memory(op.inputs[0]) if shares else id(y))

    def memory(self, t: Any) -> int:
        """What stands for the memory of a tensor."""
        known = self._memory.get(id(t))
        return known if known is not None else id(t if t.base is None else t.base)

    def reaching(self, roots: Iterable[Tensor]) -> Reaching:
        """Which tensors and operations the roots depend on."""
        return Reaching(self, roots)

    def written(self, op: Op) -> list[Tensor]:
        """The inputs that an operation writes to."""
        groups = op.prim.grouped(op.inputs)
        both = [groups[i] for i in op.prim.mutates]
        return [t for group in both for t in (group if isinstance(group, tuple) else (group,)) if t is not None]

    def following(self, starts: Iterable[Tensor], stops: Callable[[int, Op], bool] | None = None) -> Following:
        """What depends on the starts. With ``stops(i, op)``, by gradients: only as far as operations do not stop them."""
        return Following(self, starts, stops)


class Reaching:
    """What a set of tensors depends on; a tensor counts also where it lies on the same memory as what was written."""

    def __init__(self, flow: Flow, roots: Iterable[Tensor]) -> None:
        roots = list(roots)
        self.tensors = {id(t) for t in roots}
        self.ops: set[int] = set()  # places in the trace
        memories = {flow.memory(t) for t in roots}
        for i in range(len(flow.ops) - 1, -1, -1):
            op = flow.ops[i]
            if op.prim is UPDATE_RUNNING_:
                continue
            if op.prim.mutates:
                reaches = any(flow.memory(t) in memories for t in flow.written(op))
            else:
                reaches = any(id(y) in self.tensors for y in op.outputs)
            if reaches:
                self.ops.add(i)
                for t in op.inputs:
                    if t is not None:
                        self.tensors.add(id(t))
                        memories.add(flow.memory(t))

    def __contains__(self, t: Tensor) -> bool:
        return id(t) in self.tensors


class Following:
    """What depends on a set of tensors, or what their gradients depend on."""

    def __init__(self, flow: Flow, starts: Iterable[Tensor], stops: Callable[[int, Op], bool] | None) -> None:
        self.flow = flow
        self.tensors = {id(t) for t in starts}
        self.ops: list[int] = []  # that get one of the tensors
        self._by_gradients = stops is not None
        self._memories: set[int] = set()  # of tensors that were written to
        for i, op in enumerate(flow.ops):
            if any(t in self for t in op.inputs if t is not None):
                self.ops.append(i)
                if stops is None or not stops(i, op):
                    self._add(op)

    def _add(self, op: Op) -> None:
        written = self.flow.written(op)
        self._memories.update(map(self.flow.memory, written))
        self.tensors.update(map(id, written or op.outputs))

    def __contains__(self, t: Tensor) -> bool:
        if id(t) in self.tensors:
            return True
        return self.flow.memory(t) in self._memories and (t.requires_grad or not self._by_gradients)
