"""What a fresh process costs that has everything in the cache: nothing is compiled again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

STEP = """
import numpy as np
import jitgrad as jg
from jitgrad import nn
from jitgrad.kernels.jit import cache_info
model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10))
optimizer = jg.optim.Adam(model.parameters(), lr=1e-3)
loss = nn.CrossEntropyLoss()(model(jg.ones(16, 1, 8, 8)), jg.arange(16) - jg.arange(16))
loss.backward()
optimizer.step()
print(cache_info().misses)
"""


def test_a_second_training_process_has_no_cache_misses() -> None:
    src = str(Path(__file__).parents[1] / "src")
    env = os.environ | {"PYTHONPATH": src}
    outputs = [
        subprocess.run([sys.executable, "-c", STEP], env=env, capture_output=True, text=True, check=True, timeout=300).stdout
        for _ in range(2)
    ]
    assert int(outputs[1]) == 0


def test_import_neither_compiles_nor_loads_what_it_does_not_need() -> None:
    code = "import sys, jitgrad\nprint([m for m in ('numba.cuda', 'sklearn', 'torch', 'matplotlib') if m in sys.modules])"
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
