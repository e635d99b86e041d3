"""Pictures of a training: how it went, and what the model reads in test images. matplotlib, without a window."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jitgrad.demo_data import MissingExtraError

COLUMNS, ROWS = 12, 5
RIGHT, WRONG, GREY = "#1b7f3b", "#c62828", "#666666"
LINES = ("#1f5fa8", "#d9730d")


class Curve(NamedTuple):
    """Mean training loss and test accuracy after each epoch."""

    name: str
    losses: Sequence[float]
    accuracies: Sequence[float]


def figure(width: float, height: float, layout: Any = None) -> Any:
    """An empty figure; MissingExtraError where there is no matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("--out draws pictures and needs matplotlib: pip install jitgrad[demo]") from None
    made = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(made)
    return made


def _save(made: Any, path: Path) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        made.savefig(part, dpi=150, format="png")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def draw_curves(path: Path, curves: Sequence[Curve]) -> None:
    """Loss (left) and test accuracy (right) by epoch, a line for each split."""
    made = figure(9.0, 3.6, "constrained")
    left, right = made.subplots(1, 2)
    for curve, colour in zip(curves, LINES, strict=False):
        epochs = range(1, len(curve.losses) + 1)
        style = {"color": colour, "linewidth": 1.8, "marker": "o", "markersize": 3.5}
        left.plot(epochs, curve.losses, label=curve.name, **style)
        right.plot(epochs, [100.0 * a for a in curve.accuracies], label=f"{curve.name}: {curve.accuracies[-1]:.1%}", **style)
    if all(loss > 0.0 for curve in curves for loss in curve.losses):
        left.set_yscale("log")
        left.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        left.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
        left.tick_params(axis="y", which="minor", labelsize="small")
        low, high = left.get_ylim()
        if high < 4.0 * low:  # the 2s and 5s of the decades would leave the axis without numbers
            left.yaxis.set_minor_formatter(lambda value, _: f"{value:.2g}")
    left.set_title("training loss (mean of the epoch)", fontsize="medium")
    right.set_title("test images read right, %", fontsize="medium")
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.set_xlim(0.5, max(len(curve.losses) for curve in curves) + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    right.set_ylim(max(0.0, 100.0 * min(min(curve.accuracies) for curve in curves) - 5.0), 101.0)
    right.legend(loc="best", frameon=False)
    left.legend(loc="best", frameon=False)
    _save(made, path)


def draw_predictions(path: Path, name: str, images: np.ndarray, labels: np.ndarray, read: np.ndarray, classes: Sequence[str]) -> None:
    """Test images (N, H, W) with what the model read in them: wrong ones first, framed, with the right answer beside it."""
    wrong, right = np.flatnonzero(read != labels), np.flatnonzero(read == labels)
    many = COLUMNS * ROWS
    shown = np.concatenate([wrong[: many // 2], right])[:many]
    rows = ceil(len(shown) / COLUMNS)
    tall = min(3.0, max(0.3, images.shape[1] / images.shape[2]))
    width, height = COLUMNS * 0.85, rows * (0.79 * tall + 0.24) + 0.45
    made = figure(width, height)
    # By hand: the automatic layout of so many axes takes seconds.
    made.subplots_adjust(left=0.01, right=0.99, bottom=0.06 / height, top=1.0 - 0.6 / height, wspace=0.09, hspace=0.25 / (0.79 * tall))
    words = f"{name}: {len(right)} of {len(labels)} test images read right"
    if len(wrong):
        some = "the wrong ones" if len(wrong) <= many // 2 else f"{many // 2} of the {len(wrong)} wrong ones"
        words += f"; {some} first: what was read (what it is)"
    made.suptitle(words, fontsize="medium", y=1.0 - 0.1 / height, va="top")
    cells = np.atleast_1d(made.subplots(rows, COLUMNS)).ravel()
    for axes in cells:
        axes.set_axis_off()
    for axes, i in zip(cells, shown, strict=False):
        is_wrong = read[i] != labels[i]
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[])
        axes.imshow(images[i], cmap="gray_r", vmin=0.0, vmax=1.0, interpolation="nearest")
        for spine in axes.spines.values():
            spine.set(color=WRONG if is_wrong else "#cccccc", linewidth=2.4 if is_wrong else 0.8)
        text = f"{_short(classes[read[i]], 4)} ({_short(classes[labels[i]], 4)})" if is_wrong else _short(classes[read[i]], 9)
        size, weight = "medium" if len(text) <= 6 else "x-small", "bold" if is_wrong else "normal"
        axes.set_title(text, color=WRONG if is_wrong else RIGHT, fontsize=size, pad=3, fontweight=weight)
    _save(made, path)


def _short(word: str, most: int) -> str:
    """A class name that fits above a picture; a dollar sign would start a formula."""
    return (word if len(word) <= most else word[: most - 1] + "…").replace("$", r"\$")
