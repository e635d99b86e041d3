"""The command line: what it prints, and that wrong use is one line and exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jitgrad import cli, demo, info, warmup
from jitgrad.kernels import jit

pytest.importorskip("sklearn")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small splits in place of the digits."""
    split = demo.digits()[0]
    train, test = demo.TensorDataset(*split.train[:128]), demo.TensorDataset(*split.test[:50])
    splits = split._replace(train=train, test=test), split._replace(name="other", train=test, test=train, key="writers")
    monkeypatch.setattr(demo, "digits", lambda: splits)


def test_demo(small: None, capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for _ in range(2):
        assert cli.main(["demo", "--epochs", "1", "--batch-size", "32", "--lr", "0.01", "--seed", "3"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    lines = printed[0].splitlines()
    assert lines[0] == "training with 1 epoch, batch size 32, lr 0.01, seed 3"
    assert len(lines) == 3 and "test accuracy" in lines[1]


def test_demo_with_files(small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    out = str(tmp_path / "a b")
    assert cli.main(["demo", "--epochs", "1", "--out", out]) == 0
    assert cli.main(["demo", "--epochs", "1", "--out", out]) == 2
    assert "add --resume to go on with it" in capsys.readouterr().err
    assert cli.main(["demo", "--epochs", "2", "--out", out, "--resume"]) == 0
    assert "going on after 1 epochs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["demo", "--epochs", "0"], "argument --epochs: expected a whole number of at least 1, given 0"),
        (["demo", "--epochs", "many"], "invalid whole number value: 'many'"),
        (["demo", "--lr", "nan"], "expected a number above 0, given nan"),
        (["demo", "--seed", "-1"], "expected a whole number from 0"),
        (["demo", "--out", ""], "argument --out: expected a path"),
        (["demo", "--colour", "red"], "unrecognized arguments: --colour red"),
        (["cache", "--clean"], "unrecognized arguments: --clean"),
        (["info", "more"], "unrecognized arguments: more"),
        (["train"], "invalid choice: 'train'"),
        ([], "required: COMMAND"),
    ],
)
def test_wrong_options(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    error = capsys.readouterr().err
    assert caught.value.code == 2 and words in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["demo", "--resume"], "--resume needs --out DIR"),
        (["demo", "--data", "there is none.npz"], "there is none.npz cannot be read: No such file"),
        (["demo", "--data", __file__], "is not an .npz file of plain arrays"),
        (["demo", "--out", __file__], "cannot be written"),
    ],
)
def test_what_cannot_be_done(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and error.startswith("python -m jitgrad demo: error: ")


def test_missing_scikit_learn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)  # type: ignore[arg-type]
    assert cli.main(["demo"]) == 2
    assert "pip install jitgrad[demo]" in capsys.readouterr().err


def test_nobody_reads_the_output() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "jitgrad", "cache"], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120, check=False
        )
    finally:
        os.close(writer)
    assert done.returncode == 1 and done.stderr == "python -m jitgrad cache: the output cannot be written: Broken pipe\n"


@pytest.mark.parametrize(("args", "words"), [((), "interrupted\n"), (("saved it",), "interrupted; saved it\n")])
def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], words: str) -> None:
    def interrupt() -> Any:
        raise KeyboardInterrupt(*args)

    monkeypatch.setattr(demo, "digits", interrupt)
    assert cli.main(["demo"]) == 130
    assert capsys.readouterr().err.endswith(words)


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    said = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    assert list(said) == [
        "jitgrad", "python", "system", "packages", "optional", "cpu", "features", "vectors", "threads", "gpu", "cache",
        "environment",
    ]  # fmt: skip
    assert f"numpy {np.__version__}" in said["packages"] and "llvmlite 0." in said["packages"]
    assert said["threads"].strip().startswith(str(jit.get_num_threads())) and str(jit.cache_dir()) in said["cache"]
    assert said["vectors"].strip() in ("64 bytes", "32 bytes", "plain loops, without fused multiply-adds") or jit.DISABLED
    assert all(len(words.strip()) > 2 for words in said.values())


def test_info_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    if jit.SIMULATED:
        assert "simulator" in info._gpu()
        return
    monkeypatch.setitem(sys.modules, "numba.cuda", None)  # type: ignore[arg-type]
    assert info._gpu() == "none: Numba without CUDA, pip install jitgrad[cuda]"


def test_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("JITGRAD_CACHE_DIR", str(tmp_path))
    for place in ("kernels/a-1-2/x-3.bin", "kernels/a-1-2/y-4.bin", "generated/z.py"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(bytes(2**19))
    (tmp_path / "mine.txt").touch()
    assert cli.main(["cache"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}, 2 compiled kernels, 1.5 MiB\n"
    assert cli.main(["cache", "--clear"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}, 2 compiled kernels removed, 1.5 MiB\n"
    assert cli.main(["cache"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}, 0 compiled kernels, 0.0 MiB\n"
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_warmup_covers_the_demo() -> None:
    """In a process after it, nothing is left to compile for the demo."""
    code = (
        "from jitgrad import demo\nfrom jitgrad.kernels import jit\n"
        "demo.train(demo.digits()[0], demo.Recipe(epochs=1), progress=False)\nprint(jit.cache_info())"
    )
    for command in (["-m", "jitgrad", "warmup"], ["-c", code]):
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=600, check=True)
    assert "misses=0" in done.stdout and "hits=0" not in done.stdout


def test_warmup_says_what_it_did(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    names, state = [], warmup.default_generator.get_state().tolist()
    monkeypatch.setattr(warmup, "tasks", lambda: iter([("one", lambda: names.append("one")), ("random", warmup._random)]))
    assert cli.main(["warmup"]) == 0
    said = capsys.readouterr()
    assert names == ["one"] and f"in {jit.cache_dir()}" in said.out and "2/2" in said.err
    assert warmup.default_generator.get_state().tolist() == state


def test_warmup_tasks_have_names_of_their_own() -> None:
    names = [name for name, _ in warmup.tasks()]
    assert len(set(names)) == len(names) > 100


def test_as_a_program() -> None:
    run = {"capture_output": True, "text": True, "timeout": 120, "check": False, "env": {**os.environ}}
    done = subprocess.run([sys.executable, "-m", "jitgrad", "demo", "--epochs", "x"], **run)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
