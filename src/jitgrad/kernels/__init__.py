"""Floor 0: arrays in, arrays out. ``of(array)`` and ``on(device_type)`` are the one device branch of the library."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from jitgrad.errors import NoDataError

Array = Any  # numpy.ndarray, or numba's device array
PARALLEL_MIN = 1 << 16  # elements of light work from which a parallel region, 2-5 us, is repaid
FAMILIES = [
    "views", "create", "cat", "pointwise", "reduce", "matmul", "conv", "pool", "softmax", "loss", "norm", "index", "random", "optim",
]  # fmt: skip


class Backend:
    """The launchers of one device by name: ``on("cpu").conv2d(x, w, b, ...)``."""

    def __init__(self, device_type: str) -> None:
        self.device_type = device_type

    def __getattr__(self, name: str) -> Callable[..., Any]:
        for family in FAMILIES:
            launcher = getattr(import_module(f"jitgrad.kernels.{self.device_type}.{family}"), name, None)
            if launcher is not None and not name.startswith("_"):
                setattr(self, name, launcher)
                return launcher
        raise AttributeError(f"there is no {self.device_type} kernel {name!r}")


class NoKernels(Backend):
    """What there is for arrays without data, as in a dry run: the device type, and no launcher."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise NoDataError(
            f"values are asked for ({name}), as item(), numpy() or an if on a tensor do: "
            "a dry run has shapes and dtypes only. Run it outside of DryRun."
        )


_cpu, _cuda = Backend("cpu"), Backend("cuda")
_without_data = {"cpu": NoKernels("cpu"), "cuda": NoKernels("cuda")}


def of(array: Array) -> Backend:
    """The kernels for the device that holds array; for a Spec, which holds nothing, NoKernels."""
    kind = type(array)
    if kind is np.ndarray:
        return _cpu
    device_type = getattr(array, "device_type", None)
    return _cuda if device_type is None else _without_data[device_type]


def of_type(array_type: type) -> Backend:
    """The kernels for a type of array."""
    return _cpu if array_type is np.ndarray else _cuda


def on(device_type: str) -> Backend:
    """The kernels for a device type, "cpu" or "cuda"."""
    return _cpu if device_type == "cpu" else _cuda


def cuda_is_available() -> bool:
    """Whether a CUDA card (or numba's simulator of one) can be used."""
    cuda = import_module("numba.cuda")
    return bool(cuda.is_available())
