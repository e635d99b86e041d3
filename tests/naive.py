"""Oracles: the definition of each op in plain NumPy, slow and obvious. Floats come in as float64, except for ops about dtypes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

Array = np.ndarray
_vector = np.vectorize


# ---- pointwise
def add(a: Any, b: Any, alpha: float = 1) -> Array:
    return np.add(a, b) if alpha == 1 else np.add(a, np.multiply(b, alpha))


def sub(a: Any, b: Any, alpha: float = 1) -> Array:
    return np.subtract(a, b) if alpha == 1 else np.subtract(a, np.multiply(b, alpha))


def mul(a: Any, b: Any) -> Array:
    return np.multiply(a, b)


def div(a: Any, b: Any) -> Array:
    return np.true_divide(a, b)


def pow(a: Any, b: Any) -> Array:
    return np.power(a, b)


iadd, isub, imul, itruediv, truediv, ipow = add, sub, mul, div, div, pow
neg, log, sqrt, tanh = np.negative, np.log, np.sqrt, np.tanh


def exp(x: Array) -> Array:
    return np.exp(x.astype(np.float64))


eq, ne, lt, le, gt, ge, where = np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal, np.where


def relu(x: Array, inplace: bool = False) -> Array:
    return _inplace(x, np.where(x <= 0, 0, x).astype(x.dtype), inplace)


def gelu(x: Array, approximate: str = "none") -> Array:
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return np.asarray([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x.ravel()]).reshape(x.shape)


# ---- elementary functions, activations
abs, sign, sin, cos, log1p, expm1, floor, ceil, square = np.abs, np.sign, np.sin, np.cos, np.log1p, np.expm1, np.floor, np.ceil, np.square
isnan, isinf, isfinite = np.isnan, np.isinf, np.isfinite
logical_not, logical_and, logical_or = np.logical_not, np.logical_and, np.logical_or
maximum, minimum, erf = np.maximum, np.minimum, np.vectorize(math.erf, otypes=[float])


def reciprocal(x: Array) -> Array:
    return 1.0 / x


def rsqrt(x: Array) -> Array:
    return 1.0 / np.sqrt(x)


def round(x: Array, decimals: int = 0) -> Array:
    return np.round(x, decimals)


def clamp(x: Array, min: Any = None, max: Any = None) -> Array:
    x = x if min is None else np.maximum(x, min)
    return x if max is None else np.minimum(x, max)


def sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x.astype(np.float64)))


def silu(x: Array, inplace: bool = False) -> Array:
    return _inplace(x, x * sigmoid(x), inplace)


def leaky_relu(x: Array, negative_slope: float = 0.01, inplace: bool = False) -> Array:
    return _inplace(x, np.where(x > 0, x, negative_slope * x), inplace)


def elu(x: Array, alpha: float = 1.0, inplace: bool = False) -> Array:
    return _inplace(x, np.where(x > 0, x, alpha * np.expm1(x)), inplace)


def softplus(x: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    return np.where(x * beta > threshold, x, np.log1p(np.exp(x * beta)) / beta)


def _inplace(x: Array, y: Array, inplace: bool) -> Array:
    x[...] = y if inplace else x
    return y


# ---- reductions
def _axes(dim: Any) -> Any:
    return None if dim is None or dim == () or dim == [] else tuple(dim) if isinstance(dim, (tuple, list)) else dim


def sum(x: Array, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Array:
    y = np.sum(x, axis=_axes(dim) if x.ndim else None, keepdims=keepdim and x.ndim > 0)
    return y if x.dtype.kind == "f" else y.astype(np.int64)


def mean(x: Array, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Array:
    return np.asarray(np.mean(x, axis=_axes(dim) if x.ndim else None, keepdims=keepdim and x.ndim > 0))


def var(x: Array, dim: Any = None, correction: float = 1, keepdim: bool = False) -> Array:
    axes = _axes(dim)
    m = np.mean(x, axis=axes, keepdims=True)
    n = x.size if axes is None else math.prod(x.shape[a] for a in np.atleast_1d(axes))
    return np.sum((x - m) ** 2, axis=axes, keepdims=keepdim) / np.maximum(n - correction, 0)


def amax(x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    return np.asarray(np.max(x, axis=_axes(dim) if x.ndim else None, keepdims=keepdim and x.ndim > 0))


def argmax(x: Array, dim: Any = None, keepdim: bool = False) -> Array:
    if not x.ndim:
        return np.array(0)
    y = np.asarray(np.argmax(x, axis=dim))
    return y if not keepdim else y.reshape((1,) * x.ndim) if dim is None else np.expand_dims(y, dim)


def max(x: Array, dim: Any = None, keepdim: bool = False) -> Any:
    return amax(x) if dim is None else (amax(x, dim, keepdim), argmax(x, dim, keepdim))


# ---- views
def reshape(x: Array, *shape: Any) -> Array:
    return np.reshape(x, shape[0] if isinstance(shape[0], (tuple, list)) else shape)


view = reshape


def view_as(x: Array, other: Array) -> Array:
    return x.reshape(other.shape)


def flatten(x: Array, start_dim: int = 0, end_dim: int = -1) -> Array:
    if not x.ndim:
        return x.reshape(1)
    a, b = start_dim % x.ndim, end_dim % x.ndim
    return x.reshape(*x.shape[:a], math.prod(x.shape[a : b + 1]), *x.shape[b + 1 :])


def unflatten(x: Array, dim: int, sizes: Any) -> Array:
    dim %= x.ndim
    return x.reshape(*x.shape[:dim], *sizes, *x.shape[dim + 1 :])


def permute(x: Array, *dims: Any) -> Array:
    return np.transpose(x, dims[0] if dims and isinstance(dims[0], (tuple, list)) else dims)


def transpose(x: Array, dim0: int, dim1: int) -> Array:
    return np.swapaxes(x, dim0, dim1) if x.ndim else x


def t(x: Array) -> Array:
    return x.T


def T(x: Array) -> Array:  # noqa: N802
    return x.T


def mT(x: Array) -> Array:  # noqa: N802
    return np.swapaxes(x, -1, -2)


def expand(x: Array, *size: Any) -> Array:
    size = size[0] if isinstance(size[0], (tuple, list)) else size
    old = (1,) * (len(size) - x.ndim) + x.shape
    return np.broadcast_to(x, [m if n == -1 else n for m, n in zip(old, size, strict=True)])


def expand_as(x: Array, other: Array) -> Array:
    return np.broadcast_to(x, other.shape)


def squeeze(x: Array, dim: Any = None) -> Array:
    dims = range(x.ndim) if dim is None else [d % np.maximum(x.ndim, 1) for d in np.atleast_1d(dim)]
    return x.reshape([n for i, n in enumerate(x.shape) if n != 1 or i not in dims])


def unsqueeze(x: Array, dim: int) -> Array:
    return np.expand_dims(x, dim)


def narrow(x: Array, dim: int, start: int, length: int) -> Array:
    start = start % x.shape[dim] if start < 0 else start
    return np.take(x, range(start, start + length), axis=dim)


def as_strided(x: Array, size: Any, stride: Any, storage_offset: int = 0) -> Array:
    y = np.empty(size, x.dtype)
    for i in itertools.product(*map(range, size)):
        y[i] = x.ravel()[storage_offset + np.dot(i, stride).astype(int)]
    return y


def __getitem__(x: Array, key: Any) -> Array:  # noqa: N807
    return x[key]


def __setitem__(x: Array, key: Any, value: Any) -> Array:  # noqa: N807
    y = x.copy()
    y[key] = value
    return y


def nonzero(x: Array) -> Array:
    return np.argwhere(x)


# ---- joining, products
def cat(xs: list[Array], dim: int = 0) -> Array:
    return np.concatenate([x for x in xs if x.shape != (0,)], axis=dim)


def stack(xs: list[Array], dim: int = 0) -> Array:
    return np.stack(xs, axis=dim)


def matmul(a: Array, b: Array) -> Array:
    return np.matmul(a, b)


def linear(x: Array, w: Array, b: Array | None = None) -> Array:
    return x @ w.T if b is None else x @ w.T + b


def bilinear(x1: Array, x2: Array, w: Array, b: Array | None = None) -> Array:
    y = np.einsum("...i,kij,...j->...k", x1, w, x2)
    return y if b is None else y + b


# ---- convolution and pooling
def _pair(value: Any) -> tuple[int, int]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)  # type: ignore[return-value]


def conv2d(
    x: Array, w: Array, b: Array | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Array:  # fmt: skip
    if x.ndim == 3:
        return conv2d(x[None], w, b, stride, padding, dilation, groups)[0]
    (sy, sx), (dy, dx) = _pair(stride), _pair(dilation)
    if padding == "same":
        padding = (dy * (w.shape[2] - 1) // 2, dx * (w.shape[3] - 1) // 2)
    py, px = _pair(0 if padding == "valid" else padding)
    N, _, H, W = x.shape
    F, CG, KH, KW = w.shape
    padded = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px)))
    y = np.zeros((N, F, (H + 2 * py - dy * (KH - 1) - 1) // sy + 1, (W + 2 * px - dx * (KW - 1) - 1) // sx + 1))
    for n, f, i, j in np.ndindex(y.shape):
        first = f // (F // groups) * CG
        for c, k, m in np.ndindex(CG, KH, KW):
            y[n, f, i, j] += padded[n, first + c, i * sy + k * dy, j * sx + m * dx] * w[f, c, k, m]
    return y if b is None else y + b[:, None, None]


def _pool_size(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    # Count windows that start inside the input or its left padding.
    reach = dilation * (kernel - 1)
    starts = [s for s in range(-padding, size + padding, stride) if ceil_mode or s + reach < size + padding]
    if not ceil_mode:
        return len(starts)
    count = 1
    while (count - 1) * stride + reach < size + 2 * padding - 1:
        count += 1
    return count if (count - 1) * stride - padding < size else count - 1


def _windows(x: Array, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Any:
    """For each output place: its index, and the places (row, column) of its window, also those in the padding."""
    kernel = _pair(kernel_size)
    steps, pads, gaps = _pair(kernel_size if stride is None else stride), _pair(padding), _pair(dilation)
    sizes = [_pool_size(x.shape[2 + d], kernel[d], steps[d], pads[d], gaps[d], ceil_mode) for d in (0, 1)]
    for n, c, i, j in np.ndindex(*x.shape[:2], *sizes):
        top, left = i * steps[0] - pads[0], j * steps[1] - pads[1]
        yield (n, c, i, j), [(top + k * gaps[0], left + m * gaps[1]) for k, m in np.ndindex(*kernel)]


def _inside(x: Array, place: tuple[int, int]) -> bool:
    return 0 <= place[0] < x.shape[2] and 0 <= place[1] < x.shape[3]


def max_pool2d(
    x: Array, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    if x.ndim == 3:
        y = max_pool2d(x[None], kernel_size, stride, padding, dilation, ceil_mode, return_indices)
        return (y[0][0], y[1][0]) if return_indices else y[0]
    values, places = {}, {}
    for index, window in _windows(x, kernel_size, stride, padding, dilation, ceil_mode):
        best = None
        for place in filter(lambda p: _inside(x, p), window):
            v = x[index[:2]][place]
            if best is None or (v > x[index[:2]][best]) or (np.isnan(v) and not np.isnan(x[index[:2]][best])):
                best = place
        assert best is not None
        values[index], places[index] = x[index[:2]][best], best[0] * x.shape[3] + best[1]
    shape = [n + 1 for n in np.max(list(values), axis=0)] if values else [0]
    y, indices = np.empty(shape), np.empty(shape, np.int64)
    for index, v in values.items():
        y[index], indices[index] = v, places[index]
    return (y, indices) if return_indices else y


def avg_pool2d(
    x: Array, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Array:  # fmt: skip
    if x.ndim == 3:
        return avg_pool2d(x[None], kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)[0]
    pads = _pair(padding)
    means = {}
    for index, window in _windows(x, kernel_size, stride, padding, 1, ceil_mode):
        inside = [x[index[:2]][p] for p in window if _inside(x, p)]
        # Padding counts, but not what ceil_mode adds beyond it.
        padded = [p for p in window if p[0] < x.shape[2] + pads[0] and p[1] < x.shape[3] + pads[1]]
        means[index] = np.sum(inside) / (divisor_override or len(padded if count_include_pad else inside))
    y = np.empty([n + 1 for n in np.max(list(means), axis=0)])
    for index, v in means.items():
        y[index] = v
    return y


def conv1d(
    x: Array, w: Array, b: Array | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Array:  # fmt: skip
    stride, dilation = _first(stride), _first(dilation)
    if padding == "same":
        padding = dilation * (w.shape[2] - 1) // 2
    padding = 0 if padding == "valid" else _first(padding)
    return conv2d(x[..., None, :], w[:, :, None], b, (1, stride), (0, padding), (1, dilation), groups)[..., 0, :]


def _first(value: Any) -> int:
    return value[0] if isinstance(value, (tuple, list)) else value  # type: ignore[no-any-return]


def max_pool1d(
    x: Array, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    k, p = _first(kernel_size), _first(padding)
    s = k if stride is None else _first(stride)
    y, i = max_pool2d(x[..., None, :], (1, k), (1, s), (0, p), (1, _first(dilation)), ceil_mode, True)
    return (y[..., 0, :], i[..., 0, :]) if return_indices else y[..., 0, :]


def avg_pool1d(
    x: Array, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, count_include_pad: bool = True
) -> Array:  # fmt: skip
    k, p = _first(kernel_size), _first(padding)
    s = k if stride is None else _first(stride)
    return avg_pool2d(x[..., None, :], (1, k), (1, s), (0, p), ceil_mode, count_include_pad)[..., 0, :]


def adaptive_avg_pool2d(x: Array, output_size: Any) -> Array:
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    OH, OW = (n if size is None else size for size, n in zip(sizes, x.shape[-2:], strict=True))
    y = np.empty((*x.shape[:-2], OH, OW))
    for i, j in np.ndindex(OH, OW):
        rows = slice(math.floor(i * x.shape[-2] / OH), math.ceil((i + 1) * x.shape[-2] / OH))
        columns = slice(math.floor(j * x.shape[-1] / OW), math.ceil((j + 1) * x.shape[-1] / OW))
        y[..., i, j] = x[..., rows, columns].mean((-2, -1))
    return y


# ---- softmax, losses
def softmax(x: Array, dim: int, dtype: Any = None) -> Array:
    return np.exp(log_softmax(x, dim))


def log_softmax(x: Array, dim: int, dtype: Any = None) -> Array:
    if not x.size or not x.ndim:
        return np.zeros_like(x)
    shifted = x - np.max(x, axis=dim, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=dim, keepdims=True))


def _reduced(losses: Array, reduction: str, total: float) -> Array:
    return losses if reduction == "none" else np.sum(losses) if reduction == "sum" else np.sum(losses) / total


def nll_loss(x: Array, target: Array, weight: Array | None = None, ignore_index: int = -100, reduction: str = "mean") -> Array:
    if x.ndim == 1:
        y = nll_loss(x[None], target[None], weight, ignore_index, reduction)
        return y[0] if reduction == "none" else y
    losses, total = np.zeros(target.shape), 0.0
    for i in np.ndindex(target.shape):
        if target[i] != ignore_index:
            w = 1.0 if weight is None else weight[target[i]]
            losses[i] = -w * x[(i[0], target[i], *i[1:])]
            total += w
    return _reduced(losses, reduction, total)


def cross_entropy(
    x: Array, target: Array, weight: Array | None = None, ignore_index: int = -100, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:  # fmt: skip
    if x.ndim == 1:
        y = cross_entropy(x[None], target[None], weight, ignore_index, reduction, label_smoothing)
        return y[0] if reduction == "none" else y
    C = x.shape[1]
    classes = np.moveaxis(log_softmax(x, 1), 1, -1)
    weights = np.ones(C) if weight is None else weight
    soft = target.dtype.kind == "f"
    losses, total = np.zeros(classes.shape[:-1]), 0.0
    for i in np.ndindex(losses.shape):
        if soft:
            q, counts, share = np.moveaxis(target, 1, -1)[i], True, 1.0
        else:
            counts = target[i] != ignore_index
            q, share = (np.eye(C)[target[i]], weights[target[i]]) if counts else (np.zeros(C), 0.0)
        q = q * (1 - label_smoothing) + label_smoothing / C
        losses[i] = -np.sum(q * weights * classes[i]) if counts else 0.0
        total += share
    return _reduced(losses, reduction, total)


def mse_loss(x: Array, target: Array, reduction: str = "mean", weight: Array | None = None) -> Array:
    w = np.ones(x.shape) if weight is None else weight
    return _reduced((x - target) ** 2 * w, reduction, np.sum(w))


def l1_loss(x: Array, target: Array, reduction: str = "mean", weight: Array | None = None) -> Array:
    w = np.ones(x.shape) if weight is None else weight
    return _reduced(np.abs(x - target) * w, reduction, np.sum(w))


def binary_cross_entropy_with_logits(
    x: Array, target: Array, weight: Array | float = 1.0, reduction: str = "mean", pos_weight: Array | float = 1.0
) -> Array:  # fmt: skip
    log_p, log_q = -np.logaddexp(0, -x), -np.logaddexp(0, x)
    return _reduced(-weight * (pos_weight * target * log_p + (1 - target) * log_q), reduction, x.size)


# ---- norms
def layer_norm(x: Array, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Array:
    dims = tuple(range(-len(np.atleast_1d(normalized_shape)), 0))
    y = (x - x.mean(dims, keepdims=True)) / np.sqrt(x.var(dims, keepdims=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def batch_norm(
    x: Array, running_mean: Array | None, running_var: Array | None, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Array:  # fmt: skip
    dims, column = (0, *range(2, x.ndim)), (-1, *(1,) * (x.ndim - 2))
    m, v = running_mean, running_var
    if training:
        m, v = x.mean(dims), x.var(dims)
        n = x.size // x.shape[1]
        if running_mean is not None and running_var is not None:
            running_mean += momentum * (m - running_mean)
            running_var += momentum * (v * n / (n - 1) - running_var)
    y = (x - m.reshape(column)) / np.sqrt(v.reshape(column) + eps)
    y = y if weight is None else y * weight.reshape(column)
    return y if bias is None else y + bias.reshape(column)


# ---- embedding, copies, creation
def one_hot(labels: Array, num_classes: int = -1) -> Array:
    return np.eye(labels.max() + 1 if num_classes == -1 else num_classes, dtype=np.int64)[labels]


def embedding(idx: Array, weight: Array, padding_idx: int | None = None) -> Array:
    return weight[idx]


def fill(x: Array, value: Any) -> Array:
    return np.full_like(x, value)


def zero(x: Array) -> Array:
    return np.zeros_like(x)


def copy(x: Array, src: Array) -> Array:
    return np.broadcast_to(src, x.shape)


def clone(x: Array) -> Array:
    return x.copy()


contiguous = detach = cpu = cuda = clone


def zeros(*size: Any, dtype: Any = None) -> Array:
    return np.zeros(size[0] if len(size) == 1 else size)


def ones(*size: Any, dtype: Any = None) -> Array:
    return np.ones(size[0] if len(size) == 1 else size)


def full(size: Any, value: Any, dtype: Any = None) -> Array:
    return np.full(size, value)


def zeros_like(x: Array, dtype: Any = None) -> Array:
    return np.zeros(x.shape, x.dtype)


def ones_like(x: Array, dtype: Any = None) -> Array:
    return np.ones(x.shape, x.dtype)


def arange(*bounds: Any, step: Any = None, dtype: Any = None) -> Array:
    return np.arange(*bounds) if step is None else np.arange(*bounds, step)


# ---- random numbers
def philox(counter: int, key: int) -> list[int]:
    """Four lanes of 32 random bits; Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3 (2011)."""
    c = [counter >> 32 * i & 0xFFFFFFFF for i in range(4)]
    k0, k1 = key & 0xFFFFFFFF, key >> 32 & 0xFFFFFFFF
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k0, p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k1, p0 & 0xFFFFFFFF]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


def dropout(x: Array, p: float = 0.5, training: bool = True, inplace: bool = False) -> Array:
    if not training or p == 0 or p == 1:
        return x * (not training or p == 0)
    bits = [lane for i in range(-(-x.size // 4)) for lane in philox(i, 0)][: x.size]  # seed 0, offset 0
    keep = np.array([(b >> 8) * 2.0**-24 >= p for b in bits]).reshape(x.shape)
    y = np.where(keep, x / (1 - p), 0.0)
    x[...] = y if inplace else x
    return y
