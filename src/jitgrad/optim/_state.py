"""Reading an optimizer's state dict: everything is checked here, before anything is taken over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jitgrad.autograd import Tensor, detach
from jitgrad.errors import StateDictError
from jitgrad.ops.convert import clone, to


def read_state(
    name: str, given: Any, mine: list[list[Tensor]], tensors: tuple[str, ...], required: tuple[str, ...]
) -> tuple[list[Mapping[str, Any]], dict[Any, Tensor], dict[Any, Mapping[str, Any]]]:  # fmt: skip
    """The groups of a state dict, the parameter that each of its numbers stands for, and the state by number.

    tensors are the names of state tensors that the optimizer may have, required what a state has unless it is empty.
    """

    def refuse(what: str) -> StateDictError:
        return StateDictError(f"{name}.load_state_dict: nothing was loaded: {what}")

    if not isinstance(given, Mapping) or not {"state", "param_groups"} <= given.keys():
        seen = f"a dict with the keys {list(given)[:5]}" if isinstance(given, Mapping) else type(given).__name__
        raise refuse(f"expected a dict with 'state' and 'param_groups', as state_dict() gives, given {seen}.")
    groups, state = given["param_groups"], given["state"]
    if not isinstance(groups, (list, tuple)) or not isinstance(state, Mapping):
        raise refuse(f"expected a list of groups and a dict of states, given {type(groups).__name__} and {type(state).__name__}.")
    for i, group in enumerate(groups):
        if not isinstance(group, Mapping) or not isinstance(group.get("params"), (list, tuple)):
            raise refuse(f"group {i} is expected to be a dict with a list of numbers as 'params', given {group!r:.60}.")
    sizes, theirs = [len(params) for params in mine], [len(g["params"]) for g in groups]
    if sizes != theirs:
        raise refuse(f"expected groups with {sizes} parameters, given {theirs}.")
    numbers = [n for g in groups for n in g["params"]]
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in numbers) or len(set(numbers)) < len(numbers):
        raise refuse(f"expected each parameter's number once in 'params', given {numbers}.")
    homes = dict(zip(numbers, [p for params in mine for p in params], strict=True))
    for number, values in state.items():
        if number not in homes:
            raise refuse(f"there is a state for parameter {number!r}, which is in no group.")
        if not isinstance(values, Mapping):
            raise refuse(f"the state of parameter {number} is expected to be a dict, given {type(values).__name__}.")
        wrong = _misfit({k: v for k, v in values.items() if v is not None}, homes[number].shape, tensors, required)
        if wrong:
            raise refuse(f"in the state of parameter {number}: {wrong}")
    return list(groups), homes, {n: {k: v for k, v in values.items() if v is not None} for n, values in state.items()}


def _misfit(values: dict[Any, Any], shape: tuple[int, ...], tensors: tuple[str, ...], required: tuple[str, ...]) -> str:
    """What is wrong with the state of a parameter of this shape, or ""."""
    if values and not values.keys() >= set(required):
        return f"expected {', '.join(required)}, given {', '.join(map(str, values))}."
    for key, v in values.items():
        if key == "step":
            number = v.item() if isinstance(v, Tensor) and v.numel() == 1 else v
            if not isinstance(number, (int, float)) or not 0 <= number <= 2**53 or number != int(number):
                return f"step is expected to be a whole number from 0 to 2**53, given {number!r:.40}."
        elif key in tensors and not isinstance(v, Tensor):
            return f"{key} is expected to be a Tensor, given {type(v).__name__}."
        elif isinstance(v, Tensor) and v.shape != shape and (key in tensors or v.shape != ()):
            return f"{key} has shape {v.shape}, expected {shape}."
    return ""


def owned(key: Any, value: Any, p: Tensor) -> Any:
    """A copy of a state tensor with the parameter's dtype and device; a step count as an int."""
    if key == "step":
        return int(value.item() if isinstance(value, Tensor) else value)
    if not isinstance(value, Tensor):
        return copied(value)
    if value.shape != p.shape:
        return value.item()
    return clone(to(detach(value), p.dtype, p.device))


def copied(value: Any) -> Any:
    """Containers of options as new ones, so that no two optimizers share them."""
    if isinstance(value, dict):
        return {k: copied(v) for k, v in value.items()}
    return [copied(v) for v in value] if isinstance(value, list) else value
