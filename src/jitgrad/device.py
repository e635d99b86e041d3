"""Device objects: where a tensor's memory is."""

from __future__ import annotations

from jitgrad.errors import DeviceError


class device:  # noqa: N801  (PyTorch's name)
    """A device: ``jg.device("cpu")``, ``jg.device("cuda")`` or ``jg.device("cuda", 0)``.

    Raises DeviceError for another type, or an index that is not 0: one GPU is supported.

    >>> import jitgrad as jg
    >>> jg.zeros(2).device == jg.device("cpu")
    True
    """

    __slots__ = ("index", "type")
    type: str
    index: int | None

    def __init__(self, type: str | device, index: int | None = None) -> None:
        if isinstance(type, device):
            index = type.index
            type = type.type
        if not isinstance(type, str):
            raise TypeError(f"device: expected a string such as 'cpu' or 'cuda', given {type!r}.")
        name, _, number = type.partition(":")
        if number:
            if not number.isdigit() or index is not None:
                raise DeviceError(f"device {type!r}: expected 'cpu', 'cuda' or 'cuda:0'.")
            index = int(number)
        if name not in ("cpu", "cuda"):
            raise DeviceError(f"device {type!r} is not known: expected 'cpu' or 'cuda'.")
        if index not in (None, 0):
            raise DeviceError(f"device {name}:{index}: only index 0 is supported.")
        self.type = name
        self.index = 0 if name == "cuda" else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return f"device(type={self.type!r}" + ("" if self.index is None else f", index={self.index}") + ")"


CPU = device("cpu")
