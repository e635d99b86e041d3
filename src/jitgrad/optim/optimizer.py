"""Optimizer: parameter groups, state by parameter, and the checks that all optimizers share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeAlias

from jitgrad.autograd import Tensor, enable_grad
from jitgrad.autograd.mode import current_mode, reset_mode, set_mode, with_grad
from jitgrad.dtypes import COMPUTED_FLOATS
from jitgrad.errors import DTypeError, GradError, ShapeError, StateDictError
from jitgrad.nn import Module, _edit_mark
from jitgrad.nn._edit_mark import ParameterIterator
from jitgrad.nn._moves import forget_grad
from jitgrad.optim._follow import Synced, follow
from jitgrad.optim._state import copied, owned, read_state
from jitgrad.optim._watch import Watch, look, model_of

Params: TypeAlias = Iterable[Any] | Module


class Optimizer:
    """Base of optimizers: subclasses give default options and define ``_update(params, grads, group)``.

    Parameters
    ----------
    params
        A model, an iterable of leaf tensors, of (name, tensor) pairs, or of dicts with "params" and options of their own.
    defaults
        Options of groups that do not give them.

    Given a model, or what its ``parameters()`` or ``named_parameters()`` returned, also as "params" of a group, an optimizer notices
    edits of it: at ``step()`` a parameter that has left the model is an error, and a warning names one that it has gained, where all
    others had been given and this one wants a gradient. Parameters in a list are taken for those of the largest model that has all of
    them and whose ``parameters()`` were asked for. What ``nn.surgery`` took out of a model is an error whatever was given; where after
    another edit none of a module's parameters has a gradient, a warning says so. See ``sync``. The model is not kept alive by it, and
    a copied or unpickled optimizer notices nothing before ``sync``.
    Raises TypeError, ValueError or GradError for what cannot be optimized: no parameters, one twice, one that is not a leaf.

    >>> from jitgrad import nn, optim
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    >>> opt = optim.SGD(net, lr=0.1)
    >>> net[1] = nn.Linear(3, 2)
    >>> opt.step()
    Traceback (most recent call last):
    ...
    jitgrad.errors.SurgeryError: SGD.step: 2 parameters have left Sequential since the optimizer was made: 1.weight (1, 3) \
and 1.bias (1,). Nothing was updated. Call optimizer.sync(model): it keeps the state of the others.
    >>> opt.sync(net)
    Synced: added 1.weight and 1.bias; dropped 1.weight and 1.bias
    >>> opt.step(), opt.param_groups[0]["param_names"]
    (None, ['0.weight', '0.bias', '1.weight', '1.bias'])
    """

    param_groups: list[dict[str, Any]]
    state: defaultdict[Tensor, dict[str, Any]]
    _state_tensors: tuple[str, ...] = ()  # names of tensors in a parameter's state
    _required: tuple[str, ...] = ()  # of them and of its numbers those that a state has unless it is empty
    _stepped = False  # schedulers warn where they are stepped before the optimizer
    _watch: Watch | None = None  # of the models whose parameters were given
    _whole: frozenset[str] = frozenset()  # in a copy: paths in the models all of whose parameters were given

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        model = isinstance(params, Module)
        if not model and (isinstance(params, (Tensor, str, Mapping)) or not isinstance(params, Iterable)):
            raise TypeError(
                f"{type(self).__name__}: expected a model, or an iterable of tensors or of dicts, given {type(params).__name__}. "
                "Try model.parameters(), or [tensor]."
            )
        self.defaults = defaults
        self.state = defaultdict(dict)
        self.param_groups = []
        given: Any = params if isinstance(params, (Module, ParameterIterator)) else list(params)
        if isinstance(given, list) and given and isinstance(given[0], dict):
            for group in given:
                self.add_param_group(group)
            return
        self.add_param_group({"params": given})
        if not self.param_groups[0]["params"]:
            more = "" if model else " A generator such as model.parameters() is empty after its first use."
            raise ValueError(f"{type(self).__name__}: no parameters were given.{more}")

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Optimize more parameters: a dict with "params", which may be a model, and, where they differ from the defaults, options."""
        name = type(self).__name__
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(f"{name}: a parameter group is expected to be a dict with 'params', given {param_group!r:.60}.")
        given = param_group["params"]
        if isinstance(given, (set, frozenset)):
            raise TypeError(f"{name}: parameters in a set have no order, which differs from run to run. Use a list.")
        walk = given.named_parameters() if isinstance(given, Module) else given
        params = [walk] if isinstance(walk, Tensor) else list(walk)
        group = {**self.defaults, **param_group}
        if params and all(isinstance(p, tuple) and len(p) == 2 for p in params):
            group["param_names"] = [n for n, _ in params]
            params = [p for _, p in params]
        group["params"] = params
        taken = {id(p) for g in self.param_groups for p in g["params"]}
        for i, p in enumerate(params):
            self._check_parameter(i, p)
            if id(p) in taken:
                raise ValueError(f"{name}: parameter {i} of shape {p.shape} appears twice: expected each parameter once, in one group.")
            taken.add(id(p))
        self._check(group)
        self.param_groups.append(group)
        watch = self._watch = self._watch or Watch()
        watch.given(params)
        if isinstance(given, (Module, ParameterIterator)):
            watch.add(*((given, True) if isinstance(given, Module) else (given.module, given.recurse)), taken)
        elif (model := model_of(params)) is not None:
            watch.add(model, True, taken, guessed=True)

    def _check_parameter(self, which: Any, p: Any) -> None:
        """Raise for what cannot be optimized."""
        name = type(self).__name__
        if not isinstance(p, Tensor):
            raise TypeError(f"{name}: parameter {which} is expected to be a Tensor, given {type(p).__name__}.")
        if not p.is_leaf and not p.retains_grad:
            raise GradError(
                f"{name}: parameter {which} was computed from other tensors and cannot be optimized: expected a leaf. Try x.detach()."
            )
        if p.numel() and any(s == 0 and n > 1 for s, n in zip(p.array.strides, p.array.shape, strict=True)):
            raise GradError(
                f"{name}: several elements of parameter {which}, an expanded view of shape {p.shape}, share one place in memory. "
                "Try x.detach().clone()."
            )

    def sync(self, model: Module) -> Synced:
        """Follow a model after it was edited: keep the state of the parameters that stayed, drop those that left, take in the new.

        Where the optimizer had all parameters of the model, it has all of them again. Else it takes in those that want gradients and
        stand where one has left, or are younger than the optimizer or its last ``sync``, or have come into a module that was given;
        not what was left out when it was made, nor what takes the place of that or comes beside it, unless it was frozen then. A copied
        or unpickled optimizer that had not all takes in what wants gradients and has its nearest neighbours by path in it.

        The parameters are in the order in which a new optimizer would have them, in as many groups as before, so that schedulers go on.
        Those that stayed keep group and state; a replaced one begins without state, also where name and shape are the old one's. A new
        one goes into the group of the parameter whose name it has, or of its nearest neighbours by path; where these are in several
        groups, into that of those called like it, as a bias among biases; where it has none, into the group that has lost all of its
        own; else into the first. Groups that have "param_names" get the new ones.

        What the optimizer holds beside this model stays. A part of a model that it follows stands for that model. Where it was not made
        from this model, and has not followed it before, it follows it in the place of those it was made from that nothing trains any
        more, or else of all of them: their parameters go; where it was made from lists of no known model, everything that is not in
        this one goes. Returns the paths that it ``added``, ``dropped`` and has ``left_out``.

        Raises TypeError, ValueError or GradError for a model that could not be given to a new optimizer, SurgeryError where several
        groups have become empty and nothing tells which of them a new parameter belongs to, or which parameters of a model that it does
        not know are to be trained; nothing has changed then.

        >>> from jitgrad import nn, optim
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        >>> opt = optim.SGD([{"params": net[0].parameters()}, {"params": net[1].parameters(), "lr": 1.0}], lr=0.1)
        >>> net[1] = nn.Linear(3, 2)
        >>> opt.sync(net)
        Synced: added 1.weight and 1.bias; dropped weight and bias
        >>> [p.shape for p in opt.param_groups[1]["params"]]
        [(2, 3), (2,)]
        """
        if not isinstance(model, Module):
            raise TypeError(f"{type(self).__name__}.sync: expected a model, given {type(model).__name__}.")
        return follow(self, model)

    def _check(self, group: dict[str, Any]) -> None:
        """Raise for options out of range; subclasses add theirs."""
        for option in ("lr", "eps", "weight_decay", "momentum", "dampening"):
            if option in group:
                value = group[option]
                if type(value) is float and value >= 0.0:
                    continue
                if hasattr(value, "__array__"):  # a tensor of one number, or a NumPy scalar
                    value = group[option] = float(value.item())
                if isinstance(value, bool) or not isinstance(value, (int, float)):
                    raise TypeError(f"{type(self).__name__}: {option} is expected to be a number, given {value!r}.")
                if isinstance(value, int) and value.bit_length() > 1023:
                    raise ValueError(
                        f"{type(self).__name__}: {option} is expected to fit a float, given an int of {value.bit_length()} bits."
                    )
                if not value >= 0.0 and option != "dampening":
                    raise ValueError(f"{type(self).__name__}: {option} is expected to be at least 0, given {value}.")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                else:
                    forget_grad(p, False)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns what closure, called first if given, returns.

        Raises SurgeryError (a ValueError), before any update, where a parameter has left its model; see ``sync``.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        watch = self._watch
        if watch is not None and (watch.mark is not _edit_mark.mark or watch.frozen):
            look(self, watch)
        token = set_mode(with_grad(current_mode(), False))  # no_grad(), at a quarter of its time
        try:
            # Everything that may be refused, before any parameter or state changes.
            groups = [(group, self._ready(group)) for group in self.param_groups]
            for group, by_device in groups:
                for params, grads in by_device.values():
                    self._update(params, grads, group)
        finally:
            reset_mode(token)
        self._stepped = True
        return loss

    def _ready(self, group: dict[str, Any]) -> dict[type, tuple[list[Tensor], list[Tensor]]]:
        """Parameters of a group that have gradients, and these, by type of array; raises where a gradient or a state does not fit."""
        self._check(group)
        ready: dict[type, tuple[list[Tensor], list[Tensor]]] = {}
        states = self.state
        kind = known = None
        for p in group["params"]:
            g = p.grad
            if g is None:
                continue
            x, u = p.array, g.array
            if u.shape != x.shape or (u.dtype is not x.dtype and u.dtype != x.dtype):
                self._refuse(p, "gradient", g)
            if x.dtype is not known:
                known = x.dtype
                if known.char not in COMPUTED_FLOATS:
                    raise DTypeError(
                        f"{type(self).__name__}: a parameter of shape {p.shape} is {p.dtype}: expected float32 or float64. "
                        "Try model.float()."
                    )
            if states and p in states:
                for what, t in states[p].items():
                    if isinstance(t, Tensor) and (t.array.shape != x.shape or t.array.dtype != x.dtype):
                        self._refuse(p, what, t)
            if type(x) is not kind:
                kind = type(x)
                params, grads = ready.setdefault(kind, ([], []))
            params.append(p)
            grads.append(g)
        return ready

    def _refuse(self, p: Tensor, what: str, t: Tensor) -> NoReturn:
        raise ShapeError(
            f"{type(self).__name__}: a parameter is {p.shape} {p.dtype}, its {what} {t.shape} {t.dtype}: expected equal ones. "
            "Was the parameter's .data replaced? Set its .grad to None, and make a new optimizer."
        )

    def _update(self, params: list[Tensor], grads: list[Tensor], group: dict[str, Any]) -> None:
        """One step on parameters of a group that have gradients and are on one device."""
        raise NotImplementedError(f"{type(self).__name__} does not define _update(params, grads, group).")

    def _by_step(
        self, params: list[Tensor], grads: list[Tensor], fresh: Callable[[Tensor], dict[str, Any]]
    ) -> dict[int, tuple[list[Tensor], list[Tensor]]]:  # fmt: skip
        """Count a step for each parameter (fresh makes its first state), and group them by it: one update is for one count."""
        groups: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        for p, g in zip(params, grads, strict=True):
            state = self.state[p]
            if not state:
                state.update(step=0, **fresh(p))
            state["step"] += 1
            some = groups.setdefault(state["step"], ([], []))
            some[0].append(p)
            some[1].append(g)
        return groups

    # ---- state
    def __getstate__(self) -> dict[str, Any]:
        # A copy has other parameters than the model.
        whole = (
            self._whole.union(path for w in self._watch.modules if w.whole for path, _ in w.given.values()) if self._watch else self._whole
        )
        return {**{k: v for k, v in self.__dict__.items() if k != "_watch"}, "_whole": whole}

    def state_dict(self) -> dict[str, Any]:
        """Options and state in plain dicts; parameters are numbered in order, tensors share memory."""
        numbers = {id(p): i for i, p in enumerate(p for g in self.param_groups for p in g["params"])}
        groups = [
            {**{k: v for k, v in g.items() if k != "params"}, "params": [numbers[id(p)] for p in g["params"]]} for g in self.param_groups
        ]
        return {"state": {numbers[id(p)]: dict(s) for p, s in self.state.items() if id(p) in numbers}, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take options and state over from a state_dict(); all or, where it does not fit, none: StateDictError."""
        groups, homes, given = read_state(
            type(self).__name__, state_dict, [g["params"] for g in self.param_groups], self._state_tensors, self._required
        )  # fmt: skip
        try:
            state = {p: {k: owned(k, v, p) for k, v in given[number].items()} for number, p in homes.items() if number in given}
            new = [
                {**{k: copied(v) for k, v in theirs.items()}, "params": mine["params"]}
                for mine, theirs in zip(self.param_groups, groups, strict=True)
            ]
            for mine, group in zip(self.param_groups, new, strict=True):
                lacking = [k for k in self.defaults if k not in group]
                if lacking:
                    raise StateDictError(f"expected the options {', '.join(self.defaults)} in each group, {', '.join(lacking)} is missing.")
                if "param_names" in mine:
                    group.setdefault("param_names", mine["param_names"])
                self._check(group)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise StateDictError(f"{type(self).__name__}.load_state_dict: nothing was loaded: {error}") from error
        self.param_groups = new
        self.state = defaultdict(dict, state)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {v}" for k, v in sorted(group.items()) if k != "params"]
        return "\n".join([*lines, ")"])
