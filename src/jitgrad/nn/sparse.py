"""Embedding: rows of a table by index."""

from __future__ import annotations

from typing import Any

from jitgrad.autograd import Tensor, no_grad
from jitgrad.errors import ArgumentError, OutOfRangeError, ShapeError
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
    max_norm, norm_type, scale_grad_by_freq, sparse
        Not supported: ArgumentError for a max_norm, a true scale_grad_by_freq or a true sparse.
    _weight, _freeze
        A weight to start from, and whether it stays as it is; from_pretrained gives them.

    Raises OutOfRangeError (an IndexError) for an index that is no row.

    >>> import jitgrad as jg
    >>> jg.nn.Embedding(10, 3)(jg.tensor([[1, 2], [3, 4]])).shape
    (2, 2, 3)
    """

    weight: Parameter

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False, _weight: Tensor | None = None,
        _freeze: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if max_norm is not None or scale_grad_by_freq or sparse:
            raise ArgumentError(
                "Embedding: max_norm, scale_grad_by_freq and sparse are not supported, "
                f"given max_norm={max_norm}, norm_type={norm_type}, scale_grad_by_freq={scale_grad_by_freq}, sparse={sparse}."
            )
        if _weight is not None and _weight.shape != (num_embeddings, embedding_dim):
            raise ShapeError(f"Embedding: expected a weight {(num_embeddings, embedding_dim)}, given {_weight.shape}.")
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise OutOfRangeError(f"Embedding: padding_idx {padding_idx} is out of range for {num_embeddings} rows.")
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        if _weight is not None:
            self.weight = Parameter(_weight, requires_grad=not _freeze)
            return
        self.weight = Parameter(empty(num_embeddings, embedding_dim, device=device, dtype=dtype), requires_grad=not _freeze)
        self.reset_parameters()

    @classmethod
    def from_pretrained(
        cls, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
    ) -> Embedding:  # fmt: skip
        """A layer on a table (rows, features) that is there already, whose memory it shares; trained unless freeze.

        >>> import jitgrad as jg
        >>> jg.nn.Embedding.from_pretrained(jg.tensor([[1.0, 2.0], [3.0, 4.0]]))(jg.tensor([1])).tolist()
        [[3.0, 4.0]]
        """
        if embeddings.ndim != 2:
            raise ShapeError(f"Embedding: expected a table of 2 dims, given {embeddings.shape}.")
        rows, features = embeddings.shape
        return cls(rows, features, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, _weight=embeddings, _freeze=freeze)

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
