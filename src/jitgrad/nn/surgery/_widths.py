"""plan: which layers of a model must follow when the shapes of some of its tensors change, and how.

Each dim of each tensor of a dry trace is given a Width. Operations say which are equal; from the changed tensors the change then
reaches all that must follow. Method: Fang et al., DepGraph: Towards Any Structural Pruning, 2023, with sizes in place of groups.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jitgrad.autograd import Line, Tensor
from jitgrad.autograd.primitive import Spec
from jitgrad.errors import JitgradError, SurgeryError
from jitgrad.nn._place import short_name
from jitgrad.nn._trace import Call, Op, Trace, tensors_in
from jitgrad.nn.surgery._resize import Attribute, Resize, attribute_of, layout
from jitgrad.nn.surgery._rules import AT_ONCE, is_batch_norm, norm_layout, rule_of, unknown
from jitgrad.nn.surgery._width import Width, atoms, changes, merge, new_size, root, runs

if TYPE_CHECKING:
    from jitgrad.nn.module import Module

Shape = tuple[int, ...]


class Use(NamedTuple):
    """A width is an attribute of a layer, or a dim of a parameter or buffer that only its module understands."""

    module: Module
    path: str
    name: str
    dim: int | None
    known: bool


class CannotFollow(SurgeryError):
    """A width that cannot follow: where, and what would help."""

    def __init__(self, why: str, place: str, fix: str) -> None:
        super().__init__(why)
        self.why, self.place, self.fix = why, place, fix


class Plan:
    """What must follow an edit: ``resizes``; and what each operation is expected to give afterwards."""

    def __init__(self, follow: Follow) -> None:
        self.resizes = follow.resizes()
        self._operations = [op for op in follow.trace.ops if follow.gone_call(op.call) is None]
        self._shapes = [[tuple([new_size(w) for w in follow.dims[id(t)]]) for t in op.outputs] for op in self._operations]
        self._places = {id(op): follow.place(op) for op in self._operations if op.prim.name in _WITH_SIZES}
        self._lines = [_line_of(op, follow.trace) for op in self._operations]
        self._stay = {m for _, m in follow.staying()}

    def written(self, after: Trace) -> str | None:
        """The first operation that gives other sizes after the edit than follow from it: its line has a size written in it.

        ``after`` is the dry trace of the edited model, complete or up to an error. None where there is no such operation.
        A size in ``x.view(-1, 2704)`` may be a number in the program or come from another tensor: only running it shows.
        """
        ran = [op for op in after.ops if all(m in self._stay for m in _around(op.call))]
        for i, (op, expected, line) in enumerate(zip(self._operations, self._shapes, self._lines, strict=True)):
            now = ran[i] if i < len(ran) else None
            given = [t.shape for t in now.outputs] if now is not None else None
            if now is not None and (now.prim is not op.prim or _line_of(now, after) != line):
                return None  # the program went another way
            if given != expected:
                if id(op) not in self._places:
                    return None
                gives = f"gives {given[0]}" if given else "fails"
                place = self._places[id(op)]
                return f"{place} {gives}, where {expected[0]} follows: a size is written there. Try -1 for it, or x.shape."
        return None


def plan(trace: Trace, changed: Iterable[tuple[Tensor, Shape]], gone: Collection[Module]) -> Plan:
    """The resizes of all layers that must follow when tensors of a trace change their shapes.

    Parameters
    ----------
    trace
        A dry trace of the model before the edit.
    changed
        Tensors of the trace, outputs of the layers that the edit replaces, with the shapes that they will have.
    gone
        The modules that the edit takes away: they are not resized.

    Raises CannotFollow, a SurgeryError, where a width cannot follow, naming the place. Nothing is changed, neither here nor there.
    """
    f = Follow(trace, changed, gone)
    f.follow()
    return Plan(f)


# Operations whose static parameters are sizes that the program gives.
_WITH_SIZES = ("reshape", "broadcast_to", "empty", "full", "arange", "uniform", "normal", "randint", "permutation")


def _line_of(op: Op, trace: Trace) -> Line | None:
    """The line of the model's program; None where it is that of the model's call."""
    return None if trace.calls and op.line == trace.calls[0].line else op.line


def _around(call: Call | None) -> Iterator[Module]:
    while call is not None:
        yield call.module
        call = call.parent


class Follow:
    """The widths of a trace, and what has been found about them."""

    def __init__(self, trace: Trace, changed: Iterable[tuple[Tensor, Shape]], gone: Collection[Module]) -> None:
        self.trace = trace
        self.gone = set(gone)
        self.dims: dict[int, list[Width]] = {}  # by the id of the tensor, and of its array
        self.attributes: dict[tuple[Module, str, int | None], Width] = {}
        self.owners: dict[int, list[str]] = {}  # names of parameters and buffers, by id
        self.derivations: dict[int, list[tuple[Width, int]]] = {}  # by the id of the operation: widths, and dims of its output
        self.grouped: set[int] = set()  # by the id of the operation: convolutions with as many groups as channels
        self.refusals: list[tuple[Op, list[Width], str, str]] = []
        self.met: dict[Width, Op] = {}  # where a width that changes has become one with a width that cannot
        self.found: list[Width] = []
        self.cuts: dict[int, list[Width]] = {}
        for t, shape in changed:
            self._cut(t, shape)
        self._enter_modules()
        root_call = trace.calls[0] if trace.calls else None
        for t in tensors_in((root_call.args, root_call.kwargs) if root_call else ()):
            self._describe(t, [Width(n, fixed="it is a size of the model's input") for n in t.shape])
        self.made_by_gone = self._outputs_of_gone()

    # ---- what is there before the first operation
    def _cut(self, t: Tensor, shape: Shape) -> None:
        if len(t.shape) != len(shape):
            raise CannotFollow(
                f"a tensor {t.shape} would become {tuple(shape)}, with another number of dims, and only sizes can be followed.",
                "",
                "Give a layer whose output has as many dims.",
            )
        fixed = "a layer that the edit puts in gives it"
        self.cuts[id(t)] = [Width(n, new=m, fixed=fixed if m == n else "") for n, m in zip(t.shape, shape, strict=True)]
        self._describe(t, self.cuts[id(t)])

    def _describe(self, t: Tensor, dims: Sequence[Width]) -> list[Width]:
        dims = self.cuts.get(id(t)) or list(dims)
        self.found += dims
        self.dims[id(t)] = self.dims[id(t.array)] = dims
        return dims

    def _enter_modules(self) -> None:
        """Widths of all parameters and buffers of modules that stay; dims that one attribute gives are one width."""
        for path, m in self.staying():
            known = layout(m)
            for name, t in (*m._parameters.items(), *m._buffers.items()):
                if t is None:
                    continue
                self.owners.setdefault(id(t), []).append(f"{path}.{name}" if path else name)
                if id(t) in self.dims:
                    continue
                if (
                    name in known
                    and len(known[name]) == t.ndim
                    and all(attribute_of(m, a) in (None, n) for a, n in zip(known[name], t.shape, strict=True))
                ):
                    self._describe(t, [self._attribute(m, path, a, n) for a, n in zip(known[name], t.shape, strict=True)])
                else:
                    self._describe(t, [self._used(Width(n), Use(m, path, name, d, False)) for d, n in enumerate(t.shape)])

    def _attribute(self, m: Module, path: str, attribute: tuple[str, int | None] | None, size: int) -> Width:
        if attribute is None:
            return Width(size, fixed=f"{path} ({short_name(m)}) has a weight with it")
        name, i = attribute
        if (m, name, i) not in self.attributes:
            self.attributes[m, name, i] = self._used(Width(size), Use(m, path, name, i, True))
        return self.attributes[m, name, i]

    def _used(self, w: Width, use: Use) -> Width:
        w.uses.append(use)
        self.found.append(w)
        return w

    def staying(self) -> list[tuple[str, Module]]:
        """Modules that are reached without passing one that goes away."""
        seen: dict[Module, str] = {}
        todo: list[tuple[str, Module]] = [("", self.trace.model)]
        while todo:
            path, m = todo.pop()
            if m in self.gone or m in seen:
                continue
            seen[m] = path
            todo += [(f"{path}.{k}" if path else k, c) for k, c in reversed(m._modules.items()) if c is not None]
        return [(path, m) for m, path in seen.items()]

    def gone_call(self, call: Call | None) -> Call | None:
        """The outermost call around of a module that goes away."""
        found = None
        while call is not None:
            found = call if call.module in self.gone else found
            call = call.parent
        return found

    def _outputs_of_gone(self) -> dict[int, Call]:
        calls = [(op, self.gone_call(op.call)) for op in self.trace.ops]
        return {id(t): call for op, call in calls if call is not None for t in op.outputs}

    def follow(self) -> None:
        """Find all widths that change; SurgeryError where one cannot."""
        for op in self.trace.ops:
            if self.gone_call(op.call) is None:
                self.enter(op)
        self.fix_inputs_of_gone()
        self.raise_refusals()
        for settled in (False, True):
            for op in self.trace.ops:
                if id(op) in self.derivations:
                    self.derive(op, settled)
        self.raise_refusals()

    # ---- operations
    def enter(self, op: Op) -> None:
        """Give the outputs of an operation their widths."""
        if not op.prim.outputs:  # a Function: the operations in its forward have been heard
            dims = [self.dims.get(id(t.array)) for t in op.outputs]
            ready = [d for d in dims if d is not None]
            out = ready if len(ready) == len(dims) else unknown(self, op, self._inputs(op))
        else:
            out = rule_of(op.prim)(self, op, self._inputs(op))
        for t, d in zip(op.outputs, out, strict=True):
            self._describe(t, d)

    def _inputs(self, op: Op) -> list[list[Width] | None]:
        return [None if t is None else self._known(op, t) for t in op.inputs]

    def _known(self, op: Op, t: Tensor) -> list[Width]:
        dims = self.dims.get(id(t)) or self.dims.get(id(t.array))
        if dims is not None:
            self.dims[id(t)] = dims
            return dims
        maker = self.made_by_gone.get(id(t))
        if maker is not None:
            fixed = f"the layer put in at {maker.path} gives it"
        else:
            fixed = f"a tensor {t.shape} has it that is neither a parameter nor computed from the input"
        return self._describe(t, [Width(n, fixed=fixed) for n in t.shape])

    def same(self, op: Op, a: Width, b: Width) -> None:
        """Both are one width from now on."""
        a, b = root(a), root(b)
        if a is b:
            return
        if b.parts and not a.parts:
            a, b = b, a
        if b.parts:
            if a.kind == b.kind and [root(p).size for p in a.parts] == [root(p).size for p in b.parts]:
                for p, q in zip(a.parts, b.parts, strict=True):
                    self.same(op, p, q)
            else:
                self.refuse(op, [a, b], f"widths of {a.size} that are made of different parts meet here")
        elif a.parts and b in (inner := atoms(a)):
            self.refuse(op, [w for w in inner if w is not b], "a width meets itself here, multiplied by another")
        elif a.parts and b.new not in (None, b.size):
            parts = (" + " if a.kind == "sum" else " x ").join(str(root(p).size) for p in a.parts)
            self._raise(b, f"it must equal {parts}, and which of them is to change cannot be told", op)
        elif a.new is not None and b.new is not None and a.new != b.new:
            self._raise(a, f"it would have to become {b.new} as well", op)
        else:
            meeting = self.met.get(a) or self.met.get(b) or (op if (changes(a) and b.fixed) or (changes(b) and a.fixed) else None)
            merge(a, b)
            if meeting is not None:
                self.met[a] = meeting

    def derived(self, op: Op, first: int) -> list[Width]:
        """Dims of the output, from first on, that follow from the sizes of the inputs: those of images."""
        dims = [Width(n) for n in op.outputs[0].shape[first:]]
        self.derivations[id(op)] = [(w, first + i) for i, w in enumerate(dims)]
        return dims

    def fresh(self, op: Op) -> list[list[Width]]:
        """Outputs whose sizes must stay."""
        fixed = f"{self.place(op)} gives it"
        return [[Width(n, fixed=fixed) for n in t.shape] for t in op.outputs]

    def refuse(self, op: Op, widths: Sequence[Width], why: str, fix: str = "") -> None:
        """None of the widths may change, for this reason."""
        if widths:
            self.refusals.append((op, list(widths), why, fix))

    def sizes_of_norm(self, op: Op, x: list[Width]) -> None:
        """The sizes that a normalization layer keeps, also where it has no weights."""
        call, dims = op.call, norm_layout(op)
        if call is not None and dims:
            for a, w in zip(dims, x[1:2] if is_batch_norm(op) else x[len(x) - len(dims) :], strict=True):
                self.same(op, w, self._attribute(call.module, call.path, a, root(w).size))

    def has_outputs(self, op: Op, channels: Width) -> bool:
        """Whether a width is the out_channels of the layer that is called for the operation."""
        own = self.attributes.get((op.call.module, "out_channels", None)) if op.call is not None else None
        return own is not None and root(own) is root(channels)

    def depthwise(self, op: Op, channels: Width) -> None:
        """The layer's input channels and groups are its channels."""
        assert op.call is not None
        self.grouped.add(id(op))
        for name in ("in_channels", "groups"):
            self.same(op, channels, self._attribute(op.call.module, op.call.path, (name, None), root(channels).size))

    # ---- what follows
    def fix_inputs_of_gone(self) -> None:
        """The layer that is put in takes what its predecessor took."""
        calls = [c for c in self.trace.calls if c.module in self.gone and self.gone_call(c.parent) is None]
        if len({c.module for c in calls}) != 1:
            return
        for c in calls:
            own = {id(t) for t in tensors_in(c.output)}
            for t in tensors_in((c.args, c.kwargs)):
                for w in self.dims.get(id(t), ()) if id(t) not in own else ():
                    for a in atoms(w):
                        a.fixed = a.fixed or f"it comes back to {c.path}, where the new layer takes the old size"

    def derive(self, op: Op, settled: bool) -> None:
        """Sizes of images after the edit, from those before; when all are settled, whether they agree."""
        inputs = [None if t is None else self._spec(t) for t in op.inputs]
        try:
            described = op.prim.infer(*op.prim.grouped(inputs), *self._static(op, inputs))
        except JitgradError as error:
            fix = "Keep the sizes that it had there, or edit that layer too."
            raise CannotFollow(f"what follows would fail: {error.args[0]}", self.place(op), fix) from error
        shape = (described[0] if isinstance(described, list) else described)[0]
        for w, d in self.derivations[id(op)]:
            a = root(w)
            if a.new is None and not a.parts and not settled:
                a.new = shape[d] if shape[d] != a.size else None
            elif new_size(a) != shape[d]:
                self._raise(a, f"an operation here gives {shape[d]}", op, what="image size")

    def _static(self, op: Op, inputs: Sequence[Spec | None]) -> Sequence[Any]:
        weight = inputs[1] if id(op) in self.grouped else None
        return op.p if weight is None else (*op.p[:3], weight.shape[0], *op.p[4:])

    def _spec(self, t: Tensor) -> Spec:
        return Spec(tuple([new_size(w) for w in self.dims[id(t)]]), t.array.dtype)

    def raise_refusals(self) -> None:
        """SurgeryError for the first place that a change has reached and where it cannot pass."""
        for op, widths, why, fix in self.refusals:
            for w in widths:
                if changes(w):
                    self._raise(w, why, op, fix)
        for tensor, names in self.owners.items():
            for w in self.dims[tensor]:
                if len(names) > 1 and changes(w):
                    fix = f"Untie them first: surgery.replace(model, {names[-1].rpartition('.')[0]!r}, copy.deepcopy)."
                    self._raise(w, f"{' and '.join(names)} are one tensor, and tied weights are not resized", fix=fix)
        for w in self.found:
            w = root(w)
            if not changes(w):
                continue
            if w.fixed:
                self._raise(w, w.fixed, self.met.get(w))
            for use in w.uses:
                if not use.known:
                    owner = f"{use.path} ({type(use.module).__name__})" if use.path else type(use.module).__name__
                    why = f"it is dim {use.dim} of {use.name!r} of {owner}, and only layers of jitgrad.nn can be resized"
                    self._raise(w, why, fix=f"Put a layer in between that gives {root(w).size} again, or {AT_ONCE}")

    def _raise(self, w: Width, why: str, op: Op | None = None, fix: str = "", what: str = "width") -> None:
        size = root(w).size
        place = self.place(op) if op is not None else ""
        raise CannotFollow(
            f"the {what} {size} cannot become {new_size(w)}: {why}.", place, fix or f"Put a layer in between that gives {size} again."
        )

    def place(self, op: Op) -> str:
        """The operation, its layer and the line of the model's program."""
        call = op.call
        layer = f" of {call.path} ({short_name(call.module)})" if call is not None and call.path else ""
        return f"{op.prim.name}{layer}" + (f" at {line}" if (line := _line_of(op, self.trace)) is not None else "")

    def resizes(self) -> list[Resize]:
        """What is to be done, in the order of the modules."""
        done = []
        changing: dict[Module, dict[Attribute, Width]] = {}
        for (owner, name, i), w in self.attributes.items():
            if changes(w):
                changing.setdefault(owner, {})[name, i] = w
        for path, m in self.staying():
            own = changing.get(m)
            if own is None:
                continue
            known = layout(m)
            tensors = {
                name: (tuple(new_size(w) for w in self.dims[id(t)]), tuple(runs(w) for w in self.dims[id(t)]))
                for name, t in (*m._parameters.items(), *m._buffers.items())
                if t is not None and name in known and any(changes(w) for w in self.dims[id(t)])
            }
            done.append(Resize(path, m, {key: new_size(w) for key, w in own.items()}, tensors))
        return done
