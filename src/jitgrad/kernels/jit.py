"""How kernels are compiled: the only place that calls Numba's `jit` and `cfunc`; intrinsics and overloads are where they are needed.

A kernel is compiled when it is first called with a signature, kept on disk (see cache.py), and may have a parallel form
(see threads.py). With NUMBA_DISABLE_JIT=1 every decorator gives back the Python function.
"""

from __future__ import annotations

import dis
import hashlib
import linecache
import os
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba import from_dtype, prange
from numba.core import config
from numba.core.ccallback import CFunc
from numba.core.cpu import ParallelOptions
from numba.core.dispatcher import _FunctionCompiler
from numba.core.registry import CPUDispatcher
from numba.core.sigutils import normalize_signature
from numba.core.types import void

from jitgrad.kernels.cache import (
    CacheInfo,
    DiskCache,
    cache_dir,
    cache_info,
    clear_cache,
    compiling,
    directory,
    warn_unwritable,
    write_atomic,
)
from jitgrad.kernels.library import Linked, libraries, link, make_callable
from jitgrad.kernels.threads import (
    PARALLEL_MIN,
    get_num_threads,
    pays,
    set_num_threads,
    threading_layer,
    workspace,
)

__all__ = [
    "DISABLED",
    "EXACT",
    "PARALLEL_MIN",
    "SIMULATED",
    "SUM",
    "CacheInfo",
    "c_loop",
    "cache_dir",
    "cache_info",
    "clear_cache",
    "cuda_jit",
    "direct",
    "from_source",
    "get_num_threads",
    "launch",
    "njit",
    "parallel_form",
    "pays",
    "prange",
    "set_num_threads",
    "threading_layer",
    "workspace",
]

# Never arcp (floor(x / y) goes wrong on exact quotients), never nnan or ninf (a NaN must stay visible).
EXACT = frozenset({"nsz", "contract"})
SUM = EXACT | {"reassoc"}  # lets LLVM add in lanes

DISABLED = bool(config.DISABLE_JIT)  # kernels are plain Python
SIMULATED = bool(config.ENABLE_CUDASIM)  # there is no card, CUDA kernels run in Numba's simulator

# What `prange` says runs on threads, nothing else: whole-array statements stay what they are.
PRANGE = ParallelOptions(dict.fromkeys(("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion"), False))

Function = Callable[..., Any]


def _options(fastmath: frozenset[str], **more: Any) -> dict[str, Any]:
    return {
        "nopython": True,
        "nogil": True,
        "error_model": "numpy",
        "fastmath": set(fastmath),
        "boundscheck": None,
        **more,
    }


class _Compiler(_FunctionCompiler):
    def _customize_flags(self, flags: Any) -> Any:
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True  # make_callable does what of it is wanted
        return flags


class Kernel(CPUDispatcher):
    """A Numba dispatcher that keeps its binaries in our cache, and has machine code only for what Python calls."""

    def __init__(self, py_func: Function, locals: Any = None, targetoptions: Any = None, **more: Any) -> None:
        super().__init__(py_func, locals, targetoptions, **more)
        self._compiler = _Compiler(py_func, self.targetdescr, targetoptions, self.locals, self._compiler.pipeline_class)
        self._cache = DiskCache(py_func, targetoptions)
        self._inner = False  # a compiled function asks

    def get_call_template(self, args: Any, kws: Any) -> Any:
        before, self._inner = self._inner, True
        try:
            return super().get_call_template(args, kws)
        finally:
            self._inner = before

    def add_overload(self, cres: Any) -> None:
        """Called with what was compiled, or loaded from disk."""
        if cres.entry_point is None:
            cres = link(cres) if self._inner else make_callable(cres, self.targetoptions["nogil"])
        elif isinstance(cres.entry_point, Linked) and not self._inner:
            cres = make_callable(cres, self.targetoptions["nogil"])
            self._cache.save_overload(cres.signature, cres)
        if isinstance(cres.entry_point, Linked):
            self.overloads[tuple(cres.signature.args)] = cres
        else:
            super().add_overload(cres)

    def compile(self, sig: Any) -> Any:
        with compiling(self._cache), libraries():
            args = tuple(normalize_signature(sig)[0])
            found = self.overloads.get(args)
            if found is None:
                super().compile(sig)
            elif isinstance(found.entry_point, Linked) and not self._inner:
                self.add_overload(found)
            return self.overloads[args].entry_point


def njit(function: Function | None = None, *, fastmath: frozenset[str] = EXACT, inline: bool = False) -> Any:
    """Compiles a kernel lazily: `@njit`, or `@njit(fastmath=SUM)` for plain sums.

    `inline=True` is for scalar functions that loops call: LLVM makes no vector code of a loop with a call in it, and
    by itself leaves large functions as calls.
    """
    if function is None:
        return lambda f: njit(f, fastmath=fastmath, inline=inline)
    if DISABLED:
        return function
    return Kernel(function, targetoptions=_options(fastmath, forceinline=True) if inline else _options(fastmath))


def parallel_form(kernel: Any) -> Any:
    """The same body with its `prange` loops, and those of kernels that it calls, spread over threads; call it only where `pays` says so."""
    if DISABLED:
        return kernel
    function = kernel.py_func
    threaded = {name: parallel_form(k) for name, k in _called(function).items() if _has_prange(k.py_func)}
    if threaded:
        function = types.FunctionType(function.__code__, {**function.__globals__, **threaded}, function.__name__)
    own = _prange_of_its_own(function)  # Numba warns of a function without one, which then only calls others that have it
    return Kernel(function, targetoptions={**kernel.targetoptions, "parallel": PRANGE if own else False})


def _called(function: Function) -> dict[str, Any]:
    """The kernels that a function calls, by name; names alone may be those of attributes."""
    named = {name: function.__globals__.get(name) for name in function.__code__.co_names}
    found = {name: k for name, k in named.items() if isinstance(k, Kernel)}
    if found:
        loaded = {i.argval for i in dis.get_instructions(function) if i.opname == "LOAD_GLOBAL"}
        found = {name: k for name, k in found.items() if name in loaded}
    return found


def _prange_of_its_own(function: Function) -> bool:
    return "prange" in function.__code__.co_names


def _has_prange(function: Function) -> bool:
    return _prange_of_its_own(function) or any(_has_prange(k.py_func) for k in _called(function).values())


class _Direct(dict[Any, Function]):
    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def get(self, dtype: Any, default: Any = None) -> Any:
        """The compiled form, or the default where the kernel has not been compiled for the dtype yet."""
        if dtype not in self:
            for signature, compiled in getattr(self.kernel, "overloads", {}).items():
                if signature[0].dtype == from_dtype(dtype) and not isinstance(compiled.entry_point, Linked):
                    self[dtype] = compiled.entry_point
        return super().get(dtype, default)

    def __missing__(self, dtype: Any) -> Function:
        form: Function = self.get(dtype, self.kernel)  # the first call compiles
        return form


def direct(kernel: Any) -> dict[Any, Function]:
    """The compiled forms of a kernel by the dtype of its first argument, called without Numba's dispatch.

    That saves half of a short call. A compiled form does not look at layouts: this is for callers that have just seen, or
    made, every array C-contiguous and writeable. A launcher may have an attribute `direct`, a function of its arguments that
    returns such a table or None, for the form that takes contiguous inputs of these shapes (those that are not None) and an
    output: `form(*arrays, out)`. The engine then calls the form itself. Or it has an attribute `prepared`, which returns a function
    of such inputs alone, `run(*arrays)`, that does what the launcher does, having looked at shapes, dtypes and the rest before.
    """
    return _Direct(kernel)


def c_loop(function: Function, arguments: tuple[Any, ...]) -> CFunc:
    """Compiles a function now, for callers that want its address; keep the result as long as the address is used."""
    options = _options(EXACT)
    del options["boundscheck"]
    loop = CFunc(function, (arguments, void), locals={}, options=options)
    loop._cache = DiskCache(function, {**options, "form": "c"})
    with compiling(loop._cache):
        loop.compile()
    return loop


@contextmanager
def _numba_cache_dir(path: str) -> Iterator[None]:
    before = config.CACHE_DIR
    config.CACHE_DIR = path
    try:
        yield
    finally:
        config.CACHE_DIR = before


def cuda_jit(function: Function | None = None, *, device: bool = False) -> Any:
    """Compiles a CUDA kernel, or with `device=True` a function that CUDA kernels call, lazily."""
    if function is None:
        return lambda f: cuda_jit(f, device=device)
    from numba import cuda  # imported by the first CUDA kernel file, never on machines without a card

    if device or SIMULATED or not os.path.exists(function.__code__.co_filename):
        return cuda.jit(function, device=device)
    place = directory(function.__module__, os.path.abspath(function.__code__.co_filename), "cuda")
    try:
        with _numba_cache_dir(str(place)):
            return cuda.jit(function, cache=True)
    except RuntimeError:  # no directory can be written
        return cuda.jit(function)


THREADS_PER_BLOCK = 128


def launch(kernel: Any, n: int, *args: Any) -> None:
    """Runs a CUDA kernel over n threads in one dimension; nothing for n = 0."""
    if n <= 0:
        return
    grid = (n + THREADS_PER_BLOCK - 1) // THREADS_PER_BLOCK, min(n, THREADS_PER_BLOCK)
    if SIMULATED:
        with warnings.catch_warnings():  # the simulator computes with NumPy scalars, which warn of each NaN
            warnings.simplefilter("ignore", RuntimeWarning)
            kernel[grid](*args)
    else:
        kernel[grid](*args)


def from_source(text: str, name: str) -> types.ModuleType:
    """Imports generated source from a file in the cache directory, so that its kernels cache like any other.

    The same text gives the same module. Where no file can be written the module lives in memory and its kernels are
    not kept.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    module_name = f"jitgrad_generated_{name}_{digest}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    path = cache_dir() / "generated" / f"{name}_{digest}.py"
    file = str(path)
    try:
        if not (path.exists() and path.read_text(encoding="utf-8") == text):
            write_atomic(path, text.encode())
    except OSError as error:
        warn_unwritable(error)
        file = f"<{name} generated by jitgrad>"
        linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    module = types.ModuleType(module_name)
    module.__file__ = file
    exec(compile(text, file, "exec"), module.__dict__)
    # Known once it is complete: another thread may be doing the same, and no lock may be held where a process forks.
    return sys.modules.setdefault(module_name, module)
