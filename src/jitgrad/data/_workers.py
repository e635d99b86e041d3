"""Worker processes of a loader, by loky: started fresh, not forked; what is sent to them is pickled by cloudpickle.

Each worker is an executor of its own with one process, so that batch k is always made by worker k modulo their number.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future, TimeoutError as FutureTimeout
from itertools import islice
from typing import Any, NamedTuple

from jitgrad.data._fetch import Fetcher, seed_all
from jitgrad.ops.runtime import set_num_threads


class WorkerInfo(NamedTuple):
    """What a worker process knows of itself: its number, how many there are, the seed of its epoch, its copy of the dataset."""

    id: int
    num_workers: int
    seed: int | None
    dataset: Any


class WorkerTraceback(Exception):
    """The traceback of an error in a worker process, as text; the cause of the error that the loader raises."""

    def __str__(self) -> str:
        return f"in DataLoader worker {self.args[0]}:\n\n{self.args[1]}"


class Failure(NamedTuple):
    """An error on its way from a worker: pickled, where that is possible, and in words."""

    worker: int
    error: bytes | None
    words: str
    text: str

    def throw(self) -> None:
        """Raise it."""
        error: BaseException = RuntimeError(f"DataLoader worker {self.worker} failed: {self.words}")
        if self.error is not None:
            error = pickle.loads(self.error)
        raise error from WorkerTraceback(self.worker, self.text)


# ---- in the worker
class _Here:
    """What this process is, where it is a worker."""

    payload: bytes = b""
    id: int = 0
    fetch: Fetcher | None = None
    info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker process of a DataLoader, what it is: id, num_workers, seed, dataset; elsewhere None.

    >>> import jitgrad as jg
    >>> jg.utils.data.get_worker_info() is None
    True
    """
    return _Here.info


def start(payload: bytes, number: int, parent: int) -> None:
    """Runs first in a new process. What may fail waits for the first batch, whose errors find their way back."""
    _Here.payload, _Here.id = payload, number
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """A parent that was killed leaves no workers behind."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def work(batch: int, indices: Any, seed: int | None) -> bytes | Failure:
    """Make one batch; pickled here, so that what cannot be pickled is an error of this batch."""
    import cloudpickle

    try:
        if _Here.fetch is None:
            set_num_threads(1)
            fetch, number, init = pickle.loads(_Here.payload)
            _Here.info = WorkerInfo(_Here.id, number, seed, fetch.dataset)
            if init is not None:
                seed_all(seed or 0, -1 - _Here.id + 2**63)
                init(_Here.id)
            _Here.fetch, _Here.payload = fetch, b""
        assert _Here.info is not None
        _Here.info = _Here.info._replace(seed=seed)
        if seed is not None:
            seed_all(seed, batch)
        return cloudpickle.dumps(_Here.fetch(indices))
    except Exception as error:
        return _failure(error)


def _failure(error: Exception) -> Failure:
    import cloudpickle

    text, pickled = traceback.format_exc(), None
    with contextlib.suppress(Exception):
        whole = cloudpickle.dumps(error)
        pickle.loads(whole)  # some cannot be made anew
        pickled = whole
    return Failure(_Here.id, pickled, f"{type(error).__name__}: {error}", text)


# ---- in the loader's process
class Workers:
    """The worker processes of one loader; each starts when its first batch is asked for."""

    def __init__(self, number: int, fetch: Fetcher, init: Callable[[int], None] | None) -> None:
        cloudpickle, self._executor = require_loky(number)
        try:
            self.payload = cloudpickle.dumps((fetch, number, init))
        except Exception as error:
            raise TypeError(
                f"DataLoader: the dataset, collate_fn or worker_init_fn cannot be sent to worker processes ({error}). "
                "Open files and connections in __getitem__, or use num_workers=0."
            ) from error
        self.number = number
        self.executors: list[Any] = [None] * number

    def submit(self, batch: int, indices: Any, seed: int | None) -> Any:
        """Have a batch made; returns its future."""
        i = batch % self.number
        with _sigint_blocked():
            if self.executors[i] is None:
                # Without the limit loky would end workers whose memory grows, and the dataset's caches with them.
                env = {"OMP_NUM_THREADS": "1", "LOKY_MAX_MEMORY_LEAK_SIZE": "1e18"}
                self.executors[i] = self._executor(1, initializer=start, initargs=(self.payload, i, os.getpid()), env=env)
            try:
                return self.executors[i].submit(work, batch, indices, seed)
            except BrokenExecutor as error:  # its worker has died: the batches before the one that it was at come first
                dead: Future[bytes] = Future()
                dead.set_exception(error)
                return dead

    def close(self) -> None:
        """End all processes, whatever they are at: nothing that they would do now is wanted."""
        executors = [e for e in self.executors if e is not None]
        self.executors = [None] * self.number
        for e in executors:
            e.shutdown(wait=True, kill_workers=True)


def batches(
    workers: Workers, indices: Iterable[Any], seed: int | None, ahead: int, timeout: float, keep: bool
) -> Iterator[Any]:  # fmt: skip
    """Batches in the order of their indices, with ``ahead`` of them in the making for each worker."""
    numbered = enumerate(indices)
    waiting: deque[tuple[int, Any]] = deque()
    healthy = False

    def ask(n: int) -> None:
        waiting.extend((k, workers.submit(k, some, seed)) for k, some in islice(numbered, n))

    try:
        ask(ahead * workers.number)
        while waiting:
            k, future = waiting.popleft()
            result = _result(future, k % workers.number, timeout)
            ask(1)
            yield pickle.loads(result)
        healthy = True
    except BaseException as error:
        # The loop was left, or what a worker ran raised: the workers themselves are well.
        healthy = isinstance(error, GeneratorExit) or isinstance(error.__cause__, WorkerTraceback)
        raise
    finally:
        for _, future in waiting:
            future.cancel()
        if not (keep and healthy):
            workers.close()


def _result(future: Any, worker: int, timeout: float) -> bytes:
    from loky.process_executor import BrokenProcessPool

    try:
        result = future.result(timeout or None)
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"DataLoader worker {worker} died without an error of its own: it was killed, ran out of memory, or crashed."
        ) from error
    except FutureTimeout:
        raise RuntimeError(f"DataLoader timed out: worker {worker} had no batch after {timeout} seconds.") from None
    if isinstance(result, Failure):
        result.throw()
    return result


def require_loky(number: int) -> tuple[Any, Any]:
    """cloudpickle and loky's executor, or an ImportError that says how to get them."""
    try:
        import cloudpickle
        from loky.process_executor import ProcessPoolExecutor
    except ImportError:
        raise ImportError(f"DataLoader: num_workers={number} needs loky: pip install jitgrad[workers]") from None
    return cloudpickle, ProcessPoolExecutor


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Processes and threads started inside never get Ctrl-C, which is for the loader's process alone."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
