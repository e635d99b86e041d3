"""How a Tensor prints."""

from __future__ import annotations

import numpy as np

from jitgrad import kernels
from jitgrad.autograd.tensor import Tensor
from jitgrad.dtypes import bool_, float32, int64


def tensor_repr(x: Tensor) -> str:
    """tensor(...) with NumPy's layout of the numbers, and what is not the default: dtype, device, requires_grad, grad_fn."""
    name = "tensor" if type(x) is Tensor else type(x).__name__
    host = kernels.of(x.array).to_host(x.array)
    numbers = np.array2string(host, separator=", ", precision=4, threshold=1000, prefix=name + "(")
    more = []
    if x.dtype not in (float32, int64, bool_) or host.size == 0:
        more.append(f"dtype={x.dtype}")
    if 0 in host.shape and host.ndim > 1:
        more.append(f"size={host.shape}")
    if x.device.type != "cpu":
        more.append(f"device='{x.device}'")
    if x.grad_fn is not None:
        more.append(f"grad_fn={x.grad_fn}")
    elif x.requires_grad and type(x) is Tensor:
        more.append("requires_grad=True")
    return ", ".join([f"{name}({numbers}", *more]) + ")"
