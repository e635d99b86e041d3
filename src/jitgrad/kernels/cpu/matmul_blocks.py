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
def _pack_chunk(b, work, at, b_row, b_step, k, depth, width):
    """Copies CHUNK rows from row k on of a block, depth x width numbers of b from b[at] on, into the block's panels."""
    lanes = lanes_of(b)
    vectors = _cuts(width, lanes)
    panels = _cuts(vectors, VECTORS)
    rows = min(CHUNK, depth - k)
    for panel in range(panels):
        left, right = panel * vectors // panels * lanes, (panel + 1) * vectors // panels * lanes
        to, start, columns = left * depth + k * (right - left), at + k * b_row + left * b_step, min(right, width) - left
        if b_step == 1:
            pack(work, to, right - left, b, start, b_row, columns, rows)
        else:
            pack_transposed(work, to, right - left, b, start, b_step, columns, rows)


@njit
def _multiply_block(a, at, a_row, a_step, M, work, first, first_at, first_pitch, out, to, N, depth, width, tasks):
    """out[to + i N + j] = first[first_at + i first_pitch + j] + a @ block, for i < M and j < width."""
    lanes = lanes_of(out)
    vectors = _cuts(width, lanes)
    panels, strips = _cuts(vectors, VECTORS), _cuts(M, lanes)
    by_rows = strips >= tasks  # few rows: threads share the columns
    room = BLOCK * lanes * DEPTH
    for index in prange(tasks):
        task = np.int64(index)
        top, bottom = (task * strips // tasks, (task + 1) * strips // tasks) if by_rows else (0, strips)
        some, end = (0, panels) if by_rows else (task * panels // tasks, (task + 1) * panels // tasks)
        copy = room + task * lanes * DEPTH
        for strip in range(top * lanes, bottom * lanes, lanes):
            rows = min(lanes, M - strip)
            source, place, row, step = a, at + strip * a_row, a_row, a_step
            if a_row == 1:  # transposed: the numbers of a strip lie far apart
                pack(work, copy, lanes, a, place, a_step, rows, depth)
                source, place, step = work, copy, lanes
            for panel in range(some, end):
                left, right = panel * vectors // panels * lanes, (panel + 1) * vectors // panels * lanes
                columns = min(right, width) - left
                for i in range(0, rows, ROWS):
                    line = strip + i
                    size, place_i = (min(ROWS, rows - i), columns), place + i * row
                    begin = first, first_at + line * first_pitch + left, first_pitch
                    tile(out, to + line * N + left, N, *size, *begin, source, place_i, row, step, work, left * depth, right - left, depth)


@njit
def blocked(a, b, bias, out, work, tasks, form):
    """out = bias + a @ b; `work` has room for a block of b, and for a strip of a for each task."""
    batches, a_count, b_count, out_count, a_transposed, b_transposed = form
    M, N = out.shape[0] // out_count, out.shape[1]
    K = a.shape[0] // a_count if a_transposed else a.shape[1]
    a_flat, b_flat, out_flat = a.reshape(a.size), b.reshape(b.size), out.reshape(out.size)
    a_row, a_step = (1, M) if a_transposed else (K, 1)
    b_row, b_step = (1, K) if b_transposed else (N, 1)
    lanes = lanes_of(out_flat)
    vectors = _cuts(N, lanes)
    blocks, stretches = _cuts(vectors, BLOCK), _cuts(K, DEPTH)
    for step in range(batches * blocks * stretches):
        rest, s = divmod(step, stretches)
        batch, block = divmod(rest, blocks)
        k, end = s * K // stretches, (s + 1) * K // stretches
        left, right = block * vectors // blocks * lanes, min((block + 1) * vectors // blocks * lanes, N)
        to = (batch if out_count > 1 else 0) * M * N + left
        begins = s == 0 and (batch == 0 or out_count > 1) and bias.size <= N
        first, first_at, pitch = (bias, left, 0) if begins else (out_flat, to, N)
        from_b = (batch if b_count > 1 else 0) * K * N + k * b_row + left * b_step
        from_a = (batch if a_count > 1 else 0) * M * K + k * a_step
        for chunk in prange(_cuts(end - k, CHUNK)):
            _pack_chunk(b_flat, work, from_b, b_row, b_step, np.int64(chunk) * CHUNK, end - k, right - left)
        _multiply_block(a_flat, from_a, a_row, a_step, M, work, first, first_at, pitch, out_flat, to, N, end - k, right - left, tasks)


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
