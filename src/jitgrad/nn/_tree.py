"""Tree: what a Module is made of: parameters, buffers and submodules that register as attributes are set, and the walks over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

from jitgrad.autograd import Tensor
from jitgrad.errors import ArgumentError
from jitgrad.nn._edit_mark import ParameterIterator, asked, edited, registered
from jitgrad.nn._hidden import warn_of_hidden
from jitgrad.nn._paths import no_entry, steps_of
from jitgrad.nn.parameter import Buffer, Parameter

if TYPE_CHECKING:
    from jitgrad.nn.module import Module

_TABLES = ("_parameters", "_buffers", "_modules")
# What Module.__init__ sets: where one of these is missing, it has not run.
_OWN = (*_TABLES, "_non_persistent_buffers_set", "_forward", "_backward", "_state_dict", "_load_state_dict")


class Tree:
    """The registering part of Module: attributes, names, walks."""

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _non_persistent_buffers_set: set[str]

    # ---- registration
    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._make_room("parameter", name)
            self.register_parameter(name, value)
        elif isinstance(value, Tree):
            if name in self.__dict__.get("_parameters", ()) or name in self.__dict__.get("_buffers", ()):
                check_child(cast("Module", self), f"module {name!r}", value)  # before what stands there gives way
            self._make_room("module", name)
            self.register_module(name, cast("Module", value))
        elif isinstance(value, Buffer) and not any(name in self.__dict__.get(table, ()) for table in ("_parameters", "_modules")):
            self._make_room("buffer", name)
            self.register_buffer(name, value, value.persistent)
        else:
            for table in _TABLES:
                if name in self.__dict__.get(table, ()):
                    self._replace(table, name, value)
                    return
            object.__setattr__(self, name, value)

    def _make_room(self, kind: str, name: str) -> None:
        """Make room for a new parameter, buffer or module of this name; nothing has changed where it is refused."""
        if "_modules" not in self.__dict__:
            raise AttributeError(
                f"cannot assign the {kind} {name!r} before Module.__init__() has run. "
                f"Call super().__init__() first in {type(self).__name__}.__init__."
            )
        if hasattr(type(self), name):
            self._check_name(kind, name, self.__dict__[f"_{kind}s"])
        self.__dict__.pop(name, None)
        for table in _TABLES:
            if table != f"_{kind}s":
                self.__dict__[table].pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def _replace(self, table: str, name: str, value: Any) -> None:
        """Assign something that is neither Parameter nor Module to a registered name."""
        expected = {"_parameters": "a Parameter", "_buffers": "a Tensor", "_modules": "a Module"}[table]
        if value is not None and not (table == "_buffers" and isinstance(value, Tensor)):
            more = " Try nn.Parameter(x), or x.data for its values." if isinstance(value, Tensor) else ""
            raise TypeError(
                f"{name!r} is registered in {type(self).__name__}: expected {expected} or None, given {type(value).__name__}.{more}"
            )
        self.__dict__[table][name] = value
        if table != "_buffers":  # these change in every step of some models
            edited()

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        if "_modules" in own:  # one by one, not in a loop: layers read their weights here in every call
            if name in (found := own["_modules"]):
                return found[name]
            if name in (found := own["_parameters"]):
                return found[name]
            if name in (found := own["_buffers"]):
                return found[name]
        elif name.startswith(_OWN):
            raise AttributeError(
                f"{type(self).__name__}.__init__ does not call super().__init__(): add it as its first line.", name=name, obj=self
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def __delattr__(self, name: str) -> None:
        for table in _TABLES:
            if name in self.__dict__.get(table, ()):
                del self.__dict__[table][name]
                if table != "_buffers":
                    edited()
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        names = set(super().__dir__())
        for table in _TABLES:
            names.update(n for n in self.__dict__.get(table, ()) if n.isidentifier())
        return sorted(names)

    def _check_name(self, kind: str, name: str, table: dict[str, Any]) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a {kind} is expected to be a string, given {type(name).__name__}.")
        if not name or "." in name:
            raise KeyError(f"the name of a {kind} is expected to be non-empty and without dots, given {name!r}.")
        if name not in table and hasattr(self, name):
            raise KeyError(f"{type(self).__name__} has an attribute {name!r} already: choose another name for the {kind}.")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Enter a Parameter (or None: a place kept free) under a name."""
        self._check_name("parameter", name, self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"parameter {name!r}: expected a Parameter or None, given {type(param).__name__}. Try nn.Parameter(x).")
        self._parameters[name] = param
        if param is not None:
            param._left = None
        edited()

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Enter a tensor that is moved and (if persistent) saved with the module, but not trained.

        >>> import jitgrad as jg
        >>> m = jg.nn.Module()
        >>> m.register_buffer("mean", jg.zeros(2))
        >>> list(m.state_dict())
        ['mean']
        """
        self._check_name("buffer", name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"buffer {name!r}: expected a Tensor or None, given {type(tensor).__name__}.")
        self._buffers[name] = tensor
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Enter a submodule (or None) under a name."""
        self._check_name("module", name, self._modules)
        self._modules[name] = None if module is None else check_child(cast("Module", self), f"module {name!r}", module)
        edited()

    add_module = register_module

    # ---- walking
    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it with their dotted paths, depth first; each once unless remove_duplicate is false."""
        memo = set() if memo is None else memo
        this = cast("Module", self)
        if this in memo:
            return
        if remove_duplicate:
            memo.add(this)
        yield prefix, this
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all below it, each once unless remove_duplicate is false."""
        return (m for _, m in self.named_modules(remove_duplicate=remove_duplicate))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Direct submodules with their names, each once."""
        seen: set[Module] = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self) -> Iterator[Module]:
        """Direct submodules, each once."""
        return (m for _, m in self.named_children())

    def _named(self, table: str, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        alone = [(prefix, cast("Module", self))]
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else alone
        for path, m in modules:
            for name, t in getattr(m, table).items():
                if t is None or id(t) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(t))
                yield (f"{path}.{name}" if path else name), t

    def named_parameters(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Parameters with their dotted paths; a shared one once, under its first. Warns of those in plain lists and dicts."""
        if recurse:
            warn_of_hidden(self)
        asked(cast("Module", self))
        return ParameterIterator(cast("Module", self), recurse, self._named("_parameters", prefix, recurse, remove_duplicate))

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Parameters, each once: what an optimizer takes, alone or in a list, and then notices when one leaves the module or comes in."""
        return ParameterIterator(cast("Module", self), recurse, (p for _, p in self.named_parameters(recurse=recurse)))

    def named_buffers(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Iterator[tuple[str, Tensor]]:
        """Buffers with their dotted paths."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Buffers, each once."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The submodule at a dotted path; AttributeError names the step that fails.

        >>> from jitgrad import nn
        >>> nn.Sequential(nn.Sequential(nn.Tanh())).get_submodule("0.0")
        Tanh()
        """
        module = cast("Module", self)
        for step in steps_of(target, "get_submodule"):
            child = module._modules.get(step)
            if child is None:
                raise no_entry(self, target, module, step, "submodule")
            module = child
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a module at a dotted path, in place of the one that is there or (unless strict) as a new one.

        Raises AttributeError where the path leads nowhere, where something else than a module stands at its end, or with strict
        where nothing does; a ValueError for an empty path or something that is no module.

        >>> from jitgrad import nn
        >>> net = nn.Sequential(nn.Sequential(nn.Tanh()))
        >>> net.set_submodule("0.0", nn.ReLU())
        >>> net[0][0]
        ReLU()
        """
        if not steps_of(target, "set_submodule"):
            raise ArgumentError("set_submodule: the path is empty, and a module cannot replace itself. Give a path such as 'layers.0'.")
        if not isinstance(module, Tree):
            raise ArgumentError(f"set_submodule({target!r}): expected a Module, given {type(module).__name__}.")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if name not in parent._modules:
            if strict:
                raise no_entry(self, target, parent, name, "submodule")
            if name in parent.__dict__ or name in parent._parameters or name in parent._buffers:
                raise AttributeError(f"{target!r}: {name!r} of {type(parent).__name__} is no submodule.")
        parent._put_module(name, module)

    def _put_module(self, name: str, module: Module) -> None:
        """Set a submodule by name; containers whose keys are no attributes have their own way."""
        if name in self._modules:
            self._modules[name] = check_child(cast("Module", self), f"module {name!r}", module)
            edited()
        else:
            setattr(self, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path."""
        return self._entry(target, "_parameters", "parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path."""
        return self._entry(target, "_buffers", "buffer")

    def _entry(self, target: str, table: str, kind: str) -> Any:
        *steps, name = steps_of(target, f"get_{kind}") or [""]
        module = self.get_submodule(".".join(steps))
        found = module.__dict__[table].get(name)
        if found is None:
            raise no_entry(self, target, module, name, kind)
        return found


def every_parameter(modules: Iterable[Tree]) -> list[Parameter]:
    """The Parameters that modules own, each once; without the warning of named_parameters."""
    return list({id(p): p for m in modules for p in m._parameters.values() if p is not None}.values())


def count(parameters: Iterable[Tensor]) -> int:
    """How many elements they have."""
    return sum(p.numel() for p in parameters)


def check_child(parent: Module, where: str, child: Any) -> Module:
    """A module that is about to be registered: TypeError for anything else, ValueError where it contains its parent."""
    if not isinstance(child, Tree):
        raise TypeError(f"{where}: expected a Module, given {type(child).__name__}.")
    if child is parent or (child._modules and any(m is parent for m in child.modules())):
        raise ArgumentError(f"{where}: a {type(parent).__name__} cannot be inside itself.")
    registered(cast("Module", child))
    return cast("Module", child)
