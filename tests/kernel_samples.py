"""Arrays of every layout, and the comparison, for tests of kernels."""

from __future__ import annotations

import numpy as np

FLOATS = [np.dtype(np.float32), np.dtype(np.float64)]
DTYPES = [np.dtype(t) for t in (np.float32, np.float64, np.float16, np.int64, np.int32, np.uint8, np.bool_)]
LAYOUTS = ["C", "F", "sliced", "negative", "broadcast", "readonly"]


def sample(shape: tuple[int, ...], dtype: np.dtype = FLOATS[0], layout: str = "C", seed: int = 0) -> np.ndarray:
    """Random values of a shape in one of the layouts."""
    values = np.asarray(np.random.default_rng(seed).normal(size=shape) * 3).astype(dtype)
    if layout == "F":
        return values.transpose().copy().transpose()
    if layout == "sliced":
        wide = np.zeros((*shape[:-1], 2 * shape[-1] + 1), dtype)
        wide[..., 1::2] = values
        return wide[..., 1::2]
    if layout == "negative":
        return np.ascontiguousarray(values[..., ::-1])[..., ::-1]
    if layout == "broadcast":
        return np.broadcast_to(values[:1], shape)
    if layout == "readonly":
        values.flags.writeable = False
    return values


def check(got: np.ndarray, want: np.ndarray, tol: float = 0.0) -> None:
    want = np.asarray(want)
    assert type(got) is np.ndarray and got.flags.c_contiguous
    assert got.shape == want.shape and got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=tol, atol=tol)


def tolerance(dtype: np.dtype) -> float:
    return 2e-6 if dtype.itemsize == 4 else 1e-12


def check_signatures(*modules: object) -> None:
    """No kernel of the modules was compiled twice for the same dtypes, whatever the layouts it met."""
    for module in modules:
        for name, kernel in vars(module).items():
            if name.startswith("_") and hasattr(kernel, "signatures"):
                dtypes = {tuple(str(t).split(",")[0] for t in signature) for signature in kernel.signatures}
                assert len(dtypes) == len(kernel.signatures), (name, kernel.signatures)
