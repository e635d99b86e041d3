"""The main job: its data, its training, what it writes, and going on after a break."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import demo, demo_data
from jitgrad.kernels import threads

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def small() -> demo.Split:
    split = demo.digits()[0]
    train, test = split.train[:256], split.test[:100]
    return demo.Split("small", demo.TensorDataset(*train), demo.TensorDataset(*test))


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch, small: demo.Split) -> tuple[demo.Split, demo.Split]:
    """Two small splits in place of the digits."""
    splits = small, small._replace(name="other", train=small.test, key="writers")
    monkeypatch.setattr(demo, "digits", lambda: splits)
    return splits


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
        assert demo.train(small, recipe, progress=False).loss == pytest.approx(first.loss, rel=1e-4)
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


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take seconds."""
    monkeypatch.setattr(demo.Job, "_draw", lambda self, out: [])


def trained(out: Path, resume: bool = False, data: Path | None = None, **options: Any) -> list[str]:
    return list(demo.Job(options, out, data, resume).lines(progress=False))


def files(out: Path) -> dict[str, Any]:
    """Contents of the weights' files, tensors as arrays; the recipe left out, in which the number of epochs may differ."""

    def plain(value: Any) -> Any:
        if isinstance(value, demo.Tensor):
            return value.numpy().tobytes()
        return {k: plain(v) for k, v in value.items() if k != "job"} if isinstance(value, dict) else value

    return {path.name: plain(demo._load_checkpoint(path)) for path in sorted(out.glob("*.safetensors"))}


def test_what_is_written(two: Any, tmp_path: Path) -> None:
    matplotlib_image = pytest.importorskip("matplotlib.image")
    lines = trained(tmp_path, epochs=2)
    names = ["curves.png", "stratified.png", "stratified.safetensors", "writers.png", "writers.safetensors"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    assert len(lines) == 4 and all(str(tmp_path / name) in lines[-1] for name in names)
    for path in tmp_path.glob("*.png"):
        picture = matplotlib_image.imread(path)
        assert min(picture.shape[:2]) > 300 and picture.std() > 0.05
    model = demo.build_model()
    model.load_state_dict(demo._load_checkpoint(tmp_path / "stratified.safetensors")["model"])
    assert f"test accuracy {demo.accuracy(model, two[0].test):.2%}" in lines[1]


def test_two_epochs_and_two_are_four(two: Any, undrawn: None, tmp_path: Path) -> None:
    trained(tmp_path / "four", epochs=4, batch_size=50)
    trained(tmp_path / "two", epochs=2, batch_size=50)
    assert files(tmp_path / "two") != files(tmp_path / "four")
    lines = trained(tmp_path / "two", resume=True, epochs=4)
    assert lines[0] == "training with 4 epochs, batch size 50, lr 0.004, seed 0" and "going on after 2 epochs and 0 steps" in lines[1]
    assert files(tmp_path / "two") == files(tmp_path / "four")
    assert len(trained(tmp_path / "two", resume=True)) == 6  # nothing is left to train
    assert files(tmp_path / "two") == files(tmp_path / "four")


# The small split has 5 steps of 50 images, the other 2: within an epoch, at its end, at the very end, in the second split.
@pytest.mark.parametrize("at", [1, 7, 10, 15, 17])
def test_interrupted_and_resumed(two: Any, undrawn: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    schedule, steps = demo._schedule, []

    def press(epochs: float) -> float:
        steps.append(epochs)
        if len(steps) == at:
            signal.raise_signal(signal.SIGINT)
        return schedule(epochs)

    trained(tmp_path / "whole", epochs=3, batch_size=50)
    monkeypatch.setattr(demo, "_schedule", press)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"saved .*; to go on: python -m jitgrad demo --out .* --resume"):
        trained(tmp_path / "broken", epochs=3, batch_size=50)
    assert len(steps) == at and signal.getsignal(signal.SIGINT) is handler
    trained(tmp_path / "broken", resume=True)
    assert len(steps) == 21 and files(tmp_path / "broken") == files(tmp_path / "whole")


def test_second_interrupt_is_at_once() -> None:
    with demo._patient() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_checkpoint_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, state = tmp_path / "a.safetensors", {"t": jg.tensor([[1.5]]), "n": {3: [0.1, float("inf")], "s": "x", "none": None}}
    demo._save_checkpoint(path, state)
    got = demo._load_checkpoint(path)
    assert got["t"].tolist() == [[1.5]] and got["n"] == state["n"]

    def full(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(demo.UsageError, match="cannot be written: No space left on device"):
        demo._save_checkpoint(path, {"t": jg.tensor([2.0])})
    assert demo._load_checkpoint(path)["t"].tolist() == [[1.5]] and [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("job", "recipe", []), ("job", "recipe", {"lr": -1.0}), ("job", "recipe", {"hue": 1}), ("job", "data", 3),
        ("progress", "epoch", "1"), ("progress", "epoch", -1), ("progress", "step", 10**12), ("progress", "losses", [None]),
        ("curve", "losses", [1.0]), ("job", "fingerprint", None), ("curve", "accuracies", ["high"]),
    ],
)  # fmt: skip
def test_a_damaged_progress_is_one_line(two: Any, tmp_path: Path, part: str, name: str, value: Any) -> None:
    training = demo.Training(two[0], demo.Recipe())
    job = {"format": demo.FORMAT, "recipe": demo.Recipe()._asdict(), "data": None, "classes": [], "fingerprint": "0"}
    state = {"job": job, **training.state()}
    assert demo._sound(state)
    state[part] = {**state[part], name: value}
    demo._save_checkpoint(tmp_path / "stratified.safetensors", state)
    with pytest.raises(demo.UsageError, match="the files there are damaged"):
        demo.Job({}, tmp_path, None, resume=True)


def test_what_cannot_be_resumed(two: Any, undrawn: None, tmp_path: Path) -> None:
    def refused(words: str, out: Path | None, resume: bool = True, data: Path | None = None, **options: Any) -> None:
        with pytest.raises(demo.UsageError, match=words):
            demo.Job(options, out, data, resume)

    refused("--resume needs --out DIR", None)
    refused("there is no training in", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    there = tmp_path / "there"
    trained(there, epochs=2)
    refused("add --resume to go on with it", there, resume=False)
    refused("started with --batch-size 64, given 32", there, batch_size=32)
    refused("has done 2 epochs, --epochs 1 asks for fewer", there, epochs=1)
    np.savez(tmp_path / "other.npz", images=np.arange(160).reshape(10, 4, 4), labels=np.arange(10) % 2)
    refused("is on other images than", there, data=tmp_path / "other.npz")
    file = there / "stratified.safetensors"
    data = file.read_bytes()
    for damaged in (b"", data[:-9], b"x" * 99):
        file.write_bytes(damaged)
        refused("was not written by this demo, or is damaged", there)
    state = demo.Training(two[0], demo.Recipe()).state()
    demo._save_checkpoint(file, state)
    refused("was not written by this version", there)
    refused("cannot be written", file / "below", resume=False)


def test_own_images(tmp_path: Path) -> None:
    """Any size, any number of classes, names as labels; resumed without being named again."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(["cross", "line", "a long $name$"], 20))
    images = rng.integers(0, 60, (60, 5, 12), dtype=np.uint8)
    images[labels == "line", :, 5] += 190
    images[labels == "cross", 2] += 190
    file, out = tmp_path / "mine.npz", tmp_path / "out"
    np.savez(file, images=images, labels=labels)
    lines = trained(out, data=file, epochs=3, batch_size=8)
    assert "trained on 48 images" in lines[1] and len(lines) == 3
    assert sorted(p.name for p in out.iterdir()) == ["curves.png", "stratified.png", "stratified.safetensors"]
    assert demo._load_checkpoint(out / "stratified.safetensors")["job"]["classes"] == ["a long $name$", "cross", "line"]
    trained(out, resume=True, epochs=4)
    split = demo_data.from_file(file)
    counts = [int((split.test.tensors[1] == c).to("int64").sum().item()) for c in range(3)]
    x = split.train.tensors[0]
    assert counts == [4, 4, 4] and x.shape == (48, 1, 5, 12) and x.dtype.name == "float32"
    assert (demo_data.from_file(file).fingerprint(), split.fingerprint() == demo.digits()[0].fingerprint()) == (split.fingerprint(), False)


@pytest.mark.parametrize(("size", "classes"), [((2, 2), 2), ((3, 17), 3), ((28, 28), 12)])
def test_sizes_that_the_model_takes(size: tuple[int, int], classes: int) -> None:
    assert demo.build_model(size, classes)(demo.zeros(3, 1, *size)).shape == (3, classes)


GOOD = {"images": np.arange(96.0).reshape(6, 4, 4), "labels": np.array([0, 1, 0, 1, 0, 1])}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": None}, "expected the arrays images and labels, labels not there, given images"),
        ({"images": np.zeros((6, 16))}, r"images: expected \(N, H, W\) or \(N, 1, H, W\), given \(6, 16\)"),
        ({"images": np.zeros((6, 3, 4, 4))}, r"given \(6, 3, 4, 4\)"),
        ({"images": np.zeros((6, 1, 9))}, "expected at least 2 x 2 pixels, given 1 x 9"),
        ({"images": np.full((6, 4, 4), "a")}, "images: expected numbers, given <U1"),
        ({"images": np.zeros((6, 4, 4), complex)}, "expected numbers, given complex128"),
        ({"images": np.zeros((6, 4, 4))}, "expected pixels that differ, given 0 everywhere"),
        ({"images": GOOD["images"] * np.nan}, "expected finite numbers"),
        ({"images": GOOD["images"][:5]}, r"labels: expected \(5,\), one for each image, given \(6,\)"),
        ({"images": np.zeros((0, 4, 4)), "labels": np.zeros(0, int)}, "at least one image, given none"),
        ({"labels": np.zeros(6)}, "labels: expected ints or strings, given float64"),
        ({"labels": np.zeros(6, int)}, "expected at least 2 classes, given 1"),
        ({"labels": np.array([0, 0, 0, 7, 1, 1])}, "at least 2 images of each class, given 1 of 7"),
        ({"labels": np.array([None] * 6)}, "is not an .npz file of plain arrays"),
    ],
)
def test_wrong_files(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    np.savez(tmp_path / "a.npz", **{k: v for k, v in {**GOOD, **change}.items() if v is not None})
    with pytest.raises(demo.UsageError, match=words) as caught:
        demo_data.from_file(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)


def test_unreadable_files(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "good.npz", **GOOD)
    data = (tmp_path / "good.npz").read_bytes()
    np.save(tmp_path / "one.npy", GOOD["images"])
    (tmp_path / "empty.npz").touch()
    (tmp_path / "half.npz").write_bytes(data[: len(data) // 2])
    (tmp_path / "flipped.npz").write_bytes(data[:90] + bytes(40) + data[130:])
    (tmp_path / "text.npz").write_text(json.dumps({}))
    for name, words in (("missing.npz", "No such file"), ("", "Is a directory")):
        with pytest.raises(demo.UsageError, match=f"cannot be read: {words}"):
            demo_data.from_file(tmp_path / name)
    for name in ("one.npy", "empty.npz", "half.npz", "flipped.npz", "text.npz"):
        with pytest.raises(demo.UsageError, match=r"is not an \.npz file of plain arrays"):
            demo_data.from_file(tmp_path / name)


def test_one_image_a_step(tmp_path: Path) -> None:
    """With one pixel left after the pooling, batch normalization has nothing to take a variance of."""
    np.savez(tmp_path / "a.npz", images=GOOD["images"][:, :2, :2], labels=GOOD["labels"])
    with pytest.raises(demo.UsageError, match="--batch-size 1: images of 2 x 2 pixels need at least 2 in a step"):
        demo.Job({"batch_size": 1}, data=tmp_path / "a.npz")


def test_missing_matplotlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(demo.MissingExtraError, match=r"needs matplotlib: pip install jitgrad\[demo\]"):
        demo.Job({}, tmp_path)
