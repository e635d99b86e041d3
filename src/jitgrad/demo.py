"""The main job: a small CNN learns to read handwritten digits, or the images of a file.

The digits are scikit-learn's: 1,797 of 8 x 8 pixels, written by 43 people, shipped inside that package.
"""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import cos, inf, pi
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

from tqdm import tqdm

from jitgrad import demo_pictures as pictures
from jitgrad.autograd import Tensor, no_grad
from jitgrad.data import DataLoader, TensorDataset
from jitgrad.demo_data import MissingExtraError as MissingExtraError, Split as Split, UsageError as UsageError, digits as digits, from_file
from jitgrad.errors import CheckpointError, JitgradError
from jitgrad.io import load, save
from jitgrad.nn import BatchNorm2d, Conv2d, CrossEntropyLoss, Dropout, Flatten, Linear, MaxPool2d, ReLU, Sequential
from jitgrad.ops.create import zeros
from jitgrad.ops.join import cat
from jitgrad.ops.pointwise import eq
from jitgrad.ops.random import Generator, default_generator, manual_seed, randint
from jitgrad.ops.reduce import argmax, sum
from jitgrad.optim import Adam

FORMAT = 1  # of the files written here


class Recipe(NamedTuple):
    """How to train: passes over the data, images a step, learning rate at its highest, seed of all random numbers."""

    epochs: int = 20
    batch_size: int = 64
    lr: float = 4e-3
    seed: int = 0


class Score(NamedTuple):
    """Outcome of a training: the mean loss of the last epoch, and the part of the test images read right."""

    loss: float
    accuracy: float


def build_model(size: tuple[int, int] = (8, 8), classes: int = 10) -> Sequential:
    """Three convolutions, one pooling, one linear layer; for the digits 11,130 parameters. Any size from 2 x 2 on."""
    H, W = size
    return Sequential(
        Conv2d(1, 8, 3, padding="same"), BatchNorm2d(8), ReLU(),
        Conv2d(8, 16, 3, padding="same"), BatchNorm2d(16), ReLU(), MaxPool2d(2),  # 8 x 8 to 4 x 4
        Conv2d(16, 32, 3, padding="same"), BatchNorm2d(32), ReLU(),
        Flatten(), Dropout(0.3), Linear(32 * (H // 2) * (W // 2), classes),
    )  # fmt: skip


class Training:
    """A training between two steps: model, optimizer, random numbers, how far it is.

    Equal recipes give equal bits on as many threads.
    """

    def __init__(self, split: Split, recipe: Recipe, curve: bool = False) -> None:
        self.split, self.recipe, self.curve = split, recipe, curve
        manual_seed(recipe.seed)  # weights and dropout
        H, W = split.train.tensors[0].shape[2:]
        self.model, self.loss_of = build_model((H, W), len(split.classes)), CrossEntropyLoss()
        self.generator = Generator().manual_seed(recipe.seed)  # order and shifts of the images
        self.optimizer = Adam(self.model.parameters(), lr=recipe.lr)
        self.loader = DataLoader(
            split.train, recipe.batch_size, shuffle=True, drop_last=len(split.train) > recipe.batch_size, generator=self.generator
        )
        self.epoch = self.step = 0  # epochs done, and steps of the next one
        self.order = self.generator.get_state()  # where this epoch began
        self.losses: list[float] = []  # of the steps of this epoch
        self.mean_losses: list[float] = []
        self.accuracies: list[float] = []  # after each epoch, where a curve is wanted

    def run(self, progress: bool = True, stop: Callable[[], bool] = lambda: False, saved: Callable[[], None] = lambda: None) -> bool:
        """Train up to the recipe's epochs, call saved after each; False if stop said so before that."""
        n = len(self.loader)
        total, done = self.recipe.epochs * n, self.epoch * n + self.step
        with tqdm(total=total, initial=done, desc=self.split.name, unit="step", disable=not progress) as bar:
            while self.epoch < self.recipe.epochs:
                for x, labels in self._batches():
                    self._train_on(x, labels)
                    if bar.n == done:
                        bar.unpause()  # the first step may have compiled kernels, which says nothing of the others
                    bar.update()
                    if stop():
                        return False
                self._end_epoch()
                bar.set_postfix(epoch=self.epoch, loss=f"{self.mean_losses[-1]:.4f}")
                saved()
        return True

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """What is left of this epoch."""
        self.model.train()
        batches, now = iter(self.loader), self.generator.get_state()
        if self.step:
            self.generator.set_state(self.order)
            for _ in range(self.step):
                next(batches, None)
            self.generator.set_state(now)
        return batches

    def _train_on(self, x: Tensor, labels: Tensor) -> None:
        self.optimizer.param_groups[0]["lr"] = self.recipe.lr * _schedule(self.epoch + self.step / len(self.loader))
        loss = self.loss_of(self.model(shifted(x, self.generator)), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.losses.append(loss.item())
        self.step += 1

    def _end_epoch(self) -> None:
        self.mean_losses.append(_mean(self.losses))
        if self.curve:
            self.accuracies.append(accuracy(self.model, self.split.test))
        self.epoch, self.step, self.losses, self.order = self.epoch + 1, 0, [], self.generator.get_state()

    def score(self) -> Score:
        """Loss of the last epoch, accuracy now."""
        return Score(self.mean_losses[-1], accuracy(self.model, self.split.test))

    def state(self) -> dict[str, Any]:
        """All that training needs to go on with the same bits."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict()["state"],
            "generators": {"default": default_generator.get_state(), "images": self.generator.get_state(), "order": self.order},
            "progress": {"epoch": self.epoch, "step": self.step, "losses": self.losses},
            "curve": {"losses": self.mean_losses, "accuracies": self.accuracies},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state()."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state["optimizer"]})
        generators, progress, curve = state["generators"], state["progress"], state["curve"]
        default_generator.set_state(generators["default"])
        for name in ("order", "images"):  # the first only to see that it is a state
            self.generator.set_state(generators[name])
        self.order = generators["order"]
        self.epoch, self.step, self.losses = progress["epoch"], progress["step"], list(progress["losses"])
        self.mean_losses, self.accuracies = list(curve["losses"]), list(curve["accuracies"])


def train(split: Split, recipe: Recipe, progress: bool = True) -> Score:
    """Train a new model on a split and test it."""
    training = Training(split, recipe)
    training.run(progress)
    return training.score()


def shifted(x: Tensor, generator: Generator) -> Tensor:
    """The images of a batch moved together by at most one pixel each way, zeros coming in: a reader must not mind where a digit stands."""
    N, C, H, W = x.shape
    wide = zeros(N, C, H + 2, W + 2)
    wide[:, :, 1:-1, 1:-1] = x
    i, j = randint(0, 3, (2,), generator=generator).tolist()
    return wide[:, :, i : i + H, j : j + W]


def _schedule(epochs: float) -> float:
    """Factor of the learning rate: up over 2 epochs, down along a cosine until 20, then level.

    It does not depend on how many epochs are to come: a training can be continued for longer than it was meant to be.
    """
    done, warm, least = epochs / 20.0, 0.1, 0.01
    if done >= 1.0:
        return least
    return (done + 0.01) / (warm + 0.01) if done < warm else max(least, 0.5 * (1.0 + cos(pi * (done - warm) / (1.0 - warm))))


def _mean(values: list[float]) -> float:
    total = 0.0
    for v in values:
        total += v
    return total / len(values)


@no_grad()
def read(model: Any, data: TensorDataset) -> Tensor:
    """The class that the model reads in each image, (N,)."""
    model.eval()
    return cat([argmax(model(x), 1) for x, _ in DataLoader(data, 256)])


def accuracy(model: Any, data: TensorDataset) -> float:
    """The part of the images that the model reads right."""
    return int(sum(eq(read(model, data), data.tensors[1])).item()) / len(data)


# Files


def _save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """io.save, with a file that cannot be written as one line for the user."""
    try:
        save(state, path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}.") from None


def _load_checkpoint(path: Path) -> dict[str, Any]:
    """What _save_checkpoint wrote; UsageError for anything else."""
    try:
        state = load(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from None
    except CheckpointError:
        state = None
    if not isinstance(state, dict):
        raise UsageError(f"{path} was not written by this demo, or is damaged. Give --out another directory.")
    return state


@contextmanager
def _patient() -> Iterator[Callable[[], bool]]:
    """Gives a function that tells whether Ctrl-C was pressed: the step in progress is finished. A second Ctrl-C interrupts at once."""
    pressed: list[int] = []

    def note(signum: int, frame: Any) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(signum)
        os.write(2, b"\nfinishing this step, then saving; Ctrl-C again stops at once\n")

    if threading.current_thread() is not threading.main_thread():  # only the main thread gets signals
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.default_int_handler)


# The job


class Job:
    """The trainings of one call: on each split, in a directory if one is given, from the start or from where the files there are.

    Parameters
    ----------
    options
        Values of a Recipe that were asked for; the others are the defaults, or with resume those of the files.
    out
        Directory for weights and pictures.
    data
        An .npz file; the digits if None, or with resume the data of the files.
    resume
        Whether to go on from the files in out.

    Raises UsageError or MissingExtraError before anything is computed.
    """

    def __init__(self, options: dict[str, Any], out: Path | None = None, data: Path | None = None, resume: bool = False) -> None:
        self.out = out
        self.found: dict[str, Any] = {}
        if out is not None:
            pictures.figure(1.0, 1.0)
            self.found = _found(out)
        elif resume:
            raise UsageError("--resume needs --out DIR, the directory of the training to go on with.")
        if resume and not self.found:
            raise UsageError(f"--resume: there is no training in {out}. Leave --resume out to start one.")
        if self.found and not resume:
            raise UsageError(f"there is a training in {out}: add --resume to go on with it, or give --out another directory.")
        kept = next(iter(self.found.values()))["job"] if self.found else None
        self.recipe = Recipe(**options) if kept is None else _continued(kept["recipe"], options)
        self.data = data if data is not None or kept is None or kept["data"] is None else Path(kept["data"])
        self.splits = digits() if self.data is None else (from_file(self.data),)
        for split in self.splits:
            self._check(split)
        if out is not None:
            _make(out)
        self.trainings: list[Training] = []

    def _check(self, split: Split) -> None:
        H, W = split.train.tensors[0].shape[2:]
        if min(self.recipe.batch_size, len(split.train)) * (H // 2) * (W // 2) < 2:
            raise UsageError(f"--batch-size {self.recipe.batch_size}: images of {H} x {W} pixels need at least 2 in a step.")
        if split.key in self.found:
            job, done = self.found[split.key]["job"], self.found[split.key]["progress"]["epoch"]
            if job["fingerprint"] != split.fingerprint():
                raise UsageError(f"--resume: the training in {self.out} is on other images than {self.data or 'the digits'}.")
            if done > self.recipe.epochs:
                raise UsageError(f"--resume: the training has done {done} epochs, --epochs {self.recipe.epochs} asks for fewer in all.")

    def lines(self, progress: bool = True) -> Iterator[str]:
        """Do the job; yields what to print, line by line."""
        epochs, batch_size, lr, seed = self.recipe
        yield f"training with {epochs} epoch{'s' * (epochs > 1)}, batch size {batch_size}, lr {lr:g}, seed {seed}"
        for split in self.splits:
            training = Training(split, self.recipe, curve=self.out is not None)
            self.trainings.append(training)
            if split.key in self.found:
                try:
                    training.load(self.found[split.key])
                except (KeyError, TypeError, JitgradError):
                    raise UsageError(f"{self.out}: the files there are damaged. Give --out another directory.") from None
                yield f"{split.name}: going on after {training.epoch} epochs and {training.step} steps"
            self._run(training, progress)
            score = training.score()
            yield (
                f"{split.name}: trained on {len(split.train)} images, test accuracy {score.accuracy:.2%} "
                f"on {len(split.test)} images (training loss {score.loss:.6f})"
            )
        if self.out is not None:
            yield f"wrote {', '.join(str(p) for p in self._draw(self.out))}"

    def _run(self, training: Training, progress: bool) -> None:
        if self.out is None:
            training.run(progress)
            return
        path = self.out / f"{training.split.key}.safetensors"
        job = {
            "format": FORMAT, "split": training.split.name, "recipe": self.recipe._asdict(), "fingerprint": training.split.fingerprint(),
            "data": None if self.data is None else str(self.data.absolute()), "classes": list(training.split.classes),
        }  # fmt: skip

        def save() -> None:
            _save_checkpoint(path, {"job": job, **training.state()})

        with _patient() as stop:
            finished = training.run(progress, stop, save)
        if not finished:
            save()
            raise KeyboardInterrupt(f"saved {path}; to go on: python -m jitgrad demo --out {shlex.quote(str(self.out))} --resume")

    def _draw(self, out: Path) -> list[Path]:
        """Draw the curves, and what each model reads in the test images; returns all files of the job."""
        files = [out / f"{split.key}.safetensors" for split in self.splits]
        try:
            pictures.draw_curves(out / "curves.png", [pictures.Curve(t.split.name, t.mean_losses, t.accuracies) for t in self.trainings])
            files.append(out / "curves.png")
            for t in self.trainings:
                images, labels = (part.numpy() for part in t.split.test.tensors)
                files.append(out / f"{t.split.key}.png")
                pictures.draw_predictions(
                    files[-1], t.split.name, images[:, 0], labels, read(t.model, t.split.test).numpy(), t.split.classes
                )
        except OSError as error:
            raise UsageError(f"{out}: a picture cannot be written: {error.strerror or error}.") from None
        return files


def _found(out: Path) -> dict[str, Any]:
    """The states of the trainings in a directory, by the key of their split."""
    found = {key: _load_checkpoint(path) for key in ("stratified", "writers") if (path := out / f"{key}.safetensors").exists()}
    for key, state in found.items():
        job = state.get("job")
        if not isinstance(job, dict) or job.get("format") != FORMAT:
            raise UsageError(f"{out / key}.safetensors was not written by this version of the demo. Give --out another directory.")
        if not _sound(state):
            raise UsageError(f"{out}: the files there are damaged. Give --out another directory.")
    return found


def _sound(state: dict[str, Any]) -> bool:
    """Whether recipe, progress and curve are what a training writes; the rest is looked at where it is loaded."""
    try:
        job, progress, curve = state["job"], state["progress"], state["curve"]
        epochs, batch_size, lr, seed = Recipe(**job["recipe"])
        counts = epochs, batch_size, seed, progress["epoch"], progress["step"]
        lists = progress["losses"], curve["losses"], curve["accuracies"]
        return (
            [type(n) for n in counts] == [int] * 5 and epochs > 0 and batch_size > 0 and 0 <= seed < 2**63
            and type(lr) is float and 0.0 < lr < inf and isinstance(job["fingerprint"], str) and isinstance(job["data"], str | None)
            and [len(values) for values in lists] == [progress["step"], progress["epoch"], progress["epoch"]]
            and all(type(v) is float for values in lists for v in values)
        )  # fmt: skip
    except (KeyError, TypeError):
        return False


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be written: {error.strerror or error}.") from None


def _continued(kept: dict[str, Any], options: dict[str, Any]) -> Recipe:
    """The recipe of a training to go on with; only epochs may be others than they were."""
    for name, value in options.items():
        if name != "epochs" and value != kept[name]:
            option = name.replace("_", "-")
            raise UsageError(f"--resume: the training was started with --{option} {kept[name]}, given {value}. Leave --{option} out.")
    return Recipe(**{**kept, **options})
