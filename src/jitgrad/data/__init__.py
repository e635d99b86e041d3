"""Datasets, samplers and loaders; ``jitgrad.utils.data`` is PyTorch's path to them."""

from jitgrad.data._fetch import default_collate as default_collate
from jitgrad.data._workers import get_worker_info as get_worker_info
from jitgrad.data.dataset import (
    ConcatDataset as ConcatDataset,
    Dataset as Dataset,
    IterableDataset as IterableDataset,
    Subset as Subset,
    TensorDataset as TensorDataset,
    random_split as random_split,
)
from jitgrad.data.loader import DataLoader as DataLoader
from jitgrad.data.sampler import (
    BatchSampler as BatchSampler,
    RandomSampler as RandomSampler,
    Sampler as Sampler,
    SequentialSampler as SequentialSampler,
    SubsetRandomSampler as SubsetRandomSampler,
    WeightedRandomSampler as WeightedRandomSampler,
)
