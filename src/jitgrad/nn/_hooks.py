"""Forward hooks: how they are entered, and the call that runs them."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from jitgrad.autograd import RemovableHandle

if TYPE_CHECKING:
    from jitgrad.nn.module import Module


def enter_hook(hooks: OrderedDict[int, Any], entry: tuple[Any, bool, bool], prepend: bool) -> RemovableHandle:
    """Enter (hook, with_kwargs, always_call) last or, with prepend, first."""
    if not callable(entry[0]):
        raise TypeError(f"a hook is expected to be callable, given {type(entry[0]).__name__}.")
    handle = RemovableHandle(hooks, entry)
    if prepend:
        hooks.move_to_end(next(reversed(hooks)), last=False)
    return handle


def call_with_hooks(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Pre-hooks, forward, hooks; hooks may be removed while they run."""
    called: set[int] = set()
    try:
        for hook, with_kwargs, _ in tuple(module._forward_pre_hooks.values()):
            args, kwargs = _after_pre_hook(hook, with_kwargs, module, args, kwargs)
        output = module.forward(*args, **kwargs)
        for key, entry in tuple(module._forward_hooks.items()):
            called.add(key)
            changed = _run(entry, module, args, kwargs, output)
            output = output if changed is None else changed
        return output
    except Exception:
        for key, entry in tuple(module._forward_hooks.items()):
            if entry[2] and key not in called:
                _run(entry, module, args, kwargs, None)
        raise


def _run(entry: tuple[Any, bool, bool], module: Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    hook, with_kwargs, _ = entry
    return hook(module, args, kwargs, output) if with_kwargs else hook(module, args, output)


def _after_pre_hook(hook: Any, with_kwargs: bool, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not with_kwargs:
        changed = hook(module, args)
        if changed is None:
            return args, kwargs
        return (changed if isinstance(changed, tuple) else (changed,)), kwargs
    changed = hook(module, args, kwargs)
    if changed is None:
        return args, kwargs
    if not (isinstance(changed, tuple) and len(changed) == 2):
        raise TypeError(f"a forward pre-hook with kwargs is expected to return None or (args, kwargs), given {type(changed).__name__}.")
    return changed
