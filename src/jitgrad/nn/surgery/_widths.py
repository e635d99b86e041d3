"""Which modules must be resized where an edit changes the shapes of tensors."""

from __future__ import annotations

from typing import Any

from jitgrad.errors import SurgeryError


class Plan(list[Any]):
    """What must follow an edit."""

    def written(self, after: Any) -> str | None:
        """Nothing is known."""
        return None


def plan(trace: Any, changes: Any, gone: Any) -> Plan:
    """Nothing can be followed yet."""
    raise SurgeryError("adapt=True cannot follow.")
