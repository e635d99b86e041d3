"""The main job: a small CNN learns to read handwritten digits.

The images are scikit-learn's: 1,797 of 8 x 8 pixels, written by 43 people, shipped inside that package.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import cos, pi
from typing import Any, NamedTuple

from tqdm import tqdm

from jitgrad.autograd import Tensor, no_grad, tensor
from jitgrad.data import DataLoader, TensorDataset
from jitgrad.dtypes import float32, int64
from jitgrad.nn import BatchNorm2d, Conv2d, CrossEntropyLoss, Dropout, Flatten, Linear, MaxPool2d, ReLU, Sequential
from jitgrad.ops.create import zeros
from jitgrad.ops.pointwise import div, eq
from jitgrad.ops.random import Generator, manual_seed, randint
from jitgrad.ops.reduce import argmax, sum
from jitgrad.optim import Adam


class Split(NamedTuple):
    """Images (N, 1, 8, 8) with values from 0 to 1 and labels (N,), for training and for the test."""

    name: str
    train: TensorDataset
    test: TensorDataset


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


class MissingExtraError(ImportError):
    """A package that jitgrad does not require is needed for this."""


def build_model() -> Sequential:
    """Three convolutions, one pooling, one linear layer: 11,130 parameters."""
    return Sequential(
        Conv2d(1, 8, 3, padding="same"), BatchNorm2d(8), ReLU(),
        Conv2d(8, 16, 3, padding="same"), BatchNorm2d(16), ReLU(), MaxPool2d(2),  # 8 x 8 to 4 x 4
        Conv2d(16, 32, 3, padding="same"), BatchNorm2d(32), ReLU(),
        Flatten(), Dropout(0.3), Linear(32 * 4 * 4, 10),
    )  # fmt: skip


def digits() -> tuple[Split, Split]:
    """The digits split in two ways: stratified 80/20 by a fixed seed, and the last fifth, which other people wrote."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError:
        raise MissingExtraError("the demo needs scikit-learn for its images: pip install jitgrad[demo]") from None
    images, labels = load_digits(return_X_y=True)
    every, cut = list(range(len(labels))), len(labels) * 4 // 5
    train, test = train_test_split(every, test_size=0.2, stratify=labels, random_state=0)

    def part(rows: list[int]) -> TensorDataset:
        x = div(tensor(images[rows], dtype=float32), 16.0).reshape(-1, 1, 8, 8)  # (N, 64) to (N, 1, 8, 8)
        return TensorDataset(x, tensor(labels[rows], dtype=int64))

    return (
        Split("stratified split", part(train), part(test)),
        Split("other writers (last 20%)", part(every[:cut]), part(every[cut:])),
    )


def train(split: Split, recipe: Recipe, progress: bool = True) -> Score:
    """Train a new model on a split and test it. Equal recipes give equal bits on any number of threads."""
    manual_seed(recipe.seed)  # weights and dropout
    model = build_model()
    generator = Generator().manual_seed(recipe.seed)  # order and shifts of the images
    loss_of, optimizer = CrossEntropyLoss(), Adam(model.parameters(), lr=recipe.lr)
    loader = DataLoader(
        split.train, recipe.batch_size, shuffle=True, drop_last=len(split.train) > recipe.batch_size,
        generator=generator,
    )  # fmt: skip
    mean_loss = float("nan")
    with tqdm(total=recipe.epochs * len(loader), desc=split.name, unit="step", disable=not progress) as bar:
        for epoch in range(recipe.epochs):
            losses = []
            for i, (x, labels) in enumerate(loader):
                optimizer.param_groups[0]["lr"] = recipe.lr * _schedule((epoch + i / len(loader)) / recipe.epochs)
                loss = loss_of(model(shifted(x, generator)), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                bar.update()
            mean_loss = _mean(losses)
            bar.set_postfix(epoch=epoch + 1, loss=f"{mean_loss:.4f}")
    return Score(mean_loss, accuracy(model, split.test))


def shifted(x: Tensor, generator: Generator) -> Tensor:
    """The images of a batch moved together by at most one pixel each way, zeros coming in: a reader must not mind where a digit stands."""
    N, C, H, W = x.shape
    wide = zeros(N, C, H + 2, W + 2)
    wide[:, :, 1:-1, 1:-1] = x
    i, j = randint(0, 3, (2,), generator=generator).tolist()
    return wide[:, :, i : i + H, j : j + W]


def _schedule(done: float) -> float:
    """Factor of the learning rate: up over the first tenth of the training, then down to 0 along a cosine."""
    warm = 0.1
    return (done + 0.01) / (warm + 0.01) if done < warm else 0.5 * (1.0 + cos(pi * (done - warm) / (1.0 - warm)))


def _mean(values: list[float]) -> float:
    total = 0.0
    for v in values:
        total += v
    return total / len(values)


@no_grad()
def accuracy(model: Any, data: TensorDataset) -> float:
    """The part of the images that the model reads right."""
    model.eval()
    right = 0
    for x, labels in DataLoader(data, 256):
        right += int(sum(eq(argmax(model(x), 1), labels)).item())
    return right / len(data)


def run(recipe: Recipe, progress: bool = True) -> Iterator[str]:
    """Do the job; yields what to print, line by line."""
    yield f"training with {recipe.epochs} epochs, batch size {recipe.batch_size}, lr {recipe.lr:g}, seed {recipe.seed}"
    for split in digits():
        score = train(split, recipe, progress)
        yield (
            f"{split.name}: trained on {len(split.train)} images, test accuracy {score.accuracy:.2%} "
            f"on {len(split.test)} images (training loss {score.loss:.6f})"
        )
