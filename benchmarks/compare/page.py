"""The saved figures as the tables and the picture of docs/performance.md, and README's table. ``python -m benchmarks.compare.page``"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from benchmarks.compare.report import Cell, accuracy, fraction, numpy_ratio, summary, time_text

ROOT = Path(__file__).parent.parent.parent
FIGURES = Path(__file__).parent / "figures.json"
PAGE = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "pictures" / "performance.png"

# What a row of the summary should reach: the geometric mean, and every cell.
BARS: dict[tuple[str, str], tuple[float, float]] = {
    ("matmul", "forward"): (1.0, 0.8),
    ("linear", "forward"): (1.0, 0.8),
    ("linear", "forward+backward"): (1.0, 0.8),
    **{("conv, few channels", mode): (2.0, 1.0) for mode in ("forward", "forward+backward")},
    **{("conv, 1x1, depthwise, strided", mode): (1.3, 0.9) for mode in ("forward", "forward+backward")},
    **{("conv, wide 3x3", mode): (1.1, 0.9) for mode in ("forward", "forward+backward")},
    **{("pooling", mode): (1.5, 0.9) for mode in ("forward", "forward+backward")},
    **{("pointwise", mode): (1.1, 0.7) for mode in ("forward", "forward+backward")},
    **{("reductions, softmax, norms ...", mode): (1.1, 0.7) for mode in ("forward", "forward+backward")},
    **{("dropout", mode): (1.1, 0.7) for mode in ("forward", "forward+backward")},
    ("tiny", "forward"): (1.7, 1.0),
    ("tiny", "forward+backward"): (4.0, 2.0),
    ("training step", "step"): (1.7, 0.9),
    ("modules and containers", "call"): (1.0, 0.5),
}
TITLES = {
    "matmul": "Matrix products", "conv": "Convolutions", "pool": "Pooling", "pointwise": "Pointwise",
    "reduce": "Reductions, softmax, losses, norms, embedding, dropout", "tiny": "Eight elements", "step": "Training steps",
    "modules": "Modules and containers",
}  # fmt: skip


def every(saved: dict[str, Any], threads: str) -> list[Cell]:
    """All cells of a number of threads."""
    return [cell for cells in saved[threads]["families"].values() for cell in cells]


def mark(text: str, good: bool) -> str:
    """Bold where a bar is missed."""
    return text if good else f"**{text}**"


def summary_table(saved: dict[str, Any]) -> Iterator[str]:
    """Mean and worst of each row, for every number of threads."""
    counts = sorted(saved)
    yield "| | bar | " + " | ".join(f"{n} thread{'s' * (n != '1')}: mean | worst" for n in counts) + " |"
    yield "|---|---|" + "---|---|" * len(counts)
    rows = {n: {(row, mode): rest for row, mode, *rest in summary(every(saved, n))} for n in counts}
    for key in rows[counts[0]]:
        mean_bar, worst_bar = BARS[key]
        line = f"| {key[0]}, {key[1]} | {mean_bar}, {worst_bar} |"
        for n in counts:
            if key not in rows[n]:
                line += " | |"
                continue
            _, mean, worst, where = rows[n][key]
            line += f" {mark(f'{mean:.2f}', mean >= mean_bar)} | {mark(f'{worst:.2f}', worst >= worst_bar)} {where} |"
        yield line


def short(saved: dict[str, Any]) -> Iterator[str]:
    """Every cell below its bar, by row."""
    for (row, mode), (_, bar) in BARS.items():
        for n in sorted(saved):
            low = sorted(
                (c for c in every(saved, n) if (c["row"], c["mode"]) == (row, mode) and c["ratio"] < bar), key=lambda c: c["ratio"]
            )
            if low:
                names = "; ".join(f"{c['name']} {c['ratio']:.2f}" for c in low)
                yield f"- {row}, {mode}, {n} thread{'s' * (n != '1')}, below {bar}: {names}"


ULP = 2.0**-23  # of 1.0 in float32


def inaccurate(saved: dict[str, Any]) -> str:
    """Cells whose rms error is over twice PyTorch's and more than the rounding of the result."""
    cells = {(c["name"], c["mode"]): c["rms"] for n in saved for c in every(saved, n) if "rms" in c}
    worse = [f"{name}, {mode}: {a:.1e} against {b:.1e}" for (name, mode), (a, b) in cells.items() if a > max(2 * b, ULP)]
    better = sum(a <= b for a, b in cells.values())
    return f"Of {len(cells)} cells jitgrad errs no more than PyTorch in {better}, and over twice as much in {len(worse)}" + (
        ": " + "; ".join(worse) + "." if worse else "."
    )


def family_table(saved: dict[str, Any], family: str) -> Iterator[str]:
    """A line for each case."""
    counts = [n for n in sorted(saved) if family in saved[n]["families"]]
    machine = saved[counts[0]]["machine"]
    cells = {(n, c["name"], c["mode"]): c for n in counts for c in saved[n]["families"][family]}
    modes = list(dict.fromkeys(mode for _, _, mode in cells))
    names = list(dict.fromkeys(name for _, name, _ in cells))
    head = ["case"]
    for mode in modes:
        head += [mode, "torch", *(f"ratio, {n}" for n in counts), "of peak"]
    head += ["NumPy", "rms", "torch's"]
    table = [head]
    for name in names:
        line = [name]
        for mode in modes:
            first = cells.get((counts[0], name, mode))
            if first is None:
                line += [""] * (3 + len(counts))
                continue
            bar = BARS[first["row"], mode][1]
            ratios = [cells.get((n, name, mode)) for n in counts]
            line += [*(time_text(s) for s in first["seconds"][:2])]
            line += [mark(f"{c['ratio']:.2f}", c["ratio"] >= bar) if c else "" for c in ratios]
            line += [fraction(first, machine)]
        whole = [cells[key] for key in ((counts[0], name, mode) for mode in modes) if key in cells]
        table.append([*line, numpy_ratio(whole[0]), *(accuracy(whole[-1]).split() or ["", ""])])
    columns = [i for i in range(len(head)) if any(line[i] for line in table[1:])]
    yield "| " + " | ".join(head[i] for i in columns) + " |"
    yield "|---|" + "---:|" * (len(columns) - 1)
    for line in table[1:]:
        yield "| " + " | ".join(line[i] for i in columns) + " |"


def picture(saved: dict[str, Any]) -> None:
    """A dot for each cell on a line for each row of the summary, and its mean."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    keys = list({(c["row"], c["mode"]): None for n in sorted(saved) for c in every(saved, n)})
    figure, axes = plt.subplots(figsize=(9, 0.36 * len(keys) + 1.2), layout="constrained")
    for shift, color, n in zip((0.16, -0.16), ("#2f6f9f", "#d2691e"), sorted(saved), strict=False):
        for i, key in enumerate(keys):
            ratios = [c["ratio"] for c in every(saved, n) if (c["row"], c["mode"]) == key]
            y = [len(keys) - i + shift] * len(ratios)
            axes.plot(ratios, y, "|", color=color, alpha=0.55, markersize=7)
            if ratios:
                mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
                label = f"mean, {n} thread{'s' * (n != '1')}" if i == 0 else None
                axes.plot([mean], y[:1], "o", color=color, markersize=6, label=label)
    axes.set_yticks([len(keys) - i for i in range(len(keys))], [f"{row}, {mode}" for row, mode in keys])
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.grid(axis="x", alpha=0.25)
    axes.set_xlabel("PyTorch's time / jitgrad's: right of 1, jitgrad is faster")
    axes.legend(loc="upper right")
    figure.savefig(PICTURE, dpi=110)
    plt.close(figure)


def parts(saved: dict[str, Any]) -> dict[str, str]:
    """The generated parts of the page by name."""
    machines = [saved[n]["machine"] for n in sorted(saved)]
    peaks = "; ".join(
        f"{m['threads']} thread{'s' * (m['threads'] > 1)}: {m['flops']:.0f} GFLOP/s, {m['bandwidth']:.1f} GB/s" for m in machines
    )
    families = [f for f in TITLES if any(f in saved[n]["families"] for n in saved)]
    tables = [f"### {TITLES[f]}\n\n" + "\n".join(family_table(saved, f)) for f in families]
    return {
        "summary": "\n".join(summary_table(saved)),
        "machine": f"FMA peak and copy bandwidth measured beside: {peaks}.",
        "accuracy": inaccurate(saved),
        "short": "\n".join(short(saved)),
        "tables": "\n\n".join(tables),
    }


# README's lines: what, and the rows and modes whose means it shows.
LINES: dict[str, tuple[tuple[str, str], ...]] = {
    "training steps: MLP, LeNet, a small CNN, ResNet-20; batch 1 to 128": (("training step", "step"),),
    "ops on 8 elements: forward; forward and backward": (("tiny", "forward"), ("tiny", "forward+backward")),
    **{
        f"pointwise; reductions, softmax, norms; pooling: {text}": tuple(
            (row, mode) for row in ("pointwise", "reductions, softmax, norms ...", "pooling")
        )
        for text, mode in (("forward", "forward"), ("forward and backward", "forward+backward"))
    },
    **{
        f"convolutions: few channels; 1x1, depthwise, strided; wide 3x3: {text}": tuple(
            (f"conv, {row}", mode) for row in ("few channels", "1x1, depthwise, strided", "wide 3x3")
        )
        for text, mode in (("forward", "forward"), ("forward and backward", "forward+backward"))
    },
    "matrix products": (("matmul", "forward"),),
    "modules and containers: calls, attributes, indices, walks": (("modules and containers", "call"),),
}


def readme_table(saved: dict[str, Any]) -> Iterator[str]:
    """Means by row for every number of threads, and NumPy's for products."""
    counts = sorted(saved)
    yield "| what | " + " | ".join(f"{n} thread{'s' * (n != '1')}" for n in counts) + " |"
    yield "|---|" + "---|" * len(counts)
    for what, keys in LINES.items():
        line = f"| {what} |"
        for n in counts:
            means = {(row, mode): mean for row, mode, _, mean, *_ in summary(every(saved, n))}
            line += " " + "; ".join(f"{means[key]:.2g}" if key in means else "not measured" for key in keys) + " |"
        yield line
    products = [c["seconds"] for c in every(saved, counts[0]) if c["row"] == "matmul"]
    yield f"| matrix products, against NumPy's OpenBLAS | {geometric_mean(s[2] / s[0] for s in products):.2g} |" + " |" * (len(counts) - 1)


def filled(page: str, texts: dict[str, str]) -> str:
    """The page with its generated parts renewed: what stands between `<!-- name -->` and `<!-- end of name -->`."""
    for name, text in texts.items():
        start, stop = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, _, rest = page.partition(start)
        page = f"{before}{start}\n{text}\n{stop}{rest.partition(stop)[2]}"
    return page


def pages(saved: dict[str, Any]) -> dict[Path, str]:
    """The renewed texts of the files."""
    return {
        PAGE: filled(PAGE.read_text(), parts(saved)),
        README: filled(README.read_text(), {"measured": "\n".join(readme_table(saved))}),
    }


def main() -> None:
    """Renew pages and picture."""
    saved = json.loads(FIGURES.read_text())
    for path, text in pages(saved).items():
        path.write_text(text)
    picture(saved)


if __name__ == "__main__":
    main()
