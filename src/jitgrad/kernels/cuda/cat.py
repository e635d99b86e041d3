"""Joining arrays."""

from __future__ import annotations

from jitgrad.kernels.cuda.layout import DeviceArray, copy_strided, new, strided


def cat(xs: tuple[DeviceArray, ...], dim: int) -> DeviceArray:
    """y = xs one after another along dim."""
    shape = list(xs[0].shape)
    shape[dim] = sum(tuple(x.shape)[dim] for x in xs)
    y = new(tuple(shape), xs[0].dtype)
    offset = 0
    for x in xs:
        if x.size:
            copy_strided(strided(y, tuple(x.shape), y.strides, offset), x)
        offset += tuple(x.shape)[dim] * y.strides[dim]
    return y
