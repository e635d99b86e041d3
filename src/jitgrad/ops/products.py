"""Products of vectors and matrices of given ranks: dot, outer, mv, mm, bmm."""

from __future__ import annotations

from jitgrad.autograd import Tensor
from jitgrad.errors import ShapeError
from jitgrad.ops._operands import check_tensors
from jitgrad.ops.matmul import matmul
from jitgrad.ops.pointwise import mul
from jitgrad.ops.views import unsqueeze


def _ranks(name: str, a: Tensor, b: Tensor, first: int, second: int) -> None:
    check_tensors(name, a, b)
    for x, ndim in ((a, first), (b, second)):
        if x.ndim != ndim:
            raise ShapeError(f"{name}: expected tensors of {first} and {second} dims, given {a.shape} and {b.shape}. Use jg.matmul.")


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Sum of the products of two vectors of one size: ``y = sum_i a[i] b[i]``.

    Gradient: g b to input, g a to tensor.

    >>> import jitgrad as jg
    >>> jg.dot(jg.tensor([1.0, 2.0]), jg.tensor([3.0, 4.0])).item()
    11.0
    """
    _ranks("dot", input, tensor, 1, 1)
    return matmul(input, tensor)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """Products of the elements of two vectors: ``y[i, j] = a[i] b[j]``.

    Gradient: g b to input, g^T a to vec2.

    >>> import jitgrad as jg
    >>> jg.outer(jg.tensor([1, 2]), jg.tensor([3, 4])).tolist()
    [[3, 4], [6, 8]]
    """
    _ranks("outer", input, vec2, 1, 1)
    return mul(unsqueeze(input, 1), vec2)


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """A matrix (M, K) times a vector (K,): (M,).

    >>> import jitgrad as jg
    >>> jg.mv(jg.tensor([[1.0, 2.0]]), jg.tensor([3.0, 4.0])).tolist()
    [11.0]
    """
    _ranks("mv", input, vec, 2, 1)
    return matmul(input, vec)


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """A matrix (M, K) times a matrix (K, N): (M, N), without broadcasting.

    >>> import jitgrad as jg
    >>> jg.mm(jg.tensor([[1.0, 2.0]]), jg.tensor([[3.0], [4.0]])).tolist()
    [[11.0]]
    """
    _ranks("mm", input, mat2, 2, 2)
    return matmul(input, mat2)


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """B matrices (B, M, K) times as many (B, K, N): (B, M, N), without broadcasting.

    >>> import jitgrad as jg
    >>> jg.bmm(jg.ones(2, 1, 3), jg.ones(2, 3, 1)).tolist()
    [[[3.0]], [[3.0]]]
    """
    _ranks("bmm", input, mat2, 3, 3)
    if input.shape[0] != mat2.shape[0]:
        raise ShapeError(f"bmm: expected equal batches, given {input.shape} and {mat2.shape}. Use jg.matmul to broadcast.")
    return matmul(input, mat2)
