"""Datasets and DataLoader."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import DTypeError, ShapeError
from jitgrad.utils.data import DataLoader, Dataset, TensorDataset, default_collate


def _data(n: int = 10) -> TensorDataset:
    return TensorDataset(jg.arange(2 * n).reshape(n, 2).float(), jg.arange(n))


def test_tensor_dataset() -> None:
    data = _data()
    x, y = data[3]
    assert x.tolist() == [6.0, 7.0] and y.item() == 3 and len(data) == 10
    assert data[-1][1].item() == 9 and data[2:4][1].tolist() == [2, 3]
    with pytest.raises(IndexError):
        data[10]
    for bad, error in (((), TypeError), ((jg.ones(2), jg.ones(3)), ShapeError), ((jg.tensor(1.0),), ShapeError), (([1],), TypeError)):
        with pytest.raises(error):
            TensorDataset(*bad)  # type: ignore[arg-type]


def test_batches() -> None:
    batches = list(DataLoader(_data(), 4))
    assert [y.tolist() for _, y in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]] and len(DataLoader(_data(), 4)) == 3
    assert batches[0][0].shape == (4, 2) and isinstance(batches[0], list)
    assert [y.shape for _, y in DataLoader(_data(), 4, drop_last=True)] == [(4,), (4,)] and len(DataLoader(_data(), 4, drop_last=True)) == 2
    assert [y.item() for _, y in DataLoader(_data(3), None)] == [0, 1, 2] and len(DataLoader(_data(3), None)) == 3


def test_shuffle_is_seeded() -> None:
    def orders(seed: int) -> list[list[int]]:
        loader = DataLoader(_data(50), 50, shuffle=True, generator=jg.Generator().manual_seed(seed))
        return [y.tolist() for _ in range(3) for _, y in loader]

    a = orders(1)
    assert a == orders(1) != orders(2)
    assert a[0] != a[1] and sorted(a[0]) == list(range(50))
    jg.manual_seed(3)
    b = next(iter(DataLoader(_data(50), 50, shuffle=True)))[1].tolist()
    jg.manual_seed(3)
    assert next(iter(DataLoader(_data(50), 50, shuffle=True)))[1].tolist() == b


def test_rows_stay_together() -> None:
    for x, y in DataLoader(_data(), 3, shuffle=True):
        assert (x[:, 0] / 2).tolist() == y.tolist()


def test_samplers() -> None:
    assert [y.tolist() for _, y in DataLoader(_data(), 2, sampler=[5, 1, 3])] == [[5, 1], [3]]
    loader = DataLoader(_data(), batch_sampler=[[0, 9], [4]])
    assert [y.tolist() for _, y in loader] == [[0, 9], [4]] and len(loader) == 2


class Point(NamedTuple):
    x: float
    name: str


def test_collate_and_own_datasets() -> None:
    class Squares(Dataset[Any]):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, i: int) -> Any:
            return {"n": i, "half": i / 2, "a": np.full(2, i, np.float32), "point": Point(float(i), str(i)), "odd": i % 2 == 1}

    batch = next(iter(DataLoader(Squares(), 3)))
    assert batch["n"].tolist() == [0, 1, 2] and batch["half"].dtype == jg.float32 and batch["odd"].dtype == jg.bool
    assert batch["a"].shape == (3, 2) and type(batch["point"]) is Point and batch["point"].name == ["0", "1", "2"]
    assert next(iter(DataLoader([1.0, 2.0], 2))).tolist() == [1.0, 2.0]
    assert list(DataLoader([1, 2, 3], 2, collate_fn=sum)) == [3, 3]  # type: ignore[arg-type]
    with pytest.raises(DTypeError, match="given object"):
        default_collate([object()])
    with pytest.raises(ValueError, match="equal length"):
        default_collate([(1, 2), (3,)])
    with pytest.raises(NotImplementedError, match="__getitem__"):
        Dataset()[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size"), ({"batch_size": 2.0}, "batch_size"), ({"num_workers": 2}, "num_workers=2 is not supported"),
        ({"pin_memory": True}, "pin_memory"), ({"shuffle": True, "sampler": [0]}, "given both"),
        ({"batch_size": 2, "batch_sampler": [[0]]}, "batch_sampler"), ({"batch_size": None, "drop_last": True}, "drop_last"),
        ({"generator": 3}, "jg.Generator"),
    ],
)  # fmt: skip
def test_wrong_use(options: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        DataLoader(_data(), **options)
    with pytest.raises(TypeError, match="__len__"):
        DataLoader(3)
