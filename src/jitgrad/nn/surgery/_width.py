"""Width: what the size of one dim of a tensor is made of, so that one change can be followed through a model.

A width is an atom (the out_features of a layer, the height of an image), a product of widths (C H W after flatten) or a sum (after
cat). Atoms that must stay equal are merged by union-find; an atom that must equal a product or a sum becomes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple


class Stretch(NamedTuple):
    """Units that stay: n of them, from old on in the old size, are from new on in the new one."""

    new: int
    old: int
    n: int


class Width:
    """A width before and after: size, and new where it is known; fixed says why it cannot change, uses whose attribute it is."""

    __slots__ = ("fixed", "kind", "new", "parent", "parts", "size", "uses")

    def __init__(self, size: int, *, new: int | None = None, fixed: str = "", kind: str = "", parts: tuple[Width, ...] = ()) -> None:
        self.size = size
        self.new = new
        self.fixed = fixed
        self.kind = kind  # "sum" or "product" where there are parts
        self.parts = parts
        self.uses: list[Any] = []
        self.parent: Width | None = None


def root(w: Width) -> Width:
    """The one that stands for all widths merged with w."""
    while w.parent is not None:
        if w.parent.parent is not None:
            w.parent = w.parent.parent
        w = w.parent
    return w


def merge(a: Width, b: Width) -> None:
    """b, an atom, becomes a."""
    b.parent = a
    a.uses += b.uses
    a.fixed = a.fixed or b.fixed
    if a.new is None:
        a.new = b.new


def factors(w: Width) -> list[Width]:
    """What w is the product of; w itself where it is none."""
    w = root(w)
    return [f for p in w.parts for f in factors(p)] if w.kind == "product" else [w]


def terms(w: Width) -> list[Width]:
    """What w is the sum of; w itself where it is none."""
    w = root(w)
    return [t for p in w.parts for t in terms(p)] if w.kind == "sum" else [w]


def atoms(w: Width) -> list[Width]:
    """The atoms that w is made of."""
    w = root(w)
    return [a for p in w.parts for a in atoms(p)] if w.parts else [w]


def product(widths: list[Width]) -> Width:
    """The width of merged dims, in their order."""
    each = [f for w in widths for f in factors(w) if not is_one(f)]
    if len(each) == 1:
        return each[0]
    return Width(prod([f.size for f in each]), kind="product", parts=tuple(each)) if each else Width(1, fixed=ONE)


def total(widths: list[Width]) -> Width:
    """The width of dims one after another."""
    each = [t for w in widths for t in terms(w)]
    return each[0] if len(each) == 1 else Width(sum([t.size for t in each]), kind="sum", parts=tuple(each))


ONE = "it is the size 1 of a dim that an operation added"


def is_one(w: Width) -> bool:
    """Whether w is 1 and stays so."""
    w = root(w)
    return w.size == 1 and bool(w.fixed)


def new_size(w: Width) -> int:
    """The size after the edit."""
    w = root(w)
    if w.kind == "product":
        return prod([new_size(p) for p in w.parts])
    if w.kind == "sum":
        return sum([new_size(p) for p in w.parts])
    return w.size if w.new is None else w.new


def changes(w: Width) -> bool:
    """Whether the edit changes w, or what it is made of."""
    return any(a.new not in (None, a.size) for a in atoms(w))


def runs(w: Width) -> list[Stretch]:
    """Where the units that stay were, and where they are: the first of each atom, in their places in sums and products."""
    w = root(w)
    if not changes(w):
        return [Stretch(0, 0, w.size)]
    if not w.parts:
        return [Stretch(0, 0, min(w.size, new_size(w)))]
    return _joined(_sum_runs(w.parts) if w.kind == "sum" else _product_runs(list(w.parts)))


def _sum_runs(parts: tuple[Width, ...]) -> Iterator[Stretch]:
    new = old = 0
    for p in parts:
        for r in runs(p):
            yield Stretch(new + r.new, old + r.old, r.n)
        new, old = new + new_size(p), old + root(p).size


def _product_runs(parts: list[Width]) -> Iterator[Stretch]:
    """Units are numbered as digits of mixed radix, the last part the fastest."""
    first, rest = parts[0], parts[1:]
    if not rest:
        yield from runs(first)
        return
    inner_new, inner_old = prod([new_size(p) for p in rest]), prod([root(p).size for p in rest])
    if not any(changes(p) for p in rest):
        for r in runs(first):
            yield Stretch(r.new * inner_new, r.old * inner_old, r.n * inner_old)
        return
    inner = list(_product_runs(rest))
    for r in runs(first):
        for k in range(r.n):
            for i in inner:
                yield Stretch((r.new + k) * inner_new + i.new, (r.old + k) * inner_old + i.old, i.n)


def _joined(each: Iterator[Stretch]) -> list[Stretch]:
    """Runs that go on where the one before ends are one."""
    out: list[Stretch] = []
    for r in each:
        if out and (last := out[-1]).new + last.n == r.new and last.old + last.n == r.old:
            out[-1] = Stretch(last.new, last.old, last.n + r.n)
        elif r.n:
            out.append(r)
    return out
