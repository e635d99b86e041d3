"""DryRun: infer answers instead of the kernels, so that a program runs on shapes and dtypes without arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jitgrad import kernels
from jitgrad.autograd.door import refuse_mixed
from jitgrad.autograd.listener import Listener
from jitgrad.autograd.mode import Listening, current_mode, reset_mode, set_mode
from jitgrad.autograd.primitive import Primitive, Spec
from jitgrad.autograd.tensor import Tensor, wrap
from jitgrad.errors import NoDataError


class DryRun(Listener):
    """While it is entered, operations give Tensors that have shapes and dtypes but no values, and nothing is written.

    Every check of shapes, dtypes and devices is made as ever. What asks for a value (``item()``, ``if x > 0``, indices by a
    mask, whose count only the data knows) raises NoDataError. Nothing is recorded for backward.

    >>> import jitgrad as jg
    >>> x = jg.zeros(2, 3)
    >>> with jg.autograd.DryRun():
    ...     y = x.reshape(3, 2) @ jg.ones(2, 5)
    >>> y.shape, y
    ((3, 5), tensor(..., size=(3, 5)))
    """

    def __call__(self, prim: Primitive, inputs: Sequence[Tensor | None], p: tuple[Any, ...]) -> Any:
        arrays = [None if t is None else t.array for t in inputs]
        devices = {kernels.of(x).device_type for x in arrays if x is not None}
        if len(devices) > 1:
            refuse_mixed(prim, inputs)
        if not prim.outputs:
            return self._function(prim, arrays, p)
        device_type = _MOVES.get(prim.name) or (p[0] if prim.source else devices.pop())
        args = prim.grouped(arrays)
        if prim.geometry is not None:
            shape, strides, _ = prim.geometry(*args, *p)
            return wrap(Spec(shape, args[0].dtype, strides, device_type))
        described = prim.infer(*args, *p)
        if prim.mutates:
            return prim.grouped(inputs)[prim.mutates[0]]
        if isinstance(described, list):
            return tuple(_without_data(prim, d, device_type) for d in described)
        return _without_data(prim, described, device_type)

    def _function(self, prim: Primitive, arrays: list[Any], p: tuple[Any, ...]) -> Any:
        """Run the forward of a Function, whose ops are heard too."""
        token = set_mode(Listening(self, current_mode(), False))
        try:
            *outputs, _ = prim.impl[type(arrays[0])](tuple(arrays), *p)
        finally:
            reset_mode(token)
        return tuple(wrap(y) for y in outputs)


_MOVES = {"to_host": "cpu", "from_host": "cuda"}  # what leaves the device of its input


def _without_data(prim: Primitive, described: tuple[Any, Any], device_type: str) -> Tensor:
    shape, dtype = described
    if None in shape:
        raise NoDataError(f"{prim.name}: the size of its output depends on values, and a dry run has none.")
    return wrap(Spec(shape, dtype, None, device_type))
