"""How a Tensor prints: NumPy lays the numbers out, the form of a number follows PyTorch's rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jitgrad import kernels
from jitgrad._html import Html, block, faint, preformatted, table
from jitgrad.autograd.primitive import Spec
from jitgrad.autograd.tensor import Tensor
from jitgrad.dtypes import bool_, float32, int64
from jitgrad.errors import ArgumentError


@dataclass(frozen=True)
class PrintOptions:
    """What set_printoptions sets."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


PROFILES = {
    "default": PrintOptions(),
    "short": PrintOptions(precision=2, edgeitems=2),
    "full": PrintOptions(threshold=float("inf")),
}
options = PROFILES["default"]


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Say how tensors print; what is not given stays as it is, but sci_mode, which None lets each tensor choose.

    Parameters
    ----------
    precision
        Digits after the point, 4 at first.
    threshold
        Elements up to which all of them print; beyond, the inner ones become ``...``.
    edgeitems
        Elements that stay at both ends of each dim then.
    linewidth
        Characters of a line.
    profile
        ``"default"``, ``"short"`` or ``"full"``: sets the others before them.
    sci_mode
        Whether floats print as ``1.0000e+00``.

    Raises ArgumentError (a ValueError) for a number below its least value or an unknown profile.

    >>> import jitgrad as jg
    >>> jg.set_printoptions(precision=2)
    >>> jg.tensor([0.5, 10.0])
    tensor([ 0.50, 10.00])
    >>> jg.set_printoptions(profile="default")
    """
    global options
    if profile is not None and profile not in PROFILES:
        raise ArgumentError(f"set_printoptions: expected the profile 'default', 'short' or 'full', given {profile!r}.")
    given: dict[str, Any] = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    for name, value in given.items():
        least = 0 if name in ("precision", "threshold") else 1
        if value is not None and not value >= least:
            raise ArgumentError(f"set_printoptions: expected {name} of at least {least}, given {value}.")
    base = options if profile is None else PROFILES[profile]
    options = replace(base, **{k: v for k, v in given.items() if v is not None}, sci_mode=sci_mode)


def tensor_repr(x: Tensor) -> str:
    """tensor(...) with the numbers, and what is not the default: dtype, device, requires_grad, grad_fn."""
    name = "tensor" if type(x) is Tensor else type(x).__name__
    if isinstance(x.array, Spec):
        return f"{name}(..., size={tuple(x.array.shape)}{f', dtype={x.dtype}' * (x.dtype is not float32)})"
    host = kernels.of(x.array).to_host(x.array)
    more = []
    if x.device.type != "cpu":
        more.append(f"device='{x.device}'")
    if not host.size and host.ndim != 1:
        more.append(f"size={tuple(host.shape)}")
    if x.dtype not in ((float32, int64, bool_) if host.size else (float32,)):
        more.append(f"dtype={x.dtype}")
    if x.grad_fn is not None:
        more.append(f"grad_fn={x.grad_fn}")
    elif x.requires_grad and type(x) is Tensor:
        more.append("requires_grad=True")
    text = f"{name}({numbers(host, name + '(')}"
    length = len(text) - text.rfind("\n") - 1
    for part in more:  # on the last line as long as it holds them
        if length + len(part) + 2 > options.linewidth:
            text += ",\n" + " " * (len(name) + 1) + part
            length = len(name) + 1 + len(part)
        else:
            text += ", " + part
            length += len(part) + 2
    return text + ")"


def numbers(a: np.ndarray, prefix: str = "") -> str:
    """The elements of an array in nested brackets, the inner ones left out where there are many."""
    if not a.size:
        return "[]"
    shown = corners(a, options.edgeitems) if a.size > options.threshold else a
    text = np.array2string(
        a,
        separator=", ",
        threshold=options.threshold,  # type: ignore[arg-type]
        edgeitems=options.edgeitems,
        max_line_width=options.linewidth + a.ndim - 2,
        prefix=prefix,
        formatter={"all": number_form(shown)},
    )
    return text.replace(", ..., ", ",  ..., ")


def corners(a: np.ndarray, edge: int) -> np.ndarray:
    """The elements that stand at the ends of every dim."""
    for d, n in enumerate(a.shape):
        if n > 2 * edge:
            ends = np.r_[0:edge, n - edge : n]
            a = a.take(ends, d)
    return a


def number_form(shown: np.ndarray) -> Callable[[Any], str]:
    """How to write each of the numbers, right-aligned: floats all as 1., all as 1.5000 or all as 1.5000e+00."""
    if shown.dtype.kind != "f":
        wide = max(len(str(v)) for v in shown.flat)
        return lambda v: str(v).rjust(wide)
    values = shown.astype(np.float64)
    values = values[np.isfinite(values) & (values != 0)]
    if not values.size:
        return lambda v: f"{v:.0f}." if np.isfinite(v) else f"{v}"
    whole = bool((values == np.ceil(values)).all())
    low, high = np.abs(values).min(), np.abs(values).max()
    with np.errstate(over="ignore"):
        scientific = options.sci_mode if options.sci_mode is not None else high / low > 1000 or high > 1e8 or low < 1e-4
    digits = options.precision

    def form(v: Any) -> str:
        number = float(v)
        if scientific:
            return f"{number:.{digits}e}"
        if whole:
            return f"{number:.0f}." if np.isfinite(number) else f"{number:.0f}"
        return f"{number:.{digits}f}"

    wide = max(len(form(v)) for v in values)
    return lambda v: form(v).rjust(wide)


# ---- in notebooks
MOST_ROWS, MOST_COLUMNS, EDGE = 20, 12, 5


def tensor_html(x: Tensor) -> str:
    """A table of a vector or matrix (else the numbers as they print), and a line with shape, dtype, device and gradient."""
    host = kernels.of(x.array).to_host(x.array)
    if host.ndim in (1, 2) and host.size:
        numbers_html = _table(host)
    else:
        numbers_html = preformatted(numbers(host))
    words = [type(x).__name__, f"shape {tuple(host.shape)}", x.dtype.name, str(x.device)]
    if x.grad_fn is not None:
        words.append(f"grad_fn={x.grad_fn}")
    elif x.requires_grad:
        words.append("requires grad" if x.grad is None else f"requires grad, .grad has norm {np.linalg.norm(_host(x.grad)):.4g}")
    return block(numbers_html, faint(" · ".join(words)))


def _host(x: Tensor) -> np.ndarray:
    return kernels.of(x.array).to_host(x.array)


def _table(a: np.ndarray) -> Html:
    rows = a.reshape(1, -1) if a.ndim == 1 else a
    down, right = _places(rows.shape[0], MOST_ROWS), _places(rows.shape[1], MOST_COLUMNS)
    shown = rows[np.ix_([i for i in down if i is not None], [j for j in right if j is not None])]
    form = number_form(shown)
    cells = [["…" if i is None or j is None else form(rows[i, j]).strip() for j in right] for i in down]
    labels = [["…" if k is None else str(k) for k in places] for places in (right, down)]
    return table(cells, labels[0], labels[1] if a.ndim == 2 else ())


def _places(n: int, most: int) -> list[int | None]:
    """Indices to show of n; None where some are left out."""
    return [*range(n)] if n <= most else [*range(EDGE), None, *range(n - EDGE, n)]
