"""Words of messages and tables: names in a sentence, cells side by side."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence


def listed(names: Iterable[str], most: int = 6) -> str:
    """Names in a sentence, each once; where there are more than most, the last of these words says how many.

    >>> listed(["a", "b", "c"]), listed("abcd", 3)
    ('a, b and c', 'a, b and 2 more')
    """
    found = list(dict.fromkeys(names))
    if len(found) > most:
        found = [*found[: most - 1], f"{len(found) - most + 1} more"]
    return " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Rows of cells as lines with columns of one width each; those in right end where the others begin.

    >>> aligned([("a", "1"), ("bc", "20")], right=[1])
    ['a    1', 'bc  20']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))).rstrip()
            for row in rows]  # fmt: skip
