"""Time before the first result: import, and compiling with an empty cache."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

COMPILED = {
    "pointwise": "jg.tanh(jg.ones(8))",
    "reduce": "jg.ones(8).sum()",
    "matmul": "jg.ones(8, 8) @ jg.ones(8, 8)",
    "softmax and backward": "jg.softmax(jg.ones(2, 4, requires_grad=True), 1).sum().backward()",
}


def timeraw_import() -> str:
    """A fresh interpreter's import."""
    return "import jitgrad"


def timeraw_import_numba() -> str:
    """The part of it that is Numba's."""
    return "import numba"


def track_compile(case: str) -> float:
    """Seconds of the first call in a process without any compiled kernel."""
    code = f"import time, jitgrad as jg\nstart = time.perf_counter()\n{COMPILED[case]}\nprint(time.perf_counter() - start)"
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "JITGRAD_CACHE_DIR": empty}, capture_output=True, text=True, check=True
        )
    return float(done.stdout)


track_compile.params = [list(COMPILED)]  # type: ignore[attr-defined]
track_compile.param_names = ["case"]  # type: ignore[attr-defined]
track_compile.unit = "s"  # type: ignore[attr-defined]
