"""State dicts: collecting a module's tensors by name, and loading them all or not at all."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from jitgrad.autograd import Tensor, copy_, detach, no_grad
from jitgrad.errors import StateDictError
from jitgrad.nn.parameter import Parameter
from jitgrad.ops.convert import to

if TYPE_CHECKING:
    from jitgrad.nn.module import Module


class IncompatibleKeys(NamedTuple):
    """What load_state_dict(strict=False) passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


def own_state(module: Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers of the module itself, by name."""
    state: dict[str, Tensor] = {k: v for k, v in module._parameters.items() if v is not None}
    for k, v in module._buffers.items():
        if v is not None and k not in module._non_persistent_buffers_set:
            state[k] = v
    return state


def collect(module: Module, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
    """Fill destination depth first, parents before children; a shared tensor appears under each of its names."""
    for name, t in own_state(module).items():
        destination[prefix + name] = t if keep_vars else detach(t)
    for name, child in module._modules.items():
        if child is not None:
            child.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)


def load(module: Module, given: Mapping[str, Any], strict: bool, assign: bool) -> IncompatibleKeys:
    """Check every key, then write; see Module.load_state_dict."""
    if not isinstance(given, Mapping):
        raise TypeError(f"load_state_dict: expected a dict of tensors, given {type(given).__name__}.")
    homes = {
        (f"{path}.{name}" if path else name): (m, name, t)
        for path, m in module.named_modules(remove_duplicate=False)
        for name, t in own_state(m).items()
    }
    loaded = {id(homes[k][2]) for k in given if k in homes}
    # Of a tensor with several names one is enough.
    missing = [k for k, (_, _, t) in homes.items() if k not in given and id(t) not in loaded]
    unexpected = [k for k in given if k not in homes]
    wrong = [_misfit(k, homes[k][2], v) for k, v in given.items() if k in homes]
    problems = [w for w in wrong if w]
    if strict:
        problems = [
            *(f"missing {k}" + _did_you_mean(k, unexpected) for k in missing),
            *(f"unexpected {k}" + _did_you_mean(k, missing) for k in unexpected),
            *problems,
        ]
    if problems:
        raise StateDictError(
            f"load_state_dict: {len(problems)} of the keys do not fit {type(module).__name__}, nothing was loaded:"
            + "".join(f"\n    {p}" for p in problems)
        )
    _write(homes, given, assign)
    return IncompatibleKeys(missing, unexpected)


def _misfit(key: str, target: Tensor, value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"{key}: expected a Tensor, given {type(value).__name__}"
    if value.shape != target.shape:
        return f"{key}: expected shape {target.shape} of the model, given {value.shape} in the state dict"
    if target.is_floating_point() and not value.is_floating_point():
        return f"{key}: expected a float dtype for {target.dtype}, given {value.dtype}"
    return ""


def _did_you_mean(key: str, others: list[str]) -> str:
    close = difflib.get_close_matches(key, others, 1, 0.7)
    return f" (did you mean {close[0]}?)" if close else ""


def _write(homes: dict[str, tuple[Module, str, Tensor]], given: Mapping[str, Tensor], assign: bool) -> None:
    from_given = [(*home, given[k]) for k, home in homes.items() if k in given]
    with no_grad():
        if not assign:
            # The casts and moves come first: they may fail, the copies cannot.
            ready = [(t, to(v, t.dtype, t.device)) for _, _, t, v in from_given]
            for t, v in ready:
                copy_(t, v)
            return
    for m, name, t, v in from_given:
        if name in m._parameters:
            m._parameters[name] = v if isinstance(v, Parameter) else Parameter(v, t.requires_grad)
        else:
            m._buffers[name] = v
