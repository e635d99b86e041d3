"""Report: what diagnose found, as text and as HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jitgrad._html import Html, block, element, faint, joined
from jitgrad._words import listed as listed
from jitgrad.autograd import Line

SEVERITIES = ("error", "warning", "note")
WIDTH, INDENT = 110, "    "
MOST = 12  # findings that are shown of each severity
# Readable on dark and on light pages: middle tones, and the word stands beside the colour.
_COLOURS = {"error": "#d9534f", "warning": "#c98a00", "note": "#3b8fd4", "ok": "#3a9d5d"}


@dataclass(frozen=True)
class Finding:
    """One thing that diagnose found.

    Attributes
    ----------
    kind
        What it is: "error", "hidden", "shared", "dtype", "never called", "output dropped", "made in forward", "no gradient",
        "zero gradient", "vanishing gradient", "exploding gradient", "frozen", "not finite", "dead relu", "constant", "softmax"
        (a loss of logits was given something else), "dropout", "evaluation", "not followed".
    severity
        "error", "warning" or "note".
    path
        The modules or parameters that it is about, by their dotted paths.
    text
        What is wrong, in one or two sentences.
    line
        The line of the program, where there is one: it has ``file``, ``number``, ``function`` and ``text``.
    fix
        What to do about it.
    """

    kind: str
    severity: str
    path: str
    text: str
    line: Line | None = None
    fix: str = ""

    def __str__(self) -> str:
        first, *rest = self.text.split("\n")
        text = textwrap.wrap(f"{self.severity}: {first}", WIDTH, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False)
        return "\n".join([*text, *rest, *(f"{INDENT}{word}: {words}" for word, words in self._more())])

    def _more(self) -> Iterator[tuple[str, str]]:
        if self.line is not None:
            yield "at", str(self.line)
        if self.fix:
            yield "fix", self.fix

    def _repr_html_(self) -> str:
        return block(_finding_html(self))


class Report:
    """What diagnose found: ``findings``, the worst first; ``ok``: neither errors nor warnings among them.

    Prints as text, and shows in a notebook. ``len(report)``, ``for finding in report`` and ``report[0]`` work.
    """

    def __init__(self, model: str, findings: Iterable[Finding], facts: str) -> None:
        self.model = model
        self.findings = sorted(findings, key=lambda f: SEVERITIES.index(f.severity))
        self.facts = facts  # how much was looked at

    @property
    def ok(self) -> bool:
        """Whether there are no errors and no warnings."""
        return all(f.severity == "note" for f in self.findings)

    def of_kind(self, kind: str) -> list[Finding]:
        """The findings of one kind."""
        return [f for f in self.findings if f.kind == kind]

    def __len__(self) -> int:
        return len(self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __getitem__(self, i: int) -> Finding:
        return self.findings[i]

    def __bool__(self) -> bool:
        raise TypeError("a Report is neither true nor false: ask report.ok, or len(report) for the number of findings.")

    def __repr__(self) -> str:
        lines = [f"diagnose({self.model}): {self._verdict()} ({self.facts})"]
        for f in self._shown():
            lines += ["", f if isinstance(f, str) else str(f)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        colour = _COLOURS["ok" if self.ok else self.findings[0].severity]
        verdict = element("b", self._verdict(), style=f"color:{colour}")
        head = element("div", joined([f"diagnose({self.model}): ", verdict, " ", faint(f"({self.facts})")]))
        return block(head, *(faint(f) if isinstance(f, str) else _finding_html(f) for f in self._shown()))

    def _verdict(self) -> str:
        counts = [(sum(f.severity == s for f in self.findings), s) for s in SEVERITIES]
        return ", ".join(f"{n} {word}{'s' * (n > 1)}" for n, word in counts if n) or "nothing wrong found"

    def _shown(self) -> Iterator[Finding | str]:
        """The findings; of many of one severity the first ones, and how many more there are."""
        for severity in SEVERITIES:
            of_it = [f for f in self.findings if f.severity == severity]
            yield from of_it[:MOST]
            if len(of_it) > MOST:
                yield f"... and {len(of_it) - MOST} more {severity}s in report.findings"


def _finding_html(f: Finding) -> Html:
    colour = _COLOURS[f.severity]
    badge = element("b", f.severity, style=f"color:{colour}")
    more = [element("div", joined([faint(f"{word}: "), element("code", text, style=_CODE)])) for word, text in f._more()]
    style = f"border-left:3px solid {colour};margin:.5em 0;padding:.1em .7em"
    return element("div", element("div", joined([badge, " ", f.text]), style="white-space:pre-wrap"), *more, style=style)


_CODE = "background:transparent;color:inherit;padding:0;white-space:pre-wrap"
