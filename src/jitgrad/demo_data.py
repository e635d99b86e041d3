"""Images for the demo: scikit-learn's digits, or a file of the user's."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jitgrad.autograd import tensor
from jitgrad.data import TensorDataset
from jitgrad.dtypes import float32, int64

SMALLEST = 2  # pixels each way: the pooling halves a side
TEST_PART = 0.2


class MissingExtraError(ImportError):
    """A package that jitgrad does not require is needed for this."""


class UsageError(ValueError):
    """An option, file or directory that cannot be used; the message is one line."""


class Split(NamedTuple):
    """Images (N, 1, H, W) with values from 0 to 1 and labels (N,), for training and for the test.

    `key` names the files of this split, `classes` are the names of the labels 0, 1, ...
    """

    name: str
    train: TensorDataset
    test: TensorDataset
    key: str = "stratified"
    classes: tuple[str, ...] = tuple("0123456789")

    def fingerprint(self) -> str:
        """Hash of all images and labels."""
        digest = hashlib.sha256()
        for part in (self.train, self.test):
            for t in part.tensors:
                digest.update(f"{t.shape}".encode() + t.numpy().tobytes())
        return digest.hexdigest()


def _sklearn(what: str) -> Any:
    try:
        from sklearn import datasets, model_selection
    except ImportError:
        raise MissingExtraError(f"the demo needs scikit-learn {what}: pip install jitgrad[demo]") from None
    return datasets, model_selection


def digits() -> tuple[Split, Split]:
    """The digits split in two ways: stratified 80/20 by a fixed seed, and the last fifth, which other people wrote."""
    datasets, model_selection = _sklearn("for its images")
    images, labels = datasets.load_digits(return_X_y=True)
    every, cut = list(range(len(labels))), len(labels) * 4 // 5
    train, test = model_selection.train_test_split(every, test_size=TEST_PART, stratify=labels, random_state=0)
    images = images.reshape(-1, 1, 8, 8) / 16.0  # (N, 64) to (N, 1, 8, 8)
    return (
        Split("stratified split", _part(images, labels, train), _part(images, labels, test)),
        Split("other writers (last 20%)", _part(images, labels, every[:cut]), _part(images, labels, every[cut:]), "writers"),
    )


def _part(images: np.ndarray, labels: np.ndarray, rows: list[int]) -> TensorDataset:
    return TensorDataset(tensor(images[rows], dtype=float32), tensor(labels[rows], dtype=int64))


def from_file(path: Path) -> Split:
    """The images and labels of an .npz file, split 80/20 stratified by a fixed seed.

    Parameters
    ----------
    path
        File with the arrays images (N, H, W) or (N, 1, H, W), of any numbers, H and W at least 2, and labels (N,), ints or strings,
        two images of each class at least. The smallest pixel becomes 0, the largest 1.

    Raises UsageError where the file cannot be read or holds something else.
    """
    images, labels = _checked_images(path, *_read(path))
    classes, y = np.unique(labels, return_inverse=True)
    counts = np.bincount(y)
    if len(classes) < 2:
        raise UsageError(f"{path}: labels: expected at least 2 classes, given 1 ({classes[0]}).")
    if counts.min() < 2:
        raise UsageError(f"{path}: labels: expected at least 2 images of each class, given 1 of {classes[counts.argmin()]}.")
    _, model_selection = _sklearn("to split the images")
    every = list(range(len(y)))
    size = max(len(classes), round(TEST_PART * len(y)))
    train, test = model_selection.train_test_split(every, test_size=size, stratify=y, random_state=0)
    names = tuple(str(c) for c in classes)
    return Split(f"{path.name}, stratified split", _part(images, y, train), _part(images, y, test), "stratified", names)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            missing = [name for name in ("images", "labels") if name not in file]
            if missing:
                there = ", ".join(file.files) or "none"
                raise UsageError(f"{path}: expected the arrays images and labels, {' and '.join(missing)} not there, given {there}.")
            return file["images"], file["labels"]
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from None
    except MemoryError:
        raise UsageError(f"{path}: its arrays do not fit into memory.") from None
    except (ValueError, EOFError, TypeError, AttributeError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        words = "is not an .npz file of plain arrays: expected one written by numpy.savez(file, images=..., labels=...)."
        raise UsageError(f"{path} {words}") from None


def _checked_images(path: Path, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images as (N, 1, H, W) from 0 to 1, in float32."""
    shape = images.shape
    if images.ndim not in (3, 4) or (images.ndim == 4 and shape[1] != 1):
        raise UsageError(f"{path}: images: expected (N, H, W) or (N, 1, H, W), given {shape}.")
    if min(shape[-2:]) < SMALLEST:
        raise UsageError(f"{path}: images: expected at least {SMALLEST} x {SMALLEST} pixels, given {shape[-2]} x {shape[-1]}.")
    if images.dtype.kind not in "buif":
        raise UsageError(f"{path}: images: expected numbers, given {images.dtype}.")
    if labels.shape != shape[:1]:
        raise UsageError(f"{path}: labels: expected ({shape[0]},), one for each image, given {labels.shape}.")
    if labels.dtype.kind not in "biuUS":
        raise UsageError(f"{path}: labels: expected ints or strings, given {labels.dtype}.")
    if shape[0] == 0:
        raise UsageError(f"{path}: expected at least one image, given none.")
    low, high = float(images.min()), float(images.max())
    if not np.isfinite(high - low):
        raise UsageError(f"{path}: images: expected finite numbers, given some that are not, or too large.")
    if low == high:
        raise UsageError(f"{path}: images: expected pixels that differ, given {low:g} everywhere.")
    x = (images.reshape(shape[0], 1, *shape[-2:]) - np.float64(low)) / (high - low)  # (N, H, W) to (N, 1, H, W)
    return x.astype(np.float32), labels
