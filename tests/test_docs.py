"""README and the pages of docs/ say what is true: their code runs, what they quote from the sources stands there, links lead somewhere."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)


def blocks(page: Path, before: str = r"\n\n") -> list[str]:
    """Python blocks of a page that follow a line of text which ends so."""
    return re.findall(before + r"```python\n(.*?)```", page.read_text(), flags=re.S)


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name)
def test_code_runs_and_prints_what_its_comments_say(page: Path) -> None:
    """The blocks of a page run one after another; each print is followed by ``# `` and what it prints."""
    names: dict[str, object] = {}
    for code in blocks(page):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(page), "exec"), names)
        assert printed.getvalue().splitlines() == re.findall(r"^ *print\(.*\)  +# (.*)$", code, flags=re.M)


@pages
def test_quotes_stand_in_the_sources(page: Path) -> None:
    """A block under ``<!-- from path -->`` is a part of that file."""
    for path, code in re.findall(r"<!-- from (\S+) -->\n```python\n(.*?)```", page.read_text(), flags=re.S):
        assert code in (ROOT / path).read_text(), path


@pages
def test_links_lead_somewhere(page: Path) -> None:
    """Links to files and to headings of the same page."""
    text = page.read_text()
    heads = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, flags=re.M)}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in heads, target
        elif "://" not in target:
            assert (page.parent / target.partition("#")[0]).exists(), target


@pages
def test_files_that_are_named_exist(page: Path) -> None:
    """Paths in backticks that start at the root are there."""
    for path in re.findall(r"`((?:src|tests|docs|benchmarks)/[\w/.]+)`", page.read_text()):
        assert (ROOT / path).exists(), path
