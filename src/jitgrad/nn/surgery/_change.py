"""Change: what an edit did, and the way back. An edit is made whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol

from jitgrad._html import block, element, faint
from jitgrad.autograd import Tensor
from jitgrad.errors import DeviceError, DTypeError, JitgradError, ShapeError, SurgeryError
from jitgrad.nn._edit_mark import Members, edited
from jitgrad.nn._listed import Listed
from jitgrad.nn._trace import Trace, tensors_in
from jitgrad.nn._tree import count, every_parameter
from jitgrad.nn.module import Module
from jitgrad.nn.surgery._diff import Difference, Entry, compare, diff_html, diff_text, entries, tied, untied
from jitgrad.nn.surgery._fit import Example, Where, said, shapes_text, where
from jitgrad.nn.surgery._resize import Resize
from jitgrad.ops.random import get_rng_state, set_rng_state


class Step(Protocol):
    """A part of an edit that can be taken back."""

    def settle(self, inside: set[int]) -> None:
        """Note how things are when the whole edit is done; inside are the modules of the model."""

    def since(self, inside: set[int]) -> str:
        """What has been edited since the whole edit was done where this step was made, in words, or nothing."""

    def undo(self) -> None:
        """Take it back."""


class PutModule:
    """Another module under a name."""

    def __init__(self, path: str, parent: Module, name: str, new: Module) -> None:
        self.path, self.parent, self.name, self.new = path, parent, name, new
        self.old = parent._modules[name]
        self.order = list(parent._modules)
        parent._put_module(name, new)
        self.training = parent.training

    def settle(self, inside: set[int]) -> None:
        self.last = self.parent._modules.get(self.name)

    def since(self, inside: set[int]) -> str:
        if id(self.parent) not in inside:
            return f"the {type(self.parent).__name__} around {self.path} has left the model"
        return "" if self.parent._modules.get(self.name) is self.last else f"{self.path} is another module now"

    def undo(self) -> None:
        if self.old is not None:
            self.put_back(self.parent, self.name)
        table = self.parent._modules
        # A name that has been deleted and set again stands at the end, but where the order is one that the caller chooses.
        at_end = [*(n for n in self.order if n != self.name), self.name]
        if not isinstance(self.parent, Listed) and list(table) == at_end != self.order:
            table.update({n: table.pop(n) for n in self.order})
            edited()

    def put_back(self, parent: Module, name: str) -> None:
        """Put the old module under a name, which need not be its own."""
        assert self.old is not None
        parent._put_module(name, self.old)
        _follow(self.old, parent, self.training)


class EditMembers:
    """Other members, or another order, in a container, which the caller edits after this has been made."""

    def __init__(self, path: str, parent: Module) -> None:
        self.path, self.parent = path or "the model", parent
        self.before = list(parent._modules.items())
        self.shared = vars(parent).get("_shared")  # what a list shares on purpose, which it forgets where it stands there no more
        self.removed: list[Module] = []
        self.training = parent.training

    def settle(self, inside: set[int]) -> None:
        self.last = dict(self.parent._modules)
        left = set(map(id, self.last.values()))
        self.removed = [m for _, m in self.before if m is not None and id(m) not in left]

    def since(self, inside: set[int]) -> str:
        if id(self.parent) not in inside:
            return f"{self.path} has left the model"
        return "" if _same(self.parent._modules, self.last) else f"{self.path} has other members now"

    def undo(self) -> None:
        self.parent._modules.clear()
        self.parent._modules.update(self.before)
        if self.shared is not None:
            vars(self.parent)["_shared"] = self.shared
        edited()
        for m in self.removed:
            _follow(m, self.parent, self.training)


def _same(table: dict[str, Any], last: dict[str, Any]) -> bool:
    """The same objects under the same names in the same order."""
    return list(table) == list(last) and all(a is b for a, b in zip(table.values(), last.values(), strict=True))


def _follow(module: Module, parent: Module, training: bool) -> None:
    """A module that comes back follows a train() or eval() that its model has gone through meanwhile."""
    if parent.training != training:
        module.train(parent.training)


class SetModes:
    """A new module in the training mode of the one in whose place it comes; what the model had before keeps its own."""

    def __init__(self, new: Module, training: bool, keep: set[int]) -> None:
        self.before = [(m, m.training) for m in new.modules()]
        new.train(training)
        for m, mode in self.before:
            if id(m) in keep:
                m.training = mode
        self.after = [m.training for m, _ in self.before]

    def settle(self, inside: set[int]) -> None:
        pass

    def since(self, inside: set[int]) -> str:
        return ""

    def undo(self) -> None:
        for (m, mode), after in zip(self.before, self.after, strict=True):
            if m.training == after:
                m.training = mode


class SetRequiresGrad:
    """Whether a parameter wants gradients."""

    def __init__(self, path: str, p: Tensor, requires_grad: bool) -> None:
        self.path, self.p, self.before, self.after = path, p, p.requires_grad, requires_grad
        p.requires_grad_(requires_grad)

    def settle(self, inside: set[int]) -> None:
        pass

    def since(self, inside: set[int]) -> str:
        return "" if self.p.requires_grad == self.after else f"requires_grad of {self.path} is {self.p.requires_grad} now"

    def undo(self) -> None:
        self.p.requires_grad_(self.before)


class ResizeLayer:
    """A module with parameters of other sizes."""

    def __init__(self, resize: Resize, keep: str, cause: str) -> None:
        self.path, self.module, self.text, self.cause = resize.path, resize.module, resize.text, cause
        self.before = {name: vars(resize.module)[name] for name in resize.attributes}
        self.back = resize.apply(keep)

    def settle(self, inside: set[int]) -> None:
        self.stayed = id(self.module) in inside  # a later part of the edit may have replaced it
        self.last = dict(self.module._parameters)

    def since(self, inside: set[int]) -> str:
        if self.stayed and id(self.module) not in inside:
            return f"{self.path}, which was resized, is another module now"
        return "" if _same(self.module._parameters, self.last) else f"{self.path} has other parameters now"

    def undo(self) -> None:
        self.back()


class Edit:
    """The steps of an edit while it is made: all are taken back where its block raises."""

    def __init__(self, model: Module, what: str, example: Example | None) -> None:
        self.model, self.what, self.example = model, what, example
        self.rng_state = get_rng_state()
        self.before = entries(model)
        self.tied = tied(model)
        self.members = Members(model)
        self.modules = list(model.modules())  # held, so that their ids stay theirs
        self.inside = set(map(id, self.modules))
        self.parameters_before, self.trainable_before = _counts(model)
        self.steps: list[Step] = []
        self.trace: Trace | None = None
        self.misfit: SurgeryError | None = None  # where the model did not take the example before: it may do so afterwards
        if example is not None:
            self.trace, self.misfit = example.run_first(model)
        self.output_before = "" if self.trace is None else shapes_text(self.trace.calls[0].output)
        self.batch_before = self.batch_after = _batch(self.trace)
        self.output_after = ""

    def __enter__(self) -> Edit:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            while self.steps:
                self.steps.pop().undo()
            set_rng_state(self.rng_state)

    def put(self, path: str, parent: Module, name: str, new: Module) -> None:
        """PutModule another module under a name, in the training mode of the one that was there."""
        old = parent._modules[name]
        put = PutModule(path, parent, name, new)
        self.steps.append(put)
        if old is not None and new is not old:
            self.steps.append(SetModes(new, old.training, self.inside))

    def table(self, path: str, parent: Module) -> None:
        """Note the members of a container, which is going to be edited, once."""
        if not any(isinstance(s, EditMembers) and s.parent is parent for s in self.steps):
            self.steps.append(EditMembers(path, parent))

    def fits(self) -> tuple[Trace, Exception | None]:
        """The trace of the example on the model as edited so far, and the error where it does not take it."""
        assert self.example is not None
        trace, error = self.example.run(self.model)
        if error is None:
            self.trace = trace
            self.output_after = shapes_text(trace.calls[0].output)
            self.batch_after = _batch(trace) if self.misfit is None else self.batch_before
        return trace, error

    def refuse(self, error: Exception, trace: Trace, fix: str) -> SurgeryError:
        """What is to be raised where the edited model does not take the example."""
        at = where(error, trace)
        came = at.module is not None and id(at.module) not in self.inside
        misfit = f"the new {at.name} does not fit there" if came else f"{self._as_before(at)} no longer fits"
        if isinstance(error, (DTypeError, DeviceError)):
            fix = "Give the new layer the dtype and device of those around it first: new.to(...)."
        elif not isinstance(error, ShapeError):
            fix = ""
        elif came:
            fix = "Give it the sizes of what comes in."
        if isinstance(error, JitgradError):
            error.__traceback__ = None  # its message says all, and the way to it through the dry run is thirty frames long
        return SurgeryError(f"{self.what}: {misfit}: {said(error)}{at.line}\n  Nothing was changed. {fix}".rstrip())

    def _as_before(self, at: Where) -> str:
        """The name of a layer by its path before the edit."""
        paths = [e.path for e in self.before if at.module is not None and e.module == id(at.module)]
        if not paths or at.path in paths:
            return at.name
        return f"{paths[0]} ({at.layer}, now {at.path})"

    def check(self, fix: str) -> None:
        """SurgeryError where there is an example that the edited model does not take."""
        if self.example is not None:
            trace, error = self.fits()
            if error is not None and self.misfit is not None:
                raise self.misfit from self.misfit.__cause__
            if error is not None:
                raise self.refuse(error, trace, fix) from error

    def change(self) -> Change:
        """The finished edit."""
        return Change(self)


def _counts(model: Module) -> tuple[int, int]:
    """How many parameters a model has, and how many of them want gradients."""
    parameters = every_parameter(model.modules())
    return count(parameters), count(p for p in parameters if p.requires_grad)


def _batch(trace: Trace | None) -> list[int]:
    """The sizes of dim 0 of the model's outputs."""
    return [] if trace is None else [t.shape[0] for t in tensors_in(trace.calls[0].output) if t.ndim]


class Change:
    """What an edit of a model did, to be read and to be taken back: ``print(change)``, ``change.undo()``.

    ``model`` is the edited model, ``what`` the edit in words, ``lines`` the diff, each line with ``sign`` ("-" before, "+" after, ">"
    moved), ``path``, ``layer``, ``parameters``, ``count`` and, where it moved, ``to``; ``paths`` the paths in it; ``resized`` the modules
    that were made to fit, in words; ``parameters_before`` and ``parameters_after`` the counts of the whole model, ``trainable_before`` and
    ``trainable_after`` those of what wants gradients; ``output_before`` and ``output_after`` the shapes of its output, in words, where an
    example was given (before: "" where only the edited model takes it), and ``batch_changed`` whether its batch size, dim 0, is another;
    ``notes`` what else is to be known, such as tied weights that no longer are. It holds what the edit took away.

    >>> from jitgrad import nn
    >>> from jitgrad.nn import surgery
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> change = surgery.replace(net, 1, nn.Tanh())
    >>> change
    replace 1 in Sequential
      - 1  ReLU()
      + 1  Tanh()
      parameters: 9, as before
    >>> change.undo()
    >>> net[1]
    ReLU()
    """

    def __init__(self, edit: Edit) -> None:
        self.model = edit.model
        self.what = edit.what
        self.parameters_before = edit.parameters_before
        self.parameters_after, self.trainable_after = _counts(edit.model)
        self.trainable_before = edit.trainable_before
        self.output_before, self.output_after = edit.output_before, edit.output_after
        self.batch_changed = edit.batch_before != edit.batch_after
        self.notes = tuple(self._noted(edit))
        self.undone = False
        self._steps = list(edit.steps)
        inside = {id(m) for m in edit.model.modules()}
        for s in self._steps:
            s.settle(inside)
        self.resized = tuple(s.text for s in self._steps if isinstance(s, ResizeLayer) and s.stayed)
        edit.members.changed()
        after: list[Entry] = entries(edit.model)
        self.lines: tuple[Difference, ...] = tuple(compare(edit.before, after))

    def _noted(self, edit: Edit) -> Iterator[str]:
        if any(isinstance(s, PutModule) for s in edit.steps):
            yield from untied(edit.tied, edit.model)
        if self.batch_changed:
            a, b = (" and ".join(map(str, sizes)) for sizes in (edit.batch_before, edit.batch_after))
            yield f"the batch size of the output has changed from {a} to {b}: a size written in a reshape may have moved samples"

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that the diff speaks of, each once: before the edit and after it."""
        return tuple(dict.fromkeys(p for line in self.lines for p in (line.path, line.to) if p))

    def undo(self) -> None:
        """Make the model what it was before: members and names in order, parameters (the same objects), flags.

        Other edits may have been made elsewhere meanwhile. A module that comes back follows a ``train()`` or ``eval()`` of the model
        since; a ``to()`` since has not reached it. Raises SurgeryError, and changes nothing, where what this edit made has been edited
        since, or has been undone already.
        """
        if self.undone:
            raise SurgeryError(f"{self.what}: this change has been undone already.")
        since = self._since()
        if since:
            raise SurgeryError(f"{self.what}: cannot be undone, as the model has been edited since: {'; '.join(since)}. Undo that first.")
        members = Members(self.model)
        for s in reversed(self._steps):
            s.undo()
        members.changed()
        self.undone = True

    def _since(self) -> list[str]:
        """What has been edited since where this edit was made, in words: where there is such a thing, undo() is refused."""
        inside = {id(m) for m in self.model.modules()}
        return list(dict.fromkeys(words for s in self._steps if (words := s.since(inside))))

    def _head(self) -> str:
        return f"{self.what} in {type(self.model).__name__}" + (" (undone)" if self.undone else "")

    def _totals(self) -> list[str]:
        a, b = self.parameters_before, self.parameters_after
        total = [f"parameters: {a:,}, as before" if a == b else f"parameters: {a:,} -> {b:,} ({b - a:+,})"]
        if self.trainable_before - self.trainable_after != a - b:
            total.append(f"trainable: {self.trainable_before:,} -> {self.trainable_after:,}")
        if self.output_after:
            a_out, b_out = self.output_before, self.output_after
            changed = f"output: {a_out} -> {b_out}" if a_out else f"output: {b_out}; before, the example did not fit"
            total.append(f"output: {b_out}, as before" if a_out == b_out else changed)
        return total + [f"note: {text}" for text in self.notes]

    def __repr__(self) -> str:
        lines = diff_text(self.lines) or ["  nothing has changed"]
        return "\n".join([self._head(), *lines, *(f"  {t}" for t in self._totals())])

    def _repr_html_(self) -> str:
        style = "border-collapse:collapse;margin:.3em 0;background:transparent;color:inherit;font:inherit"
        rows: Any = diff_html(self.lines)
        body = element("table", *rows, style=style) if rows else element("div", "nothing has changed")
        return block(element("b", self._head()), body, *(element("div", faint(t)) for t in self._totals()))
