"""Matrix products of C-contiguous 2-D operands, each as it is or transposed; a batch is matrices one below the other.

The work is done by the vector tiles of simd.py. Small products go straight to them. Large ones first copy b into panels as
wide as a tile, so that a tile reads memory in one run, and cut k into stretches for which a panel stays in the L1 cache.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from jitgrad.kernels.cpu.layout import or_nothing
from jitgrad.kernels.jit import direct, njit, parallel_form, pays, prange, workspace
from jitgrad.kernels.simd import DOT_COLUMNS, DOT_ROWS, ROWS, VECTORS, dots, tile
from jitgrad.kernels.simd_code import VECTOR_BYTES
from jitgrad.shapes import broadcast_shapes

# What BLIS calls MC and KC.
BAND = 8 * ROWS  # rows of a that one task takes over all of b
DEPTH = 256  # of k at a time: a panel of b of so many rows is 32 kB
MIN_WORK = 1 << 18  # products from which threads pay; below, tiles read b as it lies
SMALL_DOTS = 1 << 16  # products up to which dot products with the rows of w beat copying w
FEW = 2 * ROWS  # rows for which b is not worth a copy

# form = (batches, matrices in a, matrices in b, a is transposed, b is transposed); one matrix serves a whole batch.
Form = tuple[int, int, int, bool, bool]


@njit(inline=True)
def _width(x):
    """Columns of a tile."""
    return VECTORS * VECTOR_BYTES // x.itemsize


@njit
def _pack(b, work, to, at, b_row, b_step, K, width):
    """work[to + k * columns of a tile + j] = b[at + k * b_row + j * b_step], one panel."""
    # Positions count in uint64: Numba then emits no test for negative ones, and LLVM makes vector code.
    columns, n = np.uint64(_width(b)), np.uint64(width)
    target, source, row, step = np.uint64(to), np.uint64(at), np.uint64(b_row), np.uint64(b_step)
    if b_step == 1:
        for k in range(np.uint64(K)):
            for j in range(n):
                work[target + k * columns + j] = b[source + k * row + j]
        return
    for top in range(np.uint64(0), np.uint64(K), np.uint64(16)):  # blocks that suit both directions
        for j in range(n):
            for k in range(top, min(top + np.uint64(16), np.uint64(K))):
                work[target + k * columns + j] = b[source + k * row + j * step]


@njit
def _matmul(a, b, bias, out, work, form):
    """out = bias + a @ b; `work` takes the panels of b, or is empty and b is read as it lies."""
    batches, a_count, b_count, a_transposed, b_transposed = form
    M, N = out.shape[0] // batches, out.shape[1]
    K = a.shape[0] // a_count if a_transposed else a.shape[1]
    a_flat, b_flat, out_flat = a.reshape(a.size), b.reshape(b.size), out.reshape(out.size)
    a_row, a_step = (1, M) if a_transposed else (K, 1)
    b_row, b_step = (1, K) if b_transposed else (N, 1)
    columns = _width(out_flat)
    panels = (N + columns - 1) // columns
    packed = work.size > 0
    for task in prange(b_count * panels if packed else 0):
        batch, panel = divmod(np.int64(task), panels)  # Numba counts parallel loops in uint64
        left = panel * columns
        at = batch * K * N + left * b_step
        _pack(b_flat, work, np.int64(task) * K * columns, at, b_row, b_step, K, min(columns, N - left))
    bands = (M + BAND - 1) // BAND
    pieces = 1 if bands * batches > 8 else panels  # few rows: threads share the columns
    share = (panels + pieces - 1) // pieces
    for task in prange(batches * bands * pieces):
        rest, piece = divmod(np.int64(task), pieces)
        batch, band = divmod(rest, bands)
        top, bottom = band * BAND, min((band + 1) * BAND, M)
        from_a = batch * M * K if a_count > 1 else 0
        from_b = (batch if b_count > 1 else 0) * (panels * columns if packed else N) * K
        for k in range(0, max(K, 1), DEPTH):
            depth = min(DEPTH, K - k)
            for panel in range(piece * share, min((piece + 1) * share, panels)):
                left = panel * columns
                start = from_b + ((panel * K + k) * columns if packed else k * N + left)
                for i in range(top, bottom, ROWS):
                    to = (batch * M + i) * N + left
                    at = from_a + i * a_row + k * a_step
                    first, first_at, first_pitch = (bias, left, 0) if k == 0 else (out_flat, to, N)
                    rows, width = min(ROWS, bottom - i), min(columns, N - left)
                    source, pitch = (work, columns) if packed else (b_flat, N)
                    tile(out_flat, to, N, rows, width, first, first_at, first_pitch, a_flat, at, a_row, a_step, source, start, pitch, depth)


_matmul_parallel = parallel_form(_matmul)


@njit
def _few_columns(a, b, bias, out, form):
    """out = bias + a @ b where dot products do best: b is (N, K)."""
    batches, a_count, b_count, _, _ = form
    M, N = out.shape[0] // batches, out.shape[1]
    K = a.shape[1]
    a_flat, b_flat, out_flat = a.reshape(a.size), b.reshape(b.size), out.reshape(out.size)
    bands = (M + DOT_ROWS - 1) // DOT_ROWS
    for task in prange(batches * bands):
        batch, band = divmod(np.int64(task), bands)
        i = band * DOT_ROWS
        at = (batch * M * K if a_count > 1 else 0) + i * K
        for j in range(0, N, DOT_COLUMNS):
            start = (batch * N * K if b_count > 1 else 0) + j * K
            rows, columns = min(DOT_ROWS, M - i), min(DOT_COLUMNS, N - j)
            dots(out_flat, (batch * M + i) * N + j, N, rows, columns, bias, j, a_flat, at, K, b_flat, start, K, K)


_few_columns_parallel = parallel_form(_few_columns)


@njit
def _ints(a, b, out, form):
    """out = a @ b"""
    batches, a_count, b_count, a_transposed, b_transposed = form
    M, N = out.shape[0] // batches, out.shape[1]
    K = a.shape[0] // a_count if a_transposed else a.shape[1]
    a_flat, b_flat = a.reshape(a.size), b.reshape(b.size)
    a_row, a_step = (1, M) if a_transposed else (K, 1)
    b_row, b_step = (1, K) if b_transposed else (N, 1)
    for row in range(out.shape[0]):
        batch, i = divmod(row, M)
        at = (batch * M * K if a_count > 1 else 0) + i * a_row
        start = batch * N * K if b_count > 1 else 0
        for j in range(N):
            out[row, j] = 0
            for k in range(K):
                out[row, j] += a_flat[at + k * a_step] * b_flat[start + k * b_row + j * b_step]


@njit
def _tiles(a, a_row, a_step, b, out, K):
    """out = a @ b, all flat but out; b is (K, N)."""
    M, N = out.shape
    flat = out.reshape(out.size)
    columns = _width(flat)
    for j in range(0, N, columns):
        for i in range(0, M, ROWS):
            rows, width = min(ROWS, M - i), min(columns, N - j)
            tile(flat, i * N + j, N, rows, width, flat[:0], 0, 0, a, i * a_row, a_row, a_step, b, j, N, K)


@njit
def _small(a, b, out):
    """out = a @ b"""
    _tiles(a.reshape(a.size), a.shape[1], 1, b.reshape(b.size), out, a.shape[1])


@njit
def _small_transposed(a, b, out):
    """out = a.T @ b"""
    _tiles(a.reshape(a.size), 1, a.shape[1], b.reshape(b.size), out, a.shape[0])


@njit(inline=True)
def _dots(x, w, b, out):
    """out = b + x @ w.T"""
    M, N = out.shape
    K = x.shape[1]
    x_flat, w_flat, flat = x.reshape(x.size), w.reshape(w.size), out.reshape(out.size)
    for i in range(0, M, DOT_ROWS):
        for j in range(0, N, DOT_COLUMNS):
            rows, columns = min(DOT_ROWS, M - i), min(DOT_COLUMNS, N - j)
            dots(flat, i * N + j, N, rows, columns, b, j, x_flat, i * K, K, w_flat, j * K, K, K)


@njit
def _small_linear(x, w, b, out):
    """out = x @ w.T + b"""
    _dots(x, w, b, out)


@njit
def _small_product(x, w, out):
    """out = x @ w.T"""
    _dots(x, w, x.reshape(x.size)[:0], out)


_SMALL, _SMALL_TRANSPOSED = direct(_small), direct(_small_transposed)
_SMALL_LINEAR, _SMALL_PRODUCT = direct(_small_linear), direct(_small_product)


def _run(a: np.ndarray, b: np.ndarray, bias: np.ndarray, out: np.ndarray, form: Form) -> np.ndarray:
    """Fills the 2-D out, which is returned."""
    if not out.size:
        return out
    threads = pays(b.size * (out.shape[0] // form[2]), MIN_WORK)
    batches, _, _, a_transposed, b_transposed = form
    if a.dtype.kind != "f":
        _ints(a, b, out, form)
    elif b_transposed and not a_transposed and min(out.shape[0] // batches, out.shape[1]) < FEW:
        (_few_columns_parallel if threads else _few_columns)(a, b, bias, out, form)
    else:
        size = 0
        if b_transposed or out.shape[0] // batches > FEW:
            columns = VECTORS * VECTOR_BYTES // a.dtype.itemsize
            size = -(-out.shape[1] // columns) * columns * (b.size // out.shape[1])
        (_matmul_parallel if threads else _matmul)(a, b, bias, out, workspace(size, b.dtype), form)
    return out


def _product(a: np.ndarray, b: np.ndarray, bias: np.ndarray, transposed: bool) -> np.ndarray:
    """a (M, K) @ b (K, N) + bias; `transposed`: b is (N, K)."""
    out = np.empty((a.shape[0], b.shape[0 if transposed else 1]), a.dtype)
    a_transposed = False
    if not a.flags.carray:
        a, a_transposed = _stored(a)
    if not b.flags.carray:
        b, b_transposed = _stored(b)
        transposed = transposed != b_transposed
    return _run(a, b, bias, out, (1, 1, 1, a_transposed, transposed))


def _stored(x: np.ndarray) -> tuple[np.ndarray, bool]:
    """Matrices as C-contiguous array, and whether that holds them transposed."""
    if x.flags.carray:
        return x, False
    swapped = x.swapaxes(-1, -2)
    return (swapped, True) if swapped.flags.carray else (x.copy(), False)


def _batch_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    (M, K), N = a.shape[-2:], b.shape[-1]
    out = np.empty((*batch, M, N), a.dtype)
    if out.size:
        (a, a_transposed), (b, b_transposed) = _stored(_spread(a, batch)), _stored(_spread(b, batch))
        a_count, b_count = (prod(x.shape[:-2]) for x in (a, b))
        form = (prod(batch), a_count, b_count, a_transposed, b_transposed)
        a = a.reshape((-1, a.shape[-1])) if K else np.empty((a_count * M, 0), a.dtype)
        b = b.reshape((-1, b.shape[-1])) if K else np.empty((0, N), b.dtype)
        _run(a, b, or_nothing(None, a.dtype), out.reshape((-1, N)), form if K else (*form[:3], False, False))
    return out


def _spread(x: np.ndarray, batch: tuple[int, ...]) -> np.ndarray:
    """x with its batch dims broadcast; a single matrix stays one."""
    if x.shape[:-2] == batch or prod(x.shape[:-2]) == 1:
        return x
    return np.broadcast_to(x, batch + x.shape[-2:]).copy()


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """out[..., i, j] = sum_k a[..., i, k] * b[..., k, j], batch dims broadcast."""
    if b.ndim != 2:
        return _batch_product(a, b)
    if a.ndim != 2:
        return _rows(a, b, or_nothing(None, a.dtype), False)
    if _small_matmul(a, b) is not None and a.flags.carray and b.flags.carray:
        out = np.empty((a.shape[0], b.shape[1]), a.dtype)
        _SMALL[a.dtype](a, b, out)
        return out
    return _product(a, b, or_nothing(None, a.dtype), False)


def _small_matmul(a: np.ndarray, b: np.ndarray) -> dict[Any, Any] | None:
    return _SMALL if a.ndim == b.ndim == 2 and a.dtype.kind == "f" and a.size * b.shape[1] <= MIN_WORK else None


matmul.direct = _small_matmul  # type: ignore[attr-defined]


def linear(x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    """y[..., f] = sum_k x[..., k] * w[f, k] + b[f]."""
    if _small_dots(x, w, b) is not None and x.flags.carray and w.flags.carray and (b is None or b.flags.carray):
        y = np.empty((x.shape[0], w.shape[0]), x.dtype)
        if b is None:
            _SMALL_PRODUCT[x.dtype](x, w, y)
        else:
            _SMALL_LINEAR[x.dtype](x, w, b, y)
        return y
    bias = or_nothing(b, x.dtype)
    return _product(x, w, bias, True) if x.ndim == 2 else _rows(x, w, bias, True)


def _small_dots(x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> dict[Any, Any] | None:
    if x.ndim != 2 or x.shape[0] * w.size > SMALL_DOTS:
        return None
    return _SMALL_PRODUCT if b is None else _SMALL_LINEAR


linear.direct = _small_dots  # type: ignore[attr-defined]


def _rows(x: np.ndarray, w: np.ndarray, bias: np.ndarray, transposed: bool) -> np.ndarray:
    """As _product, the leading dims of x being one long dim of rows."""
    lead, K = x.shape[:-1], x.shape[-1]
    y = _product(x.reshape((prod(lead), K)), w, bias, transposed)
    return y.reshape((*lead, y.shape[1]))


def linear_grad_w(g: np.ndarray, x: np.ndarray) -> np.ndarray:
    """gw[f, k] = sum over all rows of g[..., f] * x[..., k]."""
    F, K = g.shape[-1], x.shape[-1]
    if _small_grad_w(g, x) is not None and g.flags.carray and x.flags.carray:
        gw = np.empty((F, K), g.dtype)
        _SMALL_TRANSPOSED[g.dtype](g, x, gw)
        return gw
    rows = prod(g.shape[:-1])
    return _product(g.reshape((rows, F)).T, x.reshape((rows, K)), or_nothing(None, g.dtype), False)


def _small_grad_w(g: np.ndarray, x: np.ndarray) -> dict[Any, Any] | None:
    return _SMALL_TRANSPOSED if g.ndim == 2 and g.size * x.shape[1] <= MIN_WORK else None


linear_grad_w.direct = _small_grad_w  # type: ignore[attr-defined]
