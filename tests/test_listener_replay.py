"""One whole training step, heard at the door and replayed op by op on raw arrays: nothing goes round the door."""

from __future__ import annotations

from typing import Any

import numpy as np

import jitgrad as jg
from jitgrad import nn


class Record(jg.autograd.Listener):
    """Keeps each call as (primitive, input arrays, static parameters, output arrays)."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, list[Any], Any, list[Any]]] = []
        self.leaves: dict[int, np.ndarray] = {}  # contents of arrays that no recorded call made, when first seen
        self.made: dict[int, Any] = {}

    def __call__(self, prim: Any, inputs: Any, p: Any) -> Any:
        arrays = [None if t is None else t.array for t in inputs]
        for a in arrays:
            if a is not None and id(a) not in self.made:
                self.made[id(a)] = a
                self.leaves[id(a)] = a.copy()
        result = self.run(prim, inputs, p)
        outputs = [] if prim.mutates else [t.array for t in (result if isinstance(result, tuple) else (result,))]
        for a in outputs:
            self.made[id(a)] = a  # also keeps it alive, so that ids stay unique
        self.calls.append((prim, arrays, p, outputs))
        return result


def replay(record: Record) -> dict[int, np.ndarray]:
    """All arrays of the record, computed anew from the leaves by the primitives' launchers."""
    memory = dict(record.leaves)
    for prim, inputs, p, outputs in record.calls:
        arrays = [None if a is None else memory[id(a)] for a in inputs]
        if prim.geometry is not None and not prim.own_kernel:
            result = prim.impl[np.ndarray](arrays[0], *prim.geometry(arrays[0], *p))
        elif prim.source:
            result = prim.impl.on(p[0])(*p[1:])
        else:
            result = prim.impl[np.ndarray](*prim.grouped(arrays), *p)
        results = result if isinstance(result, tuple) else (result,)
        for recorded, again in zip(outputs, results, strict=False):
            memory[id(recorded)] = np.asarray(again)
    return memory


def test_a_training_step_replays_to_the_same_bits() -> None:
    jg.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 10)
    )
    optimizer = jg.optim.Adam(model.parameters(), lr=0.01)
    x, target = jg.randn(6, 1, 8, 8), jg.randint(0, 10, (6,))
    for _ in range(2):  # Adam's state exists, gradients are accumulated into once
        model.zero_grad()
        nn.functional.cross_entropy(model(x), target).backward()
        optimizer.step()
    (model(x).sum() * 0.0).backward()  # .grad is not empty when the recorded step begins: accumulation is heard, too
    held = {name: t.array for name, t in [*model.named_parameters(), *model.named_buffers()]}
    held |= {f"{name}.grad": p.grad.array for name, p in model.named_parameters()}
    with Record() as record:
        loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
    memory = replay(record)
    np.testing.assert_array_equal(memory[id(loss.array)], loss.array)
    heard = {prim.name for prim, *_ in record.calls}
    assert {"conv2d", "batch_norm", "update_running_", "dropout", "max_pool2d", "cross_entropy", "conv2d_grad_w", "adam_", "copy_"} <= heard
    for name, array in held.items():
        assert id(array) in memory, f"{name} was not heard"
        np.testing.assert_array_equal(memory[id(array)], array, err_msg=name)
