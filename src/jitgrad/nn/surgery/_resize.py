"""Resize: one layer with other widths, whose units that were there before keep their weights."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING, Any

from jitgrad.autograd import Tensor, copy_, no_grad
from jitgrad.errors import ArgumentError
from jitgrad.nn._edit_mark import edited
from jitgrad.nn._place import short_name
from jitgrad.nn.conv import _Conv
from jitgrad.nn.linear import Bilinear, Linear
from jitgrad.nn.norm import LayerNorm, _BatchNorm
from jitgrad.nn.parameter import Buffer, Parameter
from jitgrad.nn.sparse import Embedding
from jitgrad.nn.surgery._width import Stretch
from jitgrad.ops.create import empty
from jitgrad.ops.index import getitem

if TYPE_CHECKING:
    from jitgrad.nn.module import Module

# An attribute, and the place in it where it is a tuple.
Attribute = tuple[str, int | None]
# By the name of a parameter or buffer: which attribute gives each of its dims; None for one that is no width.
Layout = dict[str, tuple[Attribute | None, ...]]

_CHANNELS: tuple[Attribute, ...] = (("num_features", None),)
_OUT: tuple[Attribute, ...] = (("out_features", None),)
_LAYOUTS: dict[type, Callable[[Any], Layout]] = {
    Linear: lambda m: {"weight": (*_OUT, ("in_features", None)), "bias": _OUT},
    Bilinear: lambda m: {"weight": (*_OUT, ("in1_features", None), ("in2_features", None)), "bias": _OUT},
    _Conv: lambda m: {
        "weight": (("out_channels", None), ("in_channels", None) if m.groups == 1 else None, *(None,) * m._dims),
        "bias": (("out_channels", None),),
    },
    _BatchNorm: lambda m: dict.fromkeys(("weight", "bias", "running_mean", "running_var"), _CHANNELS),
    LayerNorm: lambda m: dict.fromkeys(("weight", "bias"), tuple(("normalized_shape", i) for i in range(len(m.normalized_shape)))),
    Embedding: lambda m: {"weight": (("num_embeddings", None), ("embedding_dim", None))},
}


def layout(m: Module) -> Layout:
    """Which attributes of a layer give the sizes of its parameters and buffers; empty for what cannot be resized."""
    return next((_LAYOUTS[kind](m) for kind in type(m).__mro__ if kind in _LAYOUTS), {})


def attribute_of(m: Module, attribute: Attribute | None) -> int | None:
    """Its size; -1 where a subclass does not have it."""
    if attribute is None:
        return None
    name, i = attribute
    value: Any = m.__dict__.get(name, -1)
    size: int = value if i is None else value[i]
    return size


class Resize:
    """A layer that is to have other widths.

    Parameters
    ----------
    path, module
        The layer and where it stands.
    sizes
        New sizes by attribute (and place in it).
    tensors
        By the name of a parameter or buffer: its new shape and, for each dim, which units stay.

    ``attributes`` are those of the layer that it will have.
    """

    def __init__(
        self, path: str, module: Module, sizes: dict[Attribute, int], tensors: dict[str, tuple[tuple[int, ...], tuple[list[Stretch], ...]]]
    ) -> None:  # fmt: skip
        self.path = path
        self.module = module
        self._tensors = tensors
        self.attributes: dict[str, Any] = {}
        for (name, i), size in sizes.items():
            before = self.attributes.get(name, module.__dict__[name])
            self.attributes[name] = size if i is None else (*before[:i], size, *before[i + 1 :])
        self.text = self._words()

    def _words(self) -> str:
        own = self.module.__dict__
        before, had = short_name(self.module), {name: own[name] for name in self.attributes}
        own.update(self.attributes)
        try:
            return f"{self.path}: {before} -> {short_name(self.module)}"
        finally:
            own.update(had)

    def __repr__(self) -> str:
        return f"<{self.text}>"

    def apply(self, keep: str = "overlap") -> Callable[[], None]:
        """Resize the layer in place; returns what undoes it: the very objects of before come back.

        With keep="overlap" units that were there before keep their weights, and tensors whose shape stays are the same objects;
        new weights, and with keep="none" all, are drawn by ``reset_parameters()``.
        """
        if keep not in ("overlap", "none"):
            raise ArgumentError(f"adapt: keep is expected to be 'overlap' or 'none', given {keep!r}.")
        m = self.module
        parameters, buffers = dict(m._parameters), dict(m._buffers)
        attributes = {name: m.__dict__[name] for name in self.attributes}

        def undo() -> None:
            m._parameters.clear()
            m._parameters.update(parameters)
            m._buffers.clear()
            m._buffers.update(buffers)
            m.__dict__.update(attributes)
            edited()

        try:
            m.__dict__.update(self.attributes)
            # All are new while they are drawn, so that those of before are not written to.
            m._parameters.update({name: self._like(name, p) for name, p in parameters.items() if p is not None})
            m._buffers.update({name: self._like(name, b) for name, b in buffers.items() if b is not None})
            m.reset_parameters()
            if keep == "overlap":
                self._keep(m._parameters, parameters)
                self._keep(m._buffers, buffers)
        except BaseException:
            undo()
            raise
        edited()
        return undo

    def _like(self, name: str, t: Any) -> Any:
        shape = self._tensors[name][0] if name in self._tensors else t.shape
        new = empty(*shape, dtype=t.dtype, device=t.device)
        if isinstance(t, Parameter):
            return Parameter(new, requires_grad=t.requires_grad)
        return Buffer(new, persistent=t.persistent) if isinstance(t, Buffer) else new

    def _keep(self, table: dict[str, Any], before: dict[str, Any]) -> None:
        with no_grad():
            for name, old in before.items():
                if old is None:
                    continue
                if name not in self._tensors:
                    table[name] = old
                    continue
                for place in product(*self._tensors[name][1]):
                    copy_(_part(table[name], [(r.new, r.n) for r in place]), _part(old, [(r.old, r.n) for r in place]))


def _part(t: Tensor, ranges: list[tuple[int, int]]) -> Tensor:
    return getitem(t, tuple(slice(first, first + n) for first, n in ranges))
