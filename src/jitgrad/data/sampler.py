"""Samplers: the order in which a loader takes examples."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy as np

from jitgrad.autograd import Tensor
from jitgrad.dtypes import float64
from jitgrad.ops.random import Generator, rand, randint, randperm

T_co = TypeVar("T_co", covariant=True)


class Sampler(Generic[T_co]):
    """Base of samplers: define ``__iter__()``, which gives indices (or lists of them), and ``__len__()`` where it is known."""

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} does not define __iter__().")


class SequentialSampler(Sampler[int]):
    """0, 1, ..., len(data_source) - 1.

    >>> import jitgrad as jg
    >>> list(jg.utils.data.SequentialSampler("abc"))
    [0, 1, 2]
    """

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """Indices in random order.

    Parameters
    ----------
    data_source
        Anything with a length n.
    replacement
        Whether each index is drawn by itself, so that some come twice; else one permutation follows another.
    num_samples
        How many indices; n unless given.
    generator
        Source of the order; the default one unless given. All is drawn when the first index is taken.

    Raises ValueError for a num_samples that is no int of at least 1, or an empty data_source to draw from.

    >>> import jitgrad as jg
    >>> sorted(jg.utils.data.RandomSampler("abc"))
    [0, 1, 2]
    """

    def __init__(
        self, data_source: Sized, replacement: bool = False, num_samples: int | None = None, generator: Generator | None = None
    ) -> None:  # fmt: skip
        if not isinstance(replacement, bool):
            raise TypeError(f"RandomSampler: replacement is expected to be a bool, given {replacement!r}.")
        if num_samples is not None:
            _count("RandomSampler", num_samples)
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = check_generator("RandomSampler", generator)

    @property
    def num_samples(self) -> int:
        """How many indices; the length of data_source unless given."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n, total = len(self.data_source), self.num_samples
        if n == 0 and total:
            raise ValueError(f"RandomSampler: {total} indices are to be drawn from an empty data source.")
        if self.replacement and n:
            yield from randint(0, n, (total,), generator=self.generator).tolist()
            return
        orders = [randperm(n, generator=self.generator).tolist() for _ in range(0, total, n)] if n else []
        yield from islice((i for order in orders for i in order), total)

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The given indices in random order, each once.

    >>> import jitgrad as jg
    >>> sorted(jg.utils.data.SubsetRandomSampler([7, 3]))
    [3, 7]
    """

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = check_generator("SubsetRandomSampler", generator)

    def __iter__(self) -> Iterator[int]:
        for i in randperm(len(self.indices), generator=self.generator).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Index i with probability ``weights[i] / sum(weights)``.

    Parameters
    ----------
    weights
        One number of at least 0 for each index, not all 0.
    num_samples
        How many indices.
    replacement
        Whether each is drawn by itself; else none comes twice, and num_samples is at most the number of weights above 0.
    generator
        Source of the draws; the default one unless given.

    Without replacement each index gets the key ``-log(u) / weight`` with u uniform, and the smallest keys win.
    Source: Efraimidis and Spirakis, Weighted random sampling with a reservoir, 2006.

    >>> import jitgrad as jg
    >>> list(jg.utils.data.WeightedRandomSampler([0.0, 1.0], 3))
    [1, 1, 1]
    """

    def __init__(
        self, weights: Any, num_samples: int, replacement: bool = True, generator: Generator | None = None
    ) -> None:  # fmt: skip
        if not isinstance(replacement, bool):
            raise TypeError(f"WeightedRandomSampler: replacement is expected to be a bool, given {replacement!r}.")
        self.num_samples = _count("WeightedRandomSampler", num_samples)
        values = np.array(weights.detach().cpu().numpy() if isinstance(weights, Tensor) else list(weights), np.float64)
        if (
            values.ndim != 1
            or not np.isfinite(values).all()
            or (values < 0).any()
            or not math.isfinite(total := values.sum())
            or total <= 0
        ):
            raise ValueError("WeightedRandomSampler: weights are expected to be finite numbers of at least 0 in one dim, not all 0.")
        if not replacement and num_samples > np.count_nonzero(values):
            raise ValueError(
                f"WeightedRandomSampler: without replacement num_samples is expected to be at most {np.count_nonzero(values)}, "
                f"the number of weights above 0, given {num_samples}."
            )
        self.weights = values
        self.replacement = replacement
        self.generator = check_generator("WeightedRandomSampler", generator)

    def __iter__(self) -> Iterator[int]:
        w = self.weights
        if self.replacement:
            u = rand(self.num_samples, generator=self.generator, dtype=float64).numpy()
            ends = np.cumsum(w)
            chosen = np.searchsorted(ends, u * ends[-1], side="right")
            # Rounding may carry a draw beyond the last weight that is not 0.
            yield from np.minimum(chosen, np.flatnonzero(w)[-1]).tolist()
            return
        u = rand(len(w), generator=self.generator, dtype=float64).numpy()
        with np.errstate(divide="ignore"):
            keys = np.where(w > 0, -np.log1p(-u) / w, np.inf)  # 1 - u is in (0, 1]
        yield from np.argsort(keys, kind="stable")[: self.num_samples].tolist()

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """The indices of a sampler in lists of batch_size; the last one is shorter, or left out with drop_last.

    >>> import jitgrad as jg
    >>> list(jg.utils.data.BatchSampler(range(5), 2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"BatchSampler: batch_size is expected to be an int of at least 1, given {batch_size!r}.")
        if not isinstance(drop_last, bool):
            raise TypeError(f"BatchSampler: drop_last is expected to be a bool, given {drop_last!r}.")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(islice(indices, min(self.batch_size, sys.maxsize))):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        n = len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


def _count(name: str, n: Any) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"{name}: num_samples is expected to be an int of at least 1, given {n!r}.")
    return n


def check_generator(name: str, generator: Any) -> Generator | None:
    """The generator, or a TypeError."""
    if generator is not None and not isinstance(generator, Generator):
        raise TypeError(f"{name}: generator is expected to be a jg.Generator, given {type(generator).__name__}.")
    return generator
