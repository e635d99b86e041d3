"""Datasets and loaders; ``jitgrad.utils.data`` is PyTorch's path to them."""

from jitgrad.data.dataset import Dataset as Dataset, TensorDataset as TensorDataset
from jitgrad.data.loader import DataLoader as DataLoader, default_collate as default_collate
