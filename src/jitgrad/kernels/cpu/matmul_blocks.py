"""Matrix products too large for a few tiles: which part of the operands is where while tiles of simd.py are worked out.

                       b (K, N)
                      +----------+-----+     A block of b, DEPTH rows of BLOCK vectors, is copied so that it fits in the L2 cache and
                      |  block   |     |     is read in one run: panels as wide as a tile, one after the other, each DEPTH rows.
                      | p | p |p |     |
      a (M, K)        +----------+-----+     For every strip of a, a vector of rows high, the tiles of all panels follow. The numbers
      +-------+---+   out (M, N)             of the strip stay in the L1 cache, those of a panel come from L2.
      | strip |   |   +----------+-----+
      +-------+   |   | tiles    |     |     Sums over the next stretch of k are added to what out holds.
      +-----------+   +----------+-----+

This is the algorithm of Goto and van de Geijn (Anatomy of high-performance matrix multiplication, 2008) in the words of BLIS (2015):

    here      tile           panel          strip of ROWS rows     DEPTH  BLOCK vectors  ROWS  VECTORS
    there     micro-kernel   micro-panel    micro-panel of a       KC     NC             MR    NR

There is no MC: a is not packed but where it is transposed, a strip at a time.

A b that fits in the L2 cache as it is needs no copy. Cuts are even: 4 vectors become panels of 2 and 2, not of 3 and 1. The bias is a
number for each column; or nothing; or out itself, to which the product is then added.
"""

from __future__ import annotations

import numpy as np

from jitgrad.kernels.cpu.tasks import equal, own
from jitgrad.kernels.jit import njit, parallel_form, prange
from jitgrad.kernels.simd import DOT_COLUMNS, DOT_ROWS, ROWS, VECTORS, dots, full_vectors, pack, pack_transposed, tile
from jitgrad.kernels.simd_code import lanes as lanes_of

DEPTH = 640  # of k at a time, at most; longer sums would round more, shorter ones load and store out more often
BLOCK = 32  # vectors side by side in a block
CHUNK = 32  # rows of b copied at a time, of all panels
COLUMNS = 2048  # of a row that one task works out


@njit(inline=True)
def _cuts(n, most):
    """Into how many parts to cut n; part i begins at i * n // parts."""
    return max((n + most - 1) // most, 1)


@njit
def in_place(a, b, bias, out, form):
    """out = bias + a @ b, both read as they lie; b is not transposed."""
    batches, a_count, b_count, _, a_transposed, _ = form
    M, N = out.shape[0] // batches, out.shape[1]
    K = a.shape[0] // a_count if a_transposed else a.shape[1]
    a_flat, b_flat, out_flat = a.reshape(a.size), b.reshape(b.size), out.reshape(out.size)
    a_row, a_step = (1, M) if a_transposed else (K, 1)
    lanes = lanes_of(out_flat)
    vectors = _cuts(N, lanes)
    panels, strips, stretches = _cuts(vectors, VECTORS), _cuts(M, lanes), _cuts(K, DEPTH)
    pieces = 1 if batches * strips >= 8 else panels  # few rows: threads share the columns
    for task in prange(batches * strips * pieces):
        rest, piece = divmod(np.int64(task), pieces)  # Numba counts parallel loops in uint64
        batch, strip = divmod(rest, strips)
        from_a, from_b = (batch if a_count > 1 else 0) * M * K, (batch if b_count > 1 else 0) * K * N
        for panel in range(piece * panels // pieces, (piece + 1) * panels // pieces):
            left, right = panel * vectors // panels * lanes, min((panel + 1) * vectors // panels * lanes, N)
            for i in range(strip * lanes, min((strip + 1) * lanes, M), ROWS):
                to = (batch * M + i) * N + left
                for s in range(stretches):
                    k, end = s * K // stretches, (s + 1) * K // stretches
                    first, first_at, pitch = (bias, left, 0) if s == 0 and bias.size <= N else (out_flat, to, N)
                    at, start = from_a + i * a_row + k * a_step, from_b + k * N + left
                    size = min(ROWS, M - i), right - left
                    tile(out_flat, to, N, *size, first, first_at, pitch, a_flat, at, a_row, a_step, b_flat, start, N, end - k)


@njit
def blocked(a, b, bias, out, work, tasks, parts, form):
    """out = bias + a @ b; `work` has room for a block of b and a strip of a for each task.

    Tasks share the batch in parts, if the products are not added up; those of a part share the columns, each with the block of b
    that goes with them, and only if there are too few of those also the rows, for which each copies b.
    """
    batches, a_count, b_count, out_count, a_transposed, b_transposed = form
    M, N = out.shape[0] // out_count, out.shape[1]
    lanes = lanes_of(work)
    vectors, strips = _cuts(N, lanes), _cuts(M, lanes)
    by_columns = equal(tasks // parts, vectors // VECTORS)
    by_rows = tasks // parts // by_columns
    for index in prange(tasks):
        task = np.int64(index)  # Numba counts parallel loops in uint64
        rest, column = divmod(task, by_columns)
        part, row = divmod(rest, by_rows)
        left, right = column * vectors // by_columns * lanes, min((column + 1) * vectors // by_columns * lanes, N)
        top, bottom = row * strips // by_rows * lanes, min((row + 1) * strips // by_rows * lanes, M)
        begin, end = part * batches // parts, (part + 1) * batches // parts
        again = batches, a_count, b_count, out_count, a_transposed, b_transposed  # Numba passes no tuples to threads
        if top < bottom:
            _blocked_task(a, b, bias, out, own(work, task, tasks), again, begin, end, top, bottom, left, right)


@njit
def _blocked_task(a, b, bias, out, work, form, begin, end, top, bottom, left, right):
    """Rows top to bottom, columns left to right of the products begin to end of the batch."""
    _, a_count, b_count, out_count, a_transposed, b_transposed = form
    M, N = out.shape[0] // out_count, out.shape[1]
    K = a.shape[0] // a_count if a_transposed else a.shape[1]
    a_flat, b_flat, out_flat = a.reshape(a.size), b.reshape(b.size), out.reshape(out.size)
    a_row, a_step = (1, M) if a_transposed else (K, 1)
    b_row, b_step = (1, K) if b_transposed else (N, 1)
    lanes = lanes_of(out_flat)
    vectors = _cuts(right - left, lanes)
    blocks, stretches = _cuts(vectors, BLOCK), _cuts(K, DEPTH)
    for step in range((end - begin) * blocks * stretches):
        rest, s = divmod(step, stretches)
        number, block = divmod(rest, blocks)
        batch = begin + number
        k, stop = s * K // stretches, (s + 1) * K // stretches
        column = left + block * vectors // blocks * lanes
        width = min(left + (block + 1) * vectors // blocks * lanes, right) - column
        to = ((batch if out_count > 1 else 0) * M + top) * N + column
        begins = s == 0 and (batch == 0 or out_count > 1) and bias.size <= N
        first, first_at, pitch = (bias, column, 0) if begins else (out_flat, to, N)
        from_b = (batch if b_count > 1 else 0) * K * N + k * b_row + column * b_step
        from_a = (batch if a_count > 1 else 0) * M * K + top * a_row + k * a_step
        _pack_block(b_flat, from_b, b_row, b_step, work, stop - k, width)
        _multiply_block(a_flat, from_a, a_row, a_step, bottom - top, work, first, first_at, pitch, out_flat, to, N, stop - k, width)


@njit
def _pack_block(b, at, b_row, b_step, work, depth, width):
    """Copies depth x width numbers of b from b[at] on into panels, of all columns but a few rows at a time: b is read in its order."""
    lanes = lanes_of(b)
    vectors = _cuts(width, lanes)
    panels = _cuts(vectors, VECTORS)
    for k in range(0, depth, CHUNK):
        rows = min(CHUNK, depth - k)
        for panel in range(panels):
            left, right = panel * vectors // panels * lanes, (panel + 1) * vectors // panels * lanes
            to, start, columns = left * depth + k * (right - left), at + k * b_row + left * b_step, min(right, width) - left
            if b_step == 1:
                pack(work, to, right - left, b, start, b_row, columns, rows)
            else:
                pack_transposed(work, to, right - left, b, start, b_step, columns, rows)


@njit
def _multiply_block(a, at, a_row, a_step, M, work, first, first_at, first_pitch, out, to, N, depth, width):
    """out[to + i N + j] = first[first_at + i first_pitch + j] + a @ block, for i < M and j < width."""
    lanes = lanes_of(out)
    vectors = _cuts(width, lanes)
    panels = _cuts(vectors, VECTORS)
    copy = BLOCK * lanes * DEPTH
    for strip in range(0, M, lanes):
        rows = min(lanes, M - strip)
        source, place, row, step = a, at + strip * a_row, a_row, a_step
        if a_row == 1:  # transposed: the numbers of a strip lie far apart
            pack(work, copy, lanes, a, place, a_step, rows, depth)
            source, place, step = work, copy, lanes
        for panel in range(panels):
            left, right = panel * vectors // panels * lanes, (panel + 1) * vectors // panels * lanes
            columns = min(right, width) - left
            for i in range(0, rows, ROWS):
                line = strip + i
                size, place_i = (min(ROWS, rows - i), columns), place + i * row
                begin = first, first_at + line * first_pitch + left, first_pitch
                tile(out, to + line * N + left, N, *size, *begin, source, place_i, row, step, work, left * depth, right - left, depth)


@njit
def few_columns(a, b, bias, out, form):
    """out = bias + a @ b where dot products do best: b is (N, K), and bias not out itself."""
    batches, a_count, b_count, _, _, _ = form
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


@njit
def _add_rows(row, x, b, at, pitch, count):
    """row[j] += sum_k x[k] b[at + k pitch + j] for count <= 4 values k."""
    n = row.size
    b0, b1, b2, b3 = b[at : at + n], b[at + pitch :][:n], b[at + 2 * pitch :][:n], b[at + 3 * pitch :][:n]
    if count == 4:
        for j in range(n):
            row[j] += x[0] * b0[j] + x[1] * b1[j] + x[2] * b2[j] + x[3] * b3[j]
    else:
        for k in range(count):
            bk = b[at + k * pitch :][:n]
            for j in range(n):
                row[j] += x[k] * bk[j]


@njit
def one_row(a, b, bias, out, form):
    """out = bias + a @ b for matrices a of one row: b, which is read once and not transposed, in long runs."""
    batches, a_count, b_count, _, _, _ = form
    N, K = out.shape[1], a.shape[1]
    a_flat, b_flat, out_flat = a.reshape(a.size), b.reshape(b.size), out.reshape(out.size)
    pieces = _cuts(N, COLUMNS)
    for task in prange(batches * pieces):
        full_vectors()
        batch, piece = divmod(np.int64(task), pieces)
        left, right = piece * N // pieces, (piece + 1) * N // pieces
        row = out_flat[batch * N + left : batch * N + right]
        for j in range(right - left if bias.size <= N else 0):
            row[j] = bias[left + j] if bias.size else 0
        x = a_flat[batch * K :][:K] if a_count > 1 else a_flat
        from_b = (batch if b_count > 1 else 0) * K * N + left
        for k in range(0, K, 4):
            _add_rows(row, x[k:], b_flat, from_b + k * N, N, min(4, K - k))


in_place_parallel, blocked_parallel = parallel_form(in_place), parallel_form(blocked)
few_columns_parallel, one_row_parallel = parallel_form(few_columns), parallel_form(one_row)
