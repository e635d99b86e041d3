"""DataLoader: batches of a dataset, in order or shuffled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from jitgrad.autograd import Tensor, as_tensor, tensor
from jitgrad.data.dataset import Dataset, TensorDataset
from jitgrad.errors import DTypeError
from jitgrad.ops.join import stack
from jitgrad.ops.random import Generator, randperm


def default_collate(batch: list[Any]) -> Any:
    """Examples as one batch: tensors, arrays and numbers stacked, tuples and dicts element by element, strings as a list.

    Python floats become float32, as everywhere in jitgrad.

    >>> from jitgrad.data import default_collate
    >>> [t.tolist() for t in default_collate([(1.0, 2), (3.0, 4)])]
    [[1.0, 3.0], [2, 4]]
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(batch)
    if isinstance(first, (np.ndarray, np.generic)):
        return stack([as_tensor(a) for a in batch])
    if isinstance(first, (bool, int, float)):
        return tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return {k: default_collate([example[k] for example in batch]) for k in first}
    if isinstance(first, (tuple, list)):
        if any(len(example) != len(first) for example in batch):
            raise ValueError("default_collate: expected examples of equal length. Give a collate_fn that pads them.")
        columns = [default_collate(list(column)) for column in zip(*batch, strict=True)]
        return type(first)(*columns) if hasattr(first, "_fields") else columns
    raise DTypeError(
        f"default_collate: expected tensors, arrays, numbers, strings, dicts or tuples, given {type(first).__name__}. Give a collate_fn."
    )


class DataLoader:
    """Batches of a dataset: iterate over it once per epoch.

    Parameters
    ----------
    dataset
        Anything with ``__getitem__`` and ``__len__``.
    batch_size
        Examples in a batch; None: single examples, as the dataset gives them.
    shuffle
        Whether each epoch has a new random order.
    sampler, batch_sampler
        An iterable of indices, or of lists of indices, in place of shuffle (and batch_size).
    num_workers
        0: examples are loaded in this process.
    collate_fn
        Makes a batch of a list of examples; default_collate unless given.
    drop_last
        Whether to leave out a last batch that is smaller.
    generator
        Source of the random orders; the default one unless given. Equal states give equal orders.

    >>> import jitgrad as jg
    >>> data = jg.utils.data.TensorDataset(jg.arange(5))
    >>> [batch.tolist() for batch, in jg.utils.data.DataLoader(data, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self, dataset: Any, batch_size: int | None = 1, shuffle: bool | None = None, sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None, num_workers: int = 0, collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False, drop_last: bool = False, *, generator: Generator | None = None,
    ) -> None:  # fmt: skip
        _check_dataset(dataset)
        if batch_size is not None and (isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1):
            raise ValueError(f"DataLoader: batch_size is expected to be an int of at least 1 or None, given {batch_size!r}.")
        if num_workers != 0:
            raise ValueError(
                f"DataLoader: num_workers={num_workers} is not supported, examples are loaded in this process. Use num_workers=0."
            )
        if pin_memory:
            raise ValueError("DataLoader: pin_memory=True is not supported. Leave it False.")
        if sampler is not None and shuffle:
            raise ValueError("DataLoader: expected a sampler or shuffle=True, given both.")
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            raise ValueError(
                "DataLoader: with a batch_sampler, batch_size, shuffle, sampler and drop_last are its business: leave them out."
            )
        if batch_size is None and drop_last:
            raise ValueError("DataLoader: drop_last is expected with a batch_size.")
        if generator is not None and not isinstance(generator, Generator):
            raise TypeError(f"DataLoader: generator is expected to be a jg.Generator, given {type(generator).__name__}.")
        self.dataset = dataset
        self.batch_size = None if batch_sampler is not None else batch_size
        self.shuffle = bool(shuffle)
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.collate_fn = collate_fn
        self.drop_last = drop_last
        self.generator = generator

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]
        n = len(self.dataset if self.sampler is None else self.sampler)  # type: ignore[arg-type]
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        if self.batch_sampler is None and self.batch_size is None:
            return (self.dataset[i] for i in self._indices())
        return (self._batch(indices) for indices in self._batches())

    def _indices(self) -> list[int]:
        if self.sampler is not None:
            return list(self.sampler)
        n = len(self.dataset)
        return randperm(n, generator=self.generator).tolist() if self.shuffle else list(range(n))

    def _batches(self) -> Iterator[list[int]]:
        if self.batch_sampler is not None:
            yield from self.batch_sampler
            return
        assert self.batch_size is not None
        indices = self._indices()
        end = len(indices) - (len(indices) % self.batch_size if self.drop_last else 0)
        for start in range(0, end, self.batch_size):
            yield indices[start : start + self.batch_size]

    def _batch(self, indices: list[int]) -> Any:
        if type(self.dataset) is TensorDataset and self.collate_fn is None:
            return list(self.dataset[tensor(indices)])
        examples = [self.dataset[i] for i in indices]
        return (self.collate_fn or default_collate)(examples)


def _check_dataset(dataset: Any) -> None:
    if not hasattr(dataset, "__len__") or not (hasattr(dataset, "__getitem__") or isinstance(dataset, Dataset)):
        raise TypeError(f"DataLoader: a dataset is expected to have __getitem__ and __len__, {type(dataset).__name__} has not.")
