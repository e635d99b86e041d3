"""Embedding: rows of a table by index."""

from __future__ import annotations

from typing import Any

from jitgrad.autograd import Tensor, no_grad
from jitgrad.errors import OutOfRangeError
from jitgrad.nn import init
from jitgrad.nn.module import Module
from jitgrad.nn.parameter import Parameter
from jitgrad.ops.create import empty
from jitgrad.ops.index import embedding, getitem
from jitgrad.ops.inplace import zero_


class Embedding(Module):
    """A table with a learned row for each index: ``y[i, :] = weight[x[i], :]``.

    Parameters
    ----------
    num_embeddings, embedding_dim
        Rows and columns of the weight, which starts normal with mean 0 and variance 1.
    padding_idx
        A row (from the end where negative) that starts as 0 and gets no gradient.

    Raises OutOfRangeError (an IndexError) for an index that is no row.

    >>> import jitgrad as jg
    >>> jg.nn.Embedding(10, 3)(jg.tensor([[1, 2], [3, 4]])).shape
    (2, 2, 3)
    """

    weight: Parameter

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, *, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise OutOfRangeError(f"Embedding: padding_idx {padding_idx} is out of range for {num_embeddings} rows.")
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.weight = Parameter(empty(num_embeddings, embedding_dim, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight anew."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                zero_(getitem(self.weight, self.padding_idx))

    def forward(self, input: Tensor) -> Tensor:
        """(...) ints to (..., embedding_dim)."""
        return embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
