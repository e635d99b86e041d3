"""DataLoader: batches of a dataset, in order or shuffled, made here or by worker processes."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from typing import Any

from jitgrad.data._fetch import Fetcher, seeded
from jitgrad.data._workers import Workers, batches, require_loky
from jitgrad.data.dataset import IterableDataset
from jitgrad.data.sampler import BatchSampler, RandomSampler, SequentialSampler, check_generator
from jitgrad.ops.random import Generator, randint


class DataLoader:
    """Batches of a dataset: iterate over it once per epoch.

    Parameters
    ----------
    dataset
        Anything with ``__getitem__`` and ``__len__``, or an IterableDataset. One with ``__getitems__(indices)`` is asked for a whole batch.
    batch_size
        Examples in a batch; None: single examples, as the dataset gives them.
    shuffle
        Whether each epoch has a new random order.
    sampler, batch_sampler
        An iterable of indices, or of lists of indices, in place of shuffle (and batch_size).
    num_workers
        0: examples are loaded in this process. More: by so many processes, each with a copy of the dataset, which needs
        ``pip install jitgrad[workers]``.
    collate_fn
        Makes a batch of a list of examples; default_collate unless given.
    drop_last
        Whether to leave out a last batch that is smaller.
    timeout
        Seconds to wait for a worker's batch; 0: for ever.
    worker_init_fn
        Called with the worker's number in each worker process when it starts.
    generator
        Source of the random orders and of the seeds of batches; the default one unless given. Equal states give equal epochs.
    prefetch_factor
        Batches in the making for each worker; 2 unless given.
    persistent_workers
        Whether workers live as long as the loader, instead of one epoch: a worker takes a second to start.

    Random numbers: before a batch is loaded, jitgrad's default generator, ``random`` and ``numpy.random`` are seeded from a number
    that the epoch drew from ``generator`` and the number of the batch; in this process they then go on as if nothing had been drawn.
    So augmentations are the same for any num_workers. (A TensorDataset without collate_fn draws nothing, and needs no seed.)

    Workers are started fresh and get the dataset by cloudpickle: classes and functions of a notebook work, open files do not. An error
    in a worker is raised here, with the worker's traceback; one that is killed is a RuntimeError.

    >>> import jitgrad as jg
    >>> data = jg.utils.data.TensorDataset(jg.arange(5))
    >>> [batch.tolist() for batch, in jg.utils.data.DataLoader(data, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self, dataset: Any, batch_size: int | None = 1, shuffle: bool | None = None, sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None, num_workers: int = 0, collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False, drop_last: bool = False, timeout: float = 0, worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None, generator: Generator | None = None, *, prefetch_factor: int | None = None,
        persistent_workers: bool = False, pin_memory_device: str = "", in_order: bool = True,
    ) -> None:  # fmt: skip
        _check_dataset(dataset, shuffle, sampler, batch_sampler, num_workers)
        _check_order(batch_size, shuffle, sampler, batch_sampler, drop_last)
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers, multiprocessing_context)
        if pin_memory or pin_memory_device:
            raise ValueError("DataLoader: pin_memory is not supported: batches are made in ordinary memory. Leave it False.")
        if in_order is not True:
            raise ValueError("DataLoader: in_order=False is not supported: batches come in the sampler's order. Leave it True.")
        for name, fn in (("collate_fn", collate_fn), ("worker_init_fn", worker_init_fn)):
            if fn is not None and not callable(fn):
                raise TypeError(f"DataLoader: {name} is expected to be a function, given {type(fn).__name__}.")
        self.dataset = dataset
        self.num_workers = num_workers
        self.collate_fn = collate_fn
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.generator = check_generator("DataLoader", generator)
        self.prefetch_factor = 2 if prefetch_factor is None and num_workers else prefetch_factor
        self.persistent_workers = persistent_workers
        self.batch_size = None if batch_sampler is not None else batch_size
        self.drop_last = drop_last
        self.sampler: Any = sampler
        if sampler is None and not isinstance(dataset, IterableDataset):
            self.sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        self.batch_sampler: Any = batch_sampler
        if batch_sampler is None and batch_size is not None and self.sampler is not None:
            self.batch_sampler = BatchSampler(self.sampler, batch_size, drop_last)
        self._workers: Workers | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy starts workers of its own: copied pipes would close those of the loader that lives."""
        return {**self.__dict__, "_workers": None}

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        if self.sampler is not None:
            return len(self.sampler if self.batch_sampler is None else self.batch_sampler)
        n = len(self.dataset)
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        fetch = Fetcher(self.dataset, self.collate_fn, self.batch_sampler is not None)
        seed = None if fetch.whole else int(randint(0, 2**63 - 1, (), generator=self.generator).item())
        if isinstance(self.dataset, IterableDataset):
            return self._stream(fetch, seed)
        indices = self.sampler if self.batch_sampler is None else self.batch_sampler
        if not self.num_workers:
            return _here(fetch, indices, seed)
        assert self.prefetch_factor is not None
        return batches(self._start(fetch), indices, seed, self.prefetch_factor, self.timeout, self.persistent_workers)

    def _start(self, fetch: Fetcher) -> Workers:
        """Workers for an epoch: those that are there, or new ones."""
        if not self.persistent_workers:
            return Workers(self.num_workers, fetch, self.worker_init_fn)
        if self._workers is None:
            self._workers = Workers(self.num_workers, fetch, self.worker_init_fn)
            weakref.finalize(self, self._workers.close)
        return self._workers

    def _stream(self, fetch: Fetcher, seed: int | None) -> Iterator[Any]:
        """Batches of an IterableDataset."""
        examples: Iterator[Any] | None = None
        for k in count():
            with seeded(seed, k):
                if examples is None:
                    examples = iter(self.dataset)
                some = list(islice(examples, min(self.batch_size or 1, sys.maxsize)))
                if not some or (self.drop_last and len(some) < (self.batch_size or 1)):
                    return
                if self.batch_size is not None:
                    batch = fetch.collate(some)
                else:
                    batch = some[0] if self.collate_fn is None else self.collate_fn(some[0])
            yield batch


def _here(fetch: Fetcher, indices: Iterable[Any], seed: int | None) -> Iterator[Any]:
    for k, some in enumerate(indices):
        with seeded(seed, k):
            batch = fetch(some)
        yield batch


def _check_dataset(dataset: Any, shuffle: Any, sampler: Any, batch_sampler: Any, num_workers: Any) -> None:
    if isinstance(dataset, IterableDataset):
        if shuffle or sampler is not None or batch_sampler is not None:
            raise ValueError("DataLoader: an IterableDataset has an order of its own: leave shuffle, sampler and batch_sampler out.")
        if num_workers:
            raise ValueError(
                f"DataLoader: with num_workers={num_workers} every worker would give the whole IterableDataset. Use num_workers=0, "
                "or a Dataset with __getitem__."
            )
    elif not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise TypeError(
            f"DataLoader: a dataset is expected to have __getitem__ and __len__, {type(dataset).__name__} has not. "
            "Or let it be an IterableDataset."
        )


def _check_order(batch_size: Any, shuffle: Any, sampler: Any, batch_sampler: Any, drop_last: Any) -> None:
    if batch_size is not None and (isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"DataLoader: batch_size is expected to be an int of at least 1 or None, given {batch_size!r}.")
    if not isinstance(drop_last, bool) or not isinstance(shuffle, bool | None):
        raise TypeError(f"DataLoader: shuffle and drop_last are expected to be bools, given {shuffle!r} and {drop_last!r}.")
    if sampler is not None and shuffle:
        raise ValueError("DataLoader: expected a sampler or shuffle=True, given both.")
    if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        raise ValueError(
            "DataLoader: with a batch_sampler, batch_size, shuffle, sampler and drop_last are its business: leave them out."
        )  # fmt: skip
    if batch_size is None and drop_last:
        raise ValueError("DataLoader: drop_last is expected with a batch_size.")


def _check_workers(number: Any, timeout: Any, prefetch_factor: Any, persistent: Any, context: Any) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ValueError(f"DataLoader: num_workers is expected to be an int of at least 0, given {number!r}.")
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout >= 0:
        raise ValueError(f"DataLoader: timeout is expected to be a number of seconds, at least 0, given {timeout!r}.")
    if prefetch_factor is not None and (isinstance(prefetch_factor, bool) or not isinstance(prefetch_factor, int) or prefetch_factor < 1):
        raise ValueError(f"DataLoader: prefetch_factor is expected to be an int of at least 1, given {prefetch_factor!r}.")
    if context not in (None, "loky"):
        raise ValueError(f"DataLoader: workers are loky's; multiprocessing_context is expected to be None or 'loky', given {context!r}.")
    if not number and (timeout or prefetch_factor is not None or persistent or context is not None):
        raise ValueError(
            "DataLoader: timeout, prefetch_factor, persistent_workers and multiprocessing_context are expected with num_workers above 0."
        )
    if number:
        require_loky(number)
