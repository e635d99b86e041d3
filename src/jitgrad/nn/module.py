"""Module: the base of all layers and models. It registers parameters, buffers and submodules as attributes are set."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

from jitgrad import dtypes
from jitgrad.autograd import RemovableHandle, Tensor
from jitgrad.errors import DTypeError, JitgradError
from jitgrad.nn import _state
from jitgrad.nn._hooks import call_with_hooks, enter_hook
from jitgrad.nn._moves import apply_to_tensors, forget_grad, to_arguments
from jitgrad.nn._place import add_place, not_a_tensor
from jitgrad.nn._tree import module_html
from jitgrad.nn.parameter import Parameter
from jitgrad.ops.convert import to

_TABLES = ("_parameters", "_buffers", "_modules")


class Module:
    """Base of layers and models: subclass it, set submodules and parameters as attributes, and define forward.

    >>> import jitgrad as jg
    >>> from jitgrad import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.fc = nn.Linear(2, 1)
    ...     def forward(self, x):
    ...         return jg.relu(self.fc(x))
    >>> net = Net()
    >>> [name for name, _ in net.named_parameters()]
    ['fc.weight', 'fc.bias']
    >>> net(jg.ones(3, 2)).shape
    (3, 1)
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _non_persistent_buffers_set: set[str]
    _forward_pre_hooks: OrderedDict[int, Any]
    _forward_hooks: OrderedDict[int, Any]

    def __init__(self) -> None:
        self.__dict__.update(
            training=True, _parameters={}, _buffers={}, _modules={}, _non_persistent_buffers_set=set(),
            _forward_pre_hooks=OrderedDict(), _forward_hooks=OrderedDict(),
        )  # fmt: skip

    # ---- calling
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run forward with its hooks; a jitgrad error leaves with the place of the layer that raised it."""
        try:
            if self._forward_pre_hooks or self._forward_hooks:
                return call_with_hooks(self, args, kwargs)
            return self.forward(*args, **kwargs)
        except JitgradError as error:
            add_place(error, self, args, kwargs)
            raise
        except AttributeError as error:
            placed = not_a_tensor(error, self, args, kwargs)
            if placed is None:
                raise
            raise placed from error

    # Any signature: each module has its own.
    def _no_forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward method. Define forward(self, x) in it.")

    forward: Callable[..., Any] = _no_forward

    def register_forward_pre_hook(self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False) -> RemovableHandle:
        """Call ``hook(module, args)`` before forward; what it returns, unless None, replaces the arguments.

        With with_kwargs it is ``hook(module, args, kwargs)`` and returns both. Returns a handle with ``remove()``.
        """
        return enter_hook(self._forward_pre_hooks, (hook, with_kwargs, False), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:  # fmt: skip
        """Call ``hook(module, args, output)`` after forward; what it returns, unless None, replaces the output.

        With with_kwargs it is ``hook(module, args, kwargs, output)``; with always_call it is also called, with output None,
        where forward raises. Returns a handle with ``remove()``.
        """
        return enter_hook(self._forward_hooks, (hook, with_kwargs, always_call), prepend)

    # ---- registration
    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._table("parameter", name)
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._table("module", name)
            self.register_module(name, value)
        else:
            for table in _TABLES:
                if name in self.__dict__.get(table, ()):
                    self._replace(table, name, value)
                    return
            object.__setattr__(self, name, value)

    def _table(self, kind: str, name: str) -> None:
        """Make room for a new parameter or module of this name."""
        if "_modules" not in self.__dict__:
            raise AttributeError(
                f"cannot assign the {kind} {name!r} before Module.__init__() has run. "
                f"Call super().__init__() first in {type(self).__name__}.__init__."
            )
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

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        if "_modules" in own:  # one by one, not in a loop: layers read their weights here in every call
            if name in (found := own["_modules"]):
                return found[name]
            if name in (found := own["_parameters"]):
                return found[name]
            if name in (found := own["_buffers"]):
                return found[name]
        elif name in _TABLES or name.startswith("_forward"):
            raise AttributeError(
                f"{type(self).__name__}.__init__ does not call super().__init__(): add it as its first line.", name=name, obj=self
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def __delattr__(self, name: str) -> None:
        for table in _TABLES:
            if name in self.__dict__.get(table, ()):
                del self.__dict__[table][name]
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
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"module {name!r}: expected a Module or None, given {type(module).__name__}.")
        self._modules[name] = module

    add_module = register_module

    # ---- walking
    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it with their dotted paths, depth first; each once unless remove_duplicate is false."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (m for _, m in self.named_modules())

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
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, m in modules:
            for name, t in getattr(m, table).items():
                if t is None or id(t) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(t))
                yield (f"{path}.{name}" if path else name), t

    def named_parameters(self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Parameters with their dotted paths; a shared one once, under its first."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Parameters, each once: what an optimizer takes."""
        return (p for _, p in self.named_parameters(recurse=recurse))

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
        module = self
        for step in target.split(".") if target else ():
            child = module._modules.get(step)
            if child is None:
                names = ", ".join(module._modules) or "none"
                raise AttributeError(f"{target!r}: {type(module).__name__} has no submodule {step!r}; it has {names}.")
            module = child
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path."""
        return self._entry(target, "_parameters", "parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path."""
        return self._entry(target, "_buffers", "buffer")

    def _entry(self, target: str, table: str, kind: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        found = module.__dict__[table].get(name)
        if found is None:
            raise AttributeError(
                f"{target!r}: {type(module).__name__} has no {kind} {name!r}; it has {', '.join(module.__dict__[table]) or 'none'}."
            )
        return found

    # ---- modes, moves
    def train(self, mode: bool = True) -> Self:
        """Put this module and all below it into training (or, with False, evaluation) mode; returns it."""
        if not isinstance(mode, bool):
            raise ValueError(f"train: expected True or False, given {mode!r}.")
        for m in self.modules():
            m.training = mode
        return self

    def eval(self) -> Self:
        """Put this module and all below it into evaluation mode; returns it."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Say for all parameters whether gradients are wanted; returns the module."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        for p in self.parameters():
            forget_grad(p, set_to_none)

    def apply(self, fn: Callable[[Module], None]) -> Self:
        """Call fn on every module below this one, then on this one; returns it."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def to(self, *args: Any, dtype: Any = None, device: Any = None) -> Self:
        """Move parameters and buffers to a device, cast those with a float dtype; all or, on an error, none. Returns the module.

        >>> import jitgrad as jg
        >>> jg.nn.Linear(1, 1).to(jg.float64).weight.dtype
        jitgrad.float64
        """
        kind, where = to_arguments(args, dtype, device)
        if kind is not None and not kind.is_floating_point:
            raise DTypeError(f"Module.to: expected a float dtype, given {kind}.")
        apply_to_tensors(self, lambda t: to(t, dtype=kind if t.is_floating_point() else None, device=where))
        return self

    def float(self) -> Self:
        """Cast float parameters and buffers to float32."""
        return self.to(dtypes.float32)

    def double(self) -> Self:
        """Cast float parameters and buffers to float64."""
        return self.to(dtypes.float64)

    def half(self) -> Self:
        """Cast float parameters and buffers to float16, which is for storage: layers do not compute in it."""
        return self.to(dtypes.float16)

    def cpu(self) -> Self:
        """Move to the CPU."""
        return self.to(device="cpu")

    def cuda(self) -> Self:
        """Move to the GPU; DeviceError where there is none."""
        return self.to(device="cuda")

    # ---- state
    def state_dict(self, *, destination: dict[str, Tensor] | None = None, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """Parameters and persistent buffers by dotted path, on the module's own memory and outside the graph.

        >>> from jitgrad import nn
        >>> list(nn.Sequential(nn.Linear(1, 2)).state_dict())
        ['0.weight', '0.bias']
        """
        state = {} if destination is None else destination
        _state.collect(self, state, prefix, keep_vars)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> _state.IncompatibleKeys:
        """Copy tensors into parameters and buffers by dotted path: all of them, or on any error none.

        Parameters
        ----------
        state_dict
            Path to Tensor; of a tensor that has several paths one is enough. Values are cast and moved.
        strict
            Whether missing and unexpected paths are an error; wrong shapes always are.
        assign
            Put the given tensors in place of the module's own instead of copying.

        Raises StateDictError (a ValueError and RuntimeError) that lists every path that is missing, unexpected or misshapen.
        Returns the missing and unexpected paths.

        >>> from jitgrad import nn
        >>> nn.Linear(1, 2).load_state_dict(nn.Linear(1, 2).state_dict())
        <All keys matched successfully>
        """
        return _state.load(self, state_dict, strict, assign)

    # ---- words
    def extra_repr(self) -> str:
        """What stands between the brackets of the repr; layers override it."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = [f"({name}): {_indented(repr(child))}" for name, child in self._modules.items()]
        if not lines and "\n" not in extra:
            return f"{type(self).__name__}({extra})"
        body = "\n  ".join([*(extra.split("\n") if extra else ()), *lines])
        return f"{type(self).__name__}(\n  {body}\n)"

    def _repr_html_(self) -> str:
        return module_html(self)


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")
