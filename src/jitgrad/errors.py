"""The exceptions of jitgrad: what is wrong, expected, given, where in the model, and one fix.

Each class has two bases, so that ``except ValueError`` (Python's habit) and ``except RuntimeError`` (PyTorch's) both work.
"""

from __future__ import annotations

import re
from typing import Any


class JitgradError(Exception):
    """Base of all errors that jitgrad raises about tensors and models; modules add their place to it on the way out."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.place: str = ""
        # What modules know of the place while the error passes through them; it stays out of pickles.
        self.trail: Any = None

    def __str__(self) -> str:
        message = str(self.args[0])
        return f"{message}\n  in {self.place}" if self.place else message

    def parts(self) -> tuple[str, str]:
        """What is wrong, the first sentence, and what to do about it, the others, without the place."""
        what, *rest = re.split(r"(?<=[.]) (?=[A-Z])", str(self.args[0]), maxsplit=1)
        return what, "".join(rest)

    def __reduce__(self) -> Any:
        return type(self), self.args, {"place": self.place}


class ShapeError(JitgradError, ValueError, RuntimeError):
    """Shapes or sizes that do not fit an operation."""


class ArgumentError(JitgradError, ValueError, RuntimeError):
    """An argument whose value an operation does not take."""


class CheckpointError(JitgradError, ValueError, RuntimeError):
    """An object that cannot be saved, or a file that cannot be loaded; nothing has been written."""


class DTypeError(JitgradError, TypeError, RuntimeError):
    """A dtype that an operation does not take, or two that do not go together."""


class LayerDTypeError(DTypeError):
    """An input and a weight of different dtypes: layers do not promote."""


class DeviceError(JitgradError, RuntimeError):
    """Tensors on different devices, or a device that is not there."""


class GradError(JitgradError, RuntimeError):
    """A gradient that cannot be computed, or would be wrong."""


class NoDataError(JitgradError, RuntimeError):
    """A value was asked for in a dry run, whose tensors have shapes and dtypes only."""


class SurgeryError(JitgradError, ValueError):
    """An edit of a model that would leave it broken; nothing has been changed."""


class StateDictError(JitgradError, ValueError, RuntimeError):
    """A state dict that does not fit the model or optimizer it is loaded into; nothing has been changed."""


class OutOfRangeError(JitgradError, IndexError):
    """A dim, index or label out of range."""


class GatherIndexError(OutOfRangeError, RuntimeError):
    """An index beyond a dim in gather and its kin, where PyTorch raises RuntimeError; elsewhere it raises IndexError."""


class NoForwardError(JitgradError, NotImplementedError):
    """A module that cannot be called: a list or dict of modules, or one without a forward method."""


class InputTypeError(JitgradError, TypeError, AttributeError):
    """Something else where a Tensor is expected, which lacks what a Tensor has."""


class UnknownPathError(JitgradError, KeyError):
    """A path, or another key, that leads to no module of a model."""
