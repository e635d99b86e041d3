"""Which modules must be resized where an edit changes the shapes of tensors."""

from __future__ import annotations

from typing import Any

from jitgrad.errors import SurgeryError


def plan(trace: Any, changes: Any, gone: Any) -> list[Any]:
    """Nothing can be followed yet."""
    raise SurgeryError("adapt=True cannot follow.")
