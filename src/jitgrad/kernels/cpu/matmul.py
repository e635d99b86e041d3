"""Matrix products of C-contiguous 2-D operands, each as it is or transposed; a batch is matrices one below the other.

The work is done by the vector tiles of simd.py. Small products go straight to them, larger ones by way of matmul_blocks.py.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from jitgrad.kernels.cpu.layout import or_nothing
from jitgrad.kernels.cpu.matmul_blocks import (
    BLOCK,
    DEPTH,
    blocked,
    blocked_parallel,
    few_columns,
    few_columns_parallel,
    in_place,
    in_place_parallel,
    one_row,
    one_row_parallel,
)
from jitgrad.kernels.cpu.tasks import parts_of
from jitgrad.kernels.jit import direct, get_num_threads, njit, pays, workspace
from jitgrad.kernels.simd import DOT_COLUMNS, DOT_ROWS, ROWS, VECTORS, dots, tile
from jitgrad.kernels.simd_code import VECTOR_BYTES, lanes as lanes_of
from jitgrad.shapes import broadcast_shapes

MIN_WORK = 1 << 19  # multiply-adds (M N K) from which threads pay; up to so many, tiles read b as it lies
SMALL_DOTS = 1 << 18  # multiply-adds up to which dot products with the rows of w beat copying w
FEW = 24  # with fewer rows, or columns, than these dot products do best where they can
FEW_TILES = 64  # rows up to which a b that fits in the L2 cache is not worth a copy; of each thread, if it is TINY
CACHED, TINY = 1 << 20, 1 << 17  # bytes of a matrix that fit in the L2 cache beside others; and of one in a batch that needs no copy

# form = (batches, a_count, b_count, out_count, a_transposed, b_transposed). The counts are of matrices: one in a or b serves the
# whole batch, and one in out is the sum over the batch. A plain tuple: Numba takes longer to launch with a named one.
Form = tuple[int, int, int, int, bool, bool]


@njit
def _ints(a, b, out, form):
    """out = a @ b"""
    batches, a_count, b_count, _, a_transposed, b_transposed = form
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
    lanes = lanes_of(flat)
    vectors = (N + lanes - 1) // lanes
    panels = (vectors + VECTORS - 1) // VECTORS
    for panel in range(panels):
        left, right = panel * vectors // panels * lanes, min((panel + 1) * vectors // panels * lanes, N)
        for i in range(0, M, ROWS):
            tile(flat, i * N + left, N, min(ROWS, M - i), right - left, flat[:0], 0, 0, a, i * a_row, a_row, a_step, b, left, N, K)


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


def multiply(a: np.ndarray, b: np.ndarray, bias: np.ndarray, out: np.ndarray, form: Form) -> np.ndarray:
    """Fills the 2-D out, which is returned; all C-contiguous."""
    if not out.size:
        return out
    if a.dtype.kind != "f":
        _ints(a, b, out, form)
        return out
    a, b, rows, form = _simplest(a, b, out, bias, form)
    threads = pays(b.size // form[2] * rows.shape[0], MIN_WORK)
    kernels = _kernels(b, rows, form, get_num_threads() if threads else 1)
    if kernels is None:
        _by_blocks(a, b, bias, rows, form, threads)
    else:
        kernels[threads](a, b, bias, rows, form)
    return out


_FEW_COLUMNS = few_columns, few_columns_parallel
_ONE_ROW = one_row, one_row_parallel
_IN_PLACE = in_place, in_place_parallel


def _kernels(b: np.ndarray, out: np.ndarray, form: Form, threads: int) -> tuple[Any, Any] | None:
    """The serial and the parallel kernel for operands as `_simplest` leaves them; None stands for blocks. The first that fits is taken:

    out is the sum over the batch                                    blocks (no other kernel adds up)
    a (M, K) and b (N, K) both run along k, M or N below FEW         few_columns: dot products, nothing is copied
    M = 1, b (K, N)                                                  one_row: b is read once
    b (K, N) in the L2 cache and no more than FEW_TILES rows         in_place: too few tiles for a copy to pay
    b (K, N) of at most TINY bytes, in a batch of them               in_place: the same for each of them
                                    or FEW_TILES rows a thread       in_place: each would need its copy
    all else                                                         blocks
    """
    batches, _, b_count, out_count, a_transposed, b_transposed = form
    M, N = out.shape[0] // batches, out.shape[1]
    if out_count < batches:
        return None
    if b_transposed:
        return _FEW_COLUMNS if not a_transposed and min(M, N) < FEW else None
    if M == 1:
        return _ONE_ROW
    small = CACHED if M <= FEW_TILES else TINY if b_count > 1 or M // threads <= FEW_TILES else 0
    return _IN_PLACE if b.nbytes <= b_count * small else None


def _by_blocks(a: np.ndarray, b: np.ndarray, bias: np.ndarray, out: np.ndarray, form: Form, threads: bool) -> None:
    tasks = get_num_threads() if threads else 1
    work = workspace(VECTOR_BYTES // a.dtype.itemsize * DEPTH * (BLOCK + 1) * tasks, a.dtype)
    parts = parts_of(tasks, form[0]) if form[3] == form[0] else 1
    (blocked_parallel if threads else blocked)(a, b, bias, out, work, tasks, parts, form)


def _simplest(
    a: np.ndarray, b: np.ndarray, out: np.ndarray, bias: np.ndarray, form: Form
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Form]:
    """The same product as the kernels like it: rows and columns that lie in one run count as transposed where that helps."""
    batches, a_count, b_count, out_count, a_transposed, b_transposed = form
    if out_count < batches:
        return a, b, out, form
    if out.shape[0] == batches:  # rows a
        a, a_transposed = a.reshape((a_count, -1)), False
    if out.shape[1] == 1:  # columns b
        b, b_transposed = b.reshape((b_count, -1)), True
        if a_transposed and not bias.size:  # a column is the row of the transposed product
            a, b, a_count, b_count, a_transposed, b_transposed = b, a, b_count, a_count, False, False
            out = out.reshape((batches, -1))
    if b_count == 1 and batches > 1 and not a_transposed and a_count > 1:  # one tall matrix
        batches = a_count = 1
    return a, b, out, (batches, a_count, b_count, batches, a_transposed, b_transposed)


def _product(a: np.ndarray, b: np.ndarray, bias: np.ndarray, transposed: bool) -> np.ndarray:
    """a (M, K) @ b (K, N) + bias; `transposed`: b is (N, K)."""
    out = np.empty((a.shape[0], b.shape[0 if transposed else 1]), a.dtype)
    a_transposed = False
    if not a.flags.carray:
        a, a_transposed = _stored(a)
    if not b.flags.carray:
        b, b_transposed = _stored(b)
        transposed = transposed != b_transposed
    return multiply(a, b, bias, out, (1, 1, 1, 1, a_transposed, transposed))


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
        form = (prod(batch), a_count, b_count, prod(batch), a_transposed, b_transposed)
        a = a.reshape((-1, a.shape[-1])) if K else np.empty((a_count * M, 0), a.dtype)
        b = b.reshape((-1, b.shape[-1])) if K else np.empty((0, N), b.dtype)
        multiply(a, b, or_nothing(None, a.dtype), out.reshape((-1, N)), form if K else (*form[:4], False, False))
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
