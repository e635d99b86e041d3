"""Edits of a model: each is made whole or not at all, and gives a Change that says what it did and takes it back."""

from __future__ import annotations

from typing import Any

from jitgrad._words import listed
from jitgrad.errors import ArgumentError, SurgeryError
from jitgrad.nn._hidden import warn_of_hidden
from jitgrad.nn.containers import ModuleDict, ModuleList, Sequential
from jitgrad.nn.module import Module
from jitgrad.nn.surgery._address import Key, checked, find_some, key_text
from jitgrad.nn.surgery._change import Change, Edit, PutModule, SetRequiresGrad
from jitgrad.nn.surgery._fit import Example
from jitgrad.nn.surgery._operations import Fitting, Insertion, Operation, Removal, Replacement, carry_out
from jitgrad.nn.surgery._slots import Maker, Slot, check_new, one_of, same_modules, same_slots, slots


def replace(
    model: Module, key: Key, new: Any, *, example: Any = None, adapt: bool = False, keep: str = "overlap", shared: str | None = None
) -> Change:
    """Put new modules in the place of those that a key means; names and order stay.

    Parameters
    ----------
    model
        The model, which is edited in place.
    key
        What is replaced, see get.
    new
        A Module, or a function that is called with each old module and gives the new one, which may contain the old. One Module for
        several is copied, and refused if it has parameters or buffers, which would be tied.
    example
        An input of the model: a Tensor, the shape of one in float32, a tuple of arguments or a dict of keyword arguments. The model
        runs on shapes alone before and after the edit (with values where its forward asks for them), and hooks run too; the edit is
        refused where a layer no longer fits. One that only the edited model takes, such as images of other channels, will do without
        adapt.
    adapt
        Whether layers that follow are resized where they no longer fit; several modules are replaced one after the other then, and a
        function meets each with the input that it has got by then and the output size that it had before the edit.
    keep
        What a resized layer keeps: "overlap", the weights that both sizes have, or "none".
    shared
        What happens to a module that also stands at places which the key does not mean: it is replaced "everywhere", or "here" only.

    The new module takes over the training mode of the old one; an old module inside it keeps its own. Raises UnknownPathError (a
    KeyError) where nothing is meant, TypeError for what is no module, SurgeryError where the edit would leave the model broken:
    nothing has changed then, whatever raised.

    >>> from jitgrad import nn
    >>> from jitgrad.nn import surgery
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> surgery.replace(net, nn.ReLU, nn.Tanh())
    replace ReLU in Sequential
      - 1  ReLU()
      + 1  Tanh()
      parameters: 13, as before
    >>> surgery.replace(net, 0, nn.Linear(2, 4), example=(5, 2))
    Traceback (most recent call last):
    ...
    jitgrad.errors.SurgeryError: replace 0: 2 (Linear(3, 1)) no longer fits: linear: expected an input (..., 3) for the weight (1, 3), \
given (5, 4). Nothing was changed. Try adapt=True, which resizes what follows, or a layer whose sizes are those of the old one.
    """
    warn_of_hidden(checked(model))
    what = f"replace {key_text(key)}"
    check_new(new, what)
    fitting = Fitting(model, example, adapt, keep, what)
    return carry_out(model, what, replacements(model, key, new, shared, what), fitting)


def replacements(model: Module, key: Key, new: Any, shared: str | None, what: str) -> list[Operation]:
    """What replaces the modules that a key means, one for each module."""
    one_of("shared", shared, (None, "everywhere", "here"))
    found = same_modules(model, slots(model, key, what), shared, what)
    by_module: dict[Module, list[Slot]] = {}
    for slot in found:
        by_module.setdefault(slot.module, []).append(slot)
    maker = Maker(new, len(by_module), what)
    return [Replacement(s, maker) for s in by_module.values()]


def insert_before(
    model: Module, key: Key, new: Any, *, name: str | None = None, wrap: bool = False, example: Any = None, adapt: bool = False,
    keep: str = "overlap",
) -> Change:  # fmt: skip
    """Insert new modules before those that a key means, in their Sequential or ModuleList.

    Parameters
    ----------
    model, key, example, adapt, keep
        As in replace.
    new
        A Module, or a function that is called for each place with the module that stands there.
    name
        A name for the new module, instead of its position.
    wrap
        Where there is no Sequential around, put ``Sequential(new, old)`` in the place of the old module; this works anywhere.

    Raises SurgeryError, without wrap, for an attribute of a module with a forward of its own, and for a ModuleDict.

    >>> from jitgrad import nn
    >>> from jitgrad.nn import surgery
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    >>> surgery.insert_before(net, -1, nn.ReLU(), name="act")
    insert_before -1 in Sequential
      + act  ReLU()
      > 1 is now 2: Linear(3, 1)
      parameters: 13, as before
    """
    warn_of_hidden(checked(model))
    return _insert(model, key, new, False, name, wrap, (example, adapt, keep))


def insert_after(
    model: Module, key: Key, new: Any, *, name: str | None = None, wrap: bool = False, example: Any = None, adapt: bool = False,
    keep: str = "overlap",
) -> Change:  # fmt: skip
    """Insert new modules after those that a key means, in their Sequential or ModuleList.

    Parameters
    ----------
    model, key, new, name, example, adapt, keep
        As in insert_before.
    wrap
        Where there is no Sequential around, put ``Sequential(old, new)`` in the place of the old module; this works anywhere.

    Raises SurgeryError, without wrap, for an attribute of a module with a forward of its own, and for a ModuleDict.

    >>> from jitgrad import nn
    >>> from jitgrad.nn import surgery
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3))
    >>> change = surgery.insert_after(net, nn.Conv2d, lambda conv: nn.BatchNorm2d(conv.out_channels), example=(2, 1, 8, 8))
    >>> [type(m).__name__ for m in net]
    ['Conv2d', 'BatchNorm2d', 'ReLU', 'Conv2d', 'BatchNorm2d']
    """
    warn_of_hidden(checked(model))
    return _insert(model, key, new, True, name, wrap, (example, adapt, keep))


def _insert(model: Module, key: Key, new: Any, after: bool, name: str | None, wrap: bool, fit: tuple[Any, bool, str]) -> Change:
    what = f"insert_{'after' if after else 'before'} {key_text(key)}"
    check_new(new, what)
    one_of("wrap", wrap, (False, True))
    fitting = Fitting(model, *fit, what)
    found = slots(model, key, what)
    same_slots(found, what)
    for slot in found:
        if not wrap and not isinstance(slot.parent, (Sequential, ModuleList)):
            order = "Sequential(old, new)" if after else "Sequential(new, old)"
            raise SurgeryError(
                f"{what}: {slot.path} {_standing(slot)}, so there is no place beside it. "
                f"Give wrap=True, which puts {order} in its place, or call the new layer in the forward of {_caller(slot)}."
            )
    maker = Maker(new, len(found), what)
    return carry_out(model, what, [Insertion(s, maker, after, name, wrap and not _in_order(s)) for s in found], fitting)


def _in_order(slot: Slot) -> bool:
    """Whether what stands beside a module is called next to it: in a list of modules only its own forward knows."""
    return isinstance(slot.parent, Sequential) and type(slot.parent).forward is Sequential.forward


def _caller(slot: Slot) -> str:
    return "the module that uses it" if isinstance(slot.parent, ModuleDict) else type(slot.parent).__name__


def _standing(slot: Slot) -> str:
    kind = type(slot.parent).__name__
    return f"is a key of a {kind}, which has no order of calls" if isinstance(slot.parent, ModuleDict) else f"is an attribute of {kind}"


def remove(model: Module, key: Key, *, example: Any = None, adapt: bool = False, keep: str = "overlap") -> Change:
    """Take the modules that a key means out of their Sequential, ModuleList or ModuleDict.

    Parameters
    ----------
    model, key, example, adapt, keep
        As in replace.

    Raises SurgeryError for an attribute of a module, whose forward would miss it.

    >>> from jitgrad import nn
    >>> from jitgrad.nn import surgery
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Dropout(), nn.Linear(3, 1))
    >>> change = surgery.remove(net, nn.Dropout)
    >>> len(net)
    2
    >>> change.undo()
    >>> net[1]
    Dropout(p=0.5, inplace=False)
    """
    warn_of_hidden(checked(model))
    what = f"remove {key_text(key)}"
    fitting = Fitting(model, example, adapt, keep, what)
    found = slots(model, key, what)
    same_slots(found, what)
    for slot in found:
        if not isinstance(slot.parent, (Sequential, ModuleList, ModuleDict)):
            raise SurgeryError(
                f"{what}: {slot.path} is an attribute of {type(slot.parent).__name__}, whose forward would miss it. "
                f"Try surgery.replace(model, {slot.path!r}, nn.Identity())."
            )
    return carry_out(model, what, [Removal(slot) for slot in found], fitting)


def swap(model: Module, a: Key, b: Key, *, example: Any = None) -> Change:
    """Let two modules change places; each keeps its training mode.

    Parameters
    ----------
    model, example
        As in replace.
    a, b
        Keys, each of which means one place.

    Raises ArgumentError for a key that means several, SurgeryError where one is inside the other or both are one.

    >>> from jitgrad import nn
    >>> from jitgrad.nn import surgery
    >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    >>> change = surgery.swap(net, 0, 1)
    >>> net[0]
    ReLU()
    """
    warn_of_hidden(checked(model))
    what = f"swap {key_text(a)} and {key_text(b)}"
    one, other = (_only(model, key, what) for key in (a, b))
    if one.module is other.module:
        raise SurgeryError(f"{what}: {one.path} and {other.path} are one module.")
    slots(model, [one.path, other.path], what)
    with Edit(model, what, None if example is None else Example(model, example)) as edit:
        for slot, new in ((one, other.module), (other, one.module)):
            edit.steps.append(PutModule(slot.path, slot.parent, slot.name, new))
        edit.check("Swap layers whose sizes are the same.")
        return edit.change()


def _only(model: Module, key: Key, what: str) -> Slot:
    found = slots(model, key, what)
    if len(found) > 1:
        raise ArgumentError(f"{what}: {key_text(key)} means {len(found)} places: {listed([s.path for s in found])}. Give the path of one.")
    same_slots(found, what)
    return found[0]


def freeze(model: Module, key: Key = "") -> Change:
    """Let the parameters of the modules that a key means, and of all below them, go without gradients.

    Parameters
    ----------
    model
        The model, which is edited in place.
    key
        What is frozen, see get; "", which is what it is unless given, is the whole model.

    Running statistics of norms go on changing in training mode; ``eval()`` holds them.

    >>> from jitgrad import nn
    >>> from jitgrad.nn import surgery
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    >>> surgery.freeze(net, 0)
    freeze 0 in Sequential
      ~ 0 is now frozen: Linear(2, 3)
      parameters: 13, as before
      trainable: 13 -> 4
    """
    warn_of_hidden(checked(model))
    return _set_grads(model, key, False, f"freeze {key_text(key)}")


def unfreeze(model: Module, key: Key = "") -> Change:
    """Let the parameters of the modules that a key means, and of all below them, have gradients again.

    Parameters
    ----------
    model
        The model, which is edited in place.
    key
        What becomes trainable, see get; "", which is what it is unless given, is the whole model.

    >>> from jitgrad import nn
    >>> from jitgrad.nn import surgery
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).requires_grad_(False)
    >>> change = surgery.unfreeze(net, -1)
    >>> [p.requires_grad for p in net.parameters()]
    [False, False, True, True]
    """
    warn_of_hidden(checked(model))
    return _set_grads(model, key, True, f"unfreeze {key_text(key)}")


def _set_grads(model: Module, key: Key, wanted: bool, what: str) -> Change:
    found = find_some(model, key, what)
    with Edit(model, what, None) as edit:
        for place in found:
            for name, p in place.module.named_parameters():
                if p.requires_grad != wanted and p.is_floating_point():
                    edit.steps.append(SetRequiresGrad(f"{place.path}.{name}" if place.path else name, p, wanted))
        return edit.change()
