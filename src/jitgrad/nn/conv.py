"""Convolution layers."""

from __future__ import annotations

from typing import Any

from jitgrad.autograd import Tensor
from jitgrad.errors import ShapeError
from jitgrad.nn import init
from jitgrad.nn.module import Module
from jitgrad.nn.parameter import Parameter, weight_and_bias
from jitgrad.ops.conv import conv1d, conv2d
from jitgrad.ops.create import empty
from jitgrad.shapes import as_ints


class _Conv(Module):
    """What convolutions over any number of dims have in common; see Conv2d."""

    weight: Parameter
    bias: Parameter | None
    _dims: int

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        name, n = type(self).__name__, self._dims
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ShapeError(f"{name}: groups={groups} is expected to divide in_channels={in_channels} and out_channels={out_channels}.")
        if padding_mode != "zeros":
            raise ValueError(f"{name}: padding_mode is expected to be 'zeros', given {padding_mode!r}: other modes are not supported.")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"{name}: padding is expected to be ints, 'same' or 'valid', given {padding!r}.")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = as_ints(kernel_size, n, "kernel_size")
        self.stride = as_ints(stride, n, "stride")
        self.padding = padding if isinstance(padding, str) else as_ints(padding, n, "padding")
        self.dilation = as_ints(dilation, n, "dilation")
        self.groups = groups
        self.padding_mode = padding_mode
        if self.padding == "same" and set(self.stride) != {1}:
            raise ValueError(f"{name}: padding='same' is expected with stride 1, given {stride}.")
        self.weight = Parameter(empty(out_channels, in_channels // groups, *self.kernel_size, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_channels, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        init.weight_and_bias_(self.weight, self.bias)

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        if self.padding != (0,) * self._dims:
            parts.append(f"padding={self.padding}")
        if self.dilation != (1,) * self._dims:
            parts.append(f"dilation={self.dilation}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)


class Conv1d(_Conv):
    """1-d cross-correlation with learned filters: ``y[n, f] = b[f] + sum_c w[f, c] * x[n, c]``.

    The weight is (F, C / groups, K), the bias (F,). Parameters as Conv2d's, with an int or a tuple of one for kernel_size, stride,
    padding and dilation. Raises ShapeError and DTypeError for inputs that are not (N, C, L) or (C, L) of the weight's dtype.

    >>> import jitgrad as jg
    >>> jg.nn.Conv1d(1, 4, 3, padding="same")(jg.ones(2, 1, 8)).shape
    (2, 4, 8)
    """

    _dims = 1

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, L) to (N, F, OL)."""
        return conv1d(input, *weight_and_bias(self), self.stride, self.padding, self.dilation, self.groups)


class Conv2d(_Conv):
    """2-d cross-correlation with learned filters: ``y[n, f] = b[f] + sum_c w[f, c] * x[n, c]``.

    Parameters
    ----------
    in_channels, out_channels
        C and F; the weight is (F, C / groups, KH, KW), the bias (F,).
    kernel_size, stride, padding, dilation
        An int or a pair (height, width); padding may be "same" or "valid".
    groups
        Channels and filters are cut into so many groups; it divides both.
    bias
        Whether there is a bias.
    padding_mode
        "zeros".

    Weight and bias start uniform in [-r, r), r = 1 / sqrt(C / groups KH KW).
    Raises ShapeError and DTypeError for inputs that are not (N, C, H, W) or (C, H, W) of the weight's dtype.

    >>> import jitgrad as jg
    >>> jg.nn.Conv2d(1, 4, 3, padding="same")(jg.ones(2, 1, 8, 8)).shape
    (2, 4, 8, 8)
    """

    _dims = 2

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, F, OH, OW)."""
        return conv2d(input, *weight_and_bias(self), self.stride, self.padding, self.dilation, self.groups)


Conv2D = Conv2d
