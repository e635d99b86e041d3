"""One table of layers: how each is made, what it takes, what its state_dict holds, how PyTorch 2.13 prints it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jitgrad import nn


class ModuleCase(NamedTuple):
    """A row: ``make(*args, **kwargs)`` gives the layer, ``inputs`` the shapes of its float inputs, ``reference`` its forward."""

    make: type[nn.Module]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[tuple[int, ...], ...]
    keys: str
    repr: str
    reference: Callable[..., Any]
    labels: Any = None  # an int array as the last input (or the only one, where inputs is empty)
    wrong: tuple[int, ...] | None = None  # an input shape that does not fit

    @property
    def id(self) -> str:
        return self.repr


def _labels(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def _linear(m: Any, x: np.ndarray) -> np.ndarray:
    y = np.einsum("...i,oi->...o", x, m.weight.detach().numpy())
    return y if m.bias is None else y + m.bias.detach().numpy()


def _batch_norm(m: Any, x: np.ndarray) -> np.ndarray:
    dims = (0, *range(2, x.ndim))
    column = (1, -1, *(1,) * (x.ndim - 2))
    y = (x - x.mean(dims, keepdims=True)) / np.sqrt(x.var(dims, keepdims=True) + m.eps)
    y = y if m.weight is None else y * m.weight.detach().numpy().reshape(column)
    return y if m.bias is None else y + m.bias.detach().numpy().reshape(column)


def _layer_norm(m: Any, x: np.ndarray) -> np.ndarray:
    dims = tuple(range(x.ndim - len(m.normalized_shape), x.ndim))
    y = (x - x.mean(dims, keepdims=True)) / np.sqrt(x.var(dims, keepdims=True) + m.eps)
    y = y if m.weight is None else y * m.weight.detach().numpy()
    return y if m.bias is None else y + m.bias.detach().numpy()


def _conv2d(m: Any, x: np.ndarray) -> np.ndarray:
    (sh, sw), (dh, dw), w = m.stride, m.dilation, m.weight.detach().numpy()
    F, CG, KH, KW = w.shape
    named = {"valid": (0, 0), "same": (dh * (KH - 1) // 2, dw * (KW - 1) // 2)}
    ph, pw = named[m.padding] if isinstance(m.padding, str) else m.padding
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    N, _, H, W = x.shape
    y = np.zeros((N, F, (H - dh * (KH - 1) - 1) // sh + 1, (W - dw * (KW - 1) - 1) // sw + 1), x.dtype)
    for n, f, i, j in np.ndindex(*y.shape):
        first = f // (F // m.groups) * CG
        window = x[n, first : first + CG, i * sh : i * sh + dh * (KH - 1) + 1 : dh, j * sw : j * sw + dw * (KW - 1) + 1 : dw]
        y[n, f, i, j] = (window * w[f]).sum() + (0 if m.bias is None else m.bias.detach().numpy()[f])
    return y


def _conv1d(m: Any, x: np.ndarray) -> np.ndarray:
    import naive

    b = None if m.bias is None else m.bias.detach().numpy()
    return naive.conv1d(x, m.weight.detach().numpy(), b, m.stride, m.padding, m.dilation, m.groups)


def _bilinear(m: Any, x1: np.ndarray, x2: np.ndarray) -> np.ndarray:
    y = np.einsum("...i,kij,...j->...k", x1, m.weight.detach().numpy(), x2)
    return y if m.bias is None else y + m.bias.detach().numpy()


def _bce(m: Any, x: np.ndarray, t: np.ndarray) -> np.ndarray:
    losses = np.logaddexp(0, x) - x * t
    return losses if m.reduction == "none" else np.array(losses.mean() if m.reduction == "mean" else losses.sum())


def _pool(reduce: Any) -> Callable[..., np.ndarray]:
    def pooled(m: Any, x: np.ndarray) -> np.ndarray:
        k = m.kernel_size
        N, C, H, W = x.shape
        return reduce(x[:, :, : H // k * k, : W // k * k].reshape(N, C, H // k, k, W // k, k), (3, 5))

    return pooled


def _log_softmax(x: np.ndarray, dim: int) -> np.ndarray:
    x = x - x.max(dim, keepdims=True)
    return x - np.log(np.exp(x).sum(dim, keepdims=True))


def _gelu(m: Any, x: np.ndarray) -> np.ndarray:
    from math import erf

    if m.approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return x * 0.5 * (1.0 + np.vectorize(erf)(x / np.sqrt(2.0)))


def _cross_entropy(m: Any, x: np.ndarray, t: np.ndarray) -> np.ndarray:
    return np.array(-np.mean([_log_softmax(x, 1)[i, c] for i, c in enumerate(t)]))


BATCH_KEYS = "weight bias running_mean running_var num_batches_tracked"
C = ModuleCase
CASES = [
    C(nn.Identity, (), {}, ((2, 3),), "", "Identity()", lambda m, x: x),
    C(nn.Flatten, (), {}, ((2, 3, 4),), "", "Flatten(start_dim=1, end_dim=-1)", lambda m, x: x.reshape(2, 12)),
    C(nn.Unflatten, (1, (3, 2)), {}, ((2, 6),), "", "Unflatten(dim=1, unflattened_size=(3, 2))",
      lambda m, x: x.reshape(2, 3, 2), wrong=(2, 5)),
    C(nn.Bilinear, (2, 3, 4), {}, ((5, 2), (5, 3)), "weight bias",
      "Bilinear(in1_features=2, in2_features=3, out_features=4, bias=True)", _bilinear),
    C(nn.Bilinear, (2, 3, 1), {"bias": False}, ((2, 2, 2), (2, 2, 3)), "weight",
      "Bilinear(in1_features=2, in2_features=3, out_features=1, bias=False)", _bilinear),
    C(nn.Linear, (3, 4), {}, ((2, 3),), "weight bias", "Linear(in_features=3, out_features=4, bias=True)", _linear, wrong=(2, 5)),
    C(nn.Linear, (3, 4), {"bias": False}, ((2, 5, 3),), "weight", "Linear(in_features=3, out_features=4, bias=False)",
      _linear, wrong=(3, 4)),
    C(nn.Conv2d, (3, 8, 3), {}, ((2, 3, 5, 6),), "weight bias",
      "Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))", _conv2d, wrong=(2, 4, 5, 6)),
    C(nn.Conv2d, (4, 8, (3, 5)), {"stride": 2, "padding": 1, "dilation": 2, "groups": 2, "bias": False}, ((1, 4, 9, 11),), "weight",
      "Conv2d(4, 8, kernel_size=(3, 5), stride=(2, 2), padding=(1, 1), dilation=(2, 2), groups=2, bias=False)",
      _conv2d, wrong=(1, 4, 1, 1)),
    C(nn.Conv2d, (1, 2, 3), {"padding": "same"}, ((2, 1, 4, 4),), "weight bias",
      "Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=same)", _conv2d, wrong=(4, 4)),
    C(nn.Conv1d, (3, 4, 3), {}, ((2, 3, 6),), "weight bias",
      "Conv1d(3, 4, kernel_size=(3,), stride=(1,))", _conv1d, wrong=(2, 4, 6)),
    C(nn.Conv1d, (4, 2, 2), {"stride": 2, "padding": 1, "dilation": 2, "groups": 2, "bias": False}, ((1, 4, 7),), "weight",
      "Conv1d(4, 2, kernel_size=(2,), stride=(2,), padding=(1,), dilation=(2,), groups=2, bias=False)", _conv1d, wrong=(1, 3, 7)),
    C(nn.Conv1d, (1, 2, (3,)), {"padding": "same"}, ((2, 1, 4),), "weight bias",
      "Conv1d(1, 2, kernel_size=(3,), stride=(1,), padding=same)", _conv1d, wrong=(2, 1, 4, 4)),
    C(nn.BatchNorm1d, (3,), {}, ((4, 3),), BATCH_KEYS,
      "BatchNorm1d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)", _batch_norm, wrong=(4, 2)),
    C(nn.BatchNorm1d, (3,), {"track_running_stats": False}, ((4, 3, 2),), "weight bias",
      "BatchNorm1d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=False)", _batch_norm, wrong=(4, 3, 2, 2)),
    C(nn.BatchNorm2d, (3,), {}, ((2, 3, 4, 5),), BATCH_KEYS,
      "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)", _batch_norm, wrong=(2, 3)),
    C(nn.BatchNorm2d, (3,), {"affine": False, "momentum": None}, ((2, 3, 4, 5),), "running_mean running_var num_batches_tracked",
      "BatchNorm2d(3, eps=1e-05, momentum=None, affine=False, bias=False, track_running_stats=True)", _batch_norm, wrong=(1, 3, 1, 1)),
    C(nn.LayerNorm, (4,), {}, ((2, 3, 4),), "weight bias",
      "LayerNorm((4,), eps=1e-05, elementwise_affine=True, bias=True)", _layer_norm, wrong=(4, 3)),
    C(nn.LayerNorm, ((2, 4),), {"bias": False}, ((3, 2, 4),), "weight",
      "LayerNorm((2, 4), eps=1e-05, elementwise_affine=True, bias=False)", _layer_norm, wrong=(3, 4, 2)),
    C(nn.LayerNorm, (4,), {"elementwise_affine": False}, ((2, 4),), "",
      "LayerNorm((4,), eps=1e-05, elementwise_affine=False, bias=False)", _layer_norm),
    C(nn.ReLU, (), {}, ((2, 3),), "", "ReLU()", lambda m, x: np.maximum(x, 0)),
    C(nn.GELU, (), {}, ((2, 3),), "", "GELU(approximate='none')", _gelu),
    C(nn.GELU, ("tanh",), {}, ((2, 3),), "", "GELU(approximate='tanh')", _gelu),
    C(nn.Tanh, (), {}, ((2, 3),), "", "Tanh()", lambda m, x: np.tanh(x)),
    C(nn.Sigmoid, (), {}, ((2, 3),), "", "Sigmoid()", lambda m, x: 1 / (1 + np.exp(-x))),
    C(nn.SiLU, (), {}, ((2, 3),), "", "SiLU()", lambda m, x: x / (1 + np.exp(-x))),
    C(nn.LeakyReLU, (), {}, ((2, 3),), "", "LeakyReLU(negative_slope=0.01)", lambda m, x: np.where(x > 0, x, 0.01 * x)),
    C(nn.LeakyReLU, (0.2,), {}, ((2, 3),), "", "LeakyReLU(negative_slope=0.2)", lambda m, x: np.where(x > 0, x, 0.2 * x)),
    C(nn.ELU, (), {"alpha": 0.5}, ((2, 3),), "", "ELU(alpha=0.5)", lambda m, x: np.where(x > 0, x, 0.5 * np.expm1(x))),
    C(nn.Softplus, (), {}, ((2, 3),), "", "Softplus(beta=1.0, threshold=20.0)", lambda m, x: np.log1p(np.exp(x))),
    C(nn.Softplus, (2, 1), {}, ((2, 3),), "", "Softplus(beta=2, threshold=1)",
      lambda m, x: np.where(2 * x > 1, x, np.log1p(np.exp(2 * x)) / 2)),
    C(nn.Softmax, (1,), {}, ((2, 3),), "", "Softmax(dim=1)", lambda m, x: np.exp(_log_softmax(x, 1))),
    C(nn.LogSoftmax, (), {"dim": -1}, ((2, 3),), "", "LogSoftmax(dim=-1)", lambda m, x: _log_softmax(x, -1)),
    C(nn.MaxPool2d, (2,), {}, ((2, 3, 4, 5),), "",
      "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)", _pool(np.max), wrong=(2, 3)),
    C(nn.AvgPool2d, (2,), {}, ((2, 3, 4, 5),), "", "AvgPool2d(kernel_size=2, stride=2, padding=0)", _pool(np.mean), wrong=(2, 3, 1, 1)),
    C(nn.MaxPool1d, (2,), {}, ((2, 3, 5),), "", "MaxPool1d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)",
      lambda m, x: x[..., :4].reshape(2, 3, 2, 2).max(-1), wrong=(2, 3, 4, 4)),
    C(nn.AvgPool1d, (2,), {}, ((2, 3, 5),), "", "AvgPool1d(kernel_size=(2,), stride=(2,), padding=(0,))",
      lambda m, x: x[..., :4].reshape(2, 3, 2, 2).mean(-1), wrong=(2, 3, 1)),
    C(nn.AdaptiveAvgPool2d, (1,), {}, ((2, 3, 4, 5),), "", "AdaptiveAvgPool2d(output_size=1)",
      lambda m, x: x.mean((2, 3), keepdims=True), wrong=(2, 3)),
    C(nn.AdaptiveAvgPool2d, ((2, None),), {}, ((2, 3, 4, 5),), "", "AdaptiveAvgPool2d(output_size=(2, None))",
      lambda m, x: x.reshape(2, 3, 2, 2, 5).mean(3)),
    C(nn.Dropout, (), {"p": 0.0}, ((2, 3),), "", "Dropout(p=0.0, inplace=False)", lambda m, x: x),
    C(nn.Embedding, (5, 3), {}, (), "weight", "Embedding(5, 3)", lambda m, i: m.weight.detach().numpy()[i], labels=_labels(0, 4, 4)),
    C(nn.Embedding, (5, 3), {"padding_idx": -1}, (), "weight", "Embedding(5, 3, padding_idx=4)",
      lambda m, i: m.weight.detach().numpy()[i], labels=_labels(1, 4)),
    C(nn.CrossEntropyLoss, (), {}, ((3, 4),), "", "CrossEntropyLoss()", _cross_entropy, labels=_labels(0, 3, 1), wrong=(2, 4)),
    C(nn.MSELoss, (), {}, ((3, 4), (3, 4)), "", "MSELoss()", lambda m, x, t: np.array(((x - t) ** 2).mean())),
    C(nn.MSELoss, (), {"reduction": "none"}, ((3,), (3,)), "", "MSELoss()", lambda m, x, t: (x - t) ** 2),
    C(nn.L1Loss, (), {"reduction": "sum"}, ((3, 4), (3, 4)), "", "L1Loss()", lambda m, x, t: np.array(np.abs(x - t).sum())),
    C(nn.BCEWithLogitsLoss, (), {}, ((3, 4), (3, 4)), "", "BCEWithLogitsLoss()", _bce),
    C(nn.NLLLoss, (), {}, ((3, 4),), "", "NLLLoss()",
      lambda m, x, t: np.array(-np.mean([x[i, c] for i, c in enumerate(t)])), labels=_labels(0, 3, 1), wrong=(2, 4)),
]  # fmt: skip
