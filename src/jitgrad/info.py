"""What a bug report needs to say of a machine: versions, CPU, threads, the kernel cache, the GPU or why there is none."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path

from llvmlite import binding as llvm

from jitgrad.kernels import jit

# The CPU features that decide about vector code, of the hundred that LLVM knows.
FEATURES = (
    "sse4.2", "avx", "f16c", "fma", "avx2", "avxvnni", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni", "avx512bf16",
    "avx512fp16", "amx-tile", "neon", "fullfp16", "bf16", "sve", "sve2",
)  # fmt: skip
REQUIRED = ("numpy", "numba", "llvmlite", "tqdm", "safetensors")
OPTIONAL = ("numba-cuda", "scikit-learn", "matplotlib", "loky", "cloudpickle")


def lines() -> Iterator[str]:
    """The report, a line for each subject."""
    for subject, words in _subjects():
        yield f"{subject + ':':13}{words}"


def _subjects() -> Iterator[tuple[str, str]]:
    yield "jitgrad", f"{_version('jitgrad')}, {Path(__file__).parent}"
    yield "python", f"{platform.python_version()} {platform.python_implementation()}, {sys.executable}"
    yield "system", platform.platform()
    yield "packages", ", ".join(f"{name} {_version(name)}" for name in REQUIRED)
    yield "optional", ", ".join(f"{name} {_version(name)}" for name in OPTIONAL)
    yield "cpu", f"{_cpu_name()} ({llvm.get_host_cpu_name()}), {_cores()} of {os.cpu_count()} cores for this process"
    has = llvm.get_host_cpu_features()
    yield "features", " ".join(name for name in FEATURES if has.get(name)) or "none of those asked for"
    yield "vectors", _vectors()
    yield "threads", _threads()
    yield "gpu", _gpu()
    yield from (("cache", line) for line in cache_lines())
    names = sorted(n for n in os.environ if n.startswith(("JITGRAD_", "NUMBA_", "OMP_")))
    yield "environment", ", ".join(f"{n}={os.environ[n]}" for n in names) or "nothing set"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        text = ""
    named = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _vectors() -> str:
    """What kernels are compiled for, which NUMBA_CPU_NAME and its kin may make less than the CPU has."""
    if jit.DISABLED:
        return "none, kernels run as plain Python (NUMBA_DISABLE_JIT)"
    from jitgrad.kernels import simd_code

    return "plain loops, without fused multiply-adds" if simd_code.PLAIN else f"{simd_code.VECTOR_BYTES} bytes"


def _threads() -> str:
    if jit.DISABLED:
        return "1, kernels run as plain Python (NUMBA_DISABLE_JIT)"
    return f"{jit.get_num_threads()}, layer {jit.threading_layer()}"


def _gpu() -> str:
    """The card, or why there is none."""
    if jit.SIMULATED:
        return "Numba's simulator (NUMBA_ENABLE_CUDASIM)"
    try:
        cuda = import_module("numba.cuda")
    except ImportError:
        return "none: Numba without CUDA, pip install jitgrad[cuda]"
    try:
        card = cuda.get_current_device()
        name = card.name.decode() if isinstance(card.name, bytes) else card.name
        words = f"{name}, compute capability {'.'.join(map(str, card.compute_capability))}"
    except Exception as error:  # what the driver says is the answer
        return f"none: {' '.join(str(error).split())}"
    return words if cuda.is_available() else f"{words}, cannot be used: a CUDA library is missing, pip install jitgrad[cuda]"


def _files() -> list[Path]:
    return [p for part in ("kernels", "generated") for p in (jit.cache_dir() / part).rglob("*") if p.is_file()]


def _size(files: list[Path]) -> str:
    size = 0
    for p in files:
        try:
            size += p.stat().st_size
        except OSError:  # another process has just removed it
            continue
    return f"{size / 2**20:.1f} MiB"


def cache_lines() -> Iterator[str]:
    """Where compiled kernels are, how many, how large, as one line."""
    files = _files()
    kernels = [p for p in files if p.suffix == ".bin"]
    yield f"{jit.cache_dir()}, {len(kernels)} compiled kernels, {_size(files)}"


def cleared() -> Iterator[str]:
    """Remove compiled kernels; says how many."""
    files = _files()
    number, size = len([p for p in files if p.suffix == ".bin"]), _size(files)
    jit.clear_cache()
    left = _files()
    yield f"{jit.cache_dir()}, {number} compiled kernels removed, {size}"
    if left:
        yield f"{len(left)} files are still there: no right to remove them, or another process is writing"
