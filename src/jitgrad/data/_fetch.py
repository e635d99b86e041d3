"""Examples made into batches: the same in the loader's process and in its workers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from jitgrad.autograd import Tensor, as_tensor, tensor
from jitgrad.data.dataset import TensorDataset
from jitgrad.errors import DTypeError
from jitgrad.ops.join import stack
from jitgrad.ops.random import default_generator


def default_collate(batch: list[Any]) -> Any:
    """Examples as one batch: tensors, arrays and numbers stacked, tuples and dicts element by element, strings as a list.

    Python floats become float32, as everywhere in jitgrad.

    >>> from jitgrad.data import default_collate
    >>> [t.tolist() for t in default_collate([(1.0, 2), (3.0, 4)])]
    [[1.0, 3.0], [2, 4]]
    """
    if not batch:
        raise ValueError("default_collate: expected at least one example, given none. Leave empty lists out of the batch_sampler.")
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


class Fetcher:
    """What a loader does with the indices of a batch (or, unbatched, with one index)."""

    def __init__(self, dataset: Any, collate_fn: Callable[[Any], Any] | None, batched: bool) -> None:
        self.dataset = dataset
        self.collate_fn = collate_fn
        self.batched = batched
        # Nothing of the user's runs: no seeds are needed, and the batch is cut out as a whole.
        self.whole = type(dataset) is TensorDataset and collate_fn is None

    def __call__(self, indices: Any) -> Any:
        if not self.batched:
            example = self.dataset[indices]
            return example if self.collate_fn is None else self.collate_fn(example)
        if self.whole:
            return list(self.dataset[tensor(indices)])
        many = getattr(self.dataset, "__getitems__", None)
        return self.collate([self.dataset[i] for i in indices] if many is None else many(indices))

    def collate(self, examples: list[Any]) -> Any:
        """A list of examples as a batch."""
        return (self.collate_fn or default_collate)(examples)


def seed_all(seed: int, batch: int) -> None:
    """Seed jitgrad's default generator, ``random`` and ``numpy.random`` for one batch of an epoch."""
    a, b = np.random.SeedSequence([seed, batch]).generate_state(2, np.uint64).tolist()
    default_generator.manual_seed(a)
    random.seed(b)
    np.random.seed(b % 2**32)


@contextmanager
def seeded(seed: int | None, batch: int) -> Iterator[None]:
    """Inside, the three are seeded for a batch; after it they go on as if nothing had been drawn. Without a seed: nothing."""
    if seed is None:
        yield
        return
    states = default_generator.get_state(), random.getstate(), np.random.get_state()
    try:
        seed_all(seed, batch)
        yield
    finally:
        default_generator.set_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])
