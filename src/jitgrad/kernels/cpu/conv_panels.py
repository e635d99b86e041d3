"""Products of convolutions by panels: what the taps read for the pixels of a tile is first gathered side by side.

So tiles are full where rows of images are no whole vectors, and read memory in one run where taps lie far apart. It costs moves,
which pay where many filters use a panel. A panel stays in the L1 cache while the filters go by; their weights come from L2.
"""

from __future__ import annotations

from jitgrad.kernels.cpu.conv_tiles import CHUNK, ZERO, deal, place_vectors
from jitgrad.kernels.jit import njit
from jitgrad.kernels.simd_code import lanes
from jitgrad.kernels.simd_conv import SPOT, TAP_ROWS, TAP_VECTORS, gather, taps


@njit
def _gather_panel(planes, shift, table, k, K, work, to, tile, parts, domain, source):
    """work[to + (t, j)] = what tap k + t reads for pixel j of the tile, for t < K."""
    (here, R, Q), (image, row) = domain, source
    columns = TAP_VECTORS * lanes(planes)
    p, stop = tile * columns, min((tile + 1) * columns, here * R * Q)
    count = 0
    while p < stop:
        (n, r), q = divmod(p // Q, R), p % Q
        run = min(min(Q - q, stop - p), lanes(planes))
        parts[count * SPOT] = n * image + r * row + q
        parts[count * SPOT + 1] = p - tile * columns
        parts[count * SPOT + 2] = run
        p += run
        count += 1
    if count == TAP_VECTORS and p == (tile + 1) * columns:
        count = 0  # all are whole
    gather(work, to, columns, planes, shift, parts, ZERO, count, table, k, K)


@njit
def products_of_panels(planes, table, packed, bias, out, work, spots, lines, numbers, domain, source, target):
    """As products of conv_tiles.py, for an `out` whose pixels follow each other.

    `lines`: where the rows of a panel begin. There is room behind the spots for a tile, and in `work` for the sums of a chunk of
    tiles and a panel.
    """
    (shift, begin), (first, last, every, depth), ((start, stop), filters, pitch, channel), _ = numbers
    few = lanes(planes)
    columns = TAP_VECTORS * few
    (here, R, Q), (out_image, out_row, _) = domain, target
    direct = here == 1 or R * Q % few == 0  # no vector spans images
    count = place_vectors(spots, few, columns, True, domain, source, (out_image, out_row, direct))
    tiles = (count * few + columns - 1) // columns
    chunks, blocks = (tiles + CHUNK - 1) // CHUNK, (filters + TAP_ROWS - 1) // TAP_ROWS
    block_size = TAP_ROWS * columns
    panel, parts = CHUNK * blocks * block_size, spots[spots.size - columns * SPOT :]
    groups = (stop + blocks - 1) // blocks - start // blocks if start < stop else 0
    for step in range(chunks * groups):
        chunk, number = divmod(step, groups)
        group = start // blocks + number
        mine = range(max(start - group * blocks, 0), min(stop - group * blocks, blocks))
        top, bottom = chunk * tiles // chunks, (chunk + 1) * tiles // chunks
        for k in range(first, max(last, first + 1), depth):
            size = min(depth, last - k)
            for tile in range(top, bottom):
                _gather_panel(planes, shift + group * pitch, table, k, size, work, panel, tile, parts, domain, source)
                s = tile * TAP_VECTORS * SPOT
                for block in mine:
                    f, at = group * filters + block * TAP_ROWS, ((group * blocks + block) * every + k) * TAP_ROWS
                    rows, to = min(TAP_ROWS, filters - block * TAP_ROWS), ((tile - top) * blocks + block) * block_size
                    if direct:
                        to = begin + f * channel
                        taps(out, to, channel, rows, k > first, bias, f, packed, at, work, panel, True, spots, s, lines, ZERO, size)
                    else:
                        taps(work, to, columns, rows, k > first, bias, f, packed, at, work, panel, True, spots, s, lines, ZERO, size)
        if not direct:
            for tile in range(top, bottom):
                for block in mine:
                    f, at = group * filters + block * TAP_ROWS, ((tile - top) * blocks + block) * block_size
                    rows = min(TAP_ROWS, filters - block * TAP_ROWS)
                    deal(out, begin + f * channel, channel, rows, work, at, columns, tile, Q, False, domain, target)
