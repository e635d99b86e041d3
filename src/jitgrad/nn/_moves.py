"""Casting and moving a module's tensors: all of them, or on an error none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jitgrad.autograd import Tensor, detach, no_grad
from jitgrad.ops.inplace import zero_

if TYPE_CHECKING:
    from jitgrad.nn.module import Module


def apply_to_tensors(module: Module, fn: Callable[[Tensor], Tensor]) -> None:
    """Put fn(t) in place of every parameter's data and gradient, and of every buffer; objects stay the same parameters."""
    params = {id(p): p for p in module.parameters()}.values()
    with no_grad():
        # Everything is computed before anything is replaced.
        new = [(p, fn(detach(p)), None if p.grad is None else fn(detach(p.grad))) for p in params]
        buffers = {id(b): fn(b) for b in module.buffers()}
    for p, data, grad in new:
        p.grad = None
        p.data = data
        p.grad = grad
    for m in module.modules():
        for name, b in m._buffers.items():
            if b is not None:
                m._buffers[name] = buffers[id(b)]


def forget_grad(p: Tensor, set_to_none: bool) -> None:
    """Drop a gradient, or fill it with zeros outside the graph."""
    g = p.grad
    if g is None:
        return
    if set_to_none:
        p.grad = None
        return
    if g.grad_fn is not None or g.requires_grad:
        g = p.grad = detach(g)
    zero_(g)
