"""Pooling layers."""

from __future__ import annotations

from typing import Any

from jitgrad.autograd import Tensor
from jitgrad.nn.module import Module
from jitgrad.ops.pool import avg_pool2d, max_pool2d


class MaxPool2d(Module):
    """Maximum over windows of (N, C, H, W) or (C, H, W); arguments as functional.max_pool2d's, stride is kernel_size unless given.

    >>> import jitgrad as jg
    >>> jg.nn.MaxPool2d(2)(jg.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).item()
    4.0
    """

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        return_indices: bool = False, ceil_mode: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Any:
        """(N, C, OH, OW); with return_indices also where each maximum stands in its plane."""
        return max_pool2d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
    """Mean over windows of (N, C, H, W) or (C, H, W); arguments as functional.avg_pool2d's, stride is kernel_size unless given.

    >>> import jitgrad as jg
    >>> jg.nn.AvgPool2d(2)(jg.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).item()
    2.5
    """

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, OH, OW)."""
        return avg_pool2d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.divisor_override)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
