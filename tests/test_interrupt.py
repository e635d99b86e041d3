"""Ctrl-C: KeyboardInterrupt between two kernels, in whatever code was running, and everything is usable after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"

PROGRAM = """
import jitgrad as jg
from jitgrad import nn

jg.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.1), nn.Linear(64, 1))
optimizer = jg.optim.Adam(model.parameters())
x = jg.randn(256, 64)


def step():
    optimizer.zero_grad()
    loss = (model(x) ** 2).mean()
    loss.backward()
    optimizer.step()
    return loss


step()
for _ in range(3):
    try:
        print("ready", flush=True)
        while True:
            {body}
    except KeyboardInterrupt:
        assert jg.is_grad_enabled()
        assert step().item() >= 0.0
        y = jg.ones(2, requires_grad=True)
        (y * y).sum().backward()
        assert y.grad.tolist() == [2.0, 2.0]
        assert jg.rand(3).shape == (3,)
print("usable", flush=True)
"""

BODIES = {
    "training": "step()",
    "no_grad": "with jg.no_grad(): model(x)",
    "draws": "jg.randn(1000)",
    "parallel": "jg.randn(1000, 1000).sum()",
    "in_place": "x.mul_(1.0)",
}


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("name", BODIES)
def test_interrupt_leaves_all_usable(name: str) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SRC), os.environ.get("PYTHONPATH", "")])}
    child = subprocess.Popen([sys.executable, "-c", PROGRAM.replace("{body}", BODIES[name])], env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        for _ in range(3):
            assert child.stdout.readline() == "ready\n"
            child.send_signal(signal.SIGINT)
        rest, _ = child.communicate(timeout=60)
        assert (rest, child.returncode) == ("usable\n", 0)
    finally:
        child.kill()
        child.communicate()
