"""Linear, Bilinear, and the layers that only change shape: Identity, Flatten, Unflatten."""

from __future__ import annotations

from typing import Any

from jitgrad.autograd import Tensor
from jitgrad.nn import init
from jitgrad.nn.module import Module
from jitgrad.nn.parameter import Parameter, weight_and_bias
from jitgrad.ops.create import empty
from jitgrad.ops.matmul import bilinear, linear
from jitgrad.ops.views import flatten, unflatten
from jitgrad.shapes import as_int, as_shape


class Identity(Module):
    """Returns its input; takes and ignores any arguments.

    >>> import jitgrad as jg
    >>> jg.nn.Identity()(jg.tensor([1.0])).tolist()
    [1.0]
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        """The input."""
        return input


class Flatten(Module):
    """Merges the dims from start_dim to end_dim: (N, C, H, W) becomes (N, C H W) by default.

    >>> import jitgrad as jg
    >>> jg.nn.Flatten()(jg.ones(2, 3, 4)).shape
    (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        """(..., merged, ...)."""
        return flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """One dim as several, whose sizes multiply to its size; one of them may be -1.

    >>> import jitgrad as jg
    >>> jg.nn.Unflatten(1, (3, 4))(jg.ones(2, 12)).shape
    (2, 3, 4)
    """

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        self.dim = as_int(dim, "Unflatten: dim")
        self.unflattened_size = as_shape((unflattened_size,))

    def forward(self, input: Tensor) -> Tensor:
        """(..., merged, ...) to (..., *unflattened_size, ...)."""
        return unflatten(input, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Linear(Module):
    """``y = x W^T + b``.

    Parameters
    ----------
    in_features, out_features
        Sizes of the last dim of input and output; the weight is (out_features, in_features), the bias (out_features,).
    bias
        Whether there is a bias.

    Both start uniform in [-1 / sqrt(in_features), 1 / sqrt(in_features)).
    Raises ShapeError where an input does not end in in_features, DTypeError where its dtype is not the weight's.

    >>> import jitgrad as jg
    >>> layer = jg.nn.Linear(2, 1)
    >>> _ = jg.nn.init.ones_(layer.weight), jg.nn.init.zeros_(layer.bias)
    >>> layer(jg.tensor([[1.0, 2.0]])).tolist()
    [[3.0]]
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(empty(out_features, in_features, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_features, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        init.weight_and_bias_(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        return linear(input, *weight_and_bias(self))

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """``y[..., k] = sum_{i, j} x1[..., i] W[k, i, j] x2[..., j] + b[k]``.

    Parameters
    ----------
    in1_features, in2_features, out_features
        Sizes of the last dim of the two inputs and of the output; the weight is (out_features, in1_features, in2_features), the bias
        (out_features,).
    bias
        Whether there is a bias.

    Both start uniform in [-1 / sqrt(in1_features), 1 / sqrt(in1_features)).
    Raises ShapeError where the inputs do not fit, DTypeError where their dtype is not the weight's.

    >>> import jitgrad as jg
    >>> layer = jg.nn.Bilinear(1, 2, 1)
    >>> _ = jg.nn.init.ones_(layer.weight), jg.nn.init.zeros_(layer.bias)
    >>> layer(jg.tensor([[2.0]]), jg.tensor([[3.0, 4.0]])).tolist()
    [[14.0]]
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:  # fmt: skip
        super().__init__()
        if in1_features < 1:
            raise ValueError(f"Bilinear: in1_features is expected to be at least 1, given {in1_features}.")
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        self.weight = Parameter(empty(out_features, in1_features, in2_features, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_features, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        bound = self.in1_features**-0.5
        for p in (self.weight, self.bias):
            if p is not None:
                init.uniform_(p, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """(..., in1_features) and (..., in2_features) to (..., out_features)."""
        return bilinear(input1, input2, *weight_and_bias(self))

    def extra_repr(self) -> str:
        sizes = f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}"
