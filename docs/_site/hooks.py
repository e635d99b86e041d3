"""For the site: pages that lie outside docs/ become pages of it; a reference page lists what its module exports."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages."""
    for name in PAGES:
        files.append(File.generated(config, name, content=(ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """``../CONTRIBUTING.md`` lies beside the other pages here, and ``<!-- exports of jitgrad.nn -->`` becomes what users find there."""
    markdown = re.sub(rf"\]\(\.\./({'|'.join(map(re.escape, PAGES))})", r"](\1", markdown)
    return re.sub(r"<!-- exports of (\S+) -->", lambda found: "\n\n".join(f"::: {path}" for path in exports(found[1])), markdown)


def exports(module: str) -> list[str]:
    """Where functions and classes are that a module exports, by name; Tensor has a page of its own."""
    there = {n: v for n, v in vars(import_module(module)).items() if not n.startswith("_") and n != "Tensor" and callable(v)}
    ours = sorted((n for n, v in there.items() if getattr(v, "__module__", "").startswith("jitgrad")), key=str.lower)
    return [f"{there[n].__module__}.{there[n].__name__}" for n in ours]
