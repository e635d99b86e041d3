"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from jitgrad.autograd import Tensor, detach, no_grad
from jitgrad.errors import DTypeError, ShapeError
from jitgrad.nn.utils.clip_grad import _tensors
from jitgrad.ops.inplace import copy_
from jitgrad.ops.join import cat
from jitgrad.ops.views import narrow, reshape


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of all parameters, in order, as one vector. Gradient: its pieces, in the parameters' shapes.

    >>> import jitgrad as jg
    >>> jg.nn.utils.parameters_to_vector([jg.ones(2, 1), jg.zeros(1)]).tolist()
    [1.0, 1.0, 0.0]
    """
    params = _tensors("parameters_to_vector", parameters)
    for i, p in enumerate(params):
        if p.device != params[0].device:
            raise ValueError(f"parameters_to_vector: expected one device, {params[0].device}, parameter {i} is on {p.device}.")
    return cat([reshape(p, (-1,)) for p in params])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write a vector's elements into the parameters, in order, in place; ShapeError, and nothing written, where the sizes differ.

    >>> import jitgrad as jg
    >>> layer = jg.nn.Linear(2, 1)
    >>> jg.nn.utils.vector_to_parameters(jg.tensor([1.0, 2.0, 3.0]), layer.parameters())
    >>> layer.weight.tolist(), layer.bias.tolist()
    ([[1.0, 2.0]], [3.0])
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"vector_to_parameters: expected a Tensor, given {type(vec).__name__}.")
    params = _tensors("vector_to_parameters", parameters)
    sizes = [p.numel() for p in params]
    total = 0
    for n in sizes:
        total += n
    if vec.shape != (total,):
        raise ShapeError(f"vector_to_parameters: the parameters have {total} elements: expected shape {(total,)}, given {vec.shape}.")
    for i, p in enumerate(params):
        if p.dtype is not vec.dtype:
            raise DTypeError(f"vector_to_parameters: parameter {i} is {p.dtype}, the vector {vec.dtype}. Try vec.to({p.dtype.name!r}).")
    start = 0
    with no_grad():
        for p, n in zip(params, sizes, strict=True):
            copy_(detach(p), reshape(narrow(detach(vec), 0, start, n), p.shape))
            start += n
