"""What is compared, by family. The shapes in shapes.txt, and more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

from benchmarks.compare.case import MODES, Case, Normal, Whole

SHAPES = [line.split() for line in (Path(__file__).parent / "shapes.txt").read_text().splitlines() if not line.startswith("#")]


def _shapes(kind: str) -> Iterator[tuple[int, ...]]:
    for first, *numbers in SHAPES:
        if first == kind:
            yield tuple(map(int, numbers))


def matmul() -> Iterator[Case]:
    """Products of matrices; `linear` with its bias; transposed operands, as backward has them."""
    for M, N, K in _shapes("matmul"):
        x, y = Normal((M, K)), Normal((K, N))
        yield Case(
            f"mm {M}x{K} @ {K}x{N}", "matmul", "lib.matmul(x, y)", {"x": x, "y": y}, "np.matmul(x, y)", 2.0 * M * N * K, modes=MODES[:1]
        )
    for B, M, N, K in _shapes("bmm"):
        x, y = Normal((B, M, K)), Normal((B, K, N))
        flops = 2.0 * B * M * N * K
        yield Case(
            f"bmm {B}x{M}x{K} @ {K}x{N}",
            "matmul",
            "lib.matmul(x, y)",
            {"x": x, "y": y},
            "np.matmul(x, y)",
            flops,
            modes=MODES[:1],
        )
    for M, N, K in ((512, 512, 512), (128, 256, 784)):
        flops = 2.0 * M * N * K
        inputs = {"x": Normal((K, M)), "y": Normal((N, K))}
        yield Case(f"mm.T {M}x{K} @ {K}x{N}", "matmul", "lib.matmul(x.T, y.T)", inputs, "np.matmul(x.T, y.T)", flops, modes=MODES[:1])
        inputs = {"x": Normal((M, K)), "w": Normal((N, K)), "b": Normal((N,))}
        yield Case(f"linear {M}x{K} -> {N}", "linear", "F.linear(x, w, b)", inputs, "x @ w.T + b", flops)
    inputs = {"x": Normal((1024, 4096)), "y": Normal((4096,))}
    yield Case("mv 1024x4096", "matmul", "lib.matmul(x, y)", inputs, "x @ y", 2.0 * 1024 * 4096, modes=MODES[:1])


def conv() -> Iterator[Case]:
    """Convolutions; the row of the summary goes by what is hard about them."""
    for N, C, H, W, F, KH, KW, stride, padding, groups in _shapes("conv2d"):
        OH, OW = (H + 2 * padding - KH) // stride + 1, (W + 2 * padding - KW) // stride + 1
        inputs = {"x": Normal((N, C, H, W)), "w": Normal((F, C // groups, KH, KW)), "b": Normal((F,))}
        few = C <= 32 and F <= 32 and stride == 1
        row = "conv, 1x1, depthwise, strided" if groups > 1 or stride > 1 or KH == 1 else "conv, few channels" if few else "conv, wide 3x3"
        name = f"{C}->{F} {KH}x{KW} at {H}x{W}, N={N}" + f", stride {stride}" * (stride > 1) + ", depthwise" * (groups > 1)
        call = f"F.conv2d(x, w, b, {stride}, {padding}, 1, {groups})"
        yield Case(name, row, call, inputs, flops=2.0 * N * F * OH * OW * C // groups * KH * KW)


def pool() -> Iterator[Case]:
    """Pooling."""
    for N, C, H, W, k, stride in _shapes("pool"):
        inputs = {"x": Normal((N, C, H, W))}
        values = N * C * (H * W + ((H - k) // stride + 1) * ((W - k) // stride + 1))
        for op in ("max_pool2d", "avg_pool2d"):
            yield Case(f"{op} {k}/{stride} of {N}x{C}x{H}x{W}", "pooling", f"F.{op}(x, {k}, {stride})", inputs, values=values)
    for size in (1, 7):
        shape = (8, 64, 56, 56)
        call = f"F.adaptive_avg_pool2d(x, {size})"
        yield Case(f"adaptive_avg_pool2d to {size} of 8x64x56x56", "pooling", call, {"x": Normal(shape)}, values=prod(shape))


def pointwise() -> Iterator[Case]:
    """Elementwise ops from 100 elements to 10 million."""
    one: dict[str, tuple[str, str, float | None]] = {
        "exp": ("lib.exp(x)", "np.exp(x)", None),
        "log": ("lib.log(x)", "np.log(x)", 0.1),
        "tanh": ("lib.tanh(x)", "np.tanh(x)", None),
        "sigmoid": ("lib.sigmoid(x)", "", None),
        "erf": ("lib.erf(x)", "", None),
        "gelu": ("F.gelu(x)", "", None),
        "silu": ("F.silu(x)", "", None),
        "relu": ("lib.relu(x)", "np.maximum(x, 0)", None),
        "sqrt": ("lib.sqrt(x)", "np.sqrt(x)", 0.1),
        "x ** 3": ("x ** 3", "x ** 3", None),
        "x ** 1.7": ("x ** 1.7", "x ** 1.7", 0.1),
        "x * 2.5": ("x * 2.5", "x * np.float32(2.5)", None),
    }
    two = {
        "add": ("lib.add(x, y)", "np.add(x, y)"),
        "mul": ("lib.mul(x, y)", "np.multiply(x, y)"),
        "div": ("lib.div(x, y)", "np.divide(x, y)"),
        "maximum": ("lib.maximum(x, y)", "np.maximum(x, y)"),
    }
    for n in (10**k for k in range(2, 8)):
        for name, (call, numpy, low) in one.items():
            yield Case(f"{name}, {n:,}", "pointwise", call, {"x": Normal((n,), low)}, numpy, values=2 * n, backward=(0.0, 1.5))
        for name, (call, numpy) in two.items():
            inputs = {"x": Normal((n,)), "y": Normal((n,), 0.5)}
            yield Case(f"{name}, {n:,}", "pointwise", call, inputs, numpy, values=3 * n)
        inputs = {"c": Whole((n,), 2), "x": Normal((n,)), "y": Normal((n,))}
        yield Case(f"where, {n:,}", "pointwise", "lib.where(c, x, y)", inputs, "np.where(c, x, y)", values=3.25 * n)
        rows = {"x": Normal((n // 100, 100)), "y": Normal((100,))}
        yield Case(f"matrix + row, {n:,}", "pointwise", "x + y", rows, "x + y", values=2 * n)
        rows = {"x": Normal((n // 100, 100)), "y": Normal((n // 100, 1))}
        yield Case(f"matrix * column, {n:,}", "pointwise", "x * y", rows, "x * y", values=2 * n)
        rows = {"x": Normal((n // 10, 10)), "y": Normal((10, n // 10))}
        yield Case(f"matrix + transpose, {n:,}", "pointwise", "x + y.T", rows, "x + y.T", values=3 * n)


def _matrices() -> Iterator[tuple[int, int, int]]:
    """Elements, rows, columns."""
    for n, columns in ((10**3, 10), (10**4, 100), (10**5, 100), (10**6, 1000), (10**7, 1000)):
        yield n, n // columns, columns


def reduce() -> Iterator[Case]:
    """Reductions, softmax, losses, norms, embedding, dropout."""
    row = "reductions, softmax, norms ..."
    ops: dict[str, tuple[str, str]] = {
        "sum of all": ("lib.sum(x)", "np.sum(x)"),
        "sum of columns": ("lib.sum(x, 0)", "np.sum(x, 0)"),
        "sum of rows": ("lib.sum(x, 1)", "np.sum(x, 1)"),
        "mean of rows": ("lib.mean(x, 1)", "np.mean(x, 1)"),
        "var of rows": ("lib.var(x, 1)", "np.var(x, 1, ddof=1)"),
        "amax of rows": ("lib.amax(x, 1)", "np.max(x, 1)"),
        "max of rows": ("lib.max(x, 1)[0]", ""),
        "max of columns": ("lib.max(x, 0)[0]", ""),
        "softmax": ("F.softmax(x, 1)", ""),
        "softmax of columns": ("F.softmax(x, 0)", ""),
        "log_softmax": ("F.log_softmax(x, 1)", ""),
    }
    for n, rows, columns in _matrices():
        x = Normal((rows, columns))
        for name, (call, numpy) in ops.items():
            yield Case(f"{name}, {rows:,}x{columns}", row, call, {"x": x}, numpy, values=n)
        yield Case(f"argmax of rows, {rows:,}x{columns}", row, "lib.argmax(x, 1)", {"x": x}, "np.argmax(x, 1)", values=n, modes=MODES[:1])
        inputs: dict[str, Any] = {"x": x, "t": Whole((rows,), columns)}
        yield Case(f"cross_entropy, {rows:,}x{columns}", row, "F.cross_entropy(x, t)", inputs, values=n)
        inputs = {"x": x, "w": Normal((columns,)), "b": Normal((columns,))}
        yield Case(f"layer_norm, {rows:,}x{columns}", row, f"F.layer_norm(x, ({columns},), w, b)", inputs, values=2 * n)
        yield Case(f"batch_norm, {rows:,}x{columns}", row, "F.batch_norm(x, None, None, w, b, True)", inputs, values=2 * n)
        inputs = {"i": Whole((rows,), 1000), "w": Normal((1000, columns))}
        yield Case(f"embedding, {rows:,}x{columns}", row, "F.embedding(i, w)", inputs, values=2 * n)
        yield Case(f"dropout, {rows:,}x{columns}", "dropout", "F.dropout(x, 0.5, True)", {"x": x}, values=2 * n, exact=False)
    for N, C, side in ((32, 16, 32), (8, 64, 56)):
        inputs = {"x": Normal((N, C, side, side)), "w": Normal((C,)), "b": Normal((C,))}
        name = f"batch_norm of images, {N}x{C}x{side}x{side}"
        yield Case(name, row, "F.batch_norm(x, None, None, w, b, True)", inputs, values=2 * N * C * side * side)


def tiny() -> Iterator[Case]:
    """Ops on 8 elements: what a call costs."""
    x, y = Normal((2, 4), 0.5), Normal((2, 4), 0.5)
    ops: dict[str, tuple[str, dict[str, Any]]] = {
        "add": ("lib.add(x, y)", {"x": x, "y": y}),
        "mul": ("lib.mul(x, y)", {"x": x, "y": y}),
        "exp": ("lib.exp(x)", {"x": x}),
        "sum": ("lib.sum(x)", {"x": x}),
        "mean": ("lib.mean(x, 1)", {"x": x}),
        "relu": ("lib.relu(x)", {"x": x}),
        "reshape": ("x.reshape(4, 2)", {"x": x}),
        "transpose": ("x.transpose(0, 1)", {"x": x}),
        "index": ("x[0]", {"x": x}),
        "cat": ("lib.cat([x, y])", {"x": x, "y": y}),
        "matmul": ("lib.matmul(x, y)", {"x": x, "y": Normal((4, 3), 0.5)}),
        "softmax": ("lib.softmax(x, 1)", {"x": x}),
        "where": ("lib.where(c, x, y)", {"c": Whole((2, 4), 2), "x": x, "y": y}),
        "linear": ("F.linear(x, w, b)", {"x": x, "w": Normal((3, 4)), "b": Normal((3,))}),
        "layer_norm": ("F.layer_norm(x, (4,), w, b)", {"x": x, "w": Normal((4,)), "b": Normal((4,))}),
    }
    for name, (call, inputs) in ops.items():
        yield Case(name, "tiny", call, inputs)


def families() -> dict[str, Callable[[], Sequence[Any]]]:
    """Everything that can be asked for by name."""
    from benchmarks.compare import modules, steps  # import here, as modules.py imports jitgrad, and this module is read in every process

    made: dict[str, Callable[[], Sequence[Any]]] = {
        f.__name__: lambda f=f: list(f())
        for f in (matmul, conv, pool, pointwise, reduce, tiny)  # type: ignore[misc]
    }
    return made | {"step": lambda: list(steps.steps()), "modules": lambda: list(modules.modules())}
