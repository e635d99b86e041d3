"""Kernels under threads, in forked children and without OpenMP."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from jitgrad.kernels import jit, threads
from jitgrad.kernels.cpu import pointwise

SRC = Path(__file__).parents[1] / "src"

KERNELS = """
import os, sys, time
import numpy as np
from jitgrad.kernels import jit
from jitgrad.kernels.cpu import pointwise

x = np.arange(1 << 18, dtype=np.float32)
def right():
    return bool((pointwise.add(x, x) == 2 * x).all())
"""


def run(body: str, **env: str) -> tuple[list[str], str]:
    """Words on stdout, and stderr, of a process of its own."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "OMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", KERNELS + textwrap.dedent(body)],
        env=clean | {"PYTHONPATH": str(SRC), "NUMBA_NUM_THREADS": "2"} | env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


def test_eight_threads_get_right_results() -> None:
    x = np.arange(1 << 17, dtype=np.float32)

    def work(k: int) -> bool:
        good = True
        for _ in range(20):
            large = pointwise.mul(x, np.full_like(x, k))
            small = pointwise.sub(x[:8], np.float32(k).reshape(()))
            scratch = jit.workspace(1000, np.int64)
            scratch[:] = k
            good &= bool((large == x * k).all() and (small == x[:8] - k).all() and (scratch == k).all())
        return good

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_eight_threads_may_be_the_first_callers() -> None:
    body = """
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(8) as pool:
            print(all(pool.map(lambda _: right(), range(8))), jit.threading_layer())
    """
    assert run(body)[0] == ["True", "omp"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_uses_the_serial_forms() -> None:
    body = """
        print(right(), jit.pays(1 << 30), jit.threading_layer(), flush=True)
        child = os.fork()
        if child == 0:
            ok = right() and not jit.pays(1 << 30) and jit.threading_layer() == "serial" and jit.get_num_threads() == 1
            jit.set_num_threads(2)
            ok = ok and jit.get_num_threads() == 1
            y = pointwise.mul(x, x)  # compiled, or loaded, in the child
            os._exit(0 if ok and bool((y == x * x).all()) else 1)
        deadline = time.time() + 30
        while (done := os.waitpid(child, os.WNOHANG))[0] == 0 and time.time() < deadline:
            time.sleep(0.01)
        print(done[0] == child and done[1] == 0, right(), jit.pays(1 << 30))
    """
    assert run(body)[0] == ["True", "True", "omp", "True", "True", "True"]


def test_a_fork_under_running_threads() -> None:
    body = """
        import threading
        stop = False
        def loop():
            while not stop:
                right()
        workers = [threading.Thread(target=loop) for _ in range(3)]
        right()
        [w.start() for w in workers]
        good = True
        for _ in range(5):
            child = os.fork()
            if child == 0:
                os._exit(0 if right() else 1)
            good &= os.waitpid(child, 0)[1] == 0
        stop = True
        [w.join() for w in workers]
        print(good)
    """
    if not hasattr(os, "fork"):
        pytest.skip("no fork")
    assert run(body)[0] == ["True"]


def test_without_openmp_kernels_are_serial_and_it_is_said_once() -> None:
    body = """
        sys.modules["numba.np.ufunc.omppool"] = None
        print(right(), jit.threading_layer(), jit.get_num_threads(), jit.pays(1 << 30), right())
    """
    words, err = run(body)
    assert words == ["True", "serial", "1", "False", "True"]
    assert err.count("libgomp") == 1


@pytest.mark.parametrize(
    ("env", "threads"),
    [
        ({"NUMBA_NUM_THREADS": "1"}, "1"),
        ({"NUMBA_NUM_THREADS": "3"}, "3"),
        ({"NUMBA_NUM_THREADS": "3", "OMP_NUM_THREADS": "1"}, "3"),
    ],
)
def test_the_environment_sets_the_number_of_threads(env: dict[str, str], threads: str) -> None:
    body = """
        import numba
        print(jit.get_num_threads(), jit.pays(1 << 30), right(), numba.get_num_threads())
    """
    words, _ = run(body, **env)
    assert words == [threads, str(threads != "1"), "True", threads]


def test_openmp_s_variable_counts_where_numba_s_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1,2")
    assert threads._default() == 1


def test_set_num_threads_holds_for_every_python_thread() -> None:
    body = """
        import numba
        from concurrent.futures import ThreadPoolExecutor
        def seen(_):
            jit.pays(1 << 30)
            return numba.get_num_threads()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(seen, range(4)))
            jit.set_num_threads(2)
            print(*pool.map(seen, range(2)), seen(0))
        jit.set_num_threads(100)
        print(jit.get_num_threads())
        jit.set_num_threads(1)
        print(jit.pays(1 << 30), right())
    """
    assert run(body, NUMBA_NUM_THREADS="3")[0] == ["2", "2", "2", "3", "False", "True"]
    with pytest.raises(ValueError, match="at least 1"):
        jit.set_num_threads(0)


def test_numba_s_other_pools_are_never_used() -> None:
    body = """
        right()
        from numba.np.ufunc import parallel
        print(parallel._threading_layer)
    """
    assert run(body, NUMBA_THREADING_LAYER="workqueue")[0] == ["omp"]


def test_small_work_stays_serial() -> None:
    assert not jit.pays(jit.PARALLEL_MIN - 1)
    assert jit.pays(jit.PARALLEL_MIN) == jit.pays(10, 10) == (jit.get_num_threads() > 1)


def test_workspace_grows_is_aligned_and_belongs_to_one_thread() -> None:
    small = jit.workspace(10, np.float32)
    assert small.shape == (10,) and small.dtype == np.float32 and small.flags.c_contiguous and small.flags.writeable
    large = jit.workspace(10_000, np.float64)
    assert large.shape == (10_000,) and large.ctypes.data % 64 == 0
    assert np.shares_memory(large, jit.workspace(10, np.int8))
    assert jit.workspace(0, np.float32).shape == (0,)
    with ThreadPoolExecutor(1) as pool:
        assert not np.shares_memory(large, pool.submit(jit.workspace, 10_000, np.float64).result())
