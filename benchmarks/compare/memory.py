"""Memory that training steps take, against PyTorch. ``python -m benchmarks.compare.memory``

Each model trains in a process of its own: 5 steps to warm up, then 20. Printed are the growth of the largest resident memory over the 20,
and that largest memory beyond what the process had before the first step.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from typing import Any

from tqdm import tqdm

from benchmarks.compare.steps import Step, steps

WARM, STEPS = 5, 20


def largest() -> float:
    """Largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(lib: Any, step: Step) -> tuple[float, float]:
    """Growth over the steps after the warm ones, and over all of them."""
    run = step.calls(lib, step.arrays())["step"]
    before = largest()
    for _ in range(WARM):
        run()
    warm = largest()
    for _ in range(STEPS):
        run()
    return largest() - warm, largest() - before


def main() -> None:
    """Print the table; with the name of a library and of a step, measure that."""
    cases = {s.name: s for s in steps() if s.optimizer == "Adam"}
    if len(sys.argv) > 1:
        import torch  # also for jitgrad: the weights to begin with are PyTorch's

        import jitgrad as jg

        torch.set_num_threads(1)
        print(json.dumps(measure({"jitgrad": jg, "torch": torch}[sys.argv[1]], cases[sys.argv[2]])))
        return
    lines = [f"{'MB':30}{'growth':>9}{'torch':>9}{'all':>9}{'torch':>9}"]
    for name in tqdm(cases):
        figures = []
        for lib in ("jitgrad", "torch"):
            command = [sys.executable, "-m", "benchmarks.compare.memory", lib, name]
            figures.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        (growth, whole), (their_growth, their_whole) = figures
        lines.append(f"{name:30}{growth:9.1f}{their_growth:9.1f}{whole:9.1f}{their_whole:9.1f}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
