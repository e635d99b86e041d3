"""The main job and the command line."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from jitgrad import cli, demo
from jitgrad.kernels import threads

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def small() -> demo.Split:
    split = demo.digits()[0]
    train, test = split.train[:256], split.test[:100]
    return demo.Split("small", demo.TensorDataset(*train), demo.TensorDataset(*test))


def test_splits() -> None:
    stratified, others = demo.digits()
    assert len(stratified.train) == len(others.train) == 1437 and len(stratified.test) == len(others.test) == 360
    x, labels = stratified.test[:]
    assert x.shape == (360, 1, 8, 8) and (x.amax().item(), labels.dtype.name) == (1.0, "int64")
    counts = [(labels == c).to("int64").sum().item() for c in range(10)]
    assert min(counts) >= 34 and max(counts) <= 37
    assert [t.tolist() for t in demo.digits()[0].test[:5]] == [t.tolist() for t in stratified.test[:5]]


def test_same_seed_same_bits(small: demo.Split) -> None:
    recipe = demo.Recipe(epochs=3, batch_size=32, seed=7)
    first = demo.train(small, recipe, progress=False)
    assert demo.train(small, recipe, progress=False) == first
    assert demo.train(small, recipe._replace(seed=8), progress=False) != first
    assert first.loss < 2.0  # chance is log(10) = 2.30
    before = threads.get_num_threads()
    try:
        threads.set_num_threads(1)
        assert demo.train(small, recipe, progress=False) == first
    finally:
        threads.set_num_threads(before)


def test_shifted(small: demo.Split) -> None:
    x = small.train[:4][0]
    generator = demo.Generator().manual_seed(0)
    wide = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = {(i, j): wide[:, :, i : i + 8, j : j + 8] for i in range(3) for j in range(3)}
    seen = set()
    for _ in range(60):
        y = demo.shifted(x, generator).numpy()
        seen.add(next(at for at, window in windows.items() if np.array_equal(y, window)))
    assert seen == set(windows)


def test_model_counts() -> None:
    words = demo.build_model.__doc__ or ""
    assert f"{sum(p.numel() for p in demo.build_model().parameters()):,} parameters" in words


def test_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], small: demo.Split) -> None:
    monkeypatch.setattr(demo, "digits", lambda: (small, small))
    printed = []
    for _ in range(2):
        assert cli.main(["demo", "--epochs", "1", "--batch-size", "64", "--lr", "0.01", "--seed", "3"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    lines = printed[0].splitlines()
    assert lines[0] == "training with 1 epochs, batch size 64, lr 0.01, seed 3"
    assert len(lines) == 3 and "test accuracy" in lines[1]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["demo", "--epochs", "0"], "argument --epochs: expected a whole number of at least 1, given 0"),
        (["demo", "--epochs", "many"], "invalid whole number value: 'many'"),
        (["demo", "--lr", "nan"], "expected a number above 0, given nan"),
        (["demo", "--seed", "-1"], "expected a whole number from 0"),
        (["demo", "--colour", "red"], "unrecognized arguments: --colour red"),
        (["train"], "invalid choice: 'train'"),
        ([], "required: COMMAND"),
    ],
)
def test_wrong_options(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    error = capsys.readouterr().err
    assert caught.value.code == 2 and words in error and error.count("\n") == 1


def test_missing_scikit_learn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)  # type: ignore[arg-type]
    assert cli.main(["demo"]) == 2
    assert "pip install jitgrad[demo]" in capsys.readouterr().err


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*args: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "digits", interrupt)
    assert cli.main(["demo"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jitgrad", "demo", "--epochs", "x"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
