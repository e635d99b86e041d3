"""Vector kernels for other CPUs than this one: which vectors Numba's settings give, and results of a machine with AVX2 only."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest
from numba.core import config

from jitgrad.kernels import simd_code
from jitgrad.kernels.jit import DISABLED

pytestmark = pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="the CPUs are x86")


@pytest.mark.parametrize(
    ("name", "features", "wide", "fused"),
    [
        ("generic", "", False, False),
        ("generic", "+avx2,+fma", False, True),
        ("generic", "+avx512f", True, True),
        ("nehalem", "+sse2", False, False),
        ("haswell", "", False, True),
        ("skylake-avx512", "", True, True),
        ("skylake-avx512", "+sse2", True, True),
        ("skylake-avx512", "-avx512f", False, True),
        ("skylake-avx512", "-avx", False, False),
    ],
)
def test_vectors_of_a_cpu(name: str, features: str, wide: bool, fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CPU_NAME", name)
    monkeypatch.setattr(config, "CPU_FEATURES", features)
    assert simd_code._instructions() == (wide, fused)


def test_features_alone_are_added_to_this_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CPU_NAME", None)
    monkeypatch.setattr(config, "CPU_FEATURES", None)
    monkeypatch.setattr(config, "ENABLE_AVX", 1)
    here = simd_code._instructions()
    monkeypatch.setattr(config, "ENABLE_AVX", 0)
    assert simd_code._instructions()[0] is False
    monkeypatch.setattr(
        config, "CPU_FEATURES", ",".join(f"{'+' if on else '-'}{name}" for name, on in llvm.get_host_cpu_features().items())
    )
    assert simd_code._instructions() == here


KERNELS = """
import numpy as np
from jitgrad.kernels.cpu import conv, matmul, pool, reduce, softmax
from jitgrad.kernels.simd_code import PLAIN, VECTOR_BYTES
assert VECTOR_BYTES == 32 and not PLAIN
rng = np.random.default_rng(0)
a, b = rng.standard_normal((2, 75, 75)).astype("f4")
np.testing.assert_allclose(matmul.matmul(a, b), a @ b, atol=1e-4)
x, w = rng.standard_normal((2, 3, 9, 9)).astype("f4"), rng.standard_normal((5, 3, 3, 3)).astype("f4")
windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
got = conv.conv2d(x, w, None, (1, 1), (0, 0), (1, 1), 1)
np.testing.assert_allclose(got, np.einsum("ncyxij,fcij->nfyx", windows, w), atol=1e-4)
e = np.exp(a)
np.testing.assert_allclose(softmax.softmax(a, 1), e / e.sum(1, keepdims=True), atol=1e-6)
np.testing.assert_allclose(reduce.sum(a, (1,), False), a.sum(1), atol=1e-4)
np.testing.assert_array_equal(pool.max_pool2d(x, (3, 3), (1, 1), (0, 0), (1, 1), False)[0], windows.max((4, 5)))
print("all as NumPy has it")
"""


@pytest.mark.skipif(DISABLED or not llvm.get_host_cpu_features().get("avx2"), reason="this CPU has no AVX2, or nothing is compiled")
def test_kernels_of_a_machine_with_avx2_only() -> None:
    target = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+avx2,+fma", "NUMBA_NUM_THREADS": "1"}
    env = os.environ | target | {"PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    done = subprocess.run([sys.executable, "-c", KERNELS], env=env, capture_output=True, text=True, timeout=600)
    assert done.stdout == "all as NumPy has it\n", done.stderr
