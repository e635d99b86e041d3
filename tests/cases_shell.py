"""Rows of the op table: what is typed in a shell. Minima, parts and repeats, selection, order, products by rank, draws."""

from __future__ import annotations

from typing import Any

import numpy as np
from op_case import BOOL, FLOATS, INT, OpCase, The, bools, ints

from jitgrad.errors import ArgumentError, DTypeError, OutOfRangeError, ShapeError

NUMBERS = (*FLOATS, *INT)
ANY = (*NUMBERS, *BOOL)


def _std(x: np.ndarray, dim: Any = None, correction: float = 1, keepdim: bool = False) -> Any:
    return np.std(x, dim if dim != () else None, ddof=correction, keepdims=keepdim)


def _min(x: np.ndarray, dim: int | None = None, keepdim: bool = False) -> Any:
    if dim is None:
        return np.min(x)
    return np.min(x, dim, keepdims=keepdim), np.argmin(x, dim, keepdims=keepdim)


def _over(f: Any) -> Any:
    """The oracle of a reduction: NumPy's, which calls dim axis."""
    return lambda x, dim=None, keepdim=False: f(x, axis=dim, keepdims=keepdim)


def _product(x: np.ndarray, dim: int | None = None, keepdim: bool = False) -> Any:
    y = np.prod(x, dim, keepdims=keepdim)
    return y if y.dtype.kind == "f" else y.astype(np.int64)


MINIMA = [
    OpCase("amin", [(3, 4)], domain="distinct", dtypes=NUMBERS, reference=_over(np.min)),
    OpCase("amin", [(2, 3, 4)], {"dim": (0, 2), "keepdim": True}, domain="distinct", reference=_over(np.min)),
    OpCase("amin", [(4, 6)], {"dim": 1}, domain="special", reference=_over(np.min)),
    OpCase("amin", [(4, 6)], {"dim": 1}, domain="ties", second=False, reference=_over(np.min)),
    OpCase("amin", [bools(True, False)], reference=_over(np.min)),
    OpCase("amin", [ints(0, 255, 7, dtype="uint8")], reference=_over(np.min)),
    OpCase("amin", [ints(-(2**63), 2**63 - 1)], reference=_over(np.min)),
    OpCase("min", [(3, 4)], domain="distinct", dtypes=NUMBERS, reference=_min),
    OpCase("min", [(3, 4), 1], domain="distinct", dtypes=NUMBERS, reference=_min),
    OpCase("min", [(2, 3, 4), 0, True], domain="distinct", reference=_min),
    OpCase("min", [(4, 6), 0], domain="ties", reference=_min),
    OpCase("argmin", [(3, 4)], domain="distinct", dtypes=FLOATS, reference=_over(np.argmin)),
    OpCase("argmin", [(4, 6), 1], domain="special", reference=_over(np.argmin)),
    OpCase("argmin", [bools(True, False, False)], reference=_over(np.argmin), deviates="argmax of bools"),
    OpCase("argmin", [(2, 3)], {"keepdim": True}, domain="distinct", reference=_over(np.argmin)),
    OpCase("std", [(3, 4)], reference=_std),
    OpCase("std", [(2, 3, 4)], {"dim": (0, 2), "correction": 0, "keepdim": True}, reference=_std),
    OpCase("std", [np.array([[1.0, 1.0], [1.0, 2.0]]), 1], reference=_std, grad=False),
    OpCase("prod", [(3, 4)], dtypes=NUMBERS, reference=_product),
    OpCase("prod", [(3, 5), 1], reference=_product),
    OpCase("prod", [(2, 3, 4), 1, True], reference=_product),
    OpCase("prod", [()], reference=_product),
    OpCase("prod", [(0,)], reference=_product),
    OpCase("prod", [(2, 0), 1], reference=_product),
    OpCase("prod", [np.array([2.0, 0.0, 3.0, 0.0])], reference=_product),
    OpCase("prod", [bools(True, True, False)], reference=_product),
    OpCase("any", [(3, 4)], domain="ties", dtypes=ANY, reference=_over(np.any)),
    OpCase("any", [(3, 4), 1], domain="ties", reference=_over(np.any)),
    OpCase("any", [(0, 3), 0], reference=_over(np.any)),
    OpCase("any", [np.array([np.nan, 0.0])], reference=_over(np.any)),
    OpCase("all", [(3, 4)], domain="ties", dtypes=ANY, reference=_over(np.all)),
    OpCase("all", [(3, 4)], {"dim": 0, "keepdim": True}, domain="ties", reference=_over(np.all)),
    OpCase("all", [(0, 3)], reference=_over(np.all)),
    OpCase("isclose", [np.array([1.0, 2.0, np.inf, np.nan, np.inf]), np.array([1.0 + 1e-6, 2.1, np.inf, np.nan, 1.0])], grad=False,
           reference=np.isclose),
    OpCase("isclose", [np.array([2**60, 3]), np.array([2**60 + 1, 3]), 0.0, 0.0], reference=lambda a, b, *_: a == b),
    OpCase("isclose", [np.array([1.0, np.nan, np.nan]), np.array([1.01, np.nan, 1.0])], {"rtol": 0.1, "equal_nan": True}, grad=False,
           reference=np.isclose),
    OpCase("isclose", [ints(1, 2), ints(1, 3)], reference=np.isclose),
]  # fmt: skip


def _split(x: np.ndarray, size: Any, dim: int = 0) -> Any:
    n = x.shape[dim]
    cuts = list(range(size, n, size)) if isinstance(size, int) else list(np.cumsum(size))[:-1]
    return np.split(x, cuts, dim)


def _chunk(x: np.ndarray, chunks: int, dim: int = 0) -> Any:
    return _split(x, -(-x.shape[dim] // chunks), dim)


PARTS = [
    OpCase("split", [(5, 3), 2], dtypes=ANY, reference=_split),
    OpCase("split", [(4, 3), 2, 1], reference=_split),
    OpCase("split", [(5, 3), The([1, 0, 4])], reference=_split),
    OpCase("split", [(5, 3), 9], reference=_split),
    OpCase("x.split", [(5, 3), 2], {"dim": 1}, reference=_split),
    OpCase("split", [(0, 3), 2], reference=lambda x, n: [x]),
    OpCase("chunk", [(5, 3), 2], dtypes=ANY, reference=_chunk),
    OpCase("chunk", [(5,), 4], reference=_chunk),
    OpCase("chunk", [(3, 4), 2, -1], reference=_chunk),
    OpCase("unbind", [(2, 3)], dtypes=ANY, reference=list),
    OpCase("unbind", [(2, 3), 1], reference=lambda x, dim: list(x.T)),
    OpCase("unbind", [(2, 3, 4), -1], reference=lambda x, dim: list(np.moveaxis(x, 2, 0))),
    OpCase("x.repeat", [(2, 3), 2, 1], dtypes=ANY, reference=lambda x, *n: np.tile(x, n)),
    OpCase("x.repeat", [(3,), The((2, 2))], reference=np.tile),
    OpCase("x.repeat", [(), 3], reference=np.tile),
    OpCase("x.repeat", [(2, 3), 0, 1], reference=lambda x, *n: np.tile(x, n)),
    OpCase("tile", [(2, 3), The((2,))], reference=np.tile),
    OpCase("tile", [(3,), The((2, 1))], reference=np.tile),
    OpCase("x.tile", [(2, 3), 2, 2], reference=lambda x, *n: np.tile(x, n)),
    OpCase("repeat_interleave", [(2, 3), 2], dtypes=ANY, reference=lambda x, n: np.repeat(x, n)),
    OpCase("repeat_interleave", [(2, 3), 3, 1], reference=np.repeat),
    OpCase("repeat_interleave", [(2, 3), 0], {"dim": 0}, reference=lambda x, n, dim: np.repeat(x, n, dim)),
    OpCase("flip", [(2, 3), The((0,))], dtypes=ANY, reference=np.flip),
    OpCase("flip", [(2, 3, 4), The((-1, 0))], reference=np.flip),
    OpCase("flip", [(0, 3), The((0, 1))], reference=np.flip),
    OpCase("x.flip", [(3, 2), 0, 1], reference=lambda x, *d: np.flip(x, d)),
    OpCase("roll", [(3, 4), 5], dtypes=ANY, reference=np.roll),
    OpCase("roll", [(3, 4), The((1, -1)), The((0, 1))], reference=np.roll),
    OpCase("roll", [(3, 4), -2, 1], reference=np.roll),
    OpCase("roll", [(0, 4), 1, 0], reference=np.roll),
]


def _gather(x: np.ndarray, dim: int, index: np.ndarray) -> np.ndarray:
    y = np.empty(index.shape, x.dtype)
    for at in np.ndindex(*index.shape):
        source = list(at)
        source[dim] = index[at]
        y[at] = x[tuple(source)]
    return y


def _sort(x: np.ndarray, dim: int = -1, descending: bool = False) -> Any:
    order = _argsort(x, dim, descending)
    return np.take_along_axis(x, order, dim), order


def _argsort(x: np.ndarray, dim: int = -1, descending: bool = False) -> np.ndarray:
    """By Python's sort, which is stable, reversed too; NaN counts as more than infinity."""
    key = lambda v: (v != v, 0.0 if v != v else v)
    return np.apply_along_axis(lambda row: sorted(range(row.size), key=lambda i: key(row[i]), reverse=descending), dim, x).astype(np.int64)


def _topk(x: np.ndarray, k: int, dim: int = -1, largest: bool = True) -> Any:
    values, order = _sort(x, dim, largest)
    return np.take(values, range(k), dim), np.take(order, range(k), dim)


SELECTION = [
    OpCase("gather", [(3, 4), 1, ints([0, 3], [1, 1], [2, 0])], dtypes=ANY, reference=_gather),
    OpCase("gather", [(3, 4), 0, ints([0, 2, 1, 1])], reference=_gather),
    OpCase("gather", [(2, 3, 4), -1, ints([[0, 3]], [[1, 1]])], reference=_gather),
    OpCase("gather", [(5,), 0, ints(4, 4, 0)], reference=_gather),
    OpCase("gather", [(), 0, ints(0).reshape(())], reference=lambda x, d, i: x),
    OpCase("gather", [(3, 4), 1, np.zeros((3, 0), np.int64)], reference=_gather),
    OpCase("index_select", [(3, 4), 1, ints(3, 0, 3)], dtypes=ANY, reference=lambda x, d, i: np.take(x, i, d)),
    OpCase("index_select", [(3, 4), 0, ints(2, 1, dtype="int32")], reference=lambda x, d, i: np.take(x, i, d)),
    OpCase("index_select", [(3, 4), -2, ints(dtype="int64")], reference=lambda x, d, i: np.take(x, i, d)),
    OpCase("masked_select", [(2, 3), bools([True, False, True], [False, False, True])], dtypes=ANY, reference=lambda x, m: x[m]),
    OpCase("masked_select", [(2, 3), bools(True, False, True)], reference=lambda x, m: x[:, m].reshape(-1)),
    OpCase("masked_select", [(), np.array(True)], reference=lambda x, m: x.reshape(1)),
    OpCase("masked_fill", [(2, 3), bools(True, False, True), 7], dtypes=ANY,
           reference=lambda x, m, v: np.where(m, np.asarray(v, x.dtype), x)),
    OpCase("masked_fill", [(3,), bools([True, False, True], [False, True, True]), -np.inf], reference=lambda x, m, v: np.where(m, v, x),
           grad=False),
    OpCase("masked_fill", [(2, 3), bools([True], [False]), ()], reference=lambda x, m, v: np.where(m, v, x)),
    OpCase("x.masked_fill_", [(2, 3), bools(True, False, True), 1.5], reference=lambda x, m, v: np.where(m, v, x)),
    OpCase("sort", [(3, 4)], domain="distinct", dtypes=NUMBERS, reference=_sort),
    OpCase("sort", [(3, 4), 0, True], domain="distinct", reference=_sort),
    OpCase("sort", [(2, 3, 4), 1], domain="distinct", reference=_sort),
    OpCase("sort", [(4, 6)], {"stable": True, "dim": 1}, domain="special", tol=0, reference=lambda x, dim, stable: _sort(x, dim)),
    OpCase("sort", [(4, 6)], {"stable": True, "descending": True}, domain="special",
           reference=lambda x, stable, descending: _sort(x, -1, descending)),
    OpCase("sort", [bools(True, False, True)], {"stable": True}, reference=lambda x, stable: _sort(x)),
    OpCase("sort", [ints(3, 255, 0, dtype="uint8")], {"descending": True}, reference=lambda x, descending: _sort(x, 0, descending)),
    OpCase("sort", [()], reference=lambda x: (x, np.zeros((), np.int64))),
    OpCase("sort", [(0, 3), 1], reference=lambda x, d: (x, np.zeros((0, 3), np.int64))),
    OpCase("argsort", [(3, 4)], domain="distinct", dtypes=FLOATS, reference=_argsort),
    OpCase("argsort", [(4, 6)], {"dim": 0, "descending": True, "stable": True}, domain="ties",
           reference=lambda x, dim, descending, stable: _argsort(x, dim, descending)),
    OpCase("topk", [(3, 4), 2], domain="distinct", dtypes=NUMBERS, reference=_topk),
    OpCase("topk", [(3, 4), 3], {"dim": 0, "largest": False}, domain="distinct", reference=_topk),
    OpCase("topk", [(3, 4), 0], domain="distinct", reference=_topk),
    OpCase("tril", [(3, 4)], dtypes=ANY, reference=np.tril),
    OpCase("tril", [(2, 3, 3), -1], reference=np.tril),
    OpCase("triu", [(3, 4)], dtypes=ANY, reference=np.triu),
    OpCase("triu", [(4, 3), 1], reference=np.triu),
    OpCase("triu", [(0, 3)], reference=np.triu),
]  # fmt: skip

BY_RANK = [
    OpCase("dot", [(3,), (3,)], dtypes=NUMBERS, reference=np.dot),
    OpCase("dot", [(0,), (0,)], reference=np.dot),
    OpCase("outer", [(3,), (2,)], dtypes=NUMBERS, reference=np.outer),
    OpCase("mv", [(2, 3), (3,)], reference=np.dot),
    OpCase("mm", [(2, 3), (3, 4)], dtypes=NUMBERS, reference=np.dot),
    OpCase("mm", [(2, 0), (0, 3)], reference=np.dot),
    OpCase("bmm", [(2, 3, 4), (2, 4, 5)], reference=np.matmul),
]

NEW = [
    OpCase("linspace", [0, 1, 5], reference=np.linspace),
    OpCase("linspace", [-3, 10, 50], reference=np.linspace),
    OpCase("linspace", [3, -3, 7], reference=np.linspace),
    OpCase("linspace", [2, 5, 1], reference=np.linspace),
    OpCase("linspace", [2, 5, 0], reference=np.linspace),
    OpCase("eye", [3], reference=np.eye),
    OpCase("eye", [2, 4], reference=np.eye),
    OpCase("eye", [0], reference=np.eye),
    OpCase("full_like", [(2, 3), 2], dtypes=NUMBERS, reference=lambda x, v: np.full_like(x, v)),
    OpCase("empty_like", [(2, 3)], holds=lambda y: y.shape == (2, 3)),
    OpCase("x.new_zeros", [(2,), 2, 3], dtypes=ANY, reference=lambda x, *n: np.zeros(n, x.dtype)),
    OpCase("x.new_ones", [(2,), The((2, 3))], dtypes=ANY, reference=lambda x, n: np.ones(n, x.dtype)),
    OpCase("x.new_full", [(2,), The((2, 3)), 3], dtypes=NUMBERS, reference=lambda x, n, v: np.full(n, v, x.dtype)),
    OpCase("x.new_tensor", [(2,), The([1, 2])], dtypes=ANY, reference=lambda x, v: np.array(v, x.dtype)),
    OpCase("x.new_empty", [(2,), 2, 3], holds=lambda y: y.shape == (2, 3)),
]

DRAWN = [
    OpCase("rand_like", [(200,)], holds=lambda y: 0 <= y.min() < 0.1 and 0.9 < y.max() < 1),
    OpCase("randn_like", [(20, 50)], holds=lambda y: abs(y.mean()) < 0.1 and abs(y.std() - 1) < 0.1),
    OpCase("randint_like", [(100,), -2, 3], holds=lambda y: set(y.tolist()) == {-2, -1, 0, 1, 2}),
    OpCase("normal", [3.0, 0.5, The((2000,))], holds=lambda y: abs(y.mean() - 3) < 0.05 and abs(y.std() - 0.5) < 0.05),
    OpCase("normal", [np.array([-5.0, 5.0]), np.array([0.0, 0.0])], holds=lambda y: y.tolist() == [-5, 5], deviates="draws"),
    OpCase("bernoulli", [np.full(4000, 0.25)], holds=lambda y: set(y.tolist()) == {0, 1} and abs(y.mean() - 0.25) < 0.03, deviates="draws"),
    OpCase("bernoulli", [np.array([0.0, 1.0])], grad=False, holds=lambda y: y.tolist() == [0, 1], deviates="draws"),
    OpCase("multinomial", [np.array([0.0, 1.0, 3.0]), 400, True], holds=lambda y: abs((y == 2).mean() - 0.75) < 0.1 and y.min() == 1),
    OpCase("multinomial", [np.array([[0.0, 1.0, 3.0, 0.1]] * 2), 3], holds=lambda y: np.sort(y).tolist() == [[1, 2, 3]] * 2),
    OpCase("x.uniform_", [(2000,), 2, 5], holds=lambda y: 2 <= y.min() < 2.1 and 4.9 < y.max() < 5),
    OpCase("x.normal_", [(2000,), 2, 0.5], holds=lambda y: abs(y.mean() - 2) < 0.05 and abs(y.std() - 0.5) < 0.05),
    OpCase("x.bernoulli_", [(2000,), 0.75], holds=lambda y: abs(y.mean() - 0.75) < 0.04),
    OpCase("x.bernoulli_", [(2, 2), np.array([0.0, 1.0])], grad=False, holds=lambda y: y.tolist() == [[0, 1], [0, 1]], deviates="draws"),
]

SHELL = [*MINIMA, *PARTS, *SELECTION, *BY_RANK, *NEW, *DRAWN]


def bad(op: str, shapes: list[Any], error: type[Exception], fragment: str, deviates: str = "", **kwargs: Any) -> OpCase:
    return OpCase(op, shapes, kwargs, errors=(error, fragment), dtypes=("float32",), deviates=deviates)


SHELL_ERRORS = [
    bad("arange", [0, 5, 0.5], ArgumentError, "whole numbers", dtype="int64"),
    bad("full", [The((2, 3)), The([1.0, 2.0, 3.0])], TypeError, "one number"),
    bad("flip", [(2, 3)], TypeError, "expected the dims"),
    bad("min", [(0,)], ShapeError, "size 0"),
    bad("argmin", [(2, 3), 2], OutOfRangeError, "out of range"),
    bad("argmin", [(3, 0), 1], ShapeError, "argmin: dim 1"),
    bad("amin", [(3, 0), 1], ShapeError, "amin: dim 1"),
    bad("min", [(3, 0), 1], ShapeError, "min: dim 1"),
    bad("prod", [(2, 3), 2], OutOfRangeError, "out of range"),
    bad("isclose", [(2,), np.zeros(2, np.int64)], DTypeError, "expected equal dtypes"),
    bad("split", [(5,), The([2, 2])], ShapeError, "add up to 5"),
    bad("split", [(5,), 0], ArgumentError, "at least 1 element"),
    bad("split", [(), 1], ShapeError, "at least 1 dim"),
    bad("chunk", [(5,), 0], ArgumentError, "at least 1 chunk"),
    bad("x.repeat", [(2, 3), 2], ShapeError, "for each of the 2 dims"),
    bad("x.repeat", [(2,), -1], ShapeError, "at least 0"),
    bad("flip", [(2, 3), The((0, 0))], ShapeError, "twice"),
    bad("roll", [(2, 3), The((1, 1)), The((0,))], ArgumentError, "as many shifts as dims"),
    bad("gather", [(2, 3), 1, ints([0, 3], [0, 0])], OutOfRangeError, "index 3 is out of range"),
    bad("gather", [(2, 3), 1, ints([0, -1], [0, 0])], OutOfRangeError, "index -1 is out of range"),
    bad("gather", [(2, 3), 1, ints([0], [0], [0])], ShapeError, "at most (2, 3)"),
    bad("gather", [(2, 3), 1, (2, 3)], DTypeError, "int64 Tensor of indices"),
    bad("index_select", [(2, 3), 1, ints(3)], OutOfRangeError, "index 3 is out of range"),
    bad("index_select", [(2, 3), 1, ints([0], [1])], OutOfRangeError, "1 dim"),
    bad("masked_select", [(3,), ints(1, 0, 1)], DTypeError, "bool Tensor"),
    bad("masked_fill", [(3,), ints(1, 0, 1), 0.0], DTypeError, "bool Tensor"),
    bad("masked_fill", [(3,), bools(True, False, True), (3,)], ShapeError, "0-d Tensor"),
    bad("sort", [(2, 3), 2], OutOfRangeError, "out of range"),
    bad("topk", [(2, 3), 4], ArgumentError, "from 0 to 3"),
    bad("tril", [(3,)], ShapeError, "at least 2 dims"),
    bad("dot", [(3,), (4,)], ShapeError, "given"),
    bad("dot", [(2, 3), (3,)], ShapeError, "1 and 1 dims"),
    bad("outer", [(2, 3), (3,)], ShapeError, "1 and 1 dims"),
    bad("mv", [(2, 3), (2, 3)], ShapeError, "2 and 1 dims"),
    bad("mm", [(2, 3, 4), (4, 2)], ShapeError, "2 and 2 dims"),
    bad("bmm", [(2, 3, 4), (1, 4, 2)], ShapeError, "equal batches"),
    bad("linspace", [0, 1, -1], ArgumentError, "at least 0 steps"),
    bad("eye", [-1], ShapeError, "at least 0"),
    bad("normal", [0.0, -1.0, The((2,))], ArgumentError, "std of at least 0"),
    bad("bernoulli", [np.array([1.5])], ArgumentError, "from 0 to 1"),
    bad("bernoulli", [ints(1)], DTypeError, "float dtype", "not implemented"),
    bad("multinomial", [np.array([0.0, 1.0]), 3], ArgumentError, "1 to 1 samples"),
    bad("multinomial", [np.array([-1.0, 1.0]), 1], ArgumentError, "at least 0"),
    bad("x.uniform_", [(2,), 1.0, 0.0], ArgumentError, "from <= to"),
    bad("x.normal_", [(2,), 0.0, -1.0], ArgumentError, "std of at least 0"),
    bad("x.normal_", [ints(1, 2)], DTypeError, "float32 or float64", "not implemented"),
]
