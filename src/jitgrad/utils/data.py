"""PyTorch's path to ``jitgrad.data``."""

from jitgrad.data import (
    DataLoader as DataLoader,
    Dataset as Dataset,
    TensorDataset as TensorDataset,
    default_collate as default_collate,
)
