"""Tables of what was measured."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import geometric_mean
from typing import Any

Cell = dict[str, Any]


def time_text(seconds: float) -> str:
    """Three digits in the unit that fits."""
    for unit, size in (("us", 1e-6), ("ms", 1e-3), ("s", 1.0)):
        if seconds < 1000 * size or unit == "s":
            value = seconds / size
            return f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"
    raise AssertionError


def fraction(cell: Cell, machine: dict[str, Any]) -> str:
    """Of the FMA peak, or of the copy bandwidth where the work is moving numbers."""
    flops, moved = cell["work"]
    seconds = cell["seconds"][0]
    if flops:
        return f"{flops / seconds / 1e9 / machine['flops']:.0%} F"
    return f"{moved / seconds / 1e9 / machine['bandwidth']:.0%} B" if moved else ""


def numpy_ratio(cell: Cell) -> str:
    """NumPy's time / jitgrad's, where NumPy was measured."""
    return f"{cell['seconds'][2] / cell['seconds'][0]:.2f}" if len(cell["seconds"]) > 2 else ""


def accuracy(cell: Cell) -> str:
    """Relative rms errors, jitgrad's and PyTorch's."""
    return "{:.1e} {:.1e}".format(*cell["rms"]) if "rms" in cell else ""


HEAD = ("case", "mode", "jitgrad", "torch", "ratio", "spread", "numpy", "peak", "rms, torch's rms")


def rows(cells: Iterable[Cell], machine: dict[str, Any]) -> list[tuple[str, ...]]:
    """The cells in words."""
    return [
        (
            c["name"], c["mode"], *(time_text(s) for s in c["seconds"][:2]), f"{c['ratio']:.2f}", f"{c['spread']:.0%}",
            numpy_ratio(c), fraction(c, machine), accuracy(c),
        )
        for c in cells
    ]  # fmt: skip


def summary(cells: Iterable[Cell]) -> list[tuple[str, str, int, float, float, str]]:
    """Row, mode, number of cells, geometric mean of the ratios, the worst and where it is."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for c in cells:
        groups.setdefault((c["row"], c["mode"]), []).append(c)
    made = []
    for (row, mode), group in groups.items():
        worst = min(group, key=lambda c: c["ratio"])
        made.append((row, mode, len(group), geometric_mean([c["ratio"] for c in group]), worst["ratio"], worst["name"]))
    return made


def text(cells: list[Cell], machine: dict[str, Any]) -> str:
    """For the terminal; F is of the FMA peak, B of the copy bandwidth."""
    table = [HEAD, *rows(cells, machine)]
    widths = [max(len(r[i]) for r in table) for i in range(len(HEAD))]
    lines = ["  ".join(t.ljust(w) if i < 2 else t.rjust(w) for i, (t, w) in enumerate(zip(r, widths, strict=True))).rstrip() for r in table]
    for row, mode, n, mean, worst, where in summary(cells):
        lines.append(f"{row}, {mode}: {n} cells, geometric mean {mean:.2f}, worst {worst:.2f} ({where})")
    return "\n".join(lines)
