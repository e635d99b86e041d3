"""Rows of the op table: views and indexing."""

from __future__ import annotations

import numpy as np
from op_case import BOOL, FLOATS, INT, OpCase, The, at, bools, ints

ANY = (*FLOATS, *INT, *BOOL)

VIEWS = [
    OpCase("reshape", [(2, 6), The((3, 4))], dtypes=ANY),
    OpCase("reshape", [(2, 6), The((-1, 2, 2))]),
    OpCase("reshape", [(1, 1), The(())]),
    OpCase("reshape", [(0, 3), The((3, 0))]),
    OpCase("x.reshape", [(2, 6), 4, -1]),
    OpCase("x.view", [(2, 6), 3, 4], layouts=False),
    OpCase("x.view", [(2, 6), The((12,))], layouts=False),
    OpCase("x.view", [(2, 3, 4), -1, 4], layouts=False),
    OpCase("x.view_as", [(2, 6), (3, 4)], layouts=False),
    OpCase("flatten", [(2, 3, 4)]),
    OpCase("flatten", [(2, 3, 4), 1]),
    OpCase("flatten", [(2, 3, 4)], {"start_dim": 0, "end_dim": -2}),
    OpCase("flatten", [()]),
    OpCase("flatten", [(2, 0, 3), 1]),
    OpCase("unflatten", [(2, 12), 1, The((3, 4))]),
    OpCase("unflatten", [(6, 2), -2, The((-1, 2))]),
    OpCase("permute", [(2, 3, 4), The((2, 0, 1))], dtypes=ANY),
    OpCase("x.permute", [(2, 3, 4), -1, 0, 1]),
    OpCase("permute", [(), The(())]),
    OpCase("transpose", [(2, 3, 4), 0, -1]),
    OpCase("transpose", [(2, 3), 1, 1]),
    OpCase("transpose", [(0, 3), 0, 1]),
    OpCase("t", [(2, 3)]),
    OpCase("t", [(3,)]),
    OpCase("t", [()]),
    OpCase("x.T", [(2, 3)]),
    OpCase("x.mT", [(2, 3, 4)]),
    OpCase("x.expand", [(3, 1), 3, 4], dtypes=ANY),
    OpCase("x.expand", [(3, 1), The((2, -1, 4))]),
    OpCase("x.expand", [(), 2]),
    OpCase("x.expand", [(1, 3), 0, 3]),
    OpCase("x.expand_as", [(3, 1), (3, 4)]),
    OpCase("squeeze", [(1, 3, 1)]),
    OpCase("squeeze", [(1, 3, 1), 0]),
    OpCase("squeeze", [(1, 3, 1), 1]),
    OpCase("squeeze", [(1, 3, 1), The((0, -1))]),
    OpCase("squeeze", [()]),
    OpCase("unsqueeze", [(2, 3), 0]),
    OpCase("unsqueeze", [(2, 3), -1]),
    OpCase("unsqueeze", [(), 0]),
    OpCase("narrow", [(4, 3), 0, 1, 2]),
    OpCase("narrow", [(4, 3), 1, -2, 2]),
    OpCase("narrow", [(4, 3), 0, 4, 0]),
    OpCase("as_strided", [(12,), The((3, 2)), The((4, 1))], layouts=False),
    OpCase("as_strided", [(3, 4), The((2, 2)), The((1, 4)), 1], layouts=False),
    OpCase("as_strided", [(5,), The((3, 3)), The((1, 1))], layouts=False),  # windows that overlap
    OpCase("as_strided", [(3,), The((2, 3)), The((0, 1))], layouts=False),
    OpCase("as_strided", [(3,), The((0, 3)), The((3, 1))], layouts=False),
]

_ROWS, _COLUMNS = ints(2, 0, 2), ints(1, -1, 0)
_GRID = ints([0, 1], [-1, 0])

INDEXING = [
    *(OpCase("x.__getitem__", [(3, 4), key], dtypes=ANY) for key in (at[1], at[1:, None], at[_ROWS])),
    *(
        OpCase("x.__getitem__", [(3, 4), key])
        for key in (
            at[-1],
            at[1, 2],
            at[1, -4],
            at[()],
            at[...],
            at[None],
            at[:],
            at[1:],
            at[:-1],
            at[::2],
            at[5:],
            at[2:1],
            at[-2:, 1:3],
            at[..., 0],
            at[0, ...],
            at[..., None],
            at[None, 1, None, ::2],
            at[1:2, ..., 0],
        )
    ),
    *(OpCase("x.__getitem__", [(3, 4), key], deviates="negative step") for key in (at[::-1], at[::-2, 3:0:-1])),
    *(OpCase("x.__getitem__", [(2, 3, 4), key]) for key in (at[:, 1], at[..., 1:, 2], at[0, :, ::3], at[:, None, 0, None])),
    OpCase("x.__getitem__", [(0, 3), at[:, 1]]),
    OpCase("x.__getitem__", [(1,), at[0]]),
    OpCase("x.__getitem__", [(), at[...]]),
    OpCase("x.__getitem__", [(), at[None, None]]),
    # advanced
    *(
        OpCase("x.__getitem__", [(3, 4), key])
        for key in (
            at[_ROWS, _COLUMNS],
            at[_GRID],
            at[:, _COLUMNS],
            at[_ROWS, 1],
            at[1, _ROWS],
            at[_ROWS, ::2],
            at[[0, 2]],
            at[[0, -1], [1, 1]],
            at[ints(dtype="int64")],
            at[ints(2, 0, dtype="int32")],
            at[_ROWS, None],
            at[None, _ROWS],
            at[..., _GRID],
            at[_GRID, _ROWS[:2]],
            at[_ROWS[:, None], _ROWS],
        )
    ),
    *(
        OpCase("x.__getitem__", [(2, 3, 4), key])
        for key in (
            at[_GRID, :, _GRID],
            at[:, _ROWS, _COLUMNS],
            at[:, 0, _ROWS],
            at[_GRID, _GRID],
            at[:, _GRID, 1:],
            at[ints(0, 1), None, ints(2, 0)],
        )
    ),
    # An int selects its dim first, as in PyTorch; NumPy would take it for an index array.
    OpCase("x.__getitem__", [(2, 3, 4), at[0, :, _ROWS]], reference=lambda x, key: x[0][:, _ROWS]),
    OpCase("x.__getitem__", [(2, 3, 4), at[1, ..., _ROWS]], reference=lambda x, key: x[1][:, _ROWS]),
    OpCase("x.__getitem__", [(2, 3, 4), at[..., ints(0, 2), 1]], reference=lambda x, key: x[..., 1][:, [0, 2]]),
    OpCase("x.__getitem__", [(3, 4), The(bools(True, False, True))]),
    OpCase("x.__getitem__", [(3, 4), at[:, bools(True, False, True, True)]]),
    OpCase("x.__getitem__", [(2, 2), The(bools([True, False], [True, True]))]),
    OpCase("x.__getitem__", [(2, 2, 3), at[bools([True, False], [False, True]), 1:]]),
    OpCase("x.__getitem__", [(3, 4), at[bools(True, False, True), ints(0, 1)]]),
    OpCase("x.__getitem__", [(3, 4), The(bools(False, False, False))]),
    OpCase("x.__getitem__", [(3,), The([True, False, True])]),
    OpCase("x.__getitem__", [(0, 3), The(ints(dtype="int64"))]),
    OpCase("nonzero", [(3, 4)], domain="ties", dtypes=ANY),
    OpCase("nonzero", [(2, 2, 2)], domain="ties"),
    OpCase("nonzero", [()], reference=lambda x: np.zeros((1, 0), np.int64)),
    OpCase("nonzero", [np.zeros((2, 3))]),
    OpCase("nonzero", [(0, 3)]),
    OpCase("F.embedding", [ints([0, 2], [2, 4]), (5, 3)]),
    OpCase("F.embedding", [ints(4, 4, 4), (5, 2)]),
    OpCase("F.embedding", [ints(1), (2, 1)]),
    OpCase("F.embedding", [ints(0, 1, dtype="int32"), (2, 3)]),
    OpCase("F.embedding", [ints(dtype="int64"), (2, 3)]),
    OpCase("F.embedding", [ints(0, 2, 0), (3, 2)], {"padding_idx": 0}, grad=False),
    OpCase("F.embedding", [ints(0, 2, 0), (3, 2)], {"padding_idx": -1}, grad=False),
]
