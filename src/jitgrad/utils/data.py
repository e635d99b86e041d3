"""PyTorch's path to ``jitgrad.data``."""

from jitgrad.data import (
    BatchSampler as BatchSampler,
    ConcatDataset as ConcatDataset,
    DataLoader as DataLoader,
    Dataset as Dataset,
    IterableDataset as IterableDataset,
    RandomSampler as RandomSampler,
    Sampler as Sampler,
    SequentialSampler as SequentialSampler,
    Subset as Subset,
    SubsetRandomSampler as SubsetRandomSampler,
    TensorDataset as TensorDataset,
    WeightedRandomSampler as WeightedRandomSampler,
    default_collate as default_collate,
    get_worker_info as get_worker_info,
    random_split as random_split,
)
