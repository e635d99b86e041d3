"""What each primitive does to widths: which of its inputs' must be equal, and what those of its outputs are."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

from jitgrad.autograd import Primitive
from jitgrad.nn._trace import Op
from jitgrad.nn.surgery._resize import Attribute, layout
from jitgrad.nn.surgery._width import ONE, Width, factors, is_one, product, root, total
from jitgrad.ops._operands import broadcasting3

if TYPE_CHECKING:
    from jitgrad.nn.surgery._widths import Follow

Dims = list[Width]
# Dims of each output, from the operation and the dims of each input (None where there is no input).
Rule = Callable[["Follow", Op, list[Any]], list[Dims]]

RULES: dict[str, Rule] = {}
AT_ONCE = "replace both at once: without adapt=True, all that a list of keys means is replaced before the check."


def _rule(names: str) -> Callable[[Rule], Rule]:
    def enter(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names.split(), rule))
        return rule

    return enter


def _one() -> Width:
    return Width(1, fixed=ONE)


def rule_of(prim: Primitive) -> Rule:
    """The rule of a primitive; pointwise ones are known by their infer, so that a new one needs no line here."""
    pointwise = prim.broadcasts or prim.infer.__module__ == _POINTWISE
    return RULES.get(prim.name) or (_elementwise if pointwise else unknown)


_POINTWISE = broadcasting3.__module__


def unknown(f: Follow, op: Op, xs: list[Any]) -> list[Dims]:
    """Nothing is known: no width of an input may change."""
    f.refuse(op, [w for x in xs if x is not None for w in x], f"what {op.prim.name} does to widths is not known")
    return f.fresh(op)


# ---- elementwise
def broadcast(f: Follow, op: Op, a: Dims, b: Dims) -> Dims:
    """Dims after broadcasting, counted from the last."""
    a, b = (b, a) if len(a) < len(b) else (a, b)
    out = list(a)
    for i in range(1, len(b) + 1):
        x, y = a[-i], b[-i]
        if is_one(y):
            continue
        if is_one(x):
            out[-i] = y
        elif root(x).size == root(y).size:
            f.same(op, x, y)
        else:
            one, out[-i] = (x, y) if root(x).size == 1 else (y, x)
            f.refuse(op, [one], "a size of 1 is broadcast here, which another size would not be")
    return out


@_rule("clone cast cast_float detach output to_host from_host wrap_index index_in")
def _elementwise(f: Follow, op: Op, xs: list[Any]) -> list[Dims]:
    out: Dims = []
    for x in xs:
        out = broadcast(f, op, out, x)
    return [out]


@_rule("dropout softmax log_softmax argsort")
def _like_first(f: Follow, op: Op, xs: list[Any]) -> list[Dims]:
    return [xs[0]]


@_rule("copy_")
def _copy(f: Follow, op: Op, xs: list[Any]) -> list[Dims]:
    broadcast(f, op, *xs)
    return [xs[0]]


@_rule("broadcast_to")
def _broadcast_to(f: Follow, op: Op, xs: list[Any]) -> list[Dims]:
    # Whether the program took a new size from another tensor or wrote it, only running it shows.
    shape = op.outputs[0].shape
    before = [_one()] * (len(shape) - len(xs[0])) + xs[0]
    out = []
    for w, n in zip(before, shape, strict=True):
        if root(w).size == 1 != n:
            f.refuse(op, [w], "a size of 1 is repeated here, which another size would not be")
            w = Width(n)
        out.append(w)
    return [out]


@_rule("empty full arange uniform normal randint permutation")
def _made(f: Follow, op: Op, xs: list[Any]) -> list[Dims]:
    # As above: sizes may come from other tensors.
    return [[Width(n) for n in op.outputs[0].shape]]


# ---- products
@_rule("linear")
def _linear(f: Follow, op: Op, xs: list[Any]) -> list[Dims]:
    x, w, b = xs
    f.same(op, x[-1], w[1])
    if b is not None:
        f.same(op, w[0], b[0])
    return [[*x[:-1], w[0]]]


@_rule("matmul")
def _matmul(f: Follow, op: Op, xs: list[Any]) -> list[Dims]:
    a, b = xs
    f.same(op, a[-1], b[-2])
    return [[*broadcast(f, op, a[:-2], b[:-2]), a[-2], b[-1]]]


@_rule("conv2d")
def _conv(f: Follow, op: Op, xs: list[Any]) -> list[Dims]:
    x, w, b = xs
    groups = op.p[3]
    if b is not None:
        f.same(op, w[0], b[0])
    if groups == 1:
        f.same(op, x[1], w[1])
    elif groups == root(x[1]).size == root(w[0]).size and f.has_outputs(op, w[0]):  # depthwise: each channel is a group
        f.same(op, x[1], w[0])
        f.depthwise(op, w[0])
    else:
        why = f"a convolution with groups={groups} cuts its channels into groups of fixed sizes"
        f.refuse(op, [x[1], w[0], w[1]], why, f"Give that convolution groups=1 first, or {AT_ONCE}")
    return [[x[0], w[0], *f.derived(op, 2)]]


@_rule("max_pool2d avg_pool2d adaptive_avg_pool2d")
def _pool(f: Follow, op: Op, xs: list[Any]) -> list[Dims]:
    return [[*xs[0][:2], *f.derived(op, 2)]] * len(op.outputs)


# ---- reductions, norms
@_rule("sum mean var amax argmax max_dim")
def _reduce(f: Follow, op: Op, xs: list[Any]) -> list[Dims]:
    dims, keepdim = op.p[0], op.p[1]
    reduced = range(len(xs[0])) if dims is None else (dims,) if isinstance(dims, int) else dims
    kept = [_one() if i in reduced else w for i, w in enumerate(xs[0]) if keepdim or i not in reduced]
    return [kept] * len(op.outputs)


@_rule("layer_norm")
def _layer_norm(f: Follow, op: Op, xs: list[Any]) -> list[Dims]:
    x, *vectors = xs
    f.sizes_of_norm(op, x)
    for v in vectors:
        if v is not None:
            for a, b in zip(x[len(x) - len(v) :], v, strict=True):
                f.same(op, a, b)
    return [x]


@_rule("batch_norm")
def _batch_norm(f: Follow, op: Op, xs: list[Any]) -> list[Dims]:
    x, *vectors = xs
    f.sizes_of_norm(op, x)
    for v in vectors:
        if v is not None:
            f.same(op, x[1], v[0])
    return [x, [x[1]], [x[1]]]


def norm_layout(op: Op) -> tuple[Attribute | None, ...]:
    """Where the sizes of the normalization layer stand that runs the operation; none for other layers."""
    dims = layout(op.call.module).get("weight", ()) if op.call is not None else ()
    return dims if any(a is not None and a[0] in ("normalized_shape", "num_features") for a in dims) else ()


def is_batch_norm(op: Op) -> bool:
    """Whether a batch normalization layer runs it, where widths stand in dim 1."""
    return norm_layout(op) == (("num_features", None),)


@_rule("update_running_")
def _update_running(f: Follow, op: Op, xs: list[Any]) -> list[Dims]:
    f.same(op, xs[0][0], xs[2][0])
    return [xs[0]]


@_rule("nll cross_entropy")
def _classes(f: Follow, op: Op, xs: list[Any]) -> list[Dims]:
    x, target, weight = xs
    if weight is not None:
        f.same(op, x[1], weight[0])
    if len(target) == len(x):  # probabilities
        broadcast(f, op, x, target)
    return f.fresh(op)


# ---- views
@_rule("permute")
def _permute(f: Follow, op: Op, xs: list[Any]) -> list[Dims]:
    return [[xs[0][d] for d in op.p[0]]]


@_rule("reshape")
def _reshape(f: Follow, op: Op, xs: list[Any]) -> list[Dims]:
    """Dims are cut into their factors, which are shared out over the new dims in order."""
    shape = op.outputs[0].shape
    if 0 in shape:
        return unknown(f, op, xs)
    if len(xs[0]) == 1 and is_batch_norm(op):  # a column: also of one channel, which might be any of the sizes 1
        return [[xs[0][0] if i == 1 else _one() for i in range(len(shape))]]
    queue = [w for dim in xs[0] for w in factors(dim)]
    ones = [w for w in queue if root(w).size == 1]
    if 1 in shape and shape.count(1) != len(ones):
        loose = [w for w in ones if not is_one(w)]
        f.refuse(op, loose, "a size of 1 stands among others here, and which one it becomes cannot be told")
    out: Dims = []
    at = 0
    while at < len(shape):
        taken: Dims = []
        size, wanted, first = 1, shape[at], at
        at += 1
        if wanted == 1 and queue and root(queue[0]).size == 1:
            taken.append(queue.pop(0))
        while size != wanted:
            if size < wanted:
                taken.append(queue.pop(0))
                size *= root(taken[-1]).size
            else:  # the factor does not end where the dim does: look for the next place where both end
                wanted *= shape[at]
                at += 1
        out += [product(taken)] if at == first + 1 else _split(f, op, taken, shape[first:at])
    if queue and out:  # ones that are left over
        out[-1] = product([out[-1], *queue])
    elif queue:
        f.refuse(op, queue, "a dim of size 1 is taken away here")
    return [out]


def _split(f: Follow, op: Op, taken: Dims, sizes: tuple[int, ...]) -> Dims:
    """One width as several: allowed as long as it does not change."""
    whole = prod(sizes)
    why = f"a width of {whole} is cut into {' x '.join(map(str, sizes))} here (as attention heads are)"
    f.refuse(op, taken, why, f"Keep {whole}, or edit the code that has {' x '.join(map(str, sizes))} in it, such as a number of heads.")
    return [Width(n, fixed=f"{why}, {f.place(op)}") for n in sizes]


@_rule("index")
def _index(f: Follow, op: Op, xs: list[Any]) -> list[Dims]:
    out, at = [], 0
    for item in op.p[0]:
        if item is None:
            out.append(_one())
            continue
        w = xs[0][at]
        at += 1
        n = root(w).size
        if isinstance(item, int):
            f.refuse(op, [w], f"place {item} of {n} is taken out here")
        elif item == (0, 1, n):
            out.append(w)
        else:
            why = f"a slice of {item[2]} of {n} is taken here"
            f.refuse(op, [w], why)
            out.append(Width(item[2], fixed=f"{why}, {f.place(op)}"))
    return [out + xs[0][at:]]


@_rule("cat")
def _cat(f: Follow, op: Op, xs: list[Any]) -> list[Dims]:
    d = op.p[0]
    out = list(xs[0])
    for x in xs[1:]:
        for i, (w, v) in enumerate(zip(out, x, strict=True)):
            if i != d:
                f.same(op, w, v)
    out[d] = total([x[d] for x in xs])
    return [out]


@_rule("take")
def _take_rows(f: Follow, op: Op, xs: list[Any]) -> list[Dims]:
    x, idx = xs
    f.refuse(op, x[:1], "its rows are taken by index here")
    return [[*idx, *x[1:]]]
