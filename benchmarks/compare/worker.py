"""One fresh process that measures: ``python -m benchmarks.compare.worker FAMILY THREADS CHECK [NAMES]``, started by the runner.

Each line of its output is a cell as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np
import torch

import jitgrad as jg
from benchmarks.compare.families import families
from benchmarks.compare.timing import medians, peak, rms

RMS_LIMIT = 1e-4  # relative; float32 results that are further from float64 than this are wrong, not rounded


def numbers(result: Any) -> list[np.ndarray]:
    """What a call returned, as arrays."""
    tensors = result if isinstance(result, (list, tuple)) else [result]
    return [np.asarray(t.detach().numpy()) for t in tensors]


def errors(case: Any, arrays: Any, mode: str) -> tuple[float, float]:
    """The rms errors of jitgrad and of PyTorch against PyTorch in float64; calls of their own, as a training step changes its model."""
    exact = numbers(case.calls(torch, arrays, torch.float64)[mode]())
    ours, theirs = (rms(numbers(case.calls(lib, arrays)[mode]()), exact) for lib in (jg, torch))
    if not ours <= max(RMS_LIMIT, 10 * theirs):
        raise SystemExit(f"{case.name}, {mode}: jitgrad's relative rms error is {ours:.1e}, PyTorch's {theirs:.1e}")
    return ours, theirs


def main() -> None:
    """Measure every case of the family."""
    family, threads, check = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "check"
    wanted = set(json.loads(sys.argv[4])) if len(sys.argv) > 4 else None
    if hasattr(os, "sched_setaffinity"):  # the last cores: the first one serves the system
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    torch.set_num_threads(threads)
    if family == "peak":
        print(json.dumps(peak(threads)))
        return
    for case in families()[family]():
        if wanted is not None and case.name not in wanted:
            continue
        arrays = case.arrays()
        ours, theirs, numpy = case.calls(jg, arrays), case.calls(torch, arrays), case.numpy_call(arrays)
        for mode in case.modes:
            cell: dict[str, Any] = {"name": case.name, "row": case.row, "mode": mode, "work": case.work(mode)}
            if check and case.exact:
                cell["rms"] = [float(f"{e:.2g}") for e in errors(case, arrays, mode)]
            calls = [ours[mode], theirs[mode]] + ([numpy] if numpy and mode == "forward" else [])
            cell["seconds"] = medians(calls)
            print(json.dumps(cell), flush=True)


if __name__ == "__main__":
    main()
