"""Indexing: rows by index (take, embedding), NumPy-style x[...] and x[...] = v, nonzero."""

from __future__ import annotations

from typing import Any

from jitgrad import dtypes, kernels
from jitgrad.autograd import (
    Primitive,
    Tensor,
    as_tensor,
    broadcast_to,
    cast,
    check_writable,
    contiguous,
    copy_,
    filled,
    scalar,
    to_device,
    write,
)  # fmt: skip
from jitgrad.errors import ArgumentError, DTypeError, JitgradError, OutOfRangeError, ShapeError
from jitgrad.ops._operands import check_tensors
from jitgrad.ops.create import arange_like
from jitgrad.ops.pointwise import add, eq, mul, ne, where
from jitgrad.ops.reduce import amax
from jitgrad.ops.views import INDEX, inverse_order, permute, reshape, resolve_slice
from jitgrad.shapes import Item, Shape, broadcast_shapes

_INT64 = dtypes.int64.numpy


# ---- rows by index
def _take_infer(x: Any, idx: Any) -> tuple[Shape, Any]:
    _check_index_dtype(idx)
    return tuple(idx.shape) + tuple(x.shape[1:]), x.dtype


def _check_index_dtype(idx: Any) -> None:
    if idx.dtype != _INT64:
        raise DTypeError(f"expected int64 indices, given {idx.dtype}.")


def _take_check(x: Any, idx: Any) -> None:
    check_range(idx, 0, x.shape[0], "rows")


def check_range(idx: Any, low: int, high: int, what: str, error: type[OutOfRangeError] = OutOfRangeError) -> None:
    """Raise for an index that is not one of low to high - 1."""
    at = kernels.of(idx).first_outside(idx, low, high)
    if at >= 0:
        bad = kernels.of(idx).to_host(idx).reshape(-1)[at]
        raise error(f"index {bad} is out of range: expected {low} to {high - 1} for {high} {what}.")


TAKE: Primitive = Primitive(
    "take", "x idx", _take_infer, check=_take_check,
    grad_x=lambda g, idx, x_shape: INDEX_ADD.apply(g, idx, x_shape[0]),
)  # fmt: skip
INDEX_ADD: Primitive = Primitive(
    "index_add", "g idx", lambda g, idx, R: ((R, *g.shape[len(idx.shape) :]), g.dtype),
    check=lambda g, idx, R: check_range(idx, 0, R, "rows"), grad_g=lambda u, idx: TAKE.apply(u, idx),
)  # fmt: skip


def _index_put_infer(x: Any, idx: Any, v: Any) -> tuple[Shape, Any]:
    shape = _take_infer(x, idx)[0]
    if v.shape != shape or v.dtype != x.dtype:
        raise ShapeError(f"index_put: expected values {shape} {x.dtype}, given {v.shape} {v.dtype}.")
    return x.shape, x.dtype


INDEX_PUT: Primitive = Primitive(
    "index_put", "x idx v", _index_put_infer, check=lambda x, idx, v: _take_check(x, idx),
    grad_x=lambda g, idx: INDEX_PUT.apply(g, idx, filled(idx.shape + g.shape[1:], 0, g)),
    grad_v=lambda g, idx: _put_grad_v(g, idx),
)  # fmt: skip
NONZERO: Primitive = Primitive("nonzero", "x", lambda x: ((None, len(x.shape)), _INT64))


def _put_grad_v(g: Tensor, idx: Tensor) -> Tensor:
    """The rows of g by index; where several were written to one row, only the last, which is there, gets its gradient."""
    rows = TAKE.apply(g, idx)
    order = reshape(arange_like(idx.array.size, idx), idx.shape)
    last = TAKE.apply(INDEX_PUT.apply(filled(g.shape[:1], 0, order), idx, order), idx)
    return where(reshape(eq(last, order), (*idx.shape, *(1,) * (g.ndim - 1))), rows, 0)


def embedding(
    input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None, norm_type: float = 2.0,
    scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Tensor:  # fmt: skip
    """Rows of weight: ``y[i, :] = weight[input[i], :]``.

    Parameters
    ----------
    input
        int64 or int32 indices of any shape, each from 0 to rows - 1.
    weight
        (rows, features).
    padding_idx
        A row that gets no gradient.
    max_norm, norm_type, scale_grad_by_freq, sparse
        Not supported: ArgumentError for a max_norm, a true scale_grad_by_freq or a true sparse.

    Raises OutOfRangeError (an IndexError) for an index out of range. Gradient: the rows of g added up by index, in order.

    >>> import jitgrad as jg
    >>> w = jg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> jg.nn.functional.embedding(jg.tensor([1, 1]), w).sum().backward()
    >>> w.grad.tolist()
    [[0.0, 0.0], [2.0, 2.0]]
    """
    if max_norm is not None or scale_grad_by_freq or sparse:
        raise ArgumentError(
            "embedding: max_norm, scale_grad_by_freq and sparse are not supported, "
            f"given max_norm={max_norm}, norm_type={norm_type}, scale_grad_by_freq={scale_grad_by_freq}, sparse={sparse}."
        )
    if weight.ndim != 2:
        raise ShapeError(f"embedding: expected a weight of 2 dims, given {weight.shape}. Reshape it.")
    if input.array.dtype.kind != "i":
        raise DTypeError(f"embedding: expected int indices, given {input.dtype}. Try input.long().")
    idx = cast(input, _INT64)
    if padding_idx is not None:
        rows = weight.shape[0]
        if not -rows <= padding_idx < rows:
            raise OutOfRangeError(f"embedding: padding_idx {padding_idx} is out of range for {rows} rows.")
        # The row goes in as a constant, so that no gradient reaches it.
        real = reshape(ne(idx, padding_idx % rows), (*idx.shape, 1))
        taken = TAKE.apply(weight, idx)
        return where(real, taken, taken.detach())
    return TAKE.apply(weight, idx)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """1 at the class, 0 elsewhere, int64: (...) labels become (..., num_classes). No gradient.

    With num_classes -1 there are as many classes as the largest label needs. Raises ArgumentError for a label out of range.

    >>> import jitgrad as jg
    >>> jg.nn.functional.one_hot(jg.tensor([0, 2])).tolist()
    [[1, 0, 0], [0, 0, 1]]
    """
    check_tensors("one_hot", tensor)
    if tensor.array.dtype != _INT64:
        raise DTypeError(f"one_hot: expected int64 labels, given {tensor.dtype}. Try labels.long().")
    if num_classes == -1:
        if not tensor.array.size:
            raise ArgumentError("one_hot: no labels say how many classes there are. Give num_classes.")
        num_classes = int(amax(tensor).tolist()) + 1
    if num_classes < 1 or kernels.of(tensor.array).first_outside(tensor.array, 0, num_classes) >= 0:
        raise ArgumentError(f"one_hot: expected labels from 0 to num_classes - 1, and num_classes of at least 1, given {num_classes}.")
    at = eq(reshape(tensor, (*tensor.shape, 1)), arange_like(num_classes, tensor))
    return cast(at, _INT64)


def nonzero(input: Tensor) -> Tensor:
    """Indices of the elements that are not 0, (count, ndim) int64, in C order. No gradient; the count depends on the data.

    >>> import jitgrad as jg
    >>> jg.nonzero(jg.tensor([0, 3, 5])).tolist()
    [[1], [2]]
    """
    return NONZERO.apply(input)


# ---- x[...]
def _parsed(x: Tensor, key: Any) -> tuple[tuple[Item, ...], dict[int, Tensor]]:
    """A key as basic items, and the index tensors by the dim of the basic view that they index."""
    keys = list(key) if isinstance(key, tuple) else [key]
    keys = [_as_index(x, k) for k in keys]
    shape = x.array.shape
    used = sum(k.ndim if isinstance(k, Tensor) and k.array.dtype.char == "?" else 1 for k in keys if k is not None and k is not Ellipsis)
    dots = [i for i, k in enumerate(keys) if k is Ellipsis]
    if len(dots) > 1:
        raise OutOfRangeError("an index has at most one ellipsis (...).")
    if used > len(shape):
        raise OutOfRangeError(f"too many indices: {used} for {len(shape)} dim(s) of shape {tuple(shape)}.")
    if dots:
        keys[dots[0] : dots[0] + 1] = [slice(None)] * (len(shape) - used)
    items: list[Item] = []
    tensors: dict[int, Tensor] = {}
    d = out = 0
    for k in keys:
        if k is None:
            items.append(None)
            out += 1
        elif isinstance(k, slice):
            items.append(_sliced(k, shape[d]))
            d, out = d + 1, out + 1
        elif isinstance(k, Tensor):
            for index in _index_tensors(k, tuple(shape[d : d + k.ndim])):
                tensors[out] = index
                items.append((0, 1, shape[d]))
                d, out = d + 1, out + 1
        else:
            n = shape[d]
            if not -n <= k < n:
                raise OutOfRangeError(f"index {k} is out of range for dim {d} of size {n}: expected {-n} to {n - 1}.")
            items.append(k + n if k < 0 else k)
            d += 1
    return tuple(items), tensors


def _sliced(s: slice, size: int) -> tuple[int, int, int]:
    try:
        return resolve_slice(s, size)
    except TypeError:
        raise IndexTypeError(f"slice {s}: expected ints or None.") from None


def _as_index(x: Tensor, k: Any) -> Any:
    """One part of a key as None, Ellipsis, a slice, an int or an index Tensor."""
    if k is None or k is Ellipsis or isinstance(k, slice):
        return k
    if isinstance(k, bool) or (getattr(k, "shape", None) == () and getattr(k, "dtype", None) == dtypes.bool_):
        raise IndexTypeError("a bool is not an index here: use a tensor of bools, or x if flag else x[:0].")
    if isinstance(k, Tensor):
        if k.array.dtype.kind == "f":
            raise OutOfRangeError(f"indices are expected to be ints or bools, given {k.dtype}. Try index.long().")
        return int(k) if k.ndim == 0 and k.array.dtype.char != "?" else to_device(k, x.device)
    if hasattr(k, "__index__") and getattr(k, "shape", ()) == ():
        return k.__index__()
    if isinstance(k, (list, range)) or hasattr(k, "__array__"):
        index = as_tensor(list(k) if isinstance(k, range) else k)
        if index.array.size == 0 and not hasattr(k, "__array__"):
            index = cast(index, _INT64)
        return _as_index(x, index)
    raise IndexTypeError(f"indices are expected to be ints, slices, ..., None, lists or tensors, given {type(k).__name__}.")


def _index_tensors(k: Tensor, sizes: Shape) -> list[Tensor]:
    """An index Tensor as int64 indices counted from 0, one for each dim that it covers (bools cover as many dims as they have)."""
    if k.array.dtype.char == "?":
        if k.shape != sizes:
            raise OutOfRangeError(f"a bool index of shape {k.shape} does not match the sizes {sizes} that it stands for.")
        where_true = nonzero(k)
        return [INDEX.apply(where_true, ((0, 1, where_true.shape[0]), i)) for i in range(k.ndim)]
    n = sizes[0] if sizes else 0
    return [WRAP_INDEX.apply(cast(k, _INT64), n)]


# Negative indices count from the end.
WRAP_INDEX: Primitive = Primitive(
    "wrap_index", "idx", lambda idx, size: (idx.shape, idx.dtype),
    check=lambda idx, size: check_range(idx, -size, size, "elements of this dim"),
)  # fmt: skip


class IndexTypeError(JitgradError, IndexError, TypeError):
    """A key that is no index; NumPy and PyTorch raise IndexError here, Python's lists TypeError."""


class IndexShapeError(ShapeError, IndexError):
    """Index tensors that do not broadcast; PyTorch raises IndexError here."""


class _Rows:
    """x with its indexed dims brought to the front and merged, one linear index into them, and the way back."""

    def __init__(self, x: Tensor, tensors: dict[int, Tensor]) -> None:
        shape = x.shape
        dims = list(tensors)
        indices = list(tensors.values())
        try:
            self.index_shape = broadcast_shapes(*(i.shape for i in indices))
        except ShapeError as error:
            raise IndexShapeError(f"index tensors: {error}") from None
        rest = [d for d in range(len(shape)) if d not in tensors]
        self.order = (*dims, *rest)
        self.moved_shape = tuple(shape[d] for d in self.order)
        self.rest_shape = tuple(shape[d] for d in rest)
        rows = 1
        linear: Tensor | None = None
        for d, index in zip(reversed(dims), reversed(indices), strict=True):
            part = index if rows == 1 else mul(index, rows)
            linear = part if linear is None else add(linear, part)
            rows *= shape[d]
        assert linear is not None
        self.idx = broadcast_to(linear, self.index_shape)
        self.x = reshape(permute(x, self.order), (rows, *self.rest_shape))
        # Indices side by side leave their dims in place; else the new dims come first.
        adjacent = dims == list(range(dims[0], dims[0] + len(dims)))
        self.at = dims[0] if adjacent else 0

    def placing(self) -> tuple[int, ...]:
        """Order of dims that brings the index dims from the front to their place."""
        n, at = len(self.index_shape), self.at
        return (*range(n, n + at), *range(n), *range(n + at, n + len(self.rest_shape)))


def getitem(x: Tensor, key: Any) -> Tensor:
    """x[key] with NumPy's and PyTorch's keys. Ints, slices, ... and None give a view, index tensors, lists and bools a copy.

    Gradient: g where the elements came from, added up where an element was taken twice.
    """
    if type(key) is int:  # what a loop over rows does
        n = x.array.shape[0] if x.array.ndim else 0
        if -n <= key < n:
            return INDEX.apply(x, (key + n if key < 0 else key,))
    items, tensors = _parsed(x, key)
    if not tensors:
        return INDEX.apply(x, items)
    rows = _Rows(INDEX.apply(x, items), tensors)
    y = TAKE.apply(rows.x, rows.idx)
    return contiguous(permute(y, rows.placing())) if rows.at else y


def setitem(x: Tensor, key: Any, value: Any) -> None:
    """x[key] = value in place; value is cast to x's dtype as PyTorch does, and broadcasts."""
    items, tensors = _parsed(x, key)
    target = INDEX.apply(x, items) if items else x
    if isinstance(value, (bool, int, float)):
        v = scalar(value, x.array.dtype, x)
    else:
        v = value if isinstance(value, Tensor) else as_tensor(value, dtype=x.dtype)
        v = to_device(cast(v, x.array.dtype), x.device)
    if not tensors:
        _check_fits(v.shape, target.shape)
        copy_(target, _without_lead(v, target.ndim), "__setitem__")
        return
    check_writable(target, "__setitem__")
    rows = _Rows(target, tensors)
    shape = (*rows.rest_shape[: rows.at], *rows.index_shape, *rows.rest_shape[rows.at :])
    _check_fits(v.shape, shape)
    values = broadcast_to(_without_lead(v, len(shape)), shape)
    if rows.at:
        values = permute(values, inverse_order(rows.placing()))

    def put() -> Tensor:
        y = reshape(INDEX_PUT.apply(rows.x, rows.idx, values), rows.moved_shape)
        return permute(y, inverse_order(rows.order))

    write(target, "__setitem__", put)


def _check_fits(given: Shape, target: Shape) -> None:
    lead = max(len(given) - len(target), 0)
    pairs = zip(reversed(given[lead:]), reversed(target), strict=False)
    if any(n != 1 for n in given[:lead]) or any(m not in (1, n) for m, n in pairs):
        raise ShapeError(f"cannot assign a value of shape {given} to an index of shape {target}: expected a shape that broadcasts to it.")


def _without_lead(v: Tensor, ndim: int) -> Tensor:
    return reshape(v, v.shape[v.ndim - ndim :]) if v.ndim > ndim else v
