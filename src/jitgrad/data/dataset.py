"""Datasets: what has a length and gives an example by index."""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from numbers import Real
from typing import Any, Generic, TypeVar

from jitgrad.autograd import Tensor
from jitgrad.data.sampler import check_generator
from jitgrad.errors import ShapeError
from jitgrad.ops.index import getitem
from jitgrad.ops.random import Generator, randperm

T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """Base of datasets: define ``__getitem__(index)`` and ``__len__()``."""

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError(f"{type(self).__name__} does not define __getitem__(index).")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset:
        """This dataset, then the other."""
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co]):
    """Base of datasets that give their examples one after another, such as lines of a stream: define ``__iter__()``."""

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} does not define __iter__().")


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


class Subset(Dataset[Any]):
    """The examples of a dataset at the given indices, in their order.

    >>> import jitgrad as jg
    >>> list(jg.utils.data.Subset(["a", "b", "c"], [2, 0]))
    ['c', 'a']
    """

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        if not hasattr(indices, "__getitem__") or not hasattr(indices, "__len__"):
            raise TypeError(f"Subset: indices are expected to be a list, given {type(indices).__name__}. Try list(indices).")
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: list[int]) -> Any:
        """A whole batch of examples, at once where the dataset can give them so."""
        chosen = [self.indices[i] for i in indices]
        batched = getattr(self.dataset, "__getitems__", None)
        return [self.dataset[i] for i in chosen] if batched is None else batched(chosen)

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset[Any]):
    """Datasets one after another.

    >>> import jitgrad as jg
    >>> data = jg.utils.data.ConcatDataset(["ab", "cde"])
    >>> len(data), data[2], data[-1]
    (5, 'c', 'e')
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: expected at least one dataset.")
        for i, d in enumerate(self.datasets):
            if isinstance(d, IterableDataset) or not hasattr(d, "__len__") or not hasattr(d, "__getitem__"):
                raise TypeError(f"ConcatDataset: expected datasets with __getitem__ and __len__, number {i} is a {type(d).__name__}.")
        self.cumulative_sizes = list(accumulate(len(d) for d in self.datasets))

    def __getitem__(self, index: int) -> Any:
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"ConcatDataset: index {index} is out of range for {n} examples.")
        index %= n
        i = bisect_right(self.cumulative_sizes, index)
        return self.datasets[i][index - (self.cumulative_sizes[i - 1] if i else 0)]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]


def random_split(dataset: Any, lengths: Sequence[int | float], generator: Generator | None = None) -> list[Subset]:
    """A dataset cut at random into parts that do not overlap.

    Parameters
    ----------
    lengths
        Number of examples in each part; or fractions that sum to 1, where what rounding down leaves over goes to the first parts.
    generator
        Source of the order; the default one unless given.

    Raises ValueError where lengths are negative or do not sum to the number of examples (or to 1).

    >>> import jitgrad as jg
    >>> [len(part) for part in jg.utils.data.random_split(range(10), [0.75, 0.25])]
    [8, 2]
    """
    check_generator("random_split", generator)
    n, given = len(dataset), list(lengths)
    if not all(isinstance(m, Real) and not isinstance(m, bool) and 0 <= m < math.inf for m in given):
        raise ValueError(f"random_split: lengths are expected to be numbers of at least 0, given {given}.")
    sizes = [int(m) for m in given if m == int(m)]
    if math.isclose(sum(given), 1.0) and sum(given) <= 1:
        sizes = [math.floor(n * m) for m in given]
        for i in range(n - sum(sizes)):
            sizes[i % len(sizes)] += 1
    if sum(sizes) != n or len(sizes) < len(given):
        raise ValueError(f"random_split: lengths are expected to sum to {n}, the number of examples, or to 1, given {given}.")
    for i, m in enumerate(sizes):
        if m == 0:
            warnings.warn(f"random_split: part {i} of {given} has no examples.", stacklevel=2)
    order = randperm(n, generator=generator).tolist()
    return [Subset(dataset, order[end - m : end]) for m, end in zip(sizes, accumulate(sizes), strict=True)]
