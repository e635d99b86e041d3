"""One table that gives Tensor its operators and methods: bound from above, so that Tensor's own file imports no op."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from jitgrad.autograd import Tensor, check_writable, detach, run_backward, tensor, tensor_html, tensor_repr, wrap
from jitgrad.dtypes import float32
from jitgrad.errors import DTypeError, GradError, ShapeError
from jitgrad.ops import (
    activation,
    arrange,
    convert,
    create,
    distributions,
    elementary,
    index,
    inplace,
    pointwise,
    products,
    reduce,
    select,
    summary,
    views,
)  # fmt: skip
from jitgrad.ops.matmul import matmul
from jitgrad.ops.softmax import log_softmax, softmax

F = TypeVar("F", bound=Callable[..., Any])
INSIDE = {"array", "base", "node", "parked", "seen", "stamp"}  # the engine's attributes, which completion need not show

METHODS: dict[str, Any] = {
    **{f.__name__: f for f in (
        pointwise.add, pointwise.sub, pointwise.mul, pointwise.div, pointwise.neg, pointwise.pow, pointwise.exp, pointwise.log,
        pointwise.sqrt, pointwise.tanh, pointwise.eq, pointwise.ne, pointwise.lt, pointwise.le, pointwise.gt,
        pointwise.ge, reduce.sum, reduce.mean, reduce.var, reduce.amax, reduce.max, reduce.argmax, views.reshape, views.view,
        views.flatten, views.permute, views.transpose, views.t, views.expand, views.squeeze, views.unsqueeze, views.as_strided,
        views.narrow, views.unflatten, matmul, softmax, log_softmax, index.nonzero, inplace.add_, inplace.sub_,
        inplace.mul_, inplace.div_, inplace.pow_, inplace.fill_, inplace.zero_, inplace.copy_, inplace.relu_, *inplace.UNARY,
        convert.to, convert.clone,
        convert.contiguous, convert.item, convert.tolist, convert.numpy, convert.cpu, convert.cuda,
        activation.relu, activation.sigmoid, elementary.abs, elementary.ceil, elementary.clamp, elementary.cos, elementary.erf,
        elementary.expm1, elementary.floor, elementary.isfinite, elementary.isinf, elementary.isnan, elementary.log1p,
        elementary.logical_and, elementary.logical_not, elementary.logical_or, elementary.maximum, elementary.minimum,
        elementary.reciprocal, elementary.round, elementary.rsqrt, elementary.sign, elementary.sin, elementary.square,
    )},
    **{f.__name__: f for f in (
        arrange.chunk, arrange.flip, arrange.repeat, arrange.repeat_interleave, arrange.roll, arrange.tile,
        arrange.unbind, convert.numel, create.new_empty, create.new_full, create.new_ones, create.new_tensor, create.new_zeros,
        distributions.bernoulli, distributions.bernoulli_, distributions.multinomial, distributions.normal_, distributions.uniform_,
        products.bmm, products.dot, products.mm, products.mv, products.outer, select.argsort, select.gather, select.index_select,
        select.masked_fill, select.masked_fill_, select.masked_select, select.sort, select.topk, select.tril, select.triu,
        summary.all, summary.allclose, summary.amin, summary.any, summary.argmin, summary.equal, summary.isclose, summary.min,
        summary.prod, summary.std,
    )},
    **{name: convert.casts(name) for name in ("float", "double", "half", "long", "int", "bool")},
    "detach": detach,
    "__getitem__": index.getitem,
    "__setitem__": index.setitem,
    "__array__": convert.array_protocol,
    "__array_function__": convert.array_function,
    "__dlpack__": convert.dlpack,
    "__dlpack_device__": convert.dlpack_device,
    "__repr__": tensor_repr,
    "_repr_html_": tensor_html,
}  # fmt: skip


def _reflected(op: Any) -> Any:
    def method(self: Tensor, other: Any) -> Any:
        return op(other, self)

    return method


def _guarded(op: Any) -> Any:
    """A binary operator that leaves other types' own reflected methods their turn."""

    def method(self: Tensor, other: Any) -> Any:
        if type(other) is not Tensor and not isinstance(other, (Tensor, bool, int, float)) and not hasattr(other, "__array__"):
            return NotImplemented
        return op(self, other)

    return method


for _name, _op in (
    ("add", pointwise.add), ("sub", pointwise.sub), ("mul", pointwise.mul), ("truediv", pointwise.div),
    ("pow", pointwise.pow), ("matmul", convert.of_arrays(matmul)),
):  # fmt: skip
    METHODS[f"__{_name}__"] = _guarded(_op)
    METHODS[f"__r{_name}__"] = _guarded(_reflected(_op))
for _name, _op in (
    ("iadd", inplace.add_), ("isub", inplace.sub_), ("imul", inplace.mul_), ("itruediv", inplace.div_), ("ipow", inplace.pow_)
):  # fmt: skip
    METHODS[f"__{_name}__"] = _guarded(_op)
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    METHODS[f"__{_name}__"] = _guarded(METHODS[_name])
METHODS["__neg__"] = pointwise.neg
METHODS["__abs__"] = elementary.abs
METHODS["__hash__"] = object.__hash__


def _method(name: str) -> Callable[[F], F]:
    def enter(f: F) -> F:
        METHODS[name] = f
        return f

    return enter


@_method("backward")
def _backward(
    self: Tensor, gradient: Tensor | None = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None
) -> None:  # fmt: skip
    """Accumulate gradients in the leaves that this tensor was computed from; see jg.autograd.backward."""
    run_backward(self, gradient, retain_graph, create_graph, inputs)


@_method("size")
def _size(self: Tensor, dim: int | None = None) -> Any:
    """The shape, or one size."""
    return self.shape if dim is None else self.shape[dim]


@_method("dim")
def _dim(self: Tensor) -> int:
    """Number of dims."""
    return self.ndim


@_method("is_contiguous")
def _is_contiguous(self: Tensor) -> bool:
    """Whether the memory is C-contiguous."""
    return convert.contiguous(self) is self


@_method("type_as")
def _type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor with another's dtype."""
    return convert.to(self, other.dtype)


@_method("expand_as")
def _expand_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor expanded to another's shape."""
    return views.expand(self, other.shape)


@_method("view_as")
def _view_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor viewed in another's shape."""
    return views.view(self, other.shape)


@_method("split")
def _split(self: Tensor, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of so many elements of dim each, or of the sizes in a list; see jg.split."""
    return arrange.split(self, split_size, dim)


@_method("detach_")
def _detach_(self: Tensor) -> Tensor:
    """Cut this tensor itself from the graph."""
    if self.base is not None:
        raise GradError("detach_: a view cannot be detached in place. Use x.detach().")
    self.node = None
    return self


@_method("__len__")
def _len(self: Tensor) -> int:
    if not self.shape:
        raise TypeError("len() of a 0-d tensor.")
    return self.shape[0]


@_method("__iter__")
def _iter(self: Tensor) -> Iterator[Tensor]:
    if not self.shape:
        raise TypeError("iteration over a 0-d tensor.")
    return (index.getitem(self, i) for i in range(self.shape[0]))


@_method("__contains__")
def _contains(self: Tensor, value: Any) -> bool:
    return bool(reduce.amax(pointwise.eq(self, value)).item()) if self.array.size else False


@_method("__bool__")
def _bool(self: Tensor) -> bool:
    if self.array.size != 1:
        raise ShapeError(f"the truth of a tensor of shape {self.shape} is ambiguous: expected one element. Use x.any() or x.all().")
    return bool(convert.item(self))


@_method("__float__")
def _float(self: Tensor) -> float:
    return float(convert.item(self))


@_method("__int__")
def _int(self: Tensor) -> int:
    return int(convert.item(self))


@_method("__index__")
def _as_index(self: Tensor) -> int:
    if self.array.dtype.kind not in "iu" or self.array.size != 1:
        raise TypeError(f"only an int tensor of one element can be an index, given {self.dtype} {self.shape}.")
    return int(convert.item(self))


@_method("__format__")
def _format(self: Tensor, spec: str) -> str:
    if self.ndim == 0 or (spec and self.array.size == 1):
        return format(convert.item(self), spec)
    if spec:
        raise TypeError(f"the format {spec!r} is for one number: this tensor has shape {self.shape}. Try jg.set_printoptions.")
    return repr(self)


@_method("__dir__")
def _dir(self: Tensor) -> list[str]:
    return sorted(set(object.__dir__(self)) - INSIDE)


@_method("__copy__")
def _copy(self: Tensor) -> Tensor:
    """A leaf of its own on the same memory, also of a tensor that was computed from others: Matplotlib copies what it plots."""
    copy = _rebound(type(self), detach(self))
    return copy.requires_grad_() if self.requires_grad else copy


@_method("__deepcopy__")
def _deepcopy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    _only_leaves(self, "deep-copied", "x.detach().clone()")
    if id(self) in memo:
        return memo[id(self)]
    copy = _rebound(type(self), wrap(convert.clone(detach(self)).array))
    if self.requires_grad:
        copy.requires_grad_()
        if self.grad is not None:
            copy.grad = convert.clone(detach(self.grad))
    memo[id(self)] = copy
    return copy


def _only_leaves(x: Tensor, done: str, instead: str) -> None:
    if x.grad_fn is not None:
        raise RuntimeError(f"only leaves can be {done}: this tensor was computed from others. Use {instead}.")


def _rebound(cls: type[Tensor], t: Tensor) -> Tensor:
    """What t is, as an object of a class of tensors."""
    y: Tensor = cls.__new__(cls)  # what a Parameter notes when it is made, too
    for name in ("array", "node", "base", "stamp"):
        setattr(y, name, getattr(t, name))
    return y


@_method("__reduce__")
def _reduce(self: Tensor) -> Any:
    _only_leaves(self, "pickled", "x.detach()")
    return _rebuilt, (type(self), convert.numpy(detach(self), force=True), self.requires_grad)


def _rebuilt(cls: type, array: Any, requires_grad: bool) -> Tensor:
    t = _rebound(cls, tensor(array))
    return t.requires_grad_() if requires_grad else t


PROPERTIES = {
    "T": property(lambda self: views.permute(self, tuple(range(self.ndim))[::-1]), doc="View with its dims reversed."),
    "mT": property(views.mT, doc="View with its last two dims exchanged."),
    "is_cuda": property(lambda self: self.device.type == "cuda", doc="Whether the memory is on a GPU."),
    "nbytes": property(lambda self: self.array.size * self.itemsize, doc="Bytes of all elements."),
}


@_method("__init__")
def _init(self: Tensor, *data: Any, requires_grad: bool = False, dtype: Any = None) -> None:
    if len(data) != 1 or isinstance(data[0], int):
        raise TypeError(f"Tensor{data}: expected data. Use jg.empty{data} for sizes, or jg.tensor(data).")
    fresh = tensor(data[0], dtype=float32 if dtype is None else dtype)
    for name in ("array", "node", "base", "stamp"):
        setattr(self, name, getattr(fresh, name))
    if requires_grad:
        self.requires_grad_()


def _get_data(self: Tensor) -> Tensor:
    """The tensor without history and without version: writes to it are not noticed by backward. Prefer detach()."""
    t = detach(self)
    t.stamp = None
    return t


def _set_data(self: Tensor, value: Tensor) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f".data: expected a Tensor, given {type(value).__name__}.")
    check_writable(detach(self), "data")
    if value.dtype is not self.dtype and self.requires_grad and not value.is_floating_point():
        raise DTypeError(f".data: expected a float dtype for a tensor that requires grad, given {value.dtype}.")
    self.array = value.array
    leaf = self.node
    if leaf is not None:
        leaf.shape, leaf.dtype = value.array.shape, value.array.dtype


PROPERTIES["data"] = property(_get_data, _set_data, doc=_get_data.__doc__)


def bind() -> None:
    """Put the table on Tensor."""
    for name, f in METHODS.items():
        setattr(Tensor, name, f)
    for name, p in PROPERTIES.items():
        setattr(Tensor, name, p)


bind()
