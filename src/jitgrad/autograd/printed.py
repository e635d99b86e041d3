"""The doors of single primitives, printed from the templates below when first used.

Every microsecond here is in every op, and a door that knows its primitive takes a third less than one that has to ask: how
many inputs, which static parameters, what its rules keep. What a door does is in the templates, in this order: listener,
checks, kernel, Tensor, node. A printed door shows in tracebacks and debuggers as any function does. This is that of ``exp``
(a, b, c, d: inputs; x_a: an array; n_a: a node; p0, p1: static parameters; m: grad mode; k: keep mask)::

    def apply(a):
        m = current_mode()
        if m is not True and m is not False:
            return apply_any(PRIM, (a,), ())
        try:
            x_a = a.array
        except AttributeError:
            refuse_others(PRIM, (a,))
            raise
        dtype = x_a.dtype
        loop = LOOPS.get(dtype)
        if loop is not None and type(x_a) is ndarray and x_a.size < SMALL:
            ...  # y = loop(x_a)
        else:
            ...  # infer, or what it said before; y = IMPL[kind](x_a)
        t = new(Tensor)
        t.array = y
        t.base = None
        if m:
            n_a = a.node if a.base is None else current_node(a)
            if n_a is not None:
                t.node = n = Node()
                n.prim = PRIM
                n.seq = tick()
                n.edges = (n_a,)
                n.shape = y.shape
                n.dtype = dtype
                n.hooks = None
                stamp = [0, '']
                t.stamp = stamp
                n.saved = ((None,), (), ((y, stamp),), None)
                n.kept = 1073741824
                return t
        t.stamp = t.node = None
        return t
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Sequence
from functools import cache, reduce
from itertools import count
from operator import or_
from textwrap import indent
from typing import TYPE_CHECKING, Any

from numpy import asarray, empty, generic, ndarray

from jitgrad.autograd.door import AUX, MOST_KNOWN, OUTPUT, apply_any, many_door, refuse_mixed, refuse_others
from jitgrad.autograd.mode import current_mode
from jitgrad.autograd.node import Node, tick
from jitgrad.autograd.tensor import Tensor, current_node, new, output_node
from jitgrad.dtypes import bool_
from jitgrad.kernels import PARALLEL_MIN

if TYPE_CHECKING:
    from jitgrad.autograd.primitive import Primitive

_OP = """\
def apply({parameters}):
    m = current_mode()
    if m is not True and m is not False:
        return apply_any(PRIM, {inputs}, {p})
    try:
        {arrays}
    except AttributeError:
        refuse_others(PRIM, {inputs})
        raise
{compute}
    {tensors}
{record}
    {unrecorded} = None
    return {result}
"""

_TENSOR = """\
    {t} = new(Tensor)
    {t}.array = {y}
    {t}.base = None
"""

# infer makes every check, then the kernel runs. What infer says depends on shapes, dtypes and static parameters only, never on strides
# or elements; so a program, which meets the same few again and again, asks once.
_CHECKED = """\
    kind = type(x_a)
    if {mixed}:
        refuse_mixed(PRIM, {inputs})
    key = {key}
    said = KNOWN_GET(key)
    if said is None:
        said = known(KNOWN, key, infer({args}), IMPL[kind], {tuple})
    {described}, run = said
{check}
{kernel}
"""

_KERNEL = """\
    y = {call}
    aux = None
    if type(y) is not kind:
        y, aux = unpacked(y)
"""

_KERNEL_OF_SEVERAL = """\
    {outputs}, *aux = {call}
"""

# Where the launcher has a compiled form for contiguous arrays of these shapes, the door calls that itself; where it has one that makes
# its results, that instead of the launcher. Here the engine looks at the device outside of kernels.of: a call of the launcher, which
# would, costs as much as a small kernel.
_DIRECT = """\
    if run is not None and kind is ndarray and {contiguous}:
        y = empty(shape, dtype)
        {run}
    else:
{kernel}
"""

_PREPARED = "run({arrays_in}) if run is not None and kind is ndarray and {contiguous} else IMPL[kind]({args})"

# A pointwise loop works out the broadcast shape itself, so that infer is asked only about what it has not yet passed:
# LOOPS holds the loops of the dtypes that have come through, for arrays on the CPU that one thread does best.
_POINTWISE = """\
    dtype = {first}.dtype
    loop = LOOPS.get(dtype)
    if loop is not None and {alike}:
        try:
            y = loop({args})
        except ValueError:
            infer({args})
            raise
        if type(y) is not ndarray:
            y = asarray(y)
    else:
{promote}
{checked}
        learn(LOOPS, IMPL[kind], {args})
"""

_RECORD = """\
    if m:
        {nodes}
        if {wanted}:
            {node} = Node()
            n.prim = PRIM
            n.seq = tick()
            n.edges = {edges}
            {shape}
            n.hooks = None
            {keep}
            return {result}
"""

# A view: same memory, same stamp; recorded unless it detaches.
_VIEW = """\
def apply({parameters}):
    m = current_mode()
    if m is not True and m is not False:
        return apply_any(PRIM, (a,), {p})
    try:
        x_a = a.array
    except AttributeError:
        refuse_others(PRIM, (a,))
        raise
{compute}
    stamp = a.stamp
    if stamp is None:
        stamp = a.stamp = [0, ""]
    t = new(Tensor)
    t.array = y
    t.stamp = stamp
{base}
    t.node = None
    return t
"""

_VIEW_GEOMETRY = """\
    shape, strides, offset = GEOMETRY({args})
    y = IMPL[type(x_a)](x_a, shape, strides, offset)
"""

_VIEW_KERNEL = """\
    try:
        y = ON_CPU({args}) if type(x_a) is ndarray else IMPL[type(x_a)]({args})
    except (TypeError, ValueError):
        infer({args})
        raise
"""

_VIEW_BASE = """\
    base = a.base
    if base is None:
        t.base = a
        t.seen = n_a = a.node
    else:
        n_a = current_node(a)
        t.base = base
        t.seen = base.node
    if m and n_a is not None:
        t.node = n = Node()
        n.prim = PRIM
        n.seq = tick()
        n.edges = (n_a,)
        n.shape = y.shape
        n.dtype = y.dtype
        n.hooks = None
        n.kept = {kept}
        n.saved = (({a},), {p}, None, None)
        return t
"""


# Operands of different dtypes, and ints where floats are wanted.
_PROMOTES = {1: "dtype.kind != 'f'", 2: "x_b.dtype is not dtype and x_b.dtype != dtype"}


def door_of(prim: Primitive) -> Callable[..., Any]:
    """The door of one primitive: ``apply(*inputs, *static parameters)``; a starred primitive takes its inputs as one sequence."""
    n = len(prim.args)
    if prim.plain < n:
        plain = n == 1 and prim.outputs == ("y",) and not (prim.grads is None or prim.check or prim.mutates or prim.recorded)
        return many_door(prim) if plain else lambda inputs, *p: apply_any(prim, inputs, p)
    if prim.special:
        return lambda *args: apply_any(prim, args[:n], args[n:])
    text = _view_text(prim) if prim.geometry is not None else _op_text(prim)
    answers: dict[Any, Any] = {}
    made: Callable[..., Any] = _maker(text)(
        prim, prim.infer, prim.geometry, prim.check, prim.impl, prim.impl[ndarray], prim.keep, {}, answers, answers.get
    )
    return made


def _op_text(prim: Primitive) -> str:
    """The template filled in for a primitive that is no view."""
    inputs = "abcd"[: len(prim.args)]
    statics = [f"p{i}" for i in range(len(prim.statics))]
    optional = "".join(i for i, name in zip(inputs, prim.args, strict=True) if name in prim.optional)
    arrays_in = ", ".join(f"x_{i}" for i in inputs)
    args = ", ".join([arrays_in, *statics])
    launcher, ys = prim.impl[ndarray], _outputs(prim)
    ts = [y.replace("y", "t") for y in ys]
    bools = getattr(launcher, "bools", ())
    first = next(i for at, i in enumerate(inputs) if at not in bools)
    others = [f"type(x_{i}) is not kind" if i not in optional else f"(x_{i} is not None and type(x_{i}) is not kind)" for i in inputs[1:]]
    keys = [f"x_{i}.shape, x_{i}.dtype" if i not in optional else f"x_{i} if x_{i} is None else (x_{i}.shape, x_{i}.dtype)" for i in inputs]
    contiguous = [f"x_{i}.flags.carray" if i not in optional else f"(x_{i} is None or x_{i}.flags.carray)" for i in inputs]
    filled: dict[str, str] = {
        "parameters": ", ".join([*inputs, *statics]), "inputs": _tuple(inputs), "p": _tuple(statics), "args": args,
        "arrays": "\n        ".join(f"x_{i} = {i}.array" + (f" if {i} is not None else None" if i in optional else "") for i in inputs),
        "mixed": " or ".join(others) or "False",
        "first": f"x_{first}", "alike": " and ".join(
            [f"type(x_{i}) is ndarray" for i in inputs]
            + [f"x_{i}.dtype is {'BOOL' if at in bools else 'dtype'}" for at, i in enumerate(inputs) if i != first]
            + [f"x_{i}.size < SMALL" for at, i in enumerate(inputs) if at not in bools]
        ),
        "key": _tuple([*keys, *statics]), "check": f"    check({args})" if prim.check is not None else "",
        "tuple": _tuple([f"x_{i}" for i in inputs] + statics), "contiguous": " and ".join(contiguous), "arrays_in": arrays_in,
        "run": _run_text(inputs, optional), "described": "shape, dtype" if len(ys) == 1 else "_", "outputs": ", ".join(ys),
        "tensors": "".join(_TENSOR.format(t=t, y=y) for t, y in zip(ts, ys, strict=True)).strip(),
        "unrecorded": " = ".join(f"{t}.{what}" for t in ts for what in ("stamp", "node")), "result": ", ".join(ts),
        "promote": "" if prim.promote is None else (
            f"        if {_PROMOTES[len(inputs)]}:\n            return PRIM.promote({', '.join(inputs)})"
        ),
    }  # fmt: skip
    filled["call"] = (_PREPARED if hasattr(launcher, "prepared") else "IMPL[kind]({args})").format(**filled)
    kernel = (_KERNEL if len(ys) == 1 else _KERNEL_OF_SEVERAL).format(**filled)
    if hasattr(launcher, "direct"):
        kernel = _DIRECT.format(kernel=indent(kernel, "    "), **filled)
    checked = _CHECKED.format(kernel=kernel, **filled)
    fast = not statics and prim.check is None and not prim.optional and _is_pointwise(prim)
    compute = _POINTWISE.format(checked=indent(checked, "    "), **filled) if fast else checked
    record = _record_text(prim, inputs, optional, filled["p"], "y.shape" if fast else "shape") if prim.keep else ""
    return _lean(_OP.format(compute=compute, record=record, **filled))


def _outputs(prim: Primitive) -> list[str]:
    """The names of the output arrays; those of the tensors have a t for the y."""
    return ["y"] if len(prim.outputs) == 1 else [f"y{i}" for i in range(len(prim.outputs))]


def _run_text(inputs: str, optional: str) -> str:
    """The call of a compiled form, which is another one where the optional input is missing."""
    with_all = f"run({', '.join(f'x_{i}' for i in inputs)}, y)"
    return f"run({', '.join(f'x_{i}' for i in inputs[:-1])}, y) if x_{optional} is None else {with_all}" if optional else with_all


def _record_text(prim: Primitive, inputs: str, optional: str, p: str, shape: str) -> str:
    """The lines that make the node: what may be kept is known here, what is kept depends on which inputs want a gradient."""
    ys = _outputs(prim)
    ts = [y.replace("y", "t") for y in ys]
    masks = set(prim.keep[1:])
    may = reduce(or_, masks)
    which = " + ".join(f"{1 << i} * (n_{name} is not None)" for i, name in enumerate(inputs))

    def keep_lines(mask: int | None) -> list[str]:
        """What is kept with a known mask of keep bits, or with k, which is known when the door runs."""

        def if_kept(what: str, bit: int) -> str:
            if not may & bit or (mask is not None and not mask & bit):
                return "None"
            return what if mask is not None else f"{what} if k & {bit} else None"

        lines = ["k = KEEP[" + which.removeprefix("1 * ") + "]"] if mask is None else []
        if may & OUTPUT and (mask is None or mask & OUTPUT):
            for y, t in zip(ys, ts, strict=True):
                lines += [f"stamp_{y} = [0, '']", f"{t}.stamp = {if_kept(f'stamp_{y}', OUTPUT)}"]
        else:
            lines += [" = ".join(f"{t}.stamp" for t in ts) + " = None"]
        outs = if_kept(_tuple([f"({y}, stamp_{y})" for y in ys]), OUTPUT)
        saved = [if_kept(name, 1 << i) for i, name in enumerate(inputs)], p, outs, if_kept("aux", AUX)
        return [*lines, f"n.saved = ({_tuple(saved[0])}, {', '.join(saved[1:])})", f"n.kept = {'k' if mask is None else mask}"]

    if len(masks) == 1:
        lines = keep_lines(may)
    elif len(inputs) == 2:
        lines = ["if n_b is None:", *_indented(keep_lines(prim.keep[1]))]
        lines += ["elif n_a is None:", *_indented(keep_lines(prim.keep[2])), "else:", *_indented(keep_lines(prim.keep[3]))]
    else:
        lines = keep_lines(None)
    if len(ys) > 1:
        made = "{t}.node = output_node(n, {i}, {count}, {y}) if {y}.dtype.kind == 'f' else None"
        lines += [made.format(t=t, i=i, count=len(ys), y=y) for i, (y, t) in enumerate(zip(ys, ts, strict=True))]
    nodes = (f"n_{i} = {i}.node if {i}.base is None else current_node({i})" for i in inputs if i not in optional)
    last = [f"n_{i} = None if {i} is None else current_node({i})" for i in optional]
    return _RECORD.format(
        nodes="\n        ".join([*nodes, *last]), wanted=" or ".join(f"n_{i} is not None" for i in inputs),
        node="t.node = n" if len(ys) == 1 else "n", result=", ".join(ts), edges=_tuple([f"n_{i}" for i in inputs]),
        shape=f"n.shape = {shape}\n            n.dtype = dtype" if len(ys) == 1 else "n.shape = n.dtype = None",
        keep="\n            ".join(lines),
    )  # fmt: skip


def _view_text(prim: Primitive) -> str:
    """The template filled in for a view."""
    statics = [f"p{i}" for i in range(len(prim.statics))]
    filled = {"parameters": ", ".join(["a", *statics]), "p": _tuple(statics), "args": ", ".join(["x_a", *statics])}
    kept = prim.keep[1] if prim.keep else 0
    base = "    t.base = None" if prim.detaches else _VIEW_BASE.format(kept=kept, a="a" if kept & 1 else "None", **filled)
    compute = _VIEW_KERNEL if prim.own_kernel else _VIEW_GEOMETRY
    return _lean(_VIEW.format(compute=compute.format(**filled), base=base, **filled))


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _tuple(names: Sequence[str]) -> str:
    return "(" + ", ".join(names) + (",)" if len(names) == 1 else ")")


def _lean(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.strip())


def _is_pointwise(prim: Primitive) -> bool:
    """Whether the primitive's kernel on the CPU is a table of loops by dtype."""
    return hasattr(prim.impl[ndarray], "loops")


_numbers = count()
_GIVEN = ["PRIM", "infer", "GEOMETRY", "check", "IMPL", "ON_CPU", "KEEP", "LOOPS", "KNOWN", "KNOWN_GET"]


@cache
def _maker(text: str) -> Callable[..., Any]:
    """A function that makes the door of any primitive with this text."""
    file = f"<door {next(_numbers)}>"  # found by tracebacks and debuggers
    source = f"def make({', '.join(_GIVEN)}):\n{indent(text, '    ')}\n    return apply\n"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    space: dict[str, Any] = {}
    exec(compile(source, file, "exec"), _NAMES, space)
    made: Callable[..., Any] = space["make"]
    return made


# ---- what a printed door calls where it is not the usual
def unpacked(y: Any) -> tuple[Any, Any]:
    """What a kernel returned, as the output and aux."""
    if type(y) is tuple:
        return y[0], y[1:]
    # NumPy turns 0-d results into scalars; a copy on another device is no NumPy array.
    return (asarray(y) if isinstance(y, generic) else y), None


def known(answers: dict[Any, Any], key: Any, described: tuple[Any, Any], launcher: Any, args: tuple[Any, ...]) -> Any:
    """Remember what infer said, and the compiled form that fits."""
    form = launcher.direct(*args) if hasattr(launcher, "direct") else None
    run = launcher.prepared(*args) if hasattr(launcher, "prepared") else None if form is None else form.get(described[1])
    answer = (*described, run) if type(described) is tuple else (described, run)
    if form is None or run is not None:  # else the launcher is about to compile it
        if len(answers) >= MOST_KNOWN:
            answers.clear()
        answers[key] = answer
    return answer


def learn(loops: dict[Any, Any], launcher: Any, *arrays: Any) -> None:
    """Remember the loop for a dtype that has passed infer, where all inputs but the loop's bools have it."""
    bools = getattr(launcher, "bools", ())
    dtype, *others = [x.dtype for i, x in enumerate(arrays) if i not in bools]
    loop = getattr(launcher, "loops", loops).get(dtype)
    if loop is not None and all(other == dtype for other in others):
        loops[dtype] = loop


_NAMES = {
    "BOOL": bool_.numpy, "SMALL": PARALLEL_MIN, "Node": Node, "Tensor": Tensor, "apply_any": apply_any, "asarray": asarray,
    "current_mode": current_mode, "current_node": current_node, "empty": empty, "known": known, "learn": learn,
    "ndarray": ndarray, "new": new, "output_node": output_node, "refuse_mixed": refuse_mixed, "refuse_others": refuse_others, "tick": tick,
    "unpacked": unpacked,
}  # fmt: skip
