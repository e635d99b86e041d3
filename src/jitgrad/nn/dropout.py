"""Dropout."""

from __future__ import annotations

from jitgrad.autograd import Tensor
from jitgrad.nn.module import Module
from jitgrad.ops.random import dropout


class Dropout(Module):
    """In training mode each element becomes 0 with probability p, else ``x / (1 - p)``; in evaluation mode nothing changes.

    Source: Srivastava et al., Dropout, 2014.

    >>> import jitgrad as jg
    >>> jg.nn.Dropout(0.5).eval()(jg.ones(2)).tolist()
    [1.0, 1.0]
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"Dropout: p is expected between 0 and 1, given {p}.")
        self.p = p
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """The input's shape."""
        return dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"
