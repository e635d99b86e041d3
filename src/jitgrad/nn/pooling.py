"""Pooling layers."""

from __future__ import annotations

from typing import Any

from jitgrad.autograd import Tensor
from jitgrad.nn.module import Module
from jitgrad.ops.pool import adaptive_avg_pool2d, avg_pool1d, avg_pool2d, max_pool1d, max_pool2d
from jitgrad.shapes import as_ints


class _MaxPool(Module):
    """Arguments of maxima over windows."""

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

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """Maximum over windows of (N, C, L) or (C, L); arguments as functional.max_pool1d's, stride is kernel_size unless given.

    >>> import jitgrad as jg
    >>> jg.nn.MaxPool1d(2)(jg.tensor([[[1.0, 2.0, 4.0, 3.0]]])).tolist()
    [[[2.0, 4.0]]]
    """

    def forward(self, input: Tensor) -> Any:
        """(N, C, OL); with return_indices also where each maximum stands in its row."""
        return max_pool1d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)


class MaxPool2d(_MaxPool):
    """Maximum over windows of (N, C, H, W) or (C, H, W); arguments as functional.max_pool2d's, stride is kernel_size unless given.

    >>> import jitgrad as jg
    >>> jg.nn.MaxPool2d(2)(jg.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).item()
    4.0
    """

    def forward(self, input: Tensor) -> Any:
        """(N, C, OH, OW); with return_indices also where each maximum stands in its plane."""
        return max_pool2d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)


MaxPool2D = MaxPool2d


class AvgPool1d(Module):
    """Mean over windows of (N, C, L) or (C, L); arguments as functional.avg_pool1d's, stride is kernel_size unless given.

    >>> import jitgrad as jg
    >>> jg.nn.AvgPool1d(2)(jg.tensor([[[1.0, 2.0, 4.0, 6.0]]])).tolist()
    [[[1.5, 5.0]]]
    """

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = as_ints(kernel_size, 1, "kernel_size")
        self.stride = self.kernel_size if stride is None else as_ints(stride, 1, "stride")
        self.padding = as_ints(padding, 1, "padding")
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, OL)."""
        return avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


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


class AdaptiveAvgPool2d(Module):
    """Mean over so many windows that cover the image, whatever its size; see functional.adaptive_avg_pool2d.

    >>> import jitgrad as jg
    >>> jg.nn.AdaptiveAvgPool2d(1)(jg.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).item()
    2.5
    """

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, OH, OW)."""
        return adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
