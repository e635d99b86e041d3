"""One operation with adapt=True: what follows is resized; outputs tied by an addition become one size once; images keep theirs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jitgrad.errors import SurgeryError
from jitgrad.nn._place import short_name
from jitgrad.nn._trace import Trace
from jitgrad.nn.conv import _Conv
from jitgrad.nn.surgery import _widths
from jitgrad.nn.surgery._change import Edit, ResizeLayer
from jitgrad.nn.surgery._fit import said, where
from jitgrad.nn.surgery._resize import attribute_of, layout

if TYPE_CHECKING:
    from jitgrad.nn.module import Module
    from jitgrad.nn.surgery._operations import Operation, Shapes

_OUTPUTS = ("out_features", "out_channels", "embedding_dim")
Tie = tuple[ResizeLayer, str, int]  # the step that resized an output, the attribute that gives its size, the size before the edit


def adapted(edit: Edit, operation: Operation, keep: str) -> None:
    """Write one operation, and resize what follows; also where all fits as it is, as a size written in a reshape may hide a misfit."""
    before = edit.trace
    assert before is not None
    ties = _ties(edit, operation.module) if operation.replaces else []
    with _sizes_of_before(ties):
        operation.make()
    if ties and operation.new is not None:
        _settle_copies(operation.new, set(operation.module.modules()))
    changes = operation.changes(before, edit.what)
    _one_size(edit, operation, ties, changes)
    try:
        plan = _widths.plan(before, changes, operation.gone()) if changes else None
    except _widths.CannotFollow as stop:
        _image_keeps_its_size(edit, operation, before, changes, keep)
        place = f"\n  in {stop.place}" if stop.place else ""
        raise SurgeryError(f"{edit.what}: {stop.why}{place}\n  Nothing was changed. {stop.fix}") from stop.__cause__
    _write(edit, operation, plan, keep)
    after, error = edit.fits()
    written = plan.written(after) if plan is not None else None
    if written is not None:
        raise SurgeryError(f"{edit.what}: {written}\n  Nothing was changed.") from error
    if error is not None:
        raise edit.refuse(error, after, "adapt=True could not follow to there: edit that layer too.") from error


def _write(edit: Edit, operation: Operation, plan: _widths.Plan | None, keep: str) -> None:
    for r in plan.resizes if plan is not None else ():
        edit.steps.append(ResizeLayer(r, keep, operation.path))
    operation.write(edit)


# ---- outputs that meet, as those of the layers before a residual addition do
def _ties(edit: Edit, old: Module) -> list[Tie]:
    """The outputs in a module that this edit has resized already, as they must equal those of a layer replaced before."""
    inside = set(old.modules())
    found: dict[tuple[Module, str], Tie] = {}
    for s in [s for s in edit.steps if isinstance(s, ResizeLayer) and s.module in inside]:
        for name in _OUTPUTS:
            if name in s.before:
                found[s.module, name] = s, name, found.get((s.module, name), (s, name, s.before[name]))[2]
    return list(found.values())


@contextmanager
def _sizes_of_before(ties: list[Tie]) -> Iterator[None]:
    """Let layers tell the sizes of their outputs before the edit: a function that doubles them is to double those."""
    now = [vars(s.module)[name] for s, name, _ in ties]
    for s, name, size in ties:
        vars(s.module)[name] = size
    try:
        yield
    finally:
        for (s, name, _), size in zip(ties, now, strict=True):
            vars(s.module)[name] = size


def _settle_copies(new: Module, old: set[Module]) -> None:
    """A copy of an old layer has its resized weights and tells the size of before: it is to tell that of its weights."""
    for m in set(new.modules()) - old:
        for tensor, attributes in layout(m).items():
            t: Any = m._parameters.get(tensor)
            for attribute, n in zip(attributes, t.shape, strict=True) if t is not None and t.ndim == len(attributes) else ():
                if attribute is not None and attribute[0] in _OUTPUTS and attribute_of(m, attribute) != n:
                    vars(m)[attribute[0]] = n


def _one_size(edit: Edit, operation: Operation, ties: list[Tie], changes: Shapes) -> None:
    """SurgeryError where outputs that must be of one size are given two."""
    for s, name, _ in ties:
        now, dim = vars(s.module)[name], -1 - getattr(s.module, "_dims", 0)
        for t, shape in changes:
            if t.ndim >= -dim and t.shape[dim] == now != shape[dim]:
                raise SurgeryError(
                    f"{edit.what}: the outputs of {s.cause} and {s.path} must be of one size, as they meet (in an addition, say): "
                    f"the new {s.cause} has made it {now} already, and what is put in at {operation.path} would make it {shape[dim]}.\n"
                    "  Nothing was changed. Replace only one of them, which the other follows, or give the same size for both."
                )


# ---- images
def _image_keeps_its_size(edit: Edit, operation: Operation, before: Trace, changes: Shapes, keep: str) -> None:
    """SurgeryError where all would follow if the new layer did not change the height and width of the image."""
    new = operation.new
    if new is None:
        return
    dims = {id(t): getattr(new, "_dims", 2 if t.ndim == 4 else 0) for t, _ in changes}
    resized = [(t.shape[-n:], shape[-n:]) for t, shape in changes if (n := dims[id(t)]) and t.shape[-n:] != shape[-n:]]
    if not resized:
        return
    widths = [(t, (*shape[: t.ndim - dims[id(t)]], *t.shape[t.ndim - dims[id(t)] :])) for t, shape in changes]
    widths = [(t, shape) for t, shape in widths if shape != t.shape]
    try:
        plan = _widths.plan(before, widths, operation.gone()) if widths else None
    except _widths.CannotFollow:
        return
    _write(edit, operation, plan, keep)
    trace, error = edit.fits()
    if error is None:
        return
    at, (old_size, new_size) = where(error, trace), resized[0]
    raise SurgeryError(
        f"{edit.what}: the new {short_name(new)} changes the size of the image at {operation.path} from {_by(old_size)} to "
        f"{_by(new_size)}, which does not fit in {at.name}: {said(error)}{at.line}\n"
        f"  Nothing was changed. {_padding(new, old_size, new_size)}"
    ) from error


def _by(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))


def _padding(new: Module, old_size: tuple[int, ...], new_size: tuple[int, ...]) -> str:
    """What would keep the size of the image."""
    missing = [a - b for a, b in zip(old_size, new_size, strict=True)]
    if isinstance(new, _Conv) and not isinstance(new.padding, str) and set(new.stride) == {1} and not any(n % 2 for n in missing):
        wanted = [p + n // 2 for p, n in zip(new.padding, missing, strict=True)]
        if min(wanted) >= 0:
            return f"Try padding={wanted[0] if len(set(wanted)) == 1 else tuple(wanted)}, which gives {_by(old_size)} again."
    return f"Give it the stride and padding that give {_by(old_size)} again."
