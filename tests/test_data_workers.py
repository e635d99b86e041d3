"""DataLoader with worker processes: order, seeds, errors, deaths, and that none is left behind."""

from __future__ import annotations

import copy
import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import ShapeError
from jitgrad.utils.data import DataLoader, Dataset, Sampler, TensorDataset, get_worker_info

pytest.importorskip("loky", reason="workers need loky: pip install 'jitgrad[workers]'")
ROOT = Path(__file__).parents[1]
ENV = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])}


class Noisy(Dataset[Any]):
    """Each example has random numbers of all three sources, the number of its worker and its process."""

    def __len__(self) -> int:
        return 11

    def __getitem__(self, i: int) -> Any:
        info = get_worker_info()
        time.sleep(0.02 * (i % 3))  # so that batches are not ready in their order
        return {
            "i": i,
            "noise": [random.random(), float(np.random.rand()), jg.rand(1)],
            "worker": info.id if info else -1,
            "pid": os.getpid(),
        }


def flat(batches: list[Any]) -> list[Any]:
    return [(b["i"].tolist(), [n.tolist() for n in b["noise"]]) for b in batches]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2] if Path("/proc").exists() else True


def gone(pids: Any, seconds: float = 30.0) -> bool:
    """Whether all of the processes end in time."""
    end = time.monotonic() + seconds
    while any(alive(p) for p in pids) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(alive(p) for p in pids)


def noisy(num_workers: int, **options: Any) -> DataLoader:
    return DataLoader(Noisy(), 2, shuffle=True, num_workers=num_workers, generator=jg.Generator().manual_seed(7), **options)


def test_any_number_of_workers_gives_the_same_batches() -> None:
    """Orders and random numbers of three epochs, with 0 workers, with 2 that stay, and with one that does not."""
    here = noisy(0)
    epochs = [list(here) for _ in range(3)]
    assert all(b["worker"].tolist() in ([-1, -1], [-1]) for e in epochs for b in e) and len(here) == 6
    assert len({str(flat(e)) for e in epochs}) == 3
    started: list[int] = []
    loader = noisy(2, persistent_workers=True, prefetch_factor=1)
    others = [list(loader) for _ in range(3)]
    assert [flat(e) for e in others] == [flat(e) for e in epochs]
    assert [b["worker"][0].item() for b in others[0]] == [0, 1, 0, 1, 0, 1]
    started = sorted({p for e in others for b in e for p in b["pid"].tolist()})
    assert len(started) == 2 and os.getpid() not in started and all(alive(p) for p in started)
    for batch in loader:  # leaving a loop early does them no harm
        assert sorted({p for b in (batch, *loader) for p in b["pid"].tolist()}) == started
        break
    assert all(twin(loader)._workers is None for twin in (copy.copy, copy.deepcopy))  # a copied pipe would close theirs
    assert flat(list(loader)[:1])
    del loader, batch
    gc.collect()
    assert gone(started)
    single = noisy(1)
    batches = list(single)
    assert flat(batches) == flat(epochs[0]) and gone(batches[0]["pid"].tolist())
    assert not [t for t in threading.enumerate() if "ExecutorManager" in t.name]


def test_loading_here_leaves_the_random_state_alone() -> None:
    """Batches are seeded, but what the program draws between them is not touched."""

    def draws(loader: Any) -> list[float]:
        jg.manual_seed(1)
        random.seed(1)
        np.random.seed(1)
        return [x for _ in loader for x in (random.random(), float(np.random.rand()), jg.rand(1).item())]

    assert draws(noisy(0)) == draws(range(6))
    order = jg.Generator().manual_seed(1)
    before = order.get_state().tolist()
    list(DataLoader(TensorDataset(jg.arange(4)), generator=order))
    assert order.get_state().tolist() == before


class Shy(Exception):
    """Cannot be pickled, nor made anew from its arguments."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(a + b)


class Failing(Dataset[Any]):
    def __len__(self) -> int:
        return 100

    def __getitem__(self, i: int) -> Any:
        if i == 10:
            return {}["no such key"]
        if i == 20:
            raise Shy(1, 2)
        if i == 30:
            return threading.Lock()
        if i == 40:
            raise ShapeError("wrong shape")
        return i, os.getpid()


class Recorded(Sampler[int]):
    def __init__(self, indices: list[int]) -> None:
        self.indices, self.taken = indices, 0

    def __iter__(self) -> Iterator[int]:
        for i in self.indices:
            self.taken += 1
            yield i


def test_errors_come_back_with_their_traceback() -> None:
    sampler = Recorded([1, 2, 10])
    loader = DataLoader(Failing(), None, sampler=sampler, num_workers=1, persistent_workers=True, prefetch_factor=1)
    pids = [pid for _, pid in first(loader, 2)]
    with pytest.raises(KeyError, match="no such key") as caught:
        list(loader)
    text = "".join(traceback.format_exception(caught.value))
    assert "in DataLoader worker 0" in text and 'return {}["no such key"]' in text and "test_data_workers.py" in text
    for index, words in ((20, "DataLoader worker 0 failed: Shy: 3"), (30, "cannot pickle"), (40, "wrong shape")):
        sampler.indices = [index]
        with pytest.raises(Exception, match=words) as caught:
            list(loader)
        assert "in DataLoader worker 0" in str(caught.value.__cause__)
    # The worker has outlived them all; and only as much is asked for as is wanted.
    sampler.indices, sampler.taken = list(range(1, 9)), 0
    for _, pid in loader:
        assert pid == pids[0] and sampler.taken == 2
        break


def first(loader: DataLoader, n: int) -> list[Any]:
    taken = []
    for batch in loader:
        taken.append(batch)
        if len(taken) == n:
            break
    return taken


class Dying(Dataset[Any]):
    def __init__(self, how: str) -> None:
        self.how = how

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> int:
        if i == 3 and self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if i == 3:
            time.sleep(1000)
        return os.getpid()


def test_a_dead_worker_is_an_error() -> None:
    seen: list[int] = []
    with pytest.raises(RuntimeError, match="DataLoader worker 1 died") as caught:
        seen.extend(DataLoader(Dying("killed"), None, num_workers=2))
    assert len(seen) == 3 and caught.value.__cause__ is not None and gone(seen)


def test_a_hanging_worker_is_an_error() -> None:
    order = [0]
    loader = DataLoader(Dying("hangs"), None, sampler=order, num_workers=1, timeout=60, persistent_workers=True)
    pids = list(loader)
    loader.timeout, order[0] = 0.5, 3
    with pytest.raises(RuntimeError, match=r"timed out: worker 0 had no batch after 0\.5 seconds"):
        list(loader)
    assert len(pids) == 1 and gone(pids)


SCRIPT = """
import os, sys, time
import jitgrad as jg
from jitgrad.utils.data import DataLoader, get_worker_info

class Local:  # of __main__, as in a notebook
    def __len__(self):
        return 1000
    def __getitem__(self, i):
        time.sleep(0.0 if i < 2 else 1000)
        return os.getpid()

# In one write: both workers write to the pipe.
started = lambda i: os.write(1, f"init {i} {get_worker_info().id} {get_worker_info().num_workers}\\n".encode())
for pids in DataLoader(Local(), 1, num_workers=2, worker_init_fn=started, collate_fn=lambda pids: pids):
    print("pid", *pids, flush=True)
"""


def script() -> tuple[subprocess.Popen[str], list[int]]:
    """A program whose two workers have given a batch each and hang in the next; and their pids."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout
    lines = [process.stdout.readline().split() for _ in range(4)]
    assert sorted(line for line in lines if line[0] == "init") == [["init", "0", "0", "2"], ["init", "1", "1", "2"]], lines
    return process, [int(line[1]) for line in lines if line[0] == "pid"]


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups on this system")
def test_ctrl_c_is_for_the_program_alone() -> None:
    """The whole group gets the signal, as from a terminal: one KeyboardInterrupt, and no worker stays."""
    process, pids = script()
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT and err.count("KeyboardInterrupt") == 1 and "Worker" not in err, err
    assert gone(pids)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups on this system")
def test_workers_of_a_killed_program_end() -> None:
    process, pids = script()
    process.kill()
    process.communicate(timeout=60)
    assert len(pids) == 2 and gone(pids)


def test_what_cannot_be_sent() -> None:
    with pytest.raises(TypeError, match="cannot be sent to worker processes"):
        iter(DataLoader([threading.Lock()], num_workers=1))


def test_without_loky(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "loky.process_executor", None)
    with pytest.raises(ImportError, match=r"num_workers=2 needs loky: pip install jitgrad\[workers\]"):
        DataLoader([1], num_workers=2)
