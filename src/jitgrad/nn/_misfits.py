"""What of a state dict does not fit a model: a table of it, and where one renaming of the keys would mend it, the code for that.

A key is told by what must be equal for its value to fit: a shape, or a word for what has none. A renaming is proposed only where all
the tensors that it moves fit the places they come to, and no other would do as well.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jitgrad._words import aligned, listed

SHOWN = 20  # rows of a kind
FEW = 4  # where one renaming explains them
MANY = 8  # renamings that are told one by one

Shapes = Mapping[str, Any]
Renaming = dict[str, str]  # the beginning of a key given to the beginning that the model has for it; the first that fits counts


class Misfit(NamedTuple):
    """A line of the table."""

    key: str
    problem: str
    model: str
    given: str


HEAD = Misfit("key", "problem", "model", "state dict")


def complaint(
    name: str, ours: Shapes, ids: Mapping[str, int], theirs: Shapes, missing: list[str], unexpected: list[str], wrong: list[Misfit],
    words: list[str], may_advise: bool,
) -> str:  # fmt: skip
    """The error's text.

    ours and theirs are what must be equal by key of the model and of the state dict, ids tells which keys of the model are one tensor,
    words are complaints of hooks.
    """
    count = len(missing) + len(unexpected) + len(wrong) + len(words)
    advice = renaming_advice(ours, ids, theirs) if may_advise else ""
    shown = FEW if advice else SHOWN
    rows = [Misfit(k, "missing", _told(ours, k), "-") for k in missing[:shown]]
    rows += [Misfit(k, "unexpected", "-", _told(theirs, k)) for k in unexpected[:shown]]
    rows = [*(rows if advice else _with_guesses(rows, ours, theirs)), *wrong[:SHOWN]]
    lines = [*(aligned([HEAD, *rows]) if rows else ()), *words[:SHOWN]]
    left = count - len(rows) - len(words[:SHOWN])
    more = [f"and {left} more"] if left else []
    text = "".join(f"\n    {line}" for line in [*lines, *more])
    return f"load_state_dict: {count} of the keys do not fit {name}, nothing was loaded:{text}" + (f"\n{advice}" if advice else "")


def _told(shapes: Shapes, key: str) -> str:
    return str(shapes.get(key, "-"))


def _with_guesses(rows: list[Misfit], ours: Shapes, theirs: Shapes) -> list[Misfit]:
    """Rows of missing keys with the unexpected one that was perhaps meant: of a name alike, and of the same shape."""
    free = [r.key for r in rows if r.problem == "unexpected"]
    guessed = []
    for row in rows:
        close: list[str] = []
        if row.problem == "missing" and row.key in ours:
            close = difflib.get_close_matches(row.key, [k for k in free if k in theirs and theirs[k] == ours[row.key]], 1, 0.7)
        for k in close:
            free.remove(k)  # one tensor is meant for one place
        guessed.append(row._replace(given=f"- (did you mean {close[0]}?)") if close else row)
    return guessed


# ---- a renaming that explains it
def renaming_advice(ours: Shapes, ids: Mapping[str, int], theirs: Shapes) -> str:
    """What mends the keys where it is one thing: a prefix lost or added, shifted indices of a list, a part of another name."""
    before = _problems(ours, ids, theirs)
    best: tuple[list[str], Renaming] | None = None
    for names in (_lost_prefix(ours, theirs), _lost_prefix(theirs, ours, added=True), _shifts(ours, theirs)):
        if not names:
            continue
        renamed = {_renamed(k, names): shape for k, shape in theirs.items()}
        if len(renamed) < len(theirs) or not _lands(names, ours, theirs):
            continue
        after = _problems(ours, ids, renamed)
        left = [k for kind in after for k in kind]
        if _explains(names, *([len(kind) for kind in kinds] for kinds in (before, after))) and (best is None or len(left) < len(best[0])):
            best = left, names
    return "" if best is None else _words(best[1], best[0], ours, theirs)


def _problems(ours: Shapes, ids: Mapping[str, int], theirs: Shapes) -> tuple[list[str], list[str], list[str]]:
    """Keys that are missing, unexpected, of a wrong shape; of a tensor with several names one is enough."""
    loaded = {ids[k] for k in theirs if k in ours}
    missing = [k for k in ours if k not in theirs and ids[k] not in loaded]
    unexpected = [k for k in theirs if k not in ours]
    return missing, unexpected, [k for k, shape in theirs.items() if k in ours and ours[k] != shape]


def _lands(names: Renaming, ours: Shapes, theirs: Shapes) -> bool:
    """Whether what is renamed fits where it comes to, but for a part so small that it may be another matter."""
    moved = [(_renamed(k, names), shape) for k, shape in theirs.items() if any(k.startswith(old) for old in names)]
    return 8 * sum(ours.get(k) != shape for k, shape in moved) <= len(moved)


def _explains(names: Renaming, before: Sequence[int], after: Sequence[int]) -> bool:
    """All of it, or nearly all, or all but what one side has more of; another name for a part must explain all."""
    if sum(after) == 0:
        return True
    if sum(after) >= sum(before) or _parts(names):
        return False
    missing, unexpected, wrong = after
    return (wrong == 0 and 0 in (missing, unexpected)) or 8 * sum(after) <= sum(before)


def _parts(names: Renaming) -> set[tuple[str, str]]:
    """Names of parts, not indices, that are changed."""
    ends = {(_last(old), _last(new)) for old, new in names.items()}
    return {(old, new) for old, new in ends if old and new and not old.isdecimal()}


def _last(path: str) -> str:
    return path.rstrip(".").rpartition(".")[2]


def _renamed(key: str, names: Renaming) -> str:
    return next((new + key.removeprefix(old) for old, new in names.items() if key.startswith(old)), key)


def _lost_prefix(short: Shapes, long: Shapes, added: bool = False) -> Renaming:
    """The prefix that most keys of long have before a key of short that fits; as a renaming of long, or with added of short."""
    found: Counter[str] = Counter()
    for key, shape in long.items():
        at = key.find(".") + 1
        while at:
            if key[at:] in short and short[key[at:]] == shape:
                found[key[:at]] += 1
            at = key.find(".", at) + 1
    first = found.most_common(2)
    if not first or (len(first) == 2 and first[0][1] == first[1][1]):
        return {}
    return {"": first[0][0]} if added else {first[0][0]: ""}


class Node(NamedTuple):
    """A part of a model or of a state dict: what is below it by name, and a sign that parts have in common that fit each other."""

    sign: Any
    below: dict[str, Node]


def _node(shapes: Shapes) -> Node:
    if list(shapes) == [""]:
        return Node(shapes[""], {})
    groups: dict[str, dict[str, Any]] = {}
    for key, shape in shapes.items():
        head, _, rest = key.partition(".")
        groups.setdefault(head, {})[rest] = shape
    below = {head: _node(group) for head, group in groups.items()}
    named = sorted(name for name in below if not name.isdecimal())
    numbered = tuple(below[i].sign for i in _indices(below))
    return Node((tuple((name, below[name].sign) for name in named), numbered), below)


def _indices(below: Iterable[str]) -> list[str]:
    return sorted((name for name in below if name.isdecimal()), key=int)


def _shifts(ours: Shapes, theirs: Shapes) -> Renaming:
    """Indices of lists, and names of parts, that lead from the keys given to the model's."""
    names: Renaming = {}
    _align(_node(ours), _node(theirs), "", "", names)
    return names if len(_parts(names)) <= 1 else {}


def _align(ours: Node, theirs: Node, new_path: str, old_path: str, names: Renaming) -> None:
    """Pair what is below two parts, and enter those of different names, the deepest first."""
    pairs = [(n, n) for n in theirs.below if n in ours.below and not n.isdecimal()]
    lost, gained = ({n: p for n, p in a.below.items() if n not in b.below and p.below} for a, b in ((theirs, ours), (ours, theirs)))
    for old, part in lost.items():
        fits = [new for new, p in gained.items() if p.sign == part.sign and not new.isdecimal()]
        rivals = [other for other, p in lost.items() if p.sign == part.sign and not other.isdecimal()]
        if len(fits) == len(rivals) == 1 and rivals == [old]:
            pairs.append((fits[0], old))
    pairs += _in_order(ours, theirs)
    for new, old in pairs:
        if theirs.below[old].below:
            at_new, at_old = f"{new_path}{new}.", f"{old_path}{old}."
            _align(ours.below[new], theirs.below[old], at_new, at_old, names)
            if new != old:
                names[at_old] = at_new


def _in_order(ours: Node, theirs: Node) -> list[tuple[str, str]]:
    """Indices of two lists in pairs of which the parts fit, in order; where there is not exactly one such way, equal indices."""
    new, old = _indices(ours.below), _indices(theirs.below)
    signs = [ours.below[i].sign for i in new], [theirs.below[i].sign for i in old]
    short, long = (0, 1) if len(new) <= len(old) else (1, 0)
    ways = [1] + [0] * len(signs[short])  # ways[k]: to find the first k of the shorter list in the longer one, up to where we are
    for sign in signs[long]:
        for k in range(len(signs[short]), 0, -1):
            ways[k] += ways[k - 1] if signs[short][k - 1] == sign else 0
    if ways[-1] != 1 or not signs[short]:
        return [(i, i) for i in old if i in ours.below]
    pairs, at = [], 0
    for k, sign in enumerate(signs[short]):
        at = signs[long].index(sign, at)
        pairs.append((new[k], old[at]) if short == 0 else (new[at], old[k]))
        at += 1
    return pairs


def _words(names: Renaming, left: list[str], ours: Shapes, theirs: Shapes) -> str:
    """The renaming in words and as code."""
    ((old, new),) = list(names.items())[:1]
    items = "for k, v in state_dict.items()}"
    if new == "":
        how, code = f"Without the prefix {old!r}", f"{{k.removeprefix({old!r}): v {items}"
    elif old == "":
        how, code = f"With the prefix {new!r}", f"{{{new!r} + k: v {items}"
    else:
        told = [f"{a.rstrip('.')} -> {b.rstrip('.')}" for a, b in names.items()]
        how = "With " + listed(told, MANY + 1)
        if len(names) > MANY and [_renamed(k, names) for k in theirs] == list(ours):
            code = "dict(zip(model.state_dict(), state_dict.values()))"
        elif len(names) == 1:
            code = f"{{{new!r} + k.removeprefix({old!r}) if k.startswith({old!r}) else k: v {items}"
        else:
            code = f"{{next((new + k.removeprefix(old) for old, new in {names!r}.items() if k.startswith(old)), k): v {items}"
    rest = "all keys fit" if not left else f"all keys fit but {listed(left)}"
    return f"{how} {rest}. Try:\n    state_dict = {code}"
