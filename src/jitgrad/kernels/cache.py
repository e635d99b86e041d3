"""Compiled kernels on disk: one file per kernel, signature and set of flags.

    <root>/kernels/<file>-<place>-<content>/<kernel>-<key>.bin

`place` hashes what several machines and checkouts may differ in (path of the source file, Python, CPU), `content`
hashes what makes a binary stale (the source file, the kernel files it imports, Numba's version). A directory with the
same place and another content is old and is removed. Numba's own cache looks at one source file only, and reads
whatever bytes it finds; this one checks them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pickle
import re
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numba
from numba.core import config
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps

from jitgrad.kernels.interrupt import uninterrupted
from jitgrad.kernels.library import rebuild

try:
    import fcntl
except ImportError:  # Windows: two processes may then compile the same kernel, and the later write wins
    fcntl = None  # type: ignore[assignment]

FORMAT = 2  # of the files written here, and of what library.py makes of kernels
SLOW = 1.0  # seconds of compiling after which a line is written
NOWHERE = Path(os.devnull, "jitgrad")  # can be neither read nor written
LOCK_TIMEOUT = 300.0  # seconds to wait for another process before compiling the kernel as well

HERE = __name__.rpartition(".")[0]  # jitgrad.kernels
NO_KERNELS = {HERE, f"{HERE}.jit", f"{HERE}.cache", f"{HERE}.interrupt", f"{HERE}.threads"}  # files that no binary depends on


class CacheInfo(NamedTuple):
    """Kernels loaded from disk and kernels compiled, by this process."""

    hits: int
    misses: int


_hits = _misses = 0
_warned = False


def cache_info() -> CacheInfo:
    """How many kernels this process has loaded from disk (hits) and compiled (misses)."""
    return CacheInfo(_hits, _misses)


def cache_dir() -> Path:
    """JITGRAD_CACHE_DIR, or `jitgrad` in the user's cache directory; NOWHERE if that is not known, as for a user without an entry."""
    if chosen := os.environ.get("JITGRAD_CACHE_DIR"):
        return Path(chosen)
    if os.name == "nt" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "jitgrad" / "cache"
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "jitgrad"
    try:
        return Path("~/.cache").expanduser() / "jitgrad"
    except RuntimeError:
        return NOWHERE


def clear_cache() -> None:
    """Removes all compiled kernels and generated sources from disk; what this process has loaded stays usable."""
    for part in ("kernels", "generated"):
        shutil.rmtree(cache_dir() / part, ignore_errors=True)


def say(text: str) -> None:
    print(f"jitgrad: {text}", file=sys.stderr, flush=True)


def warn_unwritable(error: OSError) -> None:
    global _warned
    if not _warned:
        _warned = True
        place = cache_dir()
        why = "the home directory is not known" if place == NOWHERE else error.strerror or error
        warnings.warn(
            f"The kernel cache {place} cannot be written ({why}): every process compiles its "
            "kernels anew. Set JITGRAD_CACHE_DIR to a directory that can be written.",
            RuntimeWarning,
            stacklevel=2,
        )


def write_atomic(path: Path, data: bytes) -> None:
    """Writes a file that no reader ever sees half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


# What a binary depends on


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


IMPORTS = re.compile(r"^[ \t]*(?:from[ \t]+(\S+)[ \t]+)?import[ \t]+(\([^)]*\)|[^\n#]+)", re.MULTILINE)


@cache
def _read(path: str) -> tuple[str, list[tuple[str, str]]]:
    """Hash of a source file and its imports, as (module or "", names). Parsing with ast would take 10 ms a file."""
    text = Path(path).read_text(encoding="utf-8")
    return _hash(text), [(m[1] or "", m[2]) for m in IMPORTS.finditer(text)]


def _source(module: str) -> str | None:
    """Source file of a module that has been imported."""
    path = getattr(sys.modules.get(module), "__file__", None)
    return path if path and path.endswith(".py") and os.path.exists(path) else None


def _imported(path: str, package: str) -> Iterator[str]:
    """Names of the imported modules that a file names in its import statements."""
    for origin, names in _read(path)[1]:
        items = [item.split()[0] for item in names.strip("()").replace("\\", " ").split(",") if item.split()]
        if not origin:
            yield from items
            continue
        try:
            base = importlib.util.resolve_name(origin, package) if origin.startswith(".") else origin
        except ImportError:
            continue
        inner = [f"{base}.{item}" for item in items]
        yield from (name for name in inner if name in sys.modules)
        if not all(name in sys.modules for name in inner):
            yield base


INSTALLED = {"site-packages", "dist-packages"}


def _belongs(module: str, path: str, kernel: str, root: str) -> bool:
    """Whether a kernel of the module `kernel` in the file tree `root` may call into this module: of jitgrad itself, only kernels count.

    What else is installed does not: which of it a program has imported differs from program to program.
    """
    package, own = module.partition(".")[0], kernel.partition(".")[0]
    ours = HERE.partition(".")[0]
    if package == ours:
        return module.startswith(HERE) and module not in NO_KERNELS
    if own == ours:
        return False
    beside = path.startswith(root + os.sep) and INSTALLED.isdisjoint(path[len(os.path.dirname(root)) :].split(os.sep))
    return package == own or beside


@cache
def sources(module: str, path: str) -> tuple[str, ...]:
    """The file of a kernel and the kernel files that it imports, directly or not."""
    root = os.path.dirname(path)
    while os.path.exists(os.path.join(root, "__init__.py")):
        root = os.path.dirname(root)
    found: dict[str, str] = {path: module}
    if (binder := _source(module)) is not None:  # differs where a function was given another module's globals
        found.setdefault(binder, module)
    todo = list(found)
    while todo:
        current = todo.pop()
        name = found[current]
        is_package = os.path.basename(current) == "__init__.py"
        for dependency in _imported(current, name if is_package else name.rpartition(".")[0]):
            file = _source(dependency)
            if file and file not in found and _belongs(dependency, file, module, root):
                found[file] = dependency
                todo.append(file)
    return tuple(sorted(found))


@cache
def directory(module: str, path: str, target: str) -> Path:
    """Cache directory of the kernels of one file, compiled for `target` (the CPU and its features)."""
    place = _hash(path, target, sys.version)
    content = _hash(str(FORMAT), numba.__version__, *(_read(file)[0] for file in sources(module, path)))
    return cache_dir() / "kernels" / f"{Path(path).stem}-{place[:10]}-{content[:16]}"


def remove_old(keep: Path) -> None:
    """Removes the directories of the same kernel file and place with another content."""
    for other in keep.parent.glob(keep.name.rpartition("-")[0] + "-*"):
        if other != keep:
            shutil.rmtree(other, ignore_errors=True)


# One process compiles, the others wait


class _Locks:
    """One file, locked by bytes: the system drops a dead process's locks and gives a forked child none of them."""

    def __init__(self) -> None:
        self.file: int | None = None
        self.path: Path | None = None

    def _open(self) -> int:
        path = cache_dir() / "locks"
        if self.file is None or self.path != path:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            self.path = path
        return self.file

    def take(self, byte: int, name: str) -> bool:
        """Locks a byte; True if another process had it, so that its result is worth a look."""
        if fcntl is None:
            return False
        waited = 0.0
        try:
            file = self._open()
            while waited < LOCK_TIMEOUT:
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
                    break
                except (BlockingIOError, PermissionError):
                    time.sleep(0.02)
                    waited += 0.02
                    if waited - 0.02 < SLOW <= waited:
                        say(f"waiting for another process that compiles {name} ...")
        except OSError:  # a file system without locks: compile
            pass
        return waited > 0

    def release(self, byte: int) -> None:
        if fcntl is not None and self.file is not None:
            with suppress(OSError):
                fcntl.lockf(self.file, fcntl.LOCK_UN, 1, byte)


_locks = _Locks()


# Numba's cache interface


class DiskCache(NullCache):
    """Where a dispatcher looks for compiled signatures. Reads no file before the first signature is wanted."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self.function = function
        self.options = options
        self.locked: list[int] = []

    def _path(self, signature: Any, target_context: Any) -> Path | None:
        """File of one signature; None for a function that cannot be told from others by its source file."""
        function = self.function
        source = function.__code__.co_filename
        text = str(signature)
        if function.__closure__ or "0x" in text or not os.path.exists(source):
            return None
        target = target_context.codegen().magic_tuple()
        options = sorted((k, sorted(v) if isinstance(v, (set, frozenset)) else v) for k, v in self.options.items())
        settings = f"{config.OPT} {config.BOUNDSCHECK} {config.DEBUGINFO_DEFAULT}"
        where = f"{function.__qualname__} {function.__code__.co_firstlineno}"
        key = _hash(where, text, str(options), settings, function.__code__.co_code.hex())
        return directory(function.__module__, os.path.abspath(source), str(target)) / f"{function.__name__}-{key[:20]}.bin"

    def _read(self, path: Path, target_context: Any) -> CompileResult | None:
        try:
            data = path.read_bytes()
        except OSError:
            return None
        digest, payload = data[:32], data[32:]
        if hashlib.sha256(payload).digest() != digest:
            return None
        try:
            return rebuild(target_context, pickle.loads(payload))
        except Exception:  # written by something that only looks the same: compile again
            return None

    def load_overload(self, signature: Any, target_context: Any) -> CompileResult | None:
        global _hits, _misses
        target_context.refresh()
        path = self._path(signature, target_context)
        result = None
        if path is not None:
            result = self._read(path, target_context)
            if result is None:
                byte = int(path.stem.rpartition("-")[2][:7], 16)
                self.locked.append(byte)
                if _locks.take(byte, readable(self.function)):
                    result = self._read(path, target_context)
        if result is None:
            _misses += 1
            _notice.start(readable(self.function))
        else:
            _hits += 1
        return result

    def save_overload(self, signature: Any, result: CompileResult) -> None:
        path = self._path(signature, result.target_context)
        if path is None or result.library.has_dynamic_globals or any(not lifted.can_cache for lifted in result.lifted):
            return
        payload = dumps(result._reduce())
        new = not path.parent.exists()
        try:
            write_atomic(path, hashlib.sha256(payload).digest() + payload)
        except OSError as error:
            warn_unwritable(error)
            return
        if new:
            remove_old(path.parent)

    def release(self) -> None:
        while self.locked:
            _locks.release(self.locked.pop())


# Saying what takes long


def readable(function: Callable[..., Any]) -> str:
    return function.__name__.strip("_").removesuffix("_loop")


class _Notice:
    """A line on stderr for each second or so that compiling takes."""

    def __init__(self) -> None:
        self.spent = 0.0  # seconds of compiling since the last line
        self.started = 0.0
        self.timer: threading.Timer | None = None

    def start(self, name: str) -> None:
        """A compilation begins; one inside another, of a function that the first calls, counts with it."""
        if self.timer is None:
            self.started = time.perf_counter()
            self.timer = threading.Timer(max(SLOW - self.spent, 0.02), self._tell, [name])
            self.timer.daemon = True
            self.timer.start()

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
            self.spent += time.perf_counter() - self.started

    def _tell(self, name: str) -> None:
        self.spent = -SLOW  # `stop` adds what this compilation took
        say(f"compiling {name} ...")


_notice = _Notice()
_depth = 0


@contextmanager
def compiling(disk: Any) -> Iterator[None]:
    """Around one request for a signature, loaded or compiled."""
    global _depth
    with uninterrupted(), global_compiler_lock:
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1
            if _depth == 0:
                _notice.stop()
            if isinstance(disk, DiskCache):
                disk.release()
