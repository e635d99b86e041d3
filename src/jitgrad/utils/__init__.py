"""PyTorch's path to rooms of the house that have other names."""

from jitgrad.utils import data as data
