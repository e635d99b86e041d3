"""Fixtures for all tests: seeds, grad mode, Hypothesis profiles."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import jitgrad as jg

# 100 examples each, the same ones each time; HYPOTHESIS_PROFILE=thorough (or --hypothesis-profile=thorough) makes it 2,000 new ones.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "database": None, "print_blob": True}
settings.register_profile("quick", max_examples=100, derandomize=True, **_COMMON)
settings.register_profile("thorough", max_examples=2000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# A shell starts its background jobs with Ctrl-C ignored, and every program that the tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _same_start() -> Iterator[None]:
    """Each test starts from the same random numbers, with recording on, and leaves recording on."""
    jg.manual_seed(0)
    np.random.seed(0)
    assert jg.is_grad_enabled()
    yield
    recording = jg.is_grad_enabled()
    if not recording:
        jg.set_grad_enabled(True)
    assert recording, "the test left recording off"
