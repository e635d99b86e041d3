"""Datasets: what has a length and gives an example by index."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from jitgrad.autograd import Tensor
from jitgrad.errors import ShapeError
from jitgrad.ops.index import getitem

T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """Base of datasets: define ``__getitem__(index)`` and ``__len__()``."""

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError(f"{type(self).__name__} does not define __getitem__(index).")


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Tensors of equal length: example i is the tuple of their i-th elements.

    >>> import jitgrad as jg
    >>> data = jg.utils.data.TensorDataset(jg.tensor([1.0, 2.0]), jg.tensor([0, 1]))
    >>> len(data), [t.item() for t in data[1]]
    (2, [2.0, 1])
    """

    tensors: tuple[Tensor, ...]

    def __init__(self, *tensors: Tensor) -> None:
        for t in tensors:
            if not isinstance(t, Tensor):
                raise TypeError(f"TensorDataset: expected tensors, given {type(t).__name__}. Try jg.tensor(...).")
            if not t.shape:
                raise ShapeError("TensorDataset: expected tensors of at least 1 dim, given a number.")
        if not tensors:
            raise TypeError("TensorDataset: expected at least one tensor.")
        lengths = [t.shape[0] for t in tensors]
        if len(set(lengths)) > 1:
            raise ShapeError(f"TensorDataset: expected tensors of equal length, given {', '.join(map(str, lengths))}.")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(getitem(t, index) for t in self.tensors)

    def __len__(self) -> int:
        return self.tensors[0].shape[0]
