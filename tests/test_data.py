"""Datasets and DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

import jitgrad as jg
from jitgrad.errors import DTypeError, ShapeError
from jitgrad.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    random_split,
)


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


def test_loader_has_its_samplers() -> None:
    loader = DataLoader(_data(), 4, shuffle=True)
    assert type(loader.sampler) is RandomSampler and type(loader.batch_sampler) is BatchSampler and loader.batch_sampler.batch_size == 4
    assert type(DataLoader(_data()).sampler) is SequentialSampler and DataLoader(_data(), None).batch_sampler is None


def test_random_sampler() -> None:
    def draw(*args: Any, **kwargs: Any) -> list[int]:
        return list(RandomSampler(range(10), *args, generator=jg.Generator().manual_seed(1), **kwargs))

    assert sorted(draw()) == list(range(10)) != draw() and draw() == draw()
    assert sorted(draw(num_samples=20)) == sorted(list(range(10)) * 2) and len(set(draw(num_samples=4))) == 4
    many = draw(True, 1000)
    assert len(many) == 1000 and set(many) == set(range(10)) and len(RandomSampler([0], True, 7)) == 7
    assert list(RandomSampler([])) == []
    with pytest.raises(ValueError, match="empty data source"):
        list(RandomSampler([], num_samples=1))


def test_other_samplers() -> None:
    subset = SubsetRandomSampler([3, 5, 9])
    assert sorted(subset) == [3, 5, 9] and len(subset) == 3
    assert list(BatchSampler(SequentialSampler("abcde"), 2, True)) == [[0, 1], [2, 3]] and len(BatchSampler(range(5), 2, True)) == 2
    assert list(BatchSampler(range(2), 10**30, False)) == [[0, 1]]
    weighted = list(WeightedRandomSampler([1.0, 0.0, 3.0], 4000))
    counts = np.bincount(weighted, minlength=3)
    assert counts[1] == 0 and abs(counts[2] - 3000) < 150
    some = WeightedRandomSampler(jg.tensor([0.0, 2.0, 1.0, 0.0, 1.0]), 3, replacement=False)
    assert sorted(some) == [1, 2, 4] and len(some) == 3
    firsts = [next(iter(WeightedRandomSampler([1.0, 3.0], 1, replacement=False))) for _ in range(600)]
    assert abs(sum(firsts) - 450) < 60
    with pytest.raises(NotImplementedError, match="__iter__"):
        iter(Sampler())
    assert [y.tolist() for _, y in DataLoader(_data(), 2, sampler=SubsetRandomSampler([4]))] == [[4]]


def test_subset_and_concat() -> None:
    part = Subset(_data(), [7, 1])
    assert [y.item() for _, y in (part[0], part[-1])] == [7, 1] and len(part) == 2 and part[[1, 0]][1].tolist() == [1, 7]
    both = Subset(range(100), range(3)) + Subset(range(100), [50])  # type: ignore[operator]
    assert isinstance(both, ConcatDataset) and [both[i] for i in range(4)] == [0, 1, 2, 50] and both[-4] == 0
    assert ConcatDataset([[], "ab", [], "c"])[2] == "c" and both.cumulative_sizes == [3, 4]
    for index in (4, -5):
        with pytest.raises(IndexError, match="out of range for 4"):
            both[index]
    assert list(DataLoader(both, 3))[1].tolist() == [50]


def test_random_split() -> None:
    parts = random_split(range(10), [7, 3], jg.Generator().manual_seed(1))
    again = random_split(range(10), [7, 3], jg.Generator().manual_seed(1))
    assert [len(p) for p in parts] == [7, 3] and sorted([*parts[0], *parts[1]]) == list(range(10))
    assert [list(p) for p in parts] == [list(p) for p in again] and list(parts[0]) != list(range(7))
    assert [len(p) for p in random_split(range(10), [1 / 3] * 3)] == [4, 3, 3]
    assert [len(p) for p in random_split(range(1), [1])] == [1]
    with pytest.warns(UserWarning, match="part 1 of .* has no examples"):
        random_split(range(2), [0.9, 0.1])
    for lengths in ([7, 4], [0.5, 0.4], [-1, 11], ["a"], [9.5, 0.5]):
        with pytest.raises(ValueError, match="lengths are expected"):
            random_split(range(10), lengths)  # type: ignore[arg-type]


class Stream(IterableDataset[int]):
    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.n))


def test_iterable_datasets() -> None:
    assert [b.tolist() for b in DataLoader(Stream(5), 2)] == [[0, 1], [2, 3], [4]]
    assert [b.tolist() for b in DataLoader(Stream(5), 2, drop_last=True)] == [[0, 1], [2, 3]]
    assert list(DataLoader(Stream(3), None)) == [0, 1, 2] and list(DataLoader(Stream(3), 2, collate_fn=sum)) == [1, 2]
    for options in ({"shuffle": True}, {"sampler": [0]}, {"batch_sampler": [[0]]}):
        with pytest.raises(ValueError, match="order of its own"):
            DataLoader(Stream(3), **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="every worker would give the whole IterableDataset"):
        DataLoader(Stream(3), num_workers=1)
    with pytest.raises(TypeError, match="len"):
        len(DataLoader(Stream(3)))
    with pytest.raises(TypeError, match="number 0 is a Stream"):
        ConcatDataset([Stream(3)])


def test_whole_batches_at_once() -> None:
    class Lines:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, i: int) -> int:
            raise AssertionError

        def __getitems__(self, indices: list[int]) -> list[int]:
            return [i * 10 for i in indices]

    assert [b.tolist() for b in DataLoader(Lines(), 2)] == [[0, 10], [20]]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RandomSampler([1], num_samples=0), "num_samples"), (lambda: RandomSampler([1], 1), "replacement"),
        (lambda: RandomSampler([1], generator=3), "jg.Generator"), (lambda: SubsetRandomSampler([1], generator=3), "jg.Generator"),
        (lambda: WeightedRandomSampler([], 1), "weights are expected"), (lambda: WeightedRandomSampler([0.0], 1), "not all 0"),
        (lambda: WeightedRandomSampler([-1.0, 2.0], 1), "weights"), (lambda: WeightedRandomSampler([float("nan")], 1), "weights"),
        (lambda: WeightedRandomSampler([[1.0]], 1), "one dim"), (lambda: WeightedRandomSampler([1.0], 1.5), "num_samples"),
        (lambda: WeightedRandomSampler([1.0, 0.0], 2, False), "at most 1"), (lambda: BatchSampler([1], 0, False), "batch_size"),
        (lambda: BatchSampler([1], 1, 1), "drop_last"), (lambda: Subset([1], iter([0])), "Try list"),
        (lambda: ConcatDataset([]), "at least one"), (lambda: random_split([1], [1], 3), "jg.Generator"),
    ],
)  # fmt: skip
def test_wrong_use_of_samplers(make: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        make()


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
    with pytest.raises(ValueError, match="at least one example"):
        default_collate([])
    with pytest.raises(ValueError, match="equal length"):
        default_collate([(1, 2), (3,)])
    with pytest.raises(NotImplementedError, match="__getitem__"):
        Dataset()[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size"), ({"batch_size": 2.0}, "batch_size"), ({"num_workers": -1}, "num_workers"),
        ({"num_workers": True}, "num_workers"), ({"timeout": -1}, "timeout"), ({"timeout": 3}, "with num_workers above 0"),
        ({"prefetch_factor": 0}, "prefetch_factor"), ({"prefetch_factor": 2}, "with num_workers above 0"),
        ({"in_order": False}, "in_order"),
        ({"persistent_workers": True}, "with num_workers above 0"), ({"multiprocessing_context": "fork"}, "'fork'"),
        ({"collate_fn": 3}, "collate_fn is expected to be a function"), ({"worker_init_fn": 3}, "worker_init_fn"),
        ({"shuffle": 1}, "bools"),
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
