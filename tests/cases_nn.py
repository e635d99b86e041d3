"""Rows of the op table: convolution, pooling, softmax and losses, norms, dropout."""

from __future__ import annotations

import numpy as np
from op_case import OpCase, The, X, ints

CONV = [
    OpCase("F.conv2d", [(2, 3, 5, 6), (4, 3, 3, 2), (4,)]),
    OpCase("F.conv2d", [(1, 2, 5, 5), (3, 2, 3, 3)], {"stride": 2, "padding": 1}),
    OpCase("F.conv2d", [(1, 2, 6, 5), (2, 2, 3, 2), (2,)], {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}),
    OpCase("F.conv2d", [(2, 4, 4, 4), (6, 2, 3, 3), (6,)], {"padding": 1, "groups": 2}),
    OpCase("F.conv2d", [(1, 3, 5, 5), (3, 1, 3, 3)], {"groups": 3, "stride": 2, "dilation": 2, "padding": 2}),
    OpCase("F.conv2d", [(1, 2, 4, 4), (2, 2, 3, 3)], {"padding": "same"}),
    OpCase("F.conv2d", [(1, 2, 4, 4), (2, 2, 3, 3)], {"padding": "valid"}),
    OpCase("F.conv2d", [(4, 3, 4), (2, 2, 2, 2), (2,)], {"groups": 2}),
    OpCase("F.conv2d", [(1, 1, 1, 1), (1, 1, 1, 1)]),
    OpCase("F.conv2d", [(2, 1, 3, 3), (2, 1, 1, 1)], {"stride": 3}),
    OpCase("F.conv2d", [(0, 2, 4, 4), (3, 2, 3, 3), (3,)], reference=lambda x, w, b: np.zeros((0, 3, 2, 2))),
    OpCase("F.conv2d", [(1, 2, 2, 2), (1, 2, 3, 3)], {"padding": 3}),
    OpCase("F.conv1d", [(2, 3, 6), (4, 3, 3), (4,)]),
    OpCase("F.conv1d", [(2, 4, 9), (6, 2, 3)], {"stride": 2, "padding": (1,), "dilation": 2, "groups": 2}),
    OpCase("F.conv1d", [(1, 2, 5), (2, 2, 3)], {"padding": "same"}),
    OpCase("F.conv1d", [(1, 2, 5), (2, 2, 2)], {"padding": "valid"}),
    OpCase("F.conv1d", [(2, 5), (3, 2, 2), (3,)]),
    OpCase("F.conv1d", [(1, 1, 1), (1, 1, 1)]),
]

POOL = [
    OpCase("F.max_pool2d", [(2, 3, 4, 6), 2], domain="distinct"),
    OpCase("F.max_pool2d", [(1, 2, 5, 5), 3, 2, 1], domain="distinct"),
    OpCase("F.max_pool2d", [(1, 2, 5, 6), The((2, 3)), The((1, 2))], {"padding": (1, 1)}, domain="distinct"),
    OpCase("F.max_pool2d", [(1, 2, 6, 6), 2], {"dilation": 2, "stride": 1}, domain="distinct"),
    OpCase("F.max_pool2d", [(1, 2, 5, 5), 2], {"ceil_mode": True, "return_indices": True}, domain="distinct"),
    OpCase("F.max_pool2d", [(1, 1, 7, 6), 3], {"stride": 3, "padding": 1, "ceil_mode": True, "return_indices": True}, domain="distinct"),
    OpCase("F.max_pool2d", [(2, 4, 4), 2], {"return_indices": True}, domain="distinct"),
    OpCase("F.max_pool2d", [(1, 1, 1, 1), 1], domain="distinct"),
    OpCase("F.max_pool2d", [(1, 2, 4, 4), 2], {"stride": 10**9, "padding": 1}, domain="distinct"),
    OpCase("F.avg_pool2d", [(2, 3, 4, 6), 2]),
    OpCase("F.avg_pool2d", [(1, 2, 4, 4), 2], {"stride": (1, 10**9), "ceil_mode": True}),
    OpCase("F.avg_pool2d", [(1, 2, 4, 4), 2], {"stride": 2**40}, deviates="large strides"),
    OpCase("F.avg_pool2d", [(1, 2, 5, 5), 3, 2, 1]),
    OpCase("F.avg_pool2d", [(1, 2, 5, 5), 3, 2, 1], {"count_include_pad": False}),
    OpCase("F.avg_pool2d", [(1, 2, 5, 6), The((2, 3))], {"stride": (2, 2), "ceil_mode": True}),
    OpCase("F.avg_pool2d", [(1, 1, 6, 6), 3], {"stride": 2, "padding": 1, "ceil_mode": True}),
    OpCase("F.avg_pool2d", [(1, 1, 6, 6), 3], {"stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}),
    OpCase("F.avg_pool2d", [(1, 2, 4, 4), 2], {"divisor_override": 3}),
    OpCase("F.avg_pool2d", [(2, 4, 4), 2]),
    OpCase("F.max_pool1d", [(2, 3, 6), 2], domain="distinct"),
    OpCase("F.max_pool1d", [(1, 2, 7), 3, 2, 1], {"return_indices": True}, domain="distinct"),
    OpCase("F.max_pool1d", [(1, 2, 7), The((2,))], {"dilation": 2, "stride": 1, "ceil_mode": True}, domain="distinct"),
    OpCase("F.max_pool1d", [(3, 5), 2], {"return_indices": True}, domain="distinct"),
    OpCase("F.avg_pool1d", [(2, 3, 6), 2]),
    OpCase("F.avg_pool1d", [(1, 2, 7), 3, 2, 1], {"ceil_mode": True}),
    OpCase("F.avg_pool1d", [(1, 2, 7), The((3,))], {"stride": 2, "padding": 1, "count_include_pad": False}),
    OpCase("F.avg_pool1d", [(2, 4), 2]),
    OpCase("F.adaptive_avg_pool2d", [(2, 3, 4, 6), 2]),
    OpCase("F.adaptive_avg_pool2d", [(1, 2, 5, 7), The((3, 4))]),
    OpCase("F.adaptive_avg_pool2d", [(1, 2, 3, 2), The((5, None))]),
    OpCase("F.adaptive_avg_pool2d", [(2, 4, 5), 1]),
    OpCase("F.adaptive_avg_pool2d", [(0, 2, 4, 5), 2], reference=lambda x, _: np.zeros((0, 2, 2, 2))),
    OpCase("F.adaptive_avg_pool2d", [np.array([[[[1.0, np.inf, 2.0], [np.nan, 1.0, 3.0], [4.0, 5.0, 6.0]]]]), The((2, 3))]),
]

BILINEAR = [
    OpCase("F.bilinear", [(4, 2), (4, 3), (5, 2, 3), (5,)]),
    OpCase("F.bilinear", [(2, 4, 2), (2, 4, 3), (1, 2, 3)]),
    OpCase("F.bilinear", [(2,), (3,), (4, 2, 3), (4,)]),
    OpCase("F.bilinear", [(0, 2), (0, 3), (5, 2, 3), (5,)]),
]

_T = X(3, 4, domain="unit")
NUMBER_LOSSES = [
    *(OpCase(f"F.{op}", [(3, 4), (3, 4)], {"reduction": r}) for op in ("mse_loss", "l1_loss") for r in ("mean", "sum", "none")),
    *(
        OpCase(f"F.{op}", [(3, 4), (3, 4)], {"reduction": r, "weight": X(3, 4, domain="positive", grad=False)})
        for op in ("mse_loss", "l1_loss")
        for r in ("mean", "sum", "none")
    ),
    OpCase("F.mse_loss", [(2,), ints(1, 3)]),
    OpCase("F.l1_loss", [(), ()]),
    OpCase("F.mse_loss", [(0, 2), (0, 2)], {"reduction": "sum"}),
    *(
        OpCase("F.binary_cross_entropy_with_logits", [(3, 4), _T], kwargs)
        for kwargs in (
            {},
            {"reduction": "sum"},
            {"reduction": "none"},
            {"weight": X(3, 1, domain="positive", grad=False)},
            {"pos_weight": X(4, domain="positive", grad=False)},
            {"weight": X(4, domain="positive", grad=False), "pos_weight": X(4, domain="positive", grad=False), "reduction": "none"},
        )
    ),
    OpCase(
        "F.binary_cross_entropy_with_logits",
        [np.array([-1e3, -90.0, 0.0, 90.0, 1e3]), np.array([1.0, 0.0, 0.5, 1.0, 0.0])],
        {"reduction": "none"},
        second=False,
    ),
    OpCase("F.one_hot", [ints(0, 2, 1)]),
    OpCase("F.one_hot", [ints([0, 2], [1, 1]), 4]),
]

LABELS = ints(2, 0, 1, 2)
_W = X(3, domain="positive", grad=False)
_LOSSES = [  # every option of the two losses on labels
    {},
    {"reduction": "sum"},
    {"reduction": "none"},
    {"weight": _W},
    {"weight": _W, "reduction": "sum"},
    {"weight": _W, "reduction": "none", "ignore_index": 2},
    {"ignore_index": 0},
    {"weight": _W, "ignore_index": 1},
]

LOSS = [
    OpCase("softmax", [(3, 4), 1]),
    OpCase("softmax", [(2, 3, 4), 0]),
    OpCase("softmax", [(2, 3, 4), -2]),
    OpCase("softmax", [(), 0]),
    OpCase("softmax", [(0, 3), 1]),
    OpCase("softmax", [(1, 1), 1]),
    OpCase("F.softmax", [(3, 4)], {"dim": 0}),
    OpCase("log_softmax", [(3, 4), 1]),
    OpCase("log_softmax", [(2, 3, 4), 1]),
    OpCase("F.log_softmax", [(2, 3, 4)], {"dim": 0}),
    *(OpCase("F.nll_loss", [(4, 3), LABELS], kwargs) for kwargs in _LOSSES),
    OpCase("F.nll_loss", [(2, 3, 2), ints([2, 0], [1, 1])], {"weight": _W}),
    OpCase("F.nll_loss", [(2, 3, 2, 1), ints([[2], [0]], [[1], [-100]])]),
    OpCase("F.nll_loss", [(3,), ints(1)], {"weight": _W}),
    OpCase("F.nll_loss", [(2, 3), ints(1, 1)], {"ignore_index": 1}, grad=False),  # nothing counts: nan
    OpCase("F.nll_loss", [np.array([[-3e38], [-3e38]]), ints(0, 0)], dtypes=("float32",), deviates="sums in float64"),
    OpCase("F.cross_entropy", [np.array([[np.nan, 1.0], [0.5, 1.0]]), ints(-100, 1)], deviates="NaN that is ignored"),
    *(
        OpCase(
            "F.cross_entropy",
            [(2, 0), X(2, 0)],
            {"label_smoothing": 0.1, "reduction": r},
            reference=lambda x, t, y=y, **_: y,
            second=r != "mean",
        )
        for r, y in (("none", np.zeros(2)), ("sum", np.zeros(())), ("mean", np.array(np.nan)))
    ),
    *(OpCase("F.cross_entropy", [(4, 3), LABELS], kwargs) for kwargs in _LOSSES),
    *(OpCase("F.cross_entropy", [(4, 3), LABELS], {**kwargs, "label_smoothing": 0.2}) for kwargs in _LOSSES),
    OpCase("F.cross_entropy", [(4, 3), LABELS], {"label_smoothing": 1.0}),
    OpCase("F.cross_entropy", [(2, 3, 2), ints([2, 0], [1, -100])], {"weight": _W}),
    OpCase("F.cross_entropy", [(2, 3, 2, 2), ints([[2, 0], [1, 1]], [[0, 0], [2, 2]])], {"label_smoothing": 0.1}),
    OpCase("F.cross_entropy", [(3,), ints(1)]),
    OpCase("F.cross_entropy", [(3,), ints(1)], {"label_smoothing": 0.3, "weight": _W, "reduction": "none"}),
    OpCase("F.cross_entropy", [(3,), X(3, domain="probabilities")]),
    *(
        OpCase("F.cross_entropy", [(4, 3), X(4, 3, domain="probabilities")], kwargs)
        for kwargs in (
            {},
            {"reduction": "sum"},
            {"reduction": "none"},
            {"label_smoothing": 0.2},
            {"weight": _W},
            {"weight": _W, "label_smoothing": 0.2},
        )
    ),
    OpCase("F.cross_entropy", [(2, 3, 2), X(2, 3, 2, domain="probabilities")]),
    OpCase("F.cross_entropy", [np.array([[1000.0, -1000.0, 0.0]]), np.array([0])], reference=lambda x, t: np.array(0.0)),
]

_RUNNING = [X(3, grad=False), X(3, domain="positive", grad=False)]
NORM = [
    OpCase("F.layer_norm", [(4, 5), The((5,)), (5,), (5,)]),
    OpCase("F.layer_norm", [(4, 5), The((5,))]),
    OpCase("F.layer_norm", [(2, 3, 4), The((3, 4)), (3, 4), (3, 4)], {"eps": 1e-3}),
    OpCase("F.layer_norm", [(2, 3, 4), The([4]), (4,)]),
    OpCase("F.layer_norm", [(3,), The((3,))], {"bias": X(3)}),
    OpCase("F.layer_norm", [(0, 3), The((3,)), (3,), (3,)], reference=lambda x, *_: np.zeros((0, 3))),
    OpCase("F.batch_norm", [(4, 3), *_RUNNING, (3,), (3,), True], writes=(1, 2)),
    OpCase("F.batch_norm", [(2, 3, 2, 2), *_RUNNING, (3,), (3,)], {"training": True, "momentum": 0.3, "eps": 1e-3}, writes=(1, 2)),
    OpCase("F.batch_norm", [(2, 3, 4), None, None], {"training": True}),
    OpCase("F.batch_norm", [(2, 3, 4), None, None, (3,)], {"training": True}),
    OpCase("F.batch_norm", [(2, 3, 2, 2), *_RUNNING, (3,), (3,)]),
    OpCase("F.batch_norm", [(2, 3), *_RUNNING], {"eps": 0.1}),
    OpCase("F.batch_norm", [(0, 3), *_RUNNING], reference=lambda x, *_: np.zeros((0, 3))),
]

DROPOUT = [
    OpCase("F.dropout", [(3, 4)], {"p": 0.5}, deviates="random bits"),
    OpCase("F.dropout", [(5, 7)], {"p": 0.3, "training": True}, deviates="random bits"),
    OpCase("F.dropout", [X(3, 4, grad=False)], {"p": 0.5, "inplace": True}, writes=(0,), layouts=False, deviates="random bits"),
    OpCase("F.dropout", [(3, 4)], {"p": 0.5, "training": False}),
    OpCase("F.dropout", [(3, 4)], {"p": 0.0}),
    OpCase("F.dropout", [(3, 4)], {"p": 1.0}),
    OpCase("F.dropout", [(0, 4)], {"p": 0.5}),
]

NN = [*CONV, *POOL, *BILINEAR, *LOSS, *NUMBER_LOSSES, *NORM, *DROPOUT]
