"""Watch: a trace that looks at values while the model runs; Run: one run of a model, its loss and its gradients, and what was seen."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from jitgrad.autograd import Line, Listener, Node, Tensor, enable_grad, grad, is_grad_enabled, no_grad, user_line
from jitgrad.autograd.anomaly import NamingWalk
from jitgrad.autograd.primitives import OUTPUT_OF
from jitgrad.nn._place import short_name
from jitgrad.nn._preserve import preserved
from jitgrad.nn._trace import Call, Op, Trace, searched, tensors_in
from jitgrad.nn.diagnosis.flow import Flow
from jitgrad.ops.activation import RELU
from jitgrad.ops.elementary import abs as abs_of, logical_and
from jitgrad.ops.pointwise import le, lt
from jitgrad.ops.random import Generator, rand
from jitgrad.ops.reduce import amax
from jitgrad.ops.summary import amin, any as any_of

if TYPE_CHECKING:
    from jitgrad.nn.module import Module
    from jitgrad.nn.parameter import Parameter

ZERO, FINITE, INF, NAN = range(4)  # the worst that is among the elements of a tensor; ZERO: all are 0


def largest(t: Tensor) -> float:
    """The largest absolute value in a tensor, NaN where there is one; 1 for integers, float16 and tensors without elements."""
    if not t.is_floating_point() or t.itemsize < 4 or not t.array.size:
        return 1.0
    with no_grad():
        return float(amax(abs_of(t)).item())


def worst(t: Tensor) -> int:
    """ZERO, FINITE, INF or NAN. Integers, and float16, which is for storage only, are FINITE."""
    most = largest(t)
    return NAN if most != most else INF if most == inf else FINITE if most else ZERO


class Read(NamedTuple):
    """Elements of a tensor that went to Python or NumPy: which tensor, and the line."""

    tensor: Tensor
    line: Line | None


class Units(NamedTuple):
    """Of a relu: how many units there are (0: it is not known which dim they are), how many are 0 everywhere, whether inputs vary."""

    total: int
    dead: int
    vary: bool


class Watch(Trace):
    """A trace that notes of each operation what its values are, whether gradients pass it, and which gradients come back."""

    def __init__(self, model: Module, here: Line | None) -> None:
        super().__init__(model)
        self.here = here  # the line that called diagnose: it says nothing about the model
        self.recorded: list[bool] = []  # by operation: whether recording was on
        self.carries: list[bool] = []  # whether an output has a history
        self.before: list[list[int]] = []  # the worst of each input
        self.after: list[int] = []  # the worst of the outputs
        self.units: dict[int, Units] = {}  # of relu
        self.differentiated = False  # whether forward itself asked for gradients
        self.arrived: dict[int, int] = {}  # by tensor: the worst of the gradient that came back to it
        self.reads: list[Read] = []
        self.made_by: dict[Any, int] = {}  # by node of the graph: the operation
        self.failed: list[Any] = []  # the node whose backward failed
        self._known: dict[tuple[int, int], int] = {}

    def heard(self, op: Op) -> None:
        """Look at an operation that has run."""
        i = len(self.recorded)
        op.line = self._inside(op.line)
        self.recorded.append(is_grad_enabled())
        self.carries.append(any(y.requires_grad for y in op.outputs))
        written = op.prim.mutates
        inputs = [] if written else [t for t in op.inputs if t is not None]
        self.before.append([self.worst_of(t) for t in inputs])
        self.after.append(max((self.worst_of(y) for y in op.outputs), default=FINITE))
        if op.prim is RELU:
            self.units[i] = _units(op, self._from_linear(op))
        for y in self._nodes_of(op):
            self.made_by.setdefault(y, i)
        if not written:
            for y in op.outputs:
                if y.requires_grad:
                    y.register_hook(self._note_gradient(id(y)))

    def _nodes_of(self, op: Op) -> list[Any]:
        """The nodes that an operation left in the graph, that of all of several outputs among them."""
        nodes = [t.node for t in (op.inputs if op.prim.mutates else op.outputs) if t is not None and type(t.node) is Node]
        return [*nodes, *(n.edges[0] for n in nodes if n.prim is OUTPUT_OF)]

    def failed_op(self) -> int | None:
        """The place of the operation whose backward failed."""
        return self.made_by.get(self.failed[0]) if self.failed else None

    def read(self, tensor: Tensor) -> None:
        """Values leave for Python."""
        self.reads.append(Read(tensor, self._inside(user_line())))

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        for call in self.calls:
            call.line = self._inside(call.line)

    def _inside(self, line: Line | None) -> Line | None:
        return None if line == self.here else line

    def worst_of(self, t: Tensor) -> int:
        """As worst, looked at once for each version of a tensor."""
        key = id(t), t._version
        if key not in self._known:
            self._known[key] = worst(t)
        return self._known[key]

    def _note_gradient(self, key: int) -> Callable[[Tensor], None]:
        def note(g: Tensor) -> None:
            self.arrived[key] = worst(g)
            self.differentiated |= self._entered

        return note

    def _from_linear(self, op: Op) -> bool:
        """Whether the input of an operation came from a product, whose last dim are the units."""
        made_by = next((o for o in reversed(self.ops[:-1]) if any(y is op.inputs[0] for y in o.outputs)), None)
        return made_by is not None and made_by.prim.name in ("linear", "matmul")


def _units(op: Op, by_last: bool) -> Units:
    """Units are along dim 1, those of a linear layer along the last; one whose input is constant shows nothing."""
    x, y = op.inputs[0], op.outputs[0]
    assert x is not None
    if not y.array.size:
        return Units(0, 0, False)
    known = y.ndim > 1 and (by_last or y.ndim != 3)
    unit = -1 if not known else y.ndim - 1 if by_last else 1
    others = tuple(d for d in range(y.ndim) if d != unit)
    with no_grad():
        vary = lt(amin(x, others), amax(x, others))
        dead = logical_and(le(amax(y, others), 0), vary)
        return Units(y.shape[unit] if known else 0, dead.sum().item(), bool(any_of(vary).item()))


class _Backward(Listener):
    """While it listens, a backward that fails leaves the node at which it did in ``failed``."""

    def __init__(self, failed: list[Any]) -> None:
        class Noting(NamingWalk):
            def _chain(self, n: Node, g: Any) -> None:
                try:
                    super()._chain(n, g)
                except Exception:
                    failed.append(n)
                    raise

        self.walk = Noting


class Run:
    """One run of a model, and of loss on its output, with the gradients of ``parameters``, a dict by path.

    ``error`` is what was raised on the way, ``stage`` where: "forward", "loss" or "backward", "" where all went well.
    """

    def __init__(
        self,
        model: Module,
        parameters: dict[str, Parameter],
        beside: Iterable[Module],
        loss: Callable[[Any], Any] | None,
        here: Line | None,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        self.model = model
        self.parameters = parameters
        self.trainable = {path: p for path, p in parameters.items() if p.requires_grad}
        self.watch = Watch(model, here)
        self.result: list[Tensor] = []
        self.opaque = False  # whether something in the output could not be looked into
        self.output_type = ""
        self.given_loss = loss is not None
        self.loss: Tensor | None = None
        self.error: Exception | None = None
        self.stage = ""
        self.gradients: dict[int, Tensor | None] = {}  # by id of the parameter
        self.kept: list[Tensor] = []  # what attributes, buffers and parameters hold afterwards
        self._beside = list(beside)  # modules that are not registered, and run all the same
        self._loss = loss
        self.inputs = tensors_in([args, kwargs])
        self._go(args, kwargs)
        self.flow = Flow(self.watch.ops)

    def _go(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Run; the model and its inputs are afterwards as they were."""
        with preserved(self.model, self._beside, args, kwargs), enable_grad():
            try:
                self._run(args, kwargs)
            except Exception as error:
                self.error = error
            self._note_kept()

    def _run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        with self.watch:
            self.stage = "forward"
            output = self.model(*args, **kwargs)
            self.result, self.opaque = searched(output)
            self.output_type = type(output).__name__
            if self._loss is not None:
                self.stage = "loss"
                self.loss = _checked_loss(self._loss(output))
        self.stage = "backward"
        roots = [self.loss] if self.loss is not None else self.result
        roots = [t for t in roots if t.requires_grad]
        leaves = list(self.trainable.values())
        if roots and leaves:
            # Without a loss each element has a weight of its own, so that what sums to a constant, as a softmax does, has a gradient.
            draw = Generator().manual_seed(0)
            weights = [None if self.loss is not None else _weights(t, draw) for t in roots]
            with _Backward(self.watch.failed):
                gradients = grad(roots, leaves, weights, allow_unused=True)
            self.gradients = {id(p): g for p, g in zip(leaves, gradients, strict=True)}
        self.stage = ""

    def _note_kept(self) -> None:
        for m in self.model.modules():
            self.kept += tensors_in([v for k, v in vars(m).items() if k != "_modules" and not k.endswith("_hooks")])

    @property
    def followed(self) -> bool:
        """Whether it is known what the model returned: a generator, say, cannot be looked into."""
        return self.loss is not None or bool(self.result) or not (self.opaque or self.output_type == "NoneType")

    @property
    def roots(self) -> list[Tensor]:
        """What gradients start from: the loss, or where there is none the result."""
        return [self.loss] if self.loss is not None else self.result


def _weights(t: Tensor, draw: Generator) -> Tensor:
    return (rand(*t.shape, generator=draw, device=t.device) + 0.5).to(t.dtype)


class LossError(Exception):
    """What loss returned is no loss: what is wrong, and the fix."""


def _checked_loss(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        if value.array.size == 1:
            return value
        raise LossError(f"loss(output) returned a Tensor of shape {value.shape}: gradients start from one number.", "try .mean() or .sum()")
    what = f"loss(output) returned a {type(value).__name__}: gradients start from a Tensor."
    raise LossError(what, "leave item() and float() out of the loss")


def place_of(op: Op) -> str:
    """``relu in blocks.0.act (ReLU())``, ``mul in the loss``."""
    name = _NAMES.get(op.prim.name, op.prim.name)
    if op.call is None:
        return f"{name} in the loss"
    return f"{name} in {named(op.call)}" if op.call.path else name


_NAMES = {"cast_float": "a cast", "cast": "a cast"}


def named(call: Call) -> str:
    """``fc (Linear(10, 20))``."""
    return f"{call.path} ({short_name(call.module)})" if call.path else short_name(call.module)


def by_module(paths: list[str]) -> list[str]:
    """``fc (weight, bias)`` for fc.weight and fc.bias."""
    modules: dict[str, list[str]] = {}
    for path in paths:
        owner, _, name = path.rpartition(".")
        modules.setdefault(owner, []).append(name)
    return [f"{owner} ({', '.join(names)})" if owner and len(names) > 1 else f"{owner}.{names[0]}" if owner else ", ".join(names)
            for owner, names in modules.items()]  # fmt: skip


def dropped_value(call: Call) -> str | None:
    """Where a call is a statement of its own, so that nothing takes its value, that line mended: ``x = layer(x)`` for ``layer(x)``."""
    if call.line is None or (call.parent is not None and call.parent.line == call.line):
        return None  # not called from a line of the program, but by the Sequential that this line calls
    try:
        tree = ast.parse(textwrap.dedent(call.line.text))
    except SyntaxError:
        return None
    loops = {id(n) for loop in ast.walk(tree) if isinstance(loop, ast.For) for n in ast.walk(loop.iter)}
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and id(n) not in loops]
    alone = [n.value for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Call)]
    if len(calls) != 1 or calls != alone:
        return None
    (only,) = calls
    taken = only.args[0].id if only.args and isinstance(only.args[0], ast.Name) else "x"
    return f"{taken} = {ast.unparse(only)}"
