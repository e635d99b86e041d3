"""Pooling over windows of an image or a row: max_pool2d and max_pool1d with indices, avg_pool2d, avg_pool1d, adaptive_avg_pool2d."""

from __future__ import annotations

from math import prod
from typing import Any

from jitgrad import dtypes
from jitgrad.autograd import Primitive, Tensor
from jitgrad.errors import DTypeError, ShapeError
from jitgrad.ops.index import check_range
from jitgrad.ops.views import squeeze, unsqueeze
from jitgrad.shapes import Shape, as_ints, as_pair, pool_size, reaches_input

Pair = tuple[int, int]
_INT64 = dtypes.int64.numpy


def _pooled(name: str, x: Any, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool) -> Shape:
    xs = tuple(x.shape)
    if len(xs) != 4:
        raise ShapeError(f"{name}: expected an input (N, C, H, W), given {xs}. Try x.unsqueeze(0) for one image without a batch.")
    if x.dtype.char not in dtypes.COMPUTED_FLOATS:
        raise DTypeError(f"{name}: expected float32 or float64, given {x.dtype}. Try x.float().")
    if min(kernel) < 1 or min(stride) < 1 or min(dilation) < 1 or min(padding) < 0:
        raise ShapeError(
            f"{name}: expected kernel_size, stride and dilation of at least 1, given {kernel}, {stride} and {dilation}; padding {padding}."
        )
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ShapeError(f"{name}: expected padding of at most half the kernel_size {kernel}, given {padding}.")
    sizes = tuple(pool_size(n, k, s, p, d, ceil_mode) for n, k, s, p, d in zip(xs[2:], kernel, stride, padding, dilation, strict=True))
    if min(sizes) < 1:
        raise ShapeError(
            f"{name}: the window {kernel} is larger than the input {xs[2:]} with padding {padding}. Try a smaller kernel_size."
        )
    return (*xs[:2], *sizes)


def _max_infer(x: Any, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool) -> list[Any]:
    shape = _pooled("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)
    if dilation != (1, 1):
        for n, out, *window in zip(tuple(x.shape)[2:], shape[2:], kernel_size, stride, padding, dilation, strict=True):
            if n and not reaches_input(n, out, *window):
                raise ShapeError(f"max_pool2d: a window with dilation {dilation} lies wholly in the padding, and nothing has no maximum.")
    return [(shape, x.dtype), (shape, _INT64)]


def _check_pixels(indices: Any, x_shape: Any) -> None:
    """Indices point into a plane, also when NumPy has written to their memory since the maxima were found."""
    check_range(indices, 0, prod(tuple(x_shape)[-2:]), "pixels of a plane; the indices were written to")


MAX_POOL2D: Primitive = Primitive(
    "max_pool2d", "x", _max_infer, outputs="y indices",
    grad_x=lambda g, indices, x_shape: MAX_POOL2D_GRAD.apply(g[0], indices, x_shape),
)  # fmt: skip
# Indices go to and fro between windows and the flattened plane: two linear maps, each the other's transpose.
MAX_POOL2D_GRAD: Primitive = Primitive(
    "max_pool2d_grad", "g indices", lambda g, indices, x_shape: (x_shape, g.dtype),
    check=lambda g, indices, x_shape: _check_pixels(indices, x_shape),
    grad_g=lambda u, indices: MAX_POOL2D_GATHER.apply(u, indices),
)  # fmt: skip
MAX_POOL2D_GATHER: Primitive = Primitive(
    "max_pool2d_gather", "x indices", lambda x, indices: (indices.shape, x.dtype),
    check=lambda x, indices: _check_pixels(indices, x.shape),
    grad_x=lambda g, indices, x_shape: MAX_POOL2D_GRAD.apply(g, indices, x_shape),
)  # fmt: skip


def _avg_infer(x: Any, kernel_size: Pair, stride: Pair, padding: Pair, ceil_mode: bool, count_include_pad: bool, divisor: int) -> Any:
    return _pooled("avg_pool2d", x, kernel_size, stride, padding, (1, 1), ceil_mode), x.dtype


AVG_POOL2D: Primitive = Primitive(
    "avg_pool2d", "x", _avg_infer,
    grad_x=lambda g, x_shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor: AVG_POOL2D_GRAD.apply(
        g, x_shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor
    ),
)  # fmt: skip
AVG_POOL2D_GRAD: Primitive = Primitive(
    "avg_pool2d_grad", "g",
    lambda g, x_shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor: (x_shape, g.dtype),
    grad_g=lambda u, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor: AVG_POOL2D.apply(
        u, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor
    ),
)  # fmt: skip


def _window(kernel_size: Any, stride: Any, padding: Any) -> tuple[Pair, Pair, Pair]:
    kernel = as_pair(kernel_size, "kernel_size")
    return kernel, kernel if stride is None else as_pair(stride, "stride"), as_pair(padding, "padding")


def max_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Maximum over windows of (N, C, H, W), or (C, H, W); stride is kernel_size unless given; padding counts as -inf.

    With return_indices also where each maximum stands in its flattened plane. NaN wins, the first of equals gives the index.
    Gradient: g at those places. Raises ShapeError, DTypeError.

    >>> import jitgrad as jg
    >>> x = jg.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], requires_grad=True)
    >>> jg.nn.functional.max_pool2d(x, 2).sum().backward()
    >>> x.grad.tolist()
    [[[[0.0, 0.0], [0.0, 1.0]]]]
    """
    x = unsqueeze(input, 0) if input.ndim == 3 else input
    p = (*_window(kernel_size, stride, padding), as_pair(dilation, "dilation"), ceil_mode)
    y, indices = MAX_POOL2D.apply(x, *p)
    if x is not input:
        y, indices = squeeze(y, 0), squeeze(indices, 0)
    return (y, indices) if return_indices else y


def avg_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """Mean over windows of (N, C, H, W), or (C, H, W); stride is kernel_size unless given.

    Zeros of the padding count unless count_include_pad is false; divisor_override divides by another number.
    Gradient: g / divisor, spread over each window. Raises ShapeError, DTypeError.

    >>> import jitgrad as jg
    >>> jg.nn.functional.avg_pool2d(jg.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), 2).item()
    2.5
    """
    if divisor_override == 0:
        raise ShapeError("avg_pool2d: divisor_override is expected not to be 0.")
    x = unsqueeze(input, 0) if input.ndim == 3 else input
    y = AVG_POOL2D.apply(x, *_window(kernel_size, stride, padding), ceil_mode, count_include_pad, divisor_override or 0)
    return y if x is input else squeeze(y, 0)


def _row(name: str, input: Tensor) -> Tensor:
    """(N, C, L) or (C, L) as images of height 1."""
    if input.ndim not in (2, 3):
        raise ShapeError(f"{name}: expected an input (N, C, L) or (C, L), given {input.shape}. Reshape it.")
    return unsqueeze(input, -2)


def _flat(kernel_size: Any, stride: Any, padding: Any) -> tuple[Pair, Pair, Pair]:
    """A window along a row as one of an image of height 1."""
    kernel, pad = as_ints(kernel_size, 1, "kernel_size"), as_ints(padding, 1, "padding")
    steps = kernel if stride is None else as_ints(stride, 1, "stride")
    return (1, kernel[0]), (1, steps[0]), (0, pad[0])


def max_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Maximum over windows of (N, C, L), or (C, L); stride is kernel_size unless given; padding counts as -inf.

    With return_indices also where each maximum stands in its row. NaN wins, the first of equals gives the index.
    Gradient: g at those places. Raises ShapeError, DTypeError.

    >>> import jitgrad as jg
    >>> x = jg.tensor([[[1.0, 2.0, 4.0, 3.0]]], requires_grad=True)
    >>> jg.nn.functional.max_pool1d(x, 2).sum().backward()
    >>> x.grad.tolist()
    [[[0.0, 1.0, 1.0, 0.0]]]
    """
    p = (*_flat(kernel_size, stride, padding), (1, *as_ints(dilation, 1, "dilation")), ceil_mode)
    found = max_pool2d(_row("max_pool1d", input), *p, return_indices=True)
    y, indices = (squeeze(t, -2) for t in found)
    return (y, indices) if return_indices else y


def avg_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True
) -> Tensor:  # fmt: skip
    """Mean over windows of (N, C, L), or (C, L); stride is kernel_size unless given.

    Zeros of the padding count unless count_include_pad is false.
    Gradient: g / divisor, spread over each window. Raises ShapeError, DTypeError.

    >>> import jitgrad as jg
    >>> jg.nn.functional.avg_pool1d(jg.tensor([[[1.0, 2.0, 4.0, 6.0]]]), 2).tolist()
    [[[1.5, 5.0]]]
    """
    return squeeze(avg_pool2d(_row("avg_pool1d", input), *_flat(kernel_size, stride, padding), ceil_mode, count_include_pad), -2)


def _adaptive_infer(x: Any, output_size: Pair) -> tuple[Shape, Any]:
    xs = tuple(x.shape)
    if len(xs) != 4 or min(xs[1:]) < 1:
        raise ShapeError(f"adaptive_avg_pool2d: expected an input (N, C, H, W) with C, H and W of at least 1, given {xs}. Reshape it.")
    if min(output_size) < 0:
        raise ShapeError(f"adaptive_avg_pool2d: expected output sizes of at least 0, given {output_size}.")
    if x.dtype.char not in dtypes.COMPUTED_FLOATS:
        raise DTypeError(f"adaptive_avg_pool2d: expected float32 or float64, given {x.dtype}. Try x.float().")
    return (*xs[:2], *output_size), x.dtype


ADAPTIVE_AVG_POOL2D: Primitive = Primitive(
    "adaptive_avg_pool2d", "x", _adaptive_infer, grad_x=lambda g, x_shape: ADAPTIVE_AVG_POOL2D_GRAD.apply(g, x_shape)
)
ADAPTIVE_AVG_POOL2D_GRAD: Primitive = Primitive(
    "adaptive_avg_pool2d_grad", "g", lambda g, x_shape: (x_shape, g.dtype),
    grad_g=lambda u, g_shape: ADAPTIVE_AVG_POOL2D.apply(u, tuple(g_shape)[2:]),
)  # fmt: skip


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Mean over windows of (N, C, H, W), or (C, H, W), so chosen that OH x OW of them cover the image.

    Window i of OH begins at row floor(i H / OH) and ends before row ceil((i + 1) H / OH); columns alike.
    output_size is OH and OW, an int for both; None keeps the input's. Gradient: g / size of the window, added up where windows overlap.
    Raises ShapeError, DTypeError.

    >>> import jitgrad as jg
    >>> jg.nn.functional.adaptive_avg_pool2d(jg.tensor([[[[1.0, 2.0, 6.0]]]]), (1, 2)).tolist()
    [[[[1.5, 4.0]]]]
    """
    if input.ndim == 3:
        return squeeze(adaptive_avg_pool2d(unsqueeze(input, 0), output_size), 0)
    sizes = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    kept = [n if size is None else size for size, n in zip(sizes, input.shape[2:], strict=False)]
    return ADAPTIVE_AVG_POOL2D.apply(input, as_pair([*kept, *sizes[len(kept) :]], "output_size"))
