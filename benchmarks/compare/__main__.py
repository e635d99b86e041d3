"""jitgrad beside PyTorch and NumPy. ``python -m benchmarks.compare [family ...] [--threads N]``

Every family runs in several fresh processes, one after the other; in a process the libraries take turns. A figure is the median over the
processes of the median over turns, a ratio the median of the processes' ratios, PyTorch's time / jitgrad's. The spread of a ratio is
(largest - smallest) / median; a cell where it is above 20% is measured again, once, in as many processes, and the steadier half of all
its processes counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tqdm import tqdm

from benchmarks.compare import report
from benchmarks.compare.families import families

PROCESSES = 5
SPREAD = 0.2
Key = tuple[str, str]


def worker(*arguments: str) -> Iterable[Any]:
    """The JSON lines that a fresh process prints, as they come."""
    command = [sys.executable, "-m", "benchmarks.compare.worker", *arguments]
    environment = os.environ | {f"{library}_NUM_THREADS": arguments[1] for library in ("OMP", "NUMBA", "OPENBLAS", "MKL")}
    # OpenBLAS's threads otherwise wait awake for a while, on the core of whose turn comes after NumPy's: 63 ms instead of 12 for 1024x1024.
    environment["OPENBLAS_THREAD_TIMEOUT"] = "4"
    with (
        tempfile.TemporaryFile("w+") as messages,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=messages, text=True) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
        if process.wait():
            messages.seek(0)
            raise SystemExit(messages.read())


def spread(ratios: Sequence[float]) -> float:
    """(largest - smallest) / median."""
    return (max(ratios) - min(ratios)) / median(ratios)


def steadiest(runs: list[list[float]]) -> list[list[float]]:
    """The half of the runs whose ratios lie closest together."""
    ordered = sorted(runs, key=lambda seconds: seconds[1] / seconds[0])
    half = len(runs) // 2
    starts = range(len(runs) - half + 1)
    ratios = [seconds[1] / seconds[0] for seconds in ordered]
    best = min(starts, key=lambda i: spread(ratios[i : i + half]))
    return ordered[best : best + half]


def measure(family: str, threads: int, processes: int, only: str) -> list[dict[str, Any]]:
    """The cells of a family, or of those of its cases whose names contain `only`."""
    names = [json.dumps([case.name for case in families()[family]() if only in case.name])]
    cells: dict[Key, dict[str, Any]] = {}
    runs: dict[Key, list[list[float]]] = {}

    def once(bar: Any, *arguments: str) -> None:
        for cell in worker(family, str(threads), *arguments):
            key = cell["name"], cell["mode"]
            cells.setdefault(key, cell)
            runs.setdefault(key, []).append(cell["seconds"])
            bar.set_postfix_str(cell["name"])
        bar.update()

    with tqdm(total=processes, desc=f"{family}, {threads} thread{'s' * (threads > 1)}", unit="process") as bar:
        for i in range(processes):
            once(bar, "no" if i else "check", *names)
        noisy = sorted({name for (name, _), r in runs.items() if spread([s[1] / s[0] for s in r]) > SPREAD})
        if noisy:
            bar.set_description(f"{family}, noisy cells again")
            bar.reset(total=processes)
            for _ in range(processes):
                once(bar, "no", json.dumps(noisy))
    for key, cell in cells.items():
        chosen = runs[key] if len(runs[key]) <= processes else steadiest(runs[key])
        ratios = [seconds[1] / seconds[0] for seconds in chosen]
        cell["seconds"] = [float(f"{median(s):.4g}") for s in zip(*chosen, strict=True)]
        cell["ratio"], cell["spread"] = round(median(ratios), 3), round(spread(ratios), 3)
    return list(cells.values())


def compact(saved: dict[str, Any]) -> str:
    """JSON with a line for each cell."""
    return re.sub(r"\}, \{", "},\n{", re.sub(r"\n\s+", " ", json.dumps(saved, indent=1))) + "\n"


def merged(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Old cells, the new ones in their places or behind them."""
    fresh = {(cell["name"], cell["mode"]): cell for cell in new}
    return [fresh.pop((cell["name"], cell["mode"]), cell) for cell in old] + list(fresh.values())


def main() -> None:
    """Measure, print, and with --save keep the figures for the page."""
    known = list(families())
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("family", nargs="*", help=f"of {', '.join(known)}; all when none is given")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of every library (default 1)")
    parser.add_argument("--processes", type=int, default=PROCESSES, metavar="N", help=f"fresh processes a family (default {PROCESSES})")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases whose names contain the text")
    parser.add_argument("--save", type=Path, metavar="FILE", help="put the figures into this JSON file, in the place of old ones")
    given = parser.parse_args()
    if wrong := [f for f in given.family if f not in known]:
        parser.error(f"there is no family {', '.join(wrong)}; there are {', '.join(known)}")
    saved: dict[str, Any] = json.loads(given.save.read_text()) if given.save and given.save.exists() else {}
    flops, bandwidth = next(iter(worker("peak", str(given.threads), "no")))
    machine = {"flops": flops, "bandwidth": bandwidth, "python": platform.python_version(), "threads": given.threads}
    print(f"FMA peak {flops:.0f} GFLOP/s, copy bandwidth {bandwidth:.1f} GB/s, {given.threads} thread{'s' * (given.threads > 1)}")
    for family in given.family or known:
        cells = measure(family, given.threads, given.processes, given.only)
        print(report.text(cells, machine))
        if given.save:
            figures = saved.setdefault(str(given.threads), {"machine": machine, "families": {}})["families"]
            figures[family] = merged(figures.get(family, []), cells) if given.only else cells
            given.save.write_text(compact(saved))


if __name__ == "__main__":
    main()
