"""The line of the user's program that led to an operation: what errors, diagnoses and graphs point at."""

from __future__ import annotations

import linecache
import sys
from pathlib import Path
from types import FrameType
from typing import NamedTuple

_HERE = str(Path(__file__).parent.parent) + "/"
_DOORS = "<door "  # the file names of printed doors begin so
_HEAR = "_hear"  # the function of door.py that calls listeners, which stand between a line and what it led to


class Line(NamedTuple):
    """A line of a program: ``net.py:12 in forward: y = self.fc(x)``."""

    file: str
    number: int
    function: str

    @property
    def text(self) -> str:
        """The line's source; empty where it cannot be read."""
        return linecache.getline(self.file, self.number).strip()

    def __str__(self) -> str:
        return f"{_name(self.file)}:{self.number} in {self.function}" + (f": {text}" if (text := self.text) else "")


def _name(file: str) -> str:
    """How a file is called: a cell of a notebook as IPython's tracebacks do."""
    if "ipykernel" in file and (ipython := sys.modules.get("IPython")) is not None and (shell := ipython.get_ipython()) is not None:
        kind, name = shell.compile.format_code_name(file) or ("", Path(file).name)
        return f"{kind} {name}".strip()
    return file if file.startswith("<") else Path(file).name


def user_line(frame: FrameType | None = None) -> Line | None:
    """The innermost line outside of jitgrad, from a frame outwards (the caller's unless given); None where there is none."""
    frame = frame or sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((_HERE, _DOORS)) and not (frame.f_back and frame.f_back.f_code.co_name == _HEAR):
            return Line(file, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back
    return None


def raised_at(error: BaseException) -> Line | None:
    """The innermost line of the user's program that an error came through; None where there is none."""
    found, at = None, error.__traceback__
    while at is not None:
        here = user_line(at.tb_frame)
        if here is not None and (here.file, here.function) == (at.tb_frame.f_code.co_filename, at.tb_frame.f_code.co_name):
            found = Line(here.file, at.tb_lineno, here.function)  # where the frame stands by now may be a finally below it
        at = at.tb_next
    return found
