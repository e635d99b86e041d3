"""The side-by-side runner of benchmarks/compare: its arithmetic, and its page. What it measures is tried in test_parity_compare.py."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.compare import __main__ as runner, page, report, timing
from benchmarks.compare.families import families


def test_the_pages_show_the_saved_figures() -> None:
    """Renew them with ``python -m benchmarks.compare.page``."""
    for path, text in page.pages(json.loads(page.FIGURES.read_text())).items():
        assert path.read_text() == text, path.name


def test_every_case_has_a_name_of_its_own_and_a_bar() -> None:
    for family, cases in families().items():
        keys = [(c.name, mode) for c in cases() for mode in c.modes]
        assert len(keys) == len(set(keys)) > 0, family
        assert all((c.row, mode) in page.BARS for c in cases() for mode in c.modes), family


def test_the_steadiest_half() -> None:
    runs = [[1.0, r] for r in (1.0, 3.0, 1.1, 5.0, 1.05, 9.0)]
    assert runner.steadiest(runs) == [[1.0, 1.0], [1.0, 1.05], [1.0, 1.1]]
    assert runner.spread([1.0, 1.1, 1.05]) == pytest.approx(0.1 / 1.05)


def test_cases_measured_alone_take_the_places_of_their_old_figures() -> None:
    cell = lambda name, ratio: {"name": name, "mode": "m", "ratio": ratio}
    assert runner.merged([cell("a", 1), cell("b", 2)], [cell("b", 3), cell("c", 4)]) == [cell("a", 1), cell("b", 3), cell("c", 4)]


def test_the_summary_names_the_worst() -> None:
    cells = [{"row": "r", "mode": "m", "name": str(x), "ratio": x} for x in (1.0, 4.0)]
    assert report.summary(cells) == [("r", "m", 2, 2.0, 1.0, "1.0")]


def test_rms_is_relative_and_the_worst_of_several() -> None:
    assert timing.rms([[3.0, 5.0], [1.0]], [[4.0, 4.0], [1.0]]) == pytest.approx(0.25)
    assert math.isnan(timing.rms([[1.0], [float("nan")], [1.0]], [[1.0]] * 3))


def test_medians_take_turns() -> None:
    order: list[str] = []
    a, b = timing.medians([lambda: order.append("a"), lambda: order.append("b")], block=1e-9, rounds=3)
    assert a > 0 and b > 0
    assert "".join(order[6:]) == "aabbaabbaabb"
