"""Matrix products of C-contiguous 2-D operands, each as it is or transposed; a batch is matrices one below the other."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from jitgrad.kernels.cpu.fma import BAND, add_1, add_8, dot, transpose_band
from jitgrad.kernels.cpu.layout import or_nothing
from jitgrad.kernels.jit import direct, njit, parallel_form, pays, prange, workspace
from jitgrad.shapes import broadcast_shapes

ROWS, COLUMNS = 32, 256  # tile of the result: 8 rows of b over it stay in L1 while 32 rows of a pass
SMALL = 1 << 16  # products up to which a plain loop beats tiles, which take longer to call
SMALL_DOTS = 1 << 12  # the same for products with the rows of w
MIN_WORK = 1 << 18  # products from which threads pay
FEW_ROWS, FEW_COLUMNS, LONG = 4, 16, 32  # where dot products over K >= LONG beat sums of rows

# form = (batches, matrices in a, matrices in b, a is transposed, b is transposed); one matrix serves a whole batch.
Form = tuple[int, int, int, bool, bool]


@njit
def _tile(a, b, out, batch, top, left, sizes):
    """Adds a[batch] @ b[batch] to one tile of out, eight rows of b at a time; all flat, b is (K, N)."""
    M, N, K, a_batch, b_batch, a_row, a_step = sizes
    width, pitch, step = np.uint64(min(left + COLUMNS, N) - left), np.uint64(N), np.uint64(a_step)
    for k in range(0, K - 7, 8):
        b0 = np.uint64(batch * b_batch + k * N + left)
        b2, b4 = b0 + pitch + pitch, b0 + pitch + pitch + pitch + pitch
        b6 = b4 + pitch + pitch
        starts = (b0, b0 + pitch, b2, b2 + pitch, b4, b4 + pitch, b6, b6 + pitch)
        for i in range(top, min(top + ROWS, M)):
            at = np.uint64(batch * a_batch + i * a_row + k * a_step)
            add_8(out, np.uint64((batch * M + i) * N + left), width, a, at, step, b, starts)
    for i in range(top, min(top + ROWS, M)):
        for k in range(K // 8 * 8, K):
            number = a[batch * a_batch + i * a_row + k * a_step]
            start = np.uint64(batch * b_batch + k * N + left)
            add_1(out, np.uint64((batch * M + i) * N + left), width, number, b, start)


@njit
def _tile_of_dots(a, b, out, batch, top, left, sizes):
    """Adds a[batch] @ b[batch] to one tile of out, element by element; all flat, here b is (N, K)."""
    M, N, K, a_batch, b_batch, _, _ = sizes
    for i in range(top, min(top + ROWS, M)):
        row = np.uint64(batch * a_batch + i * K)
        for j in range(left, min(left + COLUMNS, N)):
            out[(batch * M + i) * N + j] += dot(np.uint64(K), a, row, b, np.uint64(batch * b_batch + j * K))


@njit
def _start_tile(out, bias, top, bottom, left):
    """Sets one tile to the bias of its columns, or to zero where there is none."""
    right = min(left + COLUMNS, out.shape[1])
    for i in range(top, bottom):
        for j in range(left, right):
            out[i, j] = bias[j] if bias.size else 0


@njit
def _matmul(a, b, bias, out, work, form):
    """out = bias + a @ b; `work` takes the transposed b."""
    batches, a_count, b_count, a_transposed, b_transposed = form
    M, N = out.shape[0] // batches, out.shape[1]
    K = a.shape[0] // a_count if a_transposed else a.shape[1]
    a_flat, b_flat, out_flat = a.reshape(a.size), b.reshape(b.size), out.reshape(out.size)
    a_row, a_step = (1, M) if a_transposed else (K, 1)
    a_batch, b_batch = (M * K if a_count > 1 else 0), (K * N if b_count > 1 else 0)
    # Rows of dot products run over k, rows of sums over the columns.
    dots = not a_transposed and ((M < FEW_ROWS and b_transposed) or (N < FEW_COLUMNS and K >= LONG))
    if dots != b_transposed:
        rows, columns = (N, K) if b_transposed else (K, N)
        bands = (rows + BAND - 1) // BAND
        for task in prange(b_count * bands):
            batch, band = divmod(np.int64(task), bands)  # Numba counts parallel loops in uint64
            transpose_band(b_flat, work, rows, columns, batch * K * N, band * BAND)
        b_flat = work
    sizes = (M, N, K, a_batch, b_batch, a_row, a_step)
    tall, wide = (M + ROWS - 1) // ROWS, (N + COLUMNS - 1) // COLUMNS
    for task in prange(batches * tall * wide):
        rest, column = divmod(np.int64(task), wide)
        batch, row = divmod(rest, tall)
        top, left = row * ROWS, column * COLUMNS
        _start_tile(out, bias, batch * M + top, batch * M + min(top + ROWS, M), left)
        if dots:
            _tile_of_dots(a_flat, b_flat, out_flat, batch, top, left, sizes)
        else:
            _tile(a_flat, b_flat, out_flat, batch, top, left, sizes)


_matmul_parallel = parallel_form(_matmul)


@njit
def _small(a, b, out):
    """out = a @ b without tiles or packing; all 2-D and C-contiguous."""
    M, N = out.shape
    K = a.shape[1]
    for i in range(M):
        row = out[i]
        for j in range(N):
            row[j] = 0
        for k in range(0, K - 3, 4):  # four rows of b at once: a quarter of the loads and stores of out
            _add_4(row, a[i, k], a[i, k + 1], a[i, k + 2], a[i, k + 3], b, k)
        for k in range(K // 4 * 4, K):
            number = a[i, k]
            for j in range(N):
                row[j] += number * b[k, j]


@njit(inline=True)
def _add_4(row, p, q, r, s, b, k):
    b0, b1, b2, b3 = b[k], b[k + 1], b[k + 2], b[k + 3]
    for j in range(row.size):
        row[j] += (p * b0[j] + q * b1[j]) + (r * b2[j] + s * b3[j])


@njit
def _small_linear(x, w, b, out):
    """out = x @ w.T + b without tiles or packing."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            total = b[j] if b.size else x.dtype.type(0)
            for k in range(x.shape[1]):
                total += x[i, k] * w[j, k]
            out[i, j] = total


@njit
def _small_transposed(a, b, out):
    """out = a.T @ b without tiles or packing."""
    M, N = out.shape
    K = a.shape[0]
    for i in range(M):
        row = out[i]
        for j in range(N):
            row[j] = 0
        for k in range(0, K - 3, 4):
            _add_4(row, a[k, i], a[k + 1, i], a[k + 2, i], a[k + 3, i], b, k)
        for k in range(K // 4 * 4, K):
            number = a[k, i]
            for j in range(N):
                row[j] += number * b[k, j]


_SMALL, _SMALL_LINEAR, _SMALL_TRANSPOSED = direct(_small), direct(_small_linear), direct(_small_transposed)


def _run(a: np.ndarray, b: np.ndarray, bias: np.ndarray, out: np.ndarray, form: Form) -> np.ndarray:
    """Fills the 2-D out, which is returned."""
    if not out.size:
        return out
    # _matmul packs b at most once, where its rows lie in the wrong direction.
    work = workspace(b.size, b.dtype) if form[4] or out.shape[1] < FEW_COLUMNS else bias
    if pays(b.size * (out.shape[0] // form[2]), MIN_WORK):
        _matmul_parallel(a, b, bias, out, work, form)
    else:
        _matmul(a, b, bias, out, work, form)
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
    if a_transposed and out.shape[1] < FEW_COLUMNS:  # dot products want rows of a
        a, a_transposed = a.T.copy(), False
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
    return _SMALL if a.ndim == b.ndim == 2 and a.size * b.shape[1] <= SMALL else None


matmul.direct = _small_matmul  # type: ignore[attr-defined]


def linear(x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    """y[..., f] = sum_k x[..., k] * w[f, k] + b[f]."""
    bias = or_nothing(b, x.dtype)
    if _small_dots(x, w) is not None and x.flags.carray and w.flags.carray:
        y = np.empty((x.shape[0], w.shape[0]), x.dtype)
        _SMALL_LINEAR[x.dtype](x, w, bias, y)
        return y
    return _product(x, w, bias, True) if x.ndim == 2 else _rows(x, w, bias, True)


def _small_dots(x: np.ndarray, w: np.ndarray) -> dict[Any, Any] | None:
    return _SMALL_LINEAR if x.ndim == 2 and x.shape[0] * w.size <= SMALL_DOTS else None


linear.direct = lambda x, w, b: None if b is None else _small_dots(x, w)  # type: ignore[attr-defined]


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
    rows = g.size // F if F else 0
    return _product(g.reshape((rows, F)).T, x.reshape((rows, K)), or_nothing(None, g.dtype), False)


def _small_grad_w(g: np.ndarray, x: np.ndarray) -> dict[Any, Any] | None:
    return _SMALL_TRANSPOSED if g.ndim == 2 and g.size * x.shape[1] <= SMALL else None


linear_grad_w.direct = _small_grad_w  # type: ignore[attr-defined]
