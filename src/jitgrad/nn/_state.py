"""State dicts: collecting a module's tensors by name, and loading them all or not at all."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from jitgrad.autograd import RemovableHandle, Tensor, check_writable, clone, copy_, detach, no_grad
from jitgrad.errors import ArgumentError, StateDictError
from jitgrad.nn._edit_mark import edited
from jitgrad.nn._hidden import warn_of_hidden
from jitgrad.nn._hooks import enter_hook
from jitgrad.nn._misfits import Misfit, complaint
from jitgrad.nn.parameter import Parameter
from jitgrad.ops.convert import to

if TYPE_CHECKING:
    from jitgrad.nn.module import Module

EXTRA_STATE = "_extra_state"
# What classes written for PyTorch may override to change a state dict, and what to use.
_INSTEAD = {
    "_load_from_state_dict": "register_load_state_dict_pre_hook, or set_extra_state",
    "_save_to_state_dict": "register_state_dict_post_hook, or get_extra_state",
}


class Stateful:
    """The part of Module that gives and takes state dicts."""

    _version = 1  # of the layout of the state dict; a class that changes its layout counts on
    _state_dict_pre_hooks: OrderedDict[int, Any]
    _state_dict_hooks: OrderedDict[int, Any]
    _load_state_dict_pre_hooks: OrderedDict[int, Any]
    _load_state_dict_post_hooks: OrderedDict[int, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, instead in _INSTEAD.items():
            if name in cls.__dict__:
                raise TypeError(f"{cls.__name__} defines {name}, which is never called. Use {instead}.")

    def state_dict(self, *, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False) -> dict[str, Any]:
        """Parameters, persistent buffers and extra states by dotted path, tensors on the module's own memory and outside the graph.

        Parameters
        ----------
        destination
            A dict to fill and return, instead of a new one.
        prefix
            What every path starts with.
        keep_vars
            Give the parameters themselves, not detached.

        >>> from jitgrad import nn
        >>> list(nn.Sequential(nn.Linear(1, 2)).state_dict())
        ['0.weight', '0.bias']
        """
        if destination is None:
            warn_of_hidden(cast("Module", self))
        state = empty() if destination is None else destination
        collect(cast("Module", self), state, prefix, keep_vars)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> IncompatibleKeys:
        """Copy tensors into parameters and buffers by dotted path: all of them, or on any error none.

        Parameters
        ----------
        state_dict
            Path to Tensor; of a tensor that has several paths one is enough. Values are cast and moved.
        strict
            Whether missing and unexpected paths are an error; wrong shapes always are.
        assign
            Put the given tensors in place of the module's own instead of copying.

        Tensors that are shared stay shared. Where a hook or set_extra_state raises, tensors and extra states are put back.
        Raises StateDictError (a ValueError and RuntimeError) with a table of the paths that are missing, unexpected or misshapen, and
        the line that mends them where they differ by a prefix, by shifted indices of a list, or by the name of a part.
        Returns the missing and unexpected paths.

        >>> from jitgrad import nn
        >>> nn.Linear(1, 2).load_state_dict(nn.Linear(1, 2).state_dict())
        <All keys matched successfully>
        """
        return load(cast("Module", self), state_dict, strict, assign)

    def get_extra_state(self) -> Any:
        """What state_dict keeps beside tensors, under the key ``_extra_state``; to be overridden together with set_extra_state.

        >>> from jitgrad import nn
        >>> class Counted(nn.Identity):
        ...     seen = 0
        ...     def get_extra_state(self):
        ...         return self.seen
        ...     def set_extra_state(self, state):
        ...         self.seen = state
        >>> a, b = Counted(), Counted()
        >>> a.seen = 3
        >>> _ = b.load_state_dict(a.state_dict())
        >>> b.seen
        3
        """
        raise NotImplementedError(f"{type(self).__name__} has no extra state: define get_extra_state and set_extra_state in it.")

    def set_extra_state(self, state: Any) -> None:
        """Take back what get_extra_state gave; called by load_state_dict after the tensors are loaded."""
        raise NotImplementedError(f"{type(self).__name__} has no extra state: define get_extra_state and set_extra_state in it.")

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before state_dict collects this module."""
        return enter_hook(self._state_dict_pre_hooks, hook, False)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` after state_dict has collected this module and all below it.

        It may change the dict, and returns None.
        """
        return enter_hook(self._state_dict_hooks, hook, False)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call a hook before load_state_dict looks at the part of the dict that belongs to this module.

        It is ``hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)``. It may rename,
        add and remove keys of the dict, which is a copy, and append to the three lists.
        """
        return enter_hook(self._load_state_dict_pre_hooks, hook, False)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` after load_state_dict has loaded this module and all below it.

        It may change the lists missing_keys and unexpected_keys, by which strict then judges, and returns None.
        """
        return enter_hook(self._load_state_dict_post_hooks, hook, False)


class IncompatibleKeys(NamedTuple):
    """What load_state_dict(strict=False) passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


# ---- collecting
def own_state(module: Module) -> list[tuple[str, Tensor]]:
    """Names of parameters and persistent buffers of the module itself, and the tensors."""
    state: list[tuple[str, Tensor]] = [(k, v) for k, v in module._parameters.items() if v is not None]
    if module._buffers:
        state += [(k, v) for k, v in module._buffers.items() if v is not None and k not in module._non_persistent_buffers_set]
    return state


def overrides(module: Module, name: str) -> bool:
    """Whether the module's class defines one of the methods for extra state itself."""
    return getattr(type(module), name) is not getattr(Stateful, name)


def empty() -> OrderedDict[str, Any]:
    """A dict to collect in; its ``_metadata`` has the layout versions by path, as PyTorch's."""
    state: OrderedDict[str, Any] = OrderedDict()
    state._metadata = OrderedDict()  # type: ignore[attr-defined]
    return state


def collect(module: Module, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
    """Fill destination depth first, parents before children; a shared tensor appears under each of its names."""
    local_metadata = {"version": module._version}
    if hasattr(destination, "_metadata"):
        destination._metadata[prefix[:-1]] = local_metadata
    for hook in tuple(module._state_dict_pre_hooks.values()):
        hook(module, prefix, keep_vars)
    for name, t in own_state(module):
        destination[prefix + name] = t if keep_vars else detach(t)
    if overrides(module, "get_extra_state"):
        destination[prefix + EXTRA_STATE] = module.get_extra_state()
    for name, child in module._modules.items():
        if child is not None:
            child.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)  # a class may have its own
    for hook in tuple(module._state_dict_hooks.values()):
        if hook(module, destination, prefix, local_metadata) is not None:
            raise ArgumentError(f"state_dict: a post-hook of {type(module).__name__} returned something. It changes the dict in place.")


# ---- loading
def load(module: Module, given: Mapping[str, Any], strict: bool, assign: bool) -> IncompatibleKeys:
    """Check every key, then write; see Module.load_state_dict."""
    if not isinstance(given, Mapping):
        raise TypeError(f"load_state_dict: expected a dict of tensors, given {type(given).__name__}.")
    for k in given:
        if not isinstance(k, str):
            raise TypeError(f"load_state_dict: expected names as keys, given {k!r:.60}. Try the state_dict() of a module.")
    keys, messages = IncompatibleKeys([], []), list[str]()
    modules = [(f"{path}." if path else "", m) for path, m in module.named_modules(remove_duplicate=False)]
    state = _after_pre_hooks(modules, given, assign, keys, messages)
    homes = {prefix + name: (m, name, t) for prefix, m in modules for name, t in own_state(m)}
    extras = {prefix + EXTRA_STATE: m for prefix, m in modules if overrides(m, "set_extra_state")}
    loaded = {id(homes[k][2]) for k in state if k in homes}
    # Of a tensor with several names one is enough.
    keys.missing_keys.extend(k for k, (_, _, t) in homes.items() if k not in state and id(t) not in loaded)
    keys.missing_keys.extend(k for k in extras if k not in state)
    keys.unexpected_keys.extend(k for k in state if k not in homes and k not in extras)
    wrong = [row for row in (_wrong(k, homes[k][2], v) for k, v in state.items() if k in homes) if row is not None]

    def judge(keys: IncompatibleKeys, wrong: list[Misfit], messages: list[str]) -> None:
        if any((*keys, wrong, messages)):
            ours = {k: t.shape for k, (_, _, t) in homes.items()} | dict.fromkeys(extras, "extra state")
            ids = {k: id(t) for k, (_, _, t) in homes.items()} | {k: id(m) for k, m in extras.items()}
            theirs = {k: _kind(k, v) for k, v in state.items()}
            # Where a hook renames keys, a renaming of the given ones would meet it.
            text = complaint(type(module).__name__, ours, ids, theirs, *keys, wrong, messages, list(state) == list(given))
            inner = next((k for k, v in given.items() if isinstance(v, Mapping) and not ours.keys().isdisjoint(v)), None)
            raise StateDictError(text if inner is None else f"{text}\nThe model's keys are in an entry of it. Try state_dict[{inner!r}].")

    post_hooks = [(m, tuple(m._load_state_dict_post_hooks.values())) for m in _children_first(module)]
    may_change_keys = any(hooks for _, hooks in post_hooks)
    judge(IncompatibleKeys([], []) if may_change_keys or not strict else keys, wrong, messages)

    undo: list[Callable[[], None]] = []  # what puts back the old state, where something may still fail
    try:
        _write(homes, state, assign, undo if may_change_keys or extras else None)
        for k, m in extras.items():
            if k in state:
                if overrides(m, "get_extra_state"):
                    undo.append(_setting_back(m, m.get_extra_state()))
                m.set_extra_state(state[k])
        for m, hooks in post_hooks:
            for hook in hooks:
                if hook(m, keys) is not None:
                    raise ArgumentError(f"load_state_dict: a post-hook of {type(m).__name__} returned something. It changes keys in place.")
        if strict and may_change_keys:
            judge(keys, [], [])
    except BaseException:
        for step in reversed(undo):
            step()
        raise
    return keys


def _after_pre_hooks(modules: Any, given: Mapping[str, Any], assign: bool, keys: IncompatibleKeys, messages: list[str]) -> dict[str, Any]:
    """A copy of the dict after the pre-hooks, parents first; a module's hooks see the keys below its path."""
    metadata = getattr(given, "_metadata", None) or {}
    state: dict[str, Any] = OrderedDict(given)
    for prefix, m in modules:
        hooks = tuple(m._load_state_dict_pre_hooks.values())
        if not hooks:
            continue
        local = OrderedDict((k, v) for k, v in state.items() if k.startswith(prefix))
        if metadata:
            local._metadata = metadata  # type: ignore[attr-defined]
        state = {k: v for k, v in state.items() if k not in local}
        local_metadata = dict(metadata.get(prefix[:-1], {}))
        if assign:
            local_metadata["assign_to_params_buffers"] = True
        for hook in hooks:
            hook(m, local, prefix, local_metadata, True, *keys, messages)
        state.update(local)
    return state


def _children_first(module: Module) -> list[Module]:
    """Modules in the order in which they are done loading."""
    below = [m for child in module._modules.values() if child is not None for m in _children_first(child)]
    return [*below, module]


def _wrong(key: str, target: Tensor, value: Any) -> Misfit | None:
    """The row of a value that does not fit its place."""
    model, given = str(target.shape), str(value.shape) if isinstance(value, Tensor) else type(value).__name__
    if not isinstance(value, Tensor):
        return Misfit(key, "no Tensor", model, given)
    if value.shape != target.shape:
        return Misfit(key, "wrong shape", model, given)
    if target.is_floating_point() and not value.is_floating_point():
        return Misfit(key, "wrong dtype", target.dtype.name, value.dtype.name)
    return None


def _kind(key: str, value: Any) -> Any:
    """What must be equal for a value to fit its place."""
    if isinstance(value, Tensor):
        return value.shape
    return "extra state" if key.endswith(EXTRA_STATE) else type(value).__name__


Homes = dict[str, tuple["Module", str, Tensor]]


def _write(homes: Homes, given: Mapping[str, Tensor], assign: bool, undo: list[Callable[[], None]] | None) -> None:
    found = [(t, given[k]) for k, (_, _, t) in homes.items() if k in given]
    if assign:
        _assign(homes, found, undo)
        return
    with no_grad():
        # What may fail comes first; the copies cannot.
        ready = [(t, to(v, t.dtype, t.device)) for t, v in found]
        for t, _ in ready:
            check_writable(t, "load_state_dict")
        if undo is not None:
            undo.extend(_copying_back(t, clone(t)) for t, _ in ready)
        for t, v in ready:
            copy_(t, v)


def _assign(homes: Homes, found: list[tuple[Tensor, Tensor]], undo: list[Callable[[], None]] | None) -> None:
    """Put given tensors in the place of the old ones, under all names of each: what was shared stays shared."""
    new: dict[int, Tensor] = {}
    for t, v in found:
        if isinstance(t, Parameter):
            p = v if isinstance(v, Parameter) else Parameter(v, t.requires_grad)
            new[id(t)] = p.requires_grad_(t.requires_grad)
        else:
            new[id(t)] = v
    for m, name, t in homes.values():
        if id(t) in new:
            table: Any = m._parameters if name in m._parameters else m._buffers
            table[name] = new[id(t)]
            if undo is not None:
                undo.append(_putting_back(table, name, t))
    edited()


def _putting_back(table: dict[str, Any], name: str, old: Tensor) -> Callable[[], None]:
    def put_back() -> None:
        table[name] = old
        edited()

    return put_back


def _copying_back(t: Tensor, old: Tensor) -> Callable[[], None]:
    def copy_back() -> None:
        with no_grad():
            copy_(t, old)

    return copy_back


def _setting_back(module: Module, old: Any) -> Callable[[], None]:
    return lambda: module.set_extra_state(old)
