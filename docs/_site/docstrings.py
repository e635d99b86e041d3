"""For the site: docstrings as Markdown. Examples become code blocks, the list of parameters becomes a list."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^( *>>> .*(?:\n *\S.*)*)", re.MULTILINE)
PARAMETERS = re.compile(r"^(Parameters|Attributes|Returns)\n-+\n((?:\S.*\n(?:    .*(?:\n|\Z)|\n(?=    ))+)+)", re.MULTILINE)
ITEM = re.compile(r"^(\S.*)\n((?:    .*\n?|\n)+)", re.MULTILINE)


def _listed(found: re.Match[str]) -> str:
    items = [f"- `{name}`: {' '.join(text.split())}" for name, text in ITEM.findall(found[2])]
    return "\n".join([f"**{found[1]}**", "", *items, ""])


class Markdown(griffe.Extension):
    """Rewrites each docstring when it has been read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring is not None:
            text = PARAMETERS.sub(_listed, obj.docstring.value)
            obj.docstring.value = EXAMPLE.sub(r"```pycon\n\1\n```", text)
