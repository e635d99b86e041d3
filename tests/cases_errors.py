"""Rows of the op table that must raise: the class, and a fragment of the message."""

from __future__ import annotations

from typing import Any

import numpy as np
from op_case import OpCase, The, X, at, bools, ints

from jitgrad.errors import DTypeError, GradError, LayerDTypeError, OutOfRangeError, ShapeError

f64, f16 = np.float64, np.float16
HALF = np.zeros(3, f16)


def bad(op: str, shapes: list[Any], error: type[Exception], fragment: str, deviates: str = "", **kwargs: Any) -> OpCase:
    return OpCase(op, shapes, kwargs, errors=(error, fragment), dtypes=("float32",), deviates=deviates)


POINTWISE = [
    bad("add", [(3,), (4,)], ShapeError, "do not broadcast"),
    bad("mul", [(2, 3), (2,)], ShapeError, "given 3 and 2"),
    bad("add", [(3,), "one"], TypeError, "given str"),
    bad("add", [(3,), None], TypeError, "given NoneType"),
    bad("add", [HALF, HALF], DTypeError, "storage and casts only", "float16"),
    bad("sub", [bools(True), bools(False)], DTypeError, "bool tensors are not supported"),
    bad("neg", [bools(True)], DTypeError, "bool tensors are not supported"),
    bad("exp", [HALF], DTypeError, "float16", "float16"),
    bad("exp", [1.0], TypeError, "expected a Tensor"),
    *(bad(op, [bools(True)], DTypeError, "bool", "not implemented") for op in ("abs", "floor")),
    bad("sigmoid", [1.0], TypeError, "expected a Tensor"),
    bad("maximum", [(3,), 1.0], TypeError, "expected a Tensor, given float"),
    bad("minimum", [(3,), (4,)], ShapeError, "do not broadcast"),
    bad("clamp", [(3,)], ValueError, "expected min, max or both"),
    bad("logical_and", [(3,), True], TypeError, "given bool"),
    bad("F.gelu", [(3,)], ValueError, "'none' or 'tanh'", approximate="erf"),
    *(
        bad(f"F.{op}", [ints(1, 2)], DTypeError, "expected a float dtype", "not implemented")
        for op in ("silu", "elu", "leaky_relu", "softplus")
    ),
    bad("F.elu", [2.0], TypeError, "expected a Tensor, given float"),
    bad("pow", [ints(2), -1], DTypeError, "negative int powers"),
    bad("relu", [bools(True)], DTypeError, "bool"),
    bad("where", [ints(1, 0), (2,), (2,)], DTypeError, "expected a bool condition"),
    bad("where", [bools(True, False), (3,), (3,)], ShapeError, "do not broadcast"),
    bad("op.add", [(3,), "x"], TypeError, "unsupported operand"),
    bad("add", [np.array([1], "uint8"), 300], DTypeError, "300 does not fit", "numbers that do not fit"),
]

REDUCE = [
    bad("sum", [(2, 3), 2], OutOfRangeError, "dim 2 is out of range"),
    bad("sum", [(2, 3), -3], IndexError, "expected -2 to 1"),
    bad("sum", [(2, 3)], ShapeError, "appears twice", dim=(0, -2)),
    bad("sum", [(2, 3), 1.0], TypeError, "expected an int"),
    bad("mean", [ints(1, 2)], DTypeError, "Try x.float().mean()"),
    bad("var", [ints(1, 2)], DTypeError, "expected a float dtype"),
    bad("amax", [(0,)], ShapeError, "nothing has no amax"),
    bad("amax", [(0, 3), 0], IndexError, "size 0"),
    bad("max", [(0, 3), 0], ShapeError, "size 0"),
    bad("max", [(0,)], ShapeError, "size 0"),
    bad("max", [(3, 0), 1], ShapeError, "max: dim 1"),
    bad("argmax", [(0,)], ShapeError, "argmax: dim 0"),
    bad("argmax", [(2, 3), 2], OutOfRangeError, "out of range"),
    bad("sum", [HALF], DTypeError, "float16", "float16"),
]

VIEWS = [
    bad("reshape", [(2, 3), The((4, 2))], ShapeError, "whose product is 6"),
    bad("reshape", [(2, 3), The((-1, -1))], ShapeError, "at most one -1"),
    bad("reshape", [(2, 3), The((-1, 4))], ShapeError, "cannot reshape"),
    bad("reshape", [(0, 3), The((-1, 0))], ShapeError, "ambiguous"),
    bad("reshape", [(2, 3), The((-2, -3))], ShapeError, "cannot reshape"),
    bad("reshape", [(2, 3), The((6.0,))], TypeError, "expected an int"),
    bad("x.view", [(2, 3), 7], ShapeError, "cannot reshape"),
    bad("flatten", [(2, 3), 1, 0], ShapeError, "comes after"),
    bad("flatten", [(2, 3), 2], OutOfRangeError, "out of range"),
    bad("unflatten", [(2, 6), 1, The((4, 2))], ShapeError, "cannot reshape"),
    bad("unflatten", [(2, 6), 2, The((3, 2))], OutOfRangeError, "out of range"),
    bad("unflatten", [(2, 6), 1, The(())], ShapeError, "sizes to cut it into"),
    bad("permute", [(2, 3), The((0, 0))], ShapeError, "each of the 2 dims once"),
    bad("permute", [(2, 3), The((0,))], ShapeError, "each of the 2 dims once"),
    bad("permute", [(2, 3), The((0, 2))], OutOfRangeError, "out of range"),
    bad("transpose", [(2, 3), 0, 2], OutOfRangeError, "out of range"),
    bad("t", [(2, 3, 4)], ShapeError, "at most 2 dims"),
    bad("x.expand", [(2, 3), 4, 3], ShapeError, "expected size 2 or -1"),
    bad("x.expand", [(2, 3), 3], ShapeError, "at least 2 sizes"),
    bad("x.expand", [(3,), -1, 3], ShapeError, "no size to keep"),
    bad("squeeze", [(1, 3), 2], OutOfRangeError, "out of range"),
    bad("unsqueeze", [(3,), 3], OutOfRangeError, "out of range"),
    bad("narrow", [(4,), 0, 3, 2], ShapeError, "do not fit"),
    bad("narrow", [(4,), 0, 0, -1], ShapeError, "do not fit"),
    bad("as_strided", [(4,), The((3,)), The((2,))], ShapeError, "outside"),
    bad("as_strided", [(4,), The((3,)), The((2, 1))], ShapeError, "as many strides as sizes"),
    bad("as_strided", [(4,), The((-1,)), The((1,))], ShapeError, "at least 0"),
]

INDEX = [
    bad("x.__getitem__", [(3, 4), at[3]], OutOfRangeError, "index 3 is out of range for dim 0 of size 3"),
    bad("x.__getitem__", [(3, 4), at[0, -5]], OutOfRangeError, "dim 1 of size 4"),
    bad("x.__getitem__", [(3, 4), at[0, 0, 0]], OutOfRangeError, "too many indices"),
    bad("x.__getitem__", [(), at[0]], OutOfRangeError, "too many indices"),
    bad("x.__getitem__", [(3, 4), at[..., ...]], OutOfRangeError, "at most one ellipsis", "two ellipses"),
    bad("x.__getitem__", [(3, 4), at[1.0]], TypeError, "given float"),
    bad("x.__getitem__", [(3, 4), at["a"]], TypeError, "given str"),
    bad("x.__getitem__", [(3, 4), at[True]], TypeError, "a bool is not an index", "bool as an index"),
    bad("x.__getitem__", [(3, 4), at[::0]], ValueError, "slice step cannot be zero"),
    bad("x.__getitem__", [(3, 4), at["a":]], TypeError, "expected ints or None"),
    bad("x.__getitem__", [(3, 4), The(np.zeros(2, np.float32))], OutOfRangeError, "ints or bools"),
    bad("x.__getitem__", [(3, 4), The(ints(0, 3))], OutOfRangeError, "index 3 is out of range"),
    bad("x.__getitem__", [(3, 4), The(ints(0, -4))], OutOfRangeError, "index -4 is out of range"),
    bad("x.__getitem__", [(3, 4), The(bools(True, False))], OutOfRangeError, "bool index of shape (2,)"),
    bad("x.__getitem__", [(3, 4), at[ints(0, 1), ints(0, 1, 2)]], IndexError, "do not broadcast"),
    bad("x.__setitem__", [(3, 4), at[3], 1.0], OutOfRangeError, "out of range"),
    bad("x.__setitem__", [(3, 4), at[0], (3,)], ShapeError, "cannot assign a value of shape (3,)"),
    bad("x.__setitem__", [(3, 4), The(ints(0, 5)), 1.0], OutOfRangeError, "index 5"),
    bad("x.__setitem__", [(3, 4), The(ints(0, 1)), (3, 4)], ShapeError, "cannot assign"),
    bad("x.__setitem__", [(3, 4), at[0], "a"], TypeError, "str"),
    bad("F.embedding", [ints(0, 5), (5, 3)], OutOfRangeError, "index 5 is out of range"),
    bad("F.embedding", [ints(-1), (5, 3)], OutOfRangeError, "index -1"),
    bad("F.embedding", [np.zeros(2, np.float32), (5, 3)], DTypeError, "expected int indices"),
    bad("F.embedding", [ints(0), (5, 3)], ValueError, "not supported", "embedding options", sparse=True),
    bad("F.embedding", [ints(0), (5,)], ShapeError, "weight of 2 dims"),
    bad("F.embedding", [ints(0), (5, 3)], OutOfRangeError, "padding_idx", deviates="assertion", padding_idx=5),
]

PRODUCTS = [
    bad("matmul", [(2, 3), (4, 5)], ShapeError, "3 is not 4"),
    bad("matmul", [(2, 3), ()], ShapeError, "no dims"),
    bad("matmul", [(2, 3), ints([1], [2], [3])], DTypeError, "expected equal dtypes"),
    bad("matmul", [(2, 2, 3), (3, 3, 2)], ShapeError, "do not broadcast"),
    bad("matmul", [(3,), (4,)], ShapeError, "matmul"),
    bad("matmul", [(2, 3), 2.0], TypeError, "expected a Tensor, given float"),
    bad("F.linear", [(2, 3), (4, 5)], ShapeError, "expected an input (..., 5)"),
    bad("F.linear", [np.zeros((2, 5)), np.zeros((4, 5), f16)], LayerDTypeError, "layers do not promote"),
    bad("F.linear", [(2, 5), (4, 5), (5,)], ShapeError, "expected a bias (4,)"),
    bad("F.linear", [ints([1, 2]), ints([1, 2])], DTypeError, "expected float32 or float64", "int layers"),
    bad("cat", [[(2, 3), (2, 4)]], ShapeError, "expected sizes equal"),
    bad("cat", [[(2, 3), (3,)]], ShapeError, "expected sizes equal"),
    bad("cat", [[]], ShapeError, "at least one tensor"),
    bad("cat", [[(), ()]], ShapeError, "jg.stack"),
    bad("cat", [(2, 3)], TypeError, "list or tuple"),
    bad("cat", [[(2, 3)], 2], OutOfRangeError, "out of range"),
    bad("cat", [[(2,), 1.0]], TypeError, "given float at 1"),
    bad("stack", [[(2,), (3,)]], ShapeError, "expected equal shapes"),
    bad("stack", [[(2,)], 2], OutOfRangeError, "out of range"),
]

IMAGES = [
    bad("F.conv2d", [(1, 3, 5, 5), (4, 2, 3, 3)], ShapeError, "expected an input with 2 channels"),
    bad("F.conv2d", [(1, 3, 2, 2), (4, 3, 3, 3)], ShapeError, "larger than the input"),
    bad("F.conv2d", [(1, 3, 5, 5), (4, 3, 3, 3), (3,)], ShapeError, "expected a bias (4,)"),
    bad("F.conv2d", [(1, 3, 5, 5), (4, 3, 0, 3)], ShapeError, "a kernel of at least one pixel"),
    bad("F.conv2d", [(1, 3, 5, 5), (4, 3, 3, 3)], ShapeError, "Try a smaller padding", padding=10**9),
    bad("F.conv2d", [(3, 5), (4, 3, 3, 3)], ShapeError, "expected an input (N, C, H, W)"),
    bad("F.conv2d", [(1, 3, 5, 5), (4, 3, 3, 3)], ShapeError, "stride", stride=0),
    bad("F.conv2d", [(1, 3, 5, 5), (4, 3, 3, 3)], ShapeError, "padding of at least 0", padding=-1),
    bad("F.conv2d", [(1, 4, 5, 5), (3, 2, 3, 3)], ShapeError, "do not divide into 2 groups", groups=2),
    bad("F.conv2d", [(1, 3, 5, 5), (4, 3, 3, 3)], ShapeError, "given (1, 2, 3)", stride=(1, 2, 3)),
    bad("F.conv2d", [(1, 3, 5, 5), (4, 3, 3, 3)], ValueError, "'same' or 'valid'", padding="full"),
    bad("F.conv2d", [(1, 3, 5, 5), (4, 3, 3, 3)], ShapeError, "stride 1", padding="same", stride=2),
    bad("F.conv2d", [(1, 3, 5, 5), np.zeros((4, 3, 3, 3), f16)], LayerDTypeError, "layers do not promote"),
    bad("F.conv1d", [(1, 3, 5), (4, 2, 3)], ShapeError, "conv1d: expected an input with 2 channels"),
    bad("F.conv1d", [(1, 3, 2), (4, 3, 3)], ShapeError, "conv1d: the kernel 3"),
    bad("F.conv1d", [(1, 3, 5, 5), (4, 3, 3)], ShapeError, "expected an input (N, C, L)"),
    bad("F.conv1d", [(1, 3, 5), (4, 3, 3), (3,)], ShapeError, "expected a bias (4,)"),
    bad("F.conv1d", [(1, 3, 5), (4, 3, 3)], ValueError, "conv1d: padding is expected to be ints", padding="full"),
    bad("F.conv1d", [(1, 3, 5), np.zeros((4, 3, 3), f16)], LayerDTypeError, "layers do not promote"),
    bad("F.max_pool1d", [(4,), 2], ShapeError, "max_pool1d: expected an input (N, C, L)"),
    bad("F.avg_pool1d", [(1, 1, 4), 5], ShapeError, "larger than the input"),
    bad("F.avg_pool1d", [(1, 1, 4), The((2, 2))], ShapeError, "kernel_size: expected an int or 1 ints"),
    bad("F.adaptive_avg_pool2d", [(4, 4), 2], ShapeError, "expected an input (N, C, H, W)"),
    bad("F.adaptive_avg_pool2d", [(1, 1, 4, 4), The((2, -1))], ShapeError, "at least 0"),
    bad("F.bilinear", [(4, 2), (4, 2), (5, 2, 3)], ShapeError, "expected inputs (..., 2) and (..., 3)"),
    bad("F.bilinear", [(4, 2), (5, 3), (5, 2, 3)], ShapeError, "expected inputs"),
    bad("F.bilinear", [(4, 2), (4, 3), (5, 2, 3), (4,)], ShapeError, "expected a bias (5,)"),
    bad("F.bilinear", [(4, 2), (4, 3), (5, 2)], ShapeError, "expected a weight", "another class"),
    bad("F.max_pool2d", [(4, 4), 2], ShapeError, "expected an input (N, C, H, W)"),
    bad("F.max_pool2d", [(1, 1, 4, 4), 5], ShapeError, "larger than the input"),
    bad("F.max_pool2d", [(1, 1, 4, 4), 2], ShapeError, "at most half", padding=2),
    bad("F.max_pool2d", [(1, 1, 4, 4), 0], ShapeError, "at least 1"),
    bad("F.avg_pool2d", [(1, 1, 4, 4), 2], ShapeError, "divisor_override", divisor_override=0),
    bad("F.avg_pool2d", [(1, 1, 4, 4), 2], ShapeError, "at least 1", stride=0),
    bad("F.max_pool2d", [ints([[[1, 2], [3, 4]]]), 2], DTypeError, "expected float32 or float64", "int layers"),
]

LOSSES = [
    bad("softmax", [(2, 3), 2], OutOfRangeError, "out of range"),
    bad("softmax", [ints(1, 2), 0], DTypeError, "expected a float dtype", "not implemented"),
    bad("F.cross_entropy", [(2, 3), ints(0, 3)], OutOfRangeError, "target 3 is out of range"),
    bad("F.cross_entropy", [(2, 3), ints(0, -1)], OutOfRangeError, "target -1"),
    bad("F.cross_entropy", [(2, 0), ints(0, 0)], OutOfRangeError, "expected an input with classes"),
    bad("F.cross_entropy", [(2, 3), ints(0, 1, 2)], ShapeError, "expected targets of shape (2,)"),
    bad("F.cross_entropy", [(2, 3), (2,)], DTypeError, "expected int labels"),
    bad("F.cross_entropy", [(2, 3), ints(0, 1)], ValueError, "reduction", reduction="avg"),
    bad("F.cross_entropy", [(2, 3), ints(0, 1)], ValueError, "label_smoothing", deviates="smoothing below 0", label_smoothing=-0.5),
    bad("F.cross_entropy", [(2, 3), ints(0, 1)], ShapeError, "expected a weight (3,)", weight=X(2, grad=False)),
    bad("F.cross_entropy", [(2, 3), ints(0, 1)], TypeError, "ignore_index: expected an int", ignore_index=1.5),
    bad("F.cross_entropy", [(2, 3), [0, 1]], TypeError, "expected a Tensor, given list"),
    bad("F.cross_entropy", [(2, 3), X(2, 3, domain="positive")], ShapeError, "expected a weight (3,)", weight=X(1, grad=False)),
    bad("F.cross_entropy", [(2, 3), X(2, 3, domain="positive")], ValueError, "no label that could be ignored", ignore_index=1),
    bad("F.cross_entropy", [(2, 3), ints(0, 1)], GradError, "the weight has no gradient", weight=X(3)),
    bad("F.nll_loss", [(2, 3, 2), ints([0, 1], [1, 1])], GradError, "the weight has no gradient", weight=X(3)),
    bad("F.nll_loss", [(), ints(0)], ShapeError, "given a number"),
    bad("F.nll_loss", [(2, 3), ints(0, 1)], ValueError, "old names", "size_average", size_average=True),
    bad("F.mse_loss", [(3, 1), (3,)], ShapeError, "expected a target of the input's shape (3, 1)", "shapes in losses"),
    bad("F.l1_loss", [(3,), (3,)], ValueError, "reduction", reduction="avg"),
    bad("F.mse_loss", [(3,), 1.0], TypeError, "expected a Tensor, given float"),
    bad("F.mse_loss", [(3,), (3,)], ShapeError, "expected a weight of the input's shape", weight=X(2)),
    bad("F.binary_cross_entropy_with_logits", [(3, 1), (3,)], ShapeError, "expected a target of the input's shape"),
    bad("F.binary_cross_entropy_with_logits", [(3,), (3,)], ShapeError, "broadcast to the input", weight=X(2, 3)),
    bad("F.binary_cross_entropy_with_logits", [ints(1, 2), ints(0, 1)], DTypeError, "expected a float dtype", "another class"),
    bad("F.one_hot", [ints(0, 3), 3], ValueError, "labels from 0 to num_classes - 1"),
    bad("F.one_hot", [ints(0, -1)], ValueError, "labels from 0"),
    bad("F.one_hot", [(3,)], DTypeError, "expected int64 labels"),
    bad("F.nll_loss", [(2, 3), bools(True, False)], DTypeError, "expected int labels"),
]

NORMS = [
    bad("F.layer_norm", [(4, 5), The((4,))], ShapeError, "expected an input (..., 4)"),
    bad("F.layer_norm", [(4, 5), The((5,)), (4,)], ShapeError, "expected a weight (5,)"),
    bad("F.layer_norm", [(4, 5), The(())], ShapeError, "layer_norm"),
    bad("F.layer_norm", [ints([1, 2]), The((2,))], DTypeError, "expected a float dtype", "not implemented"),
    bad("F.layer_norm", [(4, 5), The((5,)), (5,), X(5, dtype="float64")], LayerDTypeError, "the bias float64"),
    bad("F.layer_norm", [(4, 5), The((5,))], TypeError, "layer_norm: eps is expected to be a number", eps="a"),
    bad("F.batch_norm", [(4, 3), X(2), X(3)], ShapeError, "expected a running_mean (3,)"),
    bad("F.batch_norm", [(4,), X(4), X(4)], ShapeError, "expected an input (N, C, ...)"),
    bad("F.batch_norm", [(1, 3), None, None], ShapeError, "more than 1 value per channel", training=True),
    bad("F.batch_norm", [(4, 3), None, None], ShapeError, "expected running statistics"),
    bad("F.batch_norm", [(4, 3), X(3, grad=False), None], ShapeError, "both running_mean and running_var", training=True),
    bad("F.batch_norm", [(4, 3), X(3), X(3), (3,), X(3, dtype="float64")], LayerDTypeError, "the bias float64"),
    bad("F.batch_norm", [(4, 3), X(3), X(3, dtype="float64")], LayerDTypeError, "the running_var float64"),
    bad("F.batch_norm", [(4, 3), None, None], TypeError, "batch_norm: eps is expected to be a number", training=True, eps="a"),
    bad("F.batch_norm", [(4, 3), X(3), X(3)], TypeError, "batch_norm: momentum is expected", training=True, momentum="a"),
    bad("F.batch_norm", [(4, 3), X(3), X(3)], GradError, "batch_norm: running_mean: a leaf that requires", training=True),
    bad("F.dropout", [(3,), 1.5], ValueError, "between 0 and 1"),
    bad("F.dropout", [ints(1, 2)], DTypeError, "expected float32 or float64"),
]

INPLACE = [
    bad("x.add_", [(3,), (2, 3)], ShapeError, "in place it must keep (3,)"),
    bad("x.add_", [ints(1, 2), 0.5], DTypeError, "cannot be written into"),
    bad("x.add_", [(2,), X(2, dtype="float64")], DTypeError, "cannot be written into", "in-place narrowing"),
    bad("x.div_", [ints(1, 2), 2], DTypeError, "cannot be written into"),
    bad("x.copy_", [(3,), (2, 3)], ShapeError, "copy_"),
    bad("x.copy_", [(3,), 1.0], TypeError, "expected a Tensor", "copy_ of a number"),
    bad("x.fill_", [(3,), (3,)], ShapeError, "0-d Tensor"),
]

NEW = [
    bad("zeros", [-1], ShapeError, "at least 0"),
    bad("zeros", [2**40, 2**40], ShapeError, "more bytes than memory"),
    bad("zeros", [2.0], TypeError, "expected an int"),
    bad("arange", [0, 5, 0], ValueError, "step other than 0"),
    bad("arange", [0, 5, -1], ValueError, "leads away"),
    bad("randint", [3, 3, The((2,))], ValueError, "low < high"),
    bad("randn", [2], DTypeError, "expected float32 or float64", "not implemented", dtype="int64"),
    bad("randperm", [-1], ShapeError, "at least 0"),
    bad("zeros", [2], DTypeError, "not supported", "complex", dtype="complex64"),
    bad("x.to", [(3,), "mps"], RuntimeError, "mps"),
]

ERRORS = [*POINTWISE, *REDUCE, *VIEWS, *INDEX, *PRODUCTS, *IMAGES, *LOSSES, *NORMS, *INPLACE, *NEW]
