"""Normalization layers: BatchNorm1d, BatchNorm2d, LayerNorm."""

from __future__ import annotations

from typing import Any

from jitgrad.autograd import Tensor
from jitgrad.dtypes import int64
from jitgrad.errors import ShapeError
from jitgrad.nn import init
from jitgrad.nn.module import Module
from jitgrad.nn.parameter import Parameter
from jitgrad.ops.convert import item
from jitgrad.ops.create import empty, ones, zeros
from jitgrad.ops.inplace import add_, zero_
from jitgrad.ops.norm import batch_norm, layer_norm
from jitgrad.shapes import as_shape


class _BatchNorm(Module):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` for each channel; see BatchNorm2d."""

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    _dims: tuple[int, ...]
    _words: str

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        like: dict[str, Any] = {"device": device, "dtype": dtype}
        self.register_parameter("weight", Parameter(ones(num_features, **like)) if affine else None)
        self.register_parameter("bias", Parameter(zeros(num_features, **like)) if affine and bias else None)
        self.register_buffer("running_mean", zeros(num_features, **like) if track_running_stats else None)
        self.register_buffer("running_var", ones(num_features, **like) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", zeros((), dtype=int64, device=device) if track_running_stats else None)

    def reset_running_stats(self) -> None:
        """Forget the running statistics."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            zero_(self.num_batches_tracked)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, no running statistics."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """The input's shape."""
        if input.ndim not in self._dims:
            raise ShapeError(f"{type(self).__name__}: expected an input {self._words}, given {input.shape}. Reshape it.")
        tracked = self.num_batches_tracked if self.training and self.track_running_stats else None
        momentum = self.momentum
        if momentum is None:  # a plain mean over all batches so far
            momentum = 0.0 if tracked is None else 1.0 / (item(tracked) + 1)
        read = not self.training or self.track_running_stats
        y = batch_norm(
            input, self.running_mean if read else None, self.running_var if read else None, self.weight, self.bias,
            self.training or self.running_mean is None, momentum, self.eps,
        )  # fmt: skip
        if tracked is not None:
            add_(tracked, 1)
        return y

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalization of (N, C) or (N, C, L) for each of the C channels; see BatchNorm2d.

    >>> import jitgrad as jg
    >>> jg.nn.BatchNorm1d(1, eps=0.0)(jg.tensor([[1.0], [3.0]])).tolist()
    [[-1.0], [1.0]]
    """

    _dims = (2, 3)
    _words = "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """Batch normalization of (N, C, H, W): ``(x - mean) / sqrt(var + eps) * weight + bias`` for each channel.

    Parameters
    ----------
    num_features
        C.
    eps
        Keeps the root away from 0.
    momentum
        How far each training batch moves the running statistics towards its own; None: they are the mean over all batches.
    affine, bias
        Whether there are a weight (1 at first) and a bias (0).
    track_running_stats
        Whether running statistics are kept and, in evaluation mode, used.

    Raises ShapeError for other shapes, and for one value per channel while training.
    Source: Ioffe and Szegedy, Batch Normalization, 2015, algorithm 1.

    >>> import jitgrad as jg
    >>> jg.nn.BatchNorm2d(1, eps=0.0)(jg.tensor([[[[1.0, 3.0]]]])).tolist()
    [[[[-1.0, 1.0]]]]
    """

    _dims = (4,)
    _words = "(N, C, H, W)"


class LayerNorm(Module):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` over the last dims, which have the shape normalized_shape.

    Parameters
    ----------
    normalized_shape
        An int or a tuple; also the shape of weight (1 at first) and bias (0).
    eps
        Keeps the root away from 0.
    elementwise_affine, bias
        Whether there are a weight and a bias.

    Source: Ba, Kiros and Hinton, Layer Normalization, 2016, equation 4.

    >>> import jitgrad as jg
    >>> jg.nn.LayerNorm(2, eps=0.0)(jg.tensor([[1.0, 3.0]])).tolist()
    [[-1.0, 1.0]]
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = as_shape((normalized_shape,))
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        like: dict[str, Any] = {"device": device, "dtype": dtype}
        self.register_parameter("weight", Parameter(empty(self.normalized_shape, **like)) if elementwise_affine else None)
        self.register_parameter("bias", Parameter(empty(self.normalized_shape, **like)) if elementwise_affine and bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """The input's shape."""
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
