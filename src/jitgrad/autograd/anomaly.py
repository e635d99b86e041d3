"""Anomaly mode: errors and NaN in backward name the line of the forward that made the op.

A listener remembers, on each node, the line that made it; a walk of its own checks what the rules return and adds the lines to errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple, NoReturn

import numpy as np

from jitgrad import kernels
from jitgrad.autograd.door import SHAPES, apply_any
from jitgrad.autograd.graph import Walk, _check_kept, _checked, _freed
from jitgrad.autograd.lines import Line, user_line
from jitgrad.autograd.listener import Listener
from jitgrad.autograd.mode import Listening, change_modes, current_mode, is_grad_enabled
from jitgrad.autograd.node import Leaf, Node, last_write, tick
from jitgrad.autograd.primitive import Primitive
from jitgrad.autograd.primitives import OUTPUT_OF
from jitgrad.autograd.tensor import Tensor
from jitgrad.errors import GradError, JitgradError


class Origin(NamedTuple):
    """Where a node was made: the user's line and, for a node of a backward, the node whose rule made it, in words and with its own."""

    line: Line | None
    rule: str
    before: Origin | None


# The node whose rule runs: what is recorded meanwhile, with create_graph=True, comes from it.
_running: ContextVar[Node | None] = ContextVar("jitgrad_running_rule", default=None)


# ---- forward: remember lines
class Remember(Listener):
    """Gives each node that is made while it listens its Origin. Lines live and die with their nodes."""

    def __init__(self, walk: type[Walk]) -> None:
        self.walk = walk

    def __call__(self, prim: Primitive, inputs: Sequence[Tensor | None], p: tuple[Any, ...]) -> Any:
        if not is_grad_enabled():
            return apply_any(prim, inputs, p)
        start = tick()
        result = apply_any(prim, inputs, p)
        made = [t.node for t in (result if type(result) is tuple else (result,))]
        made += [t.node for t in inputs if t is not None and t.base is not None]  # a view whose base was written to got a new node
        made = [n for n in made if type(n) is Node and n.seq > start]
        if made:
            origin = _origin()
            for n in made:
                n.line = origin
                if n.prim is OUTPUT_OF:
                    n.edges[0].line = origin
        return result

    def made(self, node: Node) -> None:
        node.line = _origin()


def _origin() -> Origin:
    n = _running.get()
    return Origin(user_line(), "", None) if n is None else Origin(user_line(), n.prim.name, getattr(n, "line", None))


def _where(n: Node) -> str:
    """A node's op and line in words, and those of the nodes whose rules made it."""
    origin = getattr(n, "line", None)
    words = f"the backward of {n.prim.name}, {_recorded(origin)}"
    while origin is not None and origin.rule:
        words += f"\n  for the backward of {origin.rule}, {_recorded(origin.before)}"
        origin = origin.before
    return words


def _recorded(origin: Origin | None) -> str:
    if origin is None:
        return "recorded outside of anomaly mode: enter it around the forward"
    return "recorded by jitgrad itself" if origin.line is None else f"recorded at {origin.line}"


# ---- backward: check and name
class NamingWalk(Walk):
    """A walk that adds the lines of the forward to its errors: in the text of jitgrad's, as a note to others."""

    def _chain(self, n: Node, g: Any) -> None:
        """One node; what follows goes over the heap, which gives the same sums in the same order as the quicker walk."""
        if n.hooks is not None:
            g = self._hooked(n, g)
        token = _running.set(n)
        try:
            self._node(n, g)
        except Exception as error:
            _tell(error, _where(n))
            raise
        finally:
            _running.reset(token)

    def _node(self, n: Node, g: Any) -> None:
        needed, prim, saved = self.needed, n.prim, n.saved
        if needed is not None and self.targets is not None:
            if n in self.targets:
                self.captured = self.captured or {}
                self.captured[n] = g
            if not any(e in needed for e in n.edges):
                return
        if saved is None:
            _freed(n)
        if n.kept and last_write[0] > n.seq:
            _check_kept(n, saved)
        # One rule for all inputs, or one for each; each gradient is handed on before the next rule runs, as in the quicker walk.
        given = None if prim.grads is None else [ge for _, ge in zip(n.edges, prim.grads(g, n), strict=True)]
        for i, e in enumerate(n.edges):
            if e is None or (needed is not None and e not in needed):
                continue
            rule = None if given is not None else prim.rules[i]
            ge = given[i] if given is not None else None if rule is None else rule(g, n)
            if ge is None:
                continue
            if e.shape is not None:  # else a tuple for the node of several outputs
                ge = _checked(prim, e, ge)
                if ge is not g:
                    self._check(n, i, g, ge)
            self._push(e, ge)
        if n.kept & ~SHAPES and not self.retain_graph:
            n.saved = None

    def _hooked(self, n: Node | Leaf, g: Tensor) -> Tensor:
        try:
            return super()._hooked(n, g)
        except Exception as error:
            _tell(error, f"a hook on the gradient of a leaf of shape {n.shape}" if isinstance(n, Leaf) else f"a hook before {_where(n)}")
            raise

    def _check(self, n: Node, i: int, g: Any, ge: Tensor) -> None:
        """Checks of a gradient that a rule returned."""


class CheckingWalk(NamingWalk):
    """A naming walk that raises GradError at the first gradient that has NaN."""

    def run(self, roots: list[tuple[Any, Tensor]]) -> None:
        super().run(roots)
        for leaf, g in self.leaves.items():
            if _has_nan(g.array):
                raise GradError(
                    f"backward: the gradient of a leaf of shape {leaf.shape} has NaN, though no rule returned one. "
                    "Look at what was passed to backward(), at hooks, and at sums of inf and -inf."
                )

    def _check(self, n: Node, i: int, g: Any, ge: Tensor) -> None:
        if _has_nan(ge.array):
            _refuse_nan(n, i, g, ge)


def _tell(error: Exception, where: str) -> None:
    """Add a place to an error, once: a backward inside a backward comes by several times."""
    if isinstance(error, JitgradError):
        if where not in str(error.args[0]):
            error.args = (f"{error.args[0]}\n  in {where}", *error.args[1:])
    elif f"in {where}" not in getattr(error, "__notes__", ()):
        error.add_note(f"in {where}")


def _has_nan(x: Any) -> bool:
    """Whether there is a NaN, which is then NumPy's maximum; no kernel takes float16."""
    if not x.size:
        return False
    high = kernels.of(x).to_host(x).max()
    return bool(high != high)


def _refuse_nan(n: Node, i: int, g: Any, ge: Tensor) -> NoReturn:
    """Raise for NaN in the gradient of input i, with what the rule had at the first of them, and with what that tells."""
    prim = n.prim
    host = kernels.of(ge.array).to_host(ge.array)
    bad = np.isnan(host)
    at = tuple(int(k) for k in np.argwhere(bad)[0])
    came = [("g", t.array) for t in (g if type(g) is tuple else (g,)) if t is not None]
    kept, values = _kept(n), []
    for name, x in [*came, *kept]:
        if x.shape == host.shape or x.size == 1:
            x = kernels.of(x).to_host(x)
            values.append(f"{name} = {x[at] if x.shape == host.shape else x.reshape(())}")
    which = f"its input {prim.args[i]}" if len(prim.args) == len(n.edges) and prim.plain == len(prim.args) else f"its input {i}"
    there = f" at {list(at)}" * (host.ndim > 0) + (f", where {', '.join(values)}" if values else "")
    raise GradError(
        f"backward of {prim.name}: expected a gradient without NaN for {which}, given {int(bad.sum())} NaN in {host.size} "
        f"element{'s' * (host.size != 1)}, the first{there}. {_cause(came, kept)}"
    )


def _kept(n: Node) -> list[tuple[str, Any]]:
    """Float inputs and outputs that a node has kept, by name."""
    if n.saved is None:
        return []
    tensors, _, outs, _ = n.saved
    plain = n.prim.plain == len(n.prim.args)
    kept = [(n.prim.args[i] if plain else f"input {i}", t.array) for i, t in enumerate(tensors) if t is not None]
    kept += [(name, array) for name, (array, _) in zip(n.prim.outputs or ["output"], outs or (), strict=False)]
    return [(name, x) for name, x in kept if x.dtype.kind == "f"]


def _cause(came: list[tuple[str, Any]], kept: list[tuple[str, Any]]) -> str:
    """What can be said of the cause from the values that a rule had, with the fix."""
    if any(_has_nan(x) for _, x in came):
        return "The gradient that came to it had NaN already: look at what was passed to backward(), at hooks, and at sums of inf and -inf."
    names = [name for name, x in kept if _has_nan(x)]
    if names:
        return f"Its {' and '.join(names)} had NaN already in the forward: nn.diagnose(model, x) names the first."
    if any(np.isinf(kernels.of(x).to_host(x)).any() for _, x in [*came, *kept]):
        return (
            "It met infinity, as the slope of a root at 0 is, or an overflow: keep the values away from there, e.g. with clamp(min=1e-6)."
        )
    return "It met numbers without a slope, such as 0 / 0: keep the values away from there, e.g. with clamp(min=1e-6)."


# ---- on and off
_ANOMALY = {check_nan: Remember(CheckingWalk if check_nan else NamingWalk) for check_nan in (False, True)}
# Whether it was on before each entered block of detect_anomaly, innermost first, as (listener, rest).
_before: ContextVar[Any] = ContextVar("jitgrad_anomaly_before", default=None)


def _current() -> Remember | None:
    m = current_mode()
    while not isinstance(m, bool):
        if isinstance(m.listener, Remember):
            return m.listener
        m = m.below
    return None


def _switch(listener: Remember | None) -> None:
    """Let this one listen, or none, here and after all blocks that are entered now."""

    def without(m: bool | Listening) -> bool | Listening:
        if isinstance(m, bool):
            return m
        below = without(m.below)
        return below if isinstance(m.listener, Remember) else Listening(m.listener, below, m.grad)

    def changed(m: bool | Listening) -> bool | Listening:
        m = without(m)
        return m if listener is None else Listening(listener, m, m if isinstance(m, bool) else m.grad)

    change_modes(changed)


def is_anomaly_enabled() -> bool:
    """Whether anomaly mode is on, in this thread or asyncio task.

    >>> import jitgrad as jg
    >>> with jg.autograd.detect_anomaly():
    ...     jg.is_anomaly_enabled()
    True
    """
    return _current() is not None


def is_anomaly_check_nan_enabled() -> bool:
    """Whether anomaly mode is on and checks gradients for NaN.

    >>> import jitgrad as jg
    >>> with jg.autograd.detect_anomaly(check_nan=False):
    ...     jg.is_anomaly_check_nan_enabled()
    False
    """
    return _current() is _ANOMALY[True]


def _listener(name: str, mode: bool, check_nan: bool) -> Remember | None:
    for given in (mode, check_nan):
        if not isinstance(given, bool):
            raise TypeError(f"{name}: expected True or False, given {given!r}.")
    return _ANOMALY[check_nan] if mode else None


class detect_anomaly:  # noqa: N801  (PyTorch's name)
    """Anomaly mode for a ``with`` block around forward and backward: what fails in backward names the line of the forward that made the op.

    The first gradient with NaN that a backward rule returns is a GradError: it names op, input, the values there and the line.
    Errors raised in backward, in rules, hooks or your own Functions, name the line, too: jitgrad's in their text, others in a note.
    It is for looking for a mistake: forward and backward take about 3 times as long on tiny tensors, a tenth longer where the
    arithmetic counts. On a card each gradient is copied to the host to be checked. It is on in this thread or asyncio task only.

    Parameters
    ----------
    check_nan
        Whether gradients are checked for NaN.

    >>> import jitgrad as jg
    >>> x = jg.tensor([4.0, 0.0], requires_grad=True)
    >>> with jg.autograd.detect_anomaly():
    ...     y = (x * x).sqrt()
    ...     y.sum().backward()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    jitgrad.errors.GradError: backward of mul: expected a gradient without NaN for its input a, given 1 NaN in 2 elements, ...
      in the backward of mul, recorded at <doctest ...>:2 in <module>: y = (x * x).sqrt()
    """

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan
        self._listener = _listener("detect_anomaly", True, check_nan)

    def __enter__(self) -> None:
        _before.set((_current(), _before.get()))
        _switch(self._listener)

    def __exit__(self, *exc: object) -> None:
        listener, rest = _before.get()
        _before.set(rest)
        _switch(listener)


class set_detect_anomaly:  # noqa: N801
    """Turn anomaly mode on or off from here on, or for a ``with`` block; see detect_anomaly.

    It holds in this thread or asyncio task until it is set again; called in a hook, until that backward ends.

    Parameters
    ----------
    mode
        Whether it is on.
    check_nan
        Whether gradients are checked for NaN while it is on.

    >>> import jitgrad as jg
    >>> with jg.autograd.set_detect_anomaly(True):
    ...     jg.is_anomaly_enabled()
    True
    >>> jg.is_anomaly_enabled()
    False
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        listener = _listener("set_detect_anomaly", mode, check_nan)
        self._before = _current()
        _switch(listener)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        _switch(self._before)
