"""Small programs of modules that run in jitgrad and in PyTorch: each takes a library and returns what can be compared."""

from __future__ import annotations

import copy
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

Program = Callable[[Any], Any]


def values(found: Any) -> Any:
    """Tensors as lists, in tuples and lists of them."""
    if isinstance(found, (tuple, list)):
        return [values(f) for f in found]
    return found.tolist() if hasattr(found, "tolist") else found


def linear(lib: Any, start: float, *shape: int) -> Any:
    """A layer with known weights."""
    layer = lib.nn.Linear(*shape)
    with lib.no_grad():
        for p in layer.parameters():
            p.copy_(lib.arange(float(p.numel())).reshape(p.shape) / 8 + start)
    return layer


def several(lib: Any) -> Any:
    """A module of three inputs and three outputs; the third takes no part in gradients."""

    class Several(lib.nn.Module):
        def forward(self, a: Any, b: Any, c: Any, k: int = 3) -> Any:
            return a * 2, b * k, c

    return Several()


# ---- hooks
def order_of_hooks(lib: Any) -> Any:
    """Forward and backward hooks of a nested model, prepended ones first, called from outside in and back."""
    net = lib.nn.Sequential(linear(lib, 0.5, 2, 3), lib.nn.Sequential(lib.nn.Tanh(), linear(lib, -1.0, 3, 1)))
    heard: list[str] = []

    def hear(word: str) -> Callable[..., None]:
        return lambda *args: heard.append(word)

    for name, m in net.named_modules():
        for i, prepend in enumerate((False, True, False)):
            m.register_forward_pre_hook(hear(f"pre {name} {i}"), prepend=prepend)
            m.register_forward_hook(hear(f"after {name} {i}"), prepend=prepend)
            m.register_full_backward_pre_hook(hear(f"back {name} {i}"), prepend=prepend)
            m.register_full_backward_hook(hear(f"backed {name} {i}"), prepend=prepend)
    x = lib.ones(4, 2, requires_grad=True)
    net(x).sum().backward()
    return heard, values([x.grad, *(p.grad for p in net.parameters())])


def gradients_that_hooks_see(lib: Any) -> Any:
    """None and zeros where PyTorch has them: for each of several outputs used, for inputs that want nothing, for ints."""
    heard: list[Any] = []
    for used in (1, 2):
        for last in (lib.ones(2), lib.tensor([1, 2])):
            m = several(lib)
            m.register_full_backward_pre_hook(lambda m, go: heard.append(values(go)))
            m.register_full_backward_hook(lambda m, gi, go: heard.append([values(gi), values(go)]))
            a, b = lib.ones(2, requires_grad=True), lib.ones(2, requires_grad=True)
            ys = m(a, b, last, 4)
            heard.append([y.requires_grad for y in ys])
            sum(y.sum() for y in ys[:used]).backward()
            heard.append(values([a.grad, b.grad]))
    return heard


def hooks_without_input_gradients(lib: Any) -> Any:
    m, heard = linear(lib, 0.0, 2, 1), []
    m.register_full_backward_hook(lambda m, gi, go: heard.append([values(gi), values(go)]))
    m(lib.ones(3, 2)).sum().backward()
    with lib.no_grad():
        m(lib.ones(3, 2, requires_grad=True))
    m.requires_grad_(False)
    m(lib.ones(3, 2))
    return heard, values([p.grad for p in m.parameters()])


def hooks_that_replace(lib: Any) -> Any:
    m = linear(lib, 1.0, 2, 1)
    m.register_full_backward_pre_hook(lambda m, go: (go[0] * 2,))
    m.register_full_backward_hook(lambda m, gi, go: (gi[0] * 0 + 5,))
    m.register_full_backward_hook(lambda m, gi, go: (gi[0] + go[0].sum(),))
    x = lib.ones(1, 2, requires_grad=True)
    m(x).sum().backward()
    return values([x.grad, m.weight.grad, m.bias.grad])


def hooks_and_second_gradients(lib: Any) -> Any:
    m, heard = lib.nn.Tanh(), []
    m.register_full_backward_hook(lambda m, gi, go: heard.append(values(gi)))
    x = lib.tensor([0.25, -1.0], requires_grad=True)
    (g,) = lib.autograd.grad(m(x).sum(), x, create_graph=True)
    (g * g).sum().backward()
    return len(heard), values(x.grad)


Pair = namedtuple("Pair", "first second")


def outputs_of_other_kinds(lib: Any) -> Any:
    class Named(lib.nn.Module):
        def forward(self, x: Any) -> Any:
            return Pair(x * 2, "word")

    class Inside(lib.nn.Module):
        def forward(self, x: Any) -> Any:
            return (x * 2, [x])

    heard: list[Any] = []
    x = lib.ones(2, requires_grad=True)
    for m in (Named(), Inside()):
        m.register_full_backward_hook(lambda m, gi, go: heard.append([values(gi), values(go)]))
        y = m(x)
        heard.append(type(y).__name__)
        y[0].sum().backward()
    return heard


def removed_and_copied_hooks(lib: Any) -> Any:
    """A handle removes from its module only; a deep copy has the hooks, and its tied weights stay tied."""
    net, heard = lib.nn.Sequential(linear(lib, 0.0, 2, 2), linear(lib, 1.0, 2, 2)), []
    net[1].weight = net[0].weight
    handles = [
        net.register_forward_pre_hook(lambda m, args: heard.append("pre")),
        net.register_forward_hook(lambda m, args, y: heard.append("after")),
        net.register_full_backward_hook(lambda m, gi, go: heard.append("backed")),
    ]
    twin = copy.deepcopy(net)
    for handle in handles:
        handle.remove()
        handle.remove()
    net(lib.ones(1, 2, requires_grad=True)).sum().backward()
    heard.append("twin")
    twin(lib.ones(1, 2, requires_grad=True)).sum().backward()
    return heard, twin[0].weight is twin[1].weight, twin[0].weight is net[0].weight, [n for n, _ in twin.named_parameters()]


def hooks_that_are_always_called(lib: Any) -> Any:
    heard: list[Any] = []

    class Fails(lib.nn.Module):
        def forward(self, x: Any, fail: bool = False) -> Any:
            if fail:
                raise KeyError("on purpose")
            return x

    def raising(*args: Any) -> None:
        raise ValueError("a hook")

    for fail, second in ((True, False), (False, True)):
        m = Fails()
        if second:
            m.register_forward_hook(raising)
        m.register_forward_hook(lambda m, args, y: heard.append("never"))
        m.register_forward_hook(lambda m, args, kwargs, y: heard.append([len(args), kwargs, y is None]), with_kwargs=True, always_call=True)
        try:
            m(lib.ones(1), fail=fail)
        except (KeyError, ValueError) as error:
            heard.append(type(error).__name__)
    return heard


# ---- state
def model(lib: Any) -> Any:
    """Parameters, buffers of both kinds, extra state, a shared layer, a place kept free."""
    nn = lib.nn

    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen = 0
            self.scale = nn.Parameter(lib.ones(2))

        def get_extra_state(self) -> Any:
            return {"seen": self.seen}

        def set_extra_state(self, state: Any) -> None:
            self.seen = state["seen"]

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", lib.zeros(1))
            self.register_buffer("scratch", lib.zeros(1), persistent=False)
            self.first = linear(lib, 0.0, 2, 2)
            self.counted = Counted()
            self.layers = nn.ModuleList([nn.ReLU(), self.first])
            self.by_name = nn.ModuleDict({"b": linear(lib, 1.0, 2, 1), "a": nn.Tanh()})
            self.free = None
            self.register_module("empty", None)
            self.register_parameter("none", None)
            self.weights = nn.ParameterList([lib.ones(1), lib.zeros(2)])
            self.named = nn.ParameterDict({"y": lib.ones(1), "x": lib.zeros(1)})
            self.alpha = nn.Parameter(lib.ones(1))

    return Model()


def keys_and_names(lib: Any) -> Any:
    m = model(lib)
    state = m.state_dict()
    kept = m.state_dict(destination=OrderedDict(other=1), prefix="net.", keep_vars=True)
    return [
        list(state), type(state).__name__, list(kept), kept["net.alpha"] is m.alpha, state["alpha"].requires_grad,
        {k: dict(v) for k, v in state._metadata.items()}, state["counted._extra_state"],
        *([n for n, _ in getattr(m, f"named_{kind}")(**options)]
          for kind in ("parameters", "buffers")
          for options in ({}, {"prefix": "p"}, {"recurse": False}, {"remove_duplicate": False})),
        *([n for n, _ in m.named_modules(prefix=p, remove_duplicate=r)] for p in ("", "p") for r in (True, False)),
        [n for n, _ in m.named_children()], len(list(m.modules())), len(list(m.modules(remove_duplicate=False))),
    ]  # fmt: skip


def order_of_state_hooks(lib: Any) -> Any:
    m, heard = model(lib), []
    for name, part in m.named_modules():
        if name not in ("", "counted", "layers.1", "by_name"):
            continue
        part.register_state_dict_pre_hook(lambda m, prefix, keep_vars: heard.append(["pre", prefix, keep_vars]))

        def post(m: Any, state: Any, prefix: str, meta: Any) -> None:
            heard.append(["post", prefix, len(state), meta])
            state[prefix + "more"] = 1

        part.register_state_dict_post_hook(post)
    return list(m.state_dict()), heard


def order_of_load_hooks(lib: Any) -> Any:
    """PyTorch calls post-hooks of one part before pre-hooks of the next; here all pre-hooks come first, as nothing is loaded before."""
    m, heard, done = model(lib), [], []
    for name, part in m.named_modules():
        if name not in ("", "counted", "first", "by_name"):
            continue

        def pre(m: Any, state: Any, prefix: str, meta: Any, strict: bool, missing: Any, unexpected: Any, errors: Any) -> None:
            heard.append(["pre", prefix, sorted(state), dict(meta), strict, list(missing), list(unexpected), list(errors)])

        part.register_load_state_dict_pre_hook(pre)
        part.register_load_state_dict_post_hook(lambda m, keys: done.append(type(m).__name__))
    given = model(lib).state_dict()
    given["counted._extra_state"] = {"seen": 7}
    m.load_state_dict(given, assign=True)
    return heard, done, m.counted.seen


def renamed_keys(lib: Any) -> Any:
    """A pre-hook renames, a post-hook forgives; what is loaded and what is told."""
    m = lib.nn.Sequential(linear(lib, 0.0, 1, 1), linear(lib, 0.0, 1, 1))

    def rename(m: Any, state: Any, prefix: str, *rest: Any) -> None:
        if prefix + "w" in state:
            state[prefix + "weight"] = state.pop(prefix + "w")

    m[0].register_load_state_dict_pre_hook(rename)
    m.register_load_state_dict_post_hook(lambda m, keys: (keys.missing_keys.clear(), None)[1])
    keys = m.load_state_dict({"0.w": lib.ones(1, 1), "0.bias": lib.ones(1)})
    return [values(p) for p in m.parameters()], keys.missing_keys, keys.unexpected_keys, repr(keys)


def assigned_state(lib: Any) -> Any:
    m = linear(lib, 0.0, 2, 2)
    m.weight.requires_grad_(False)
    given = {"weight": lib.nn.Parameter(lib.ones(2, 2)), "bias": lib.zeros(2, dtype=lib.float64)}
    m.load_state_dict(given, assign=True)
    return (
        m.weight is given["weight"],
        m.weight.requires_grad,
        m.bias.requires_grad,
        str(m.bias.dtype).split(".")[1],
        repr(type(m.bias))[-11:],
    )


def buffers(lib: Any) -> Any:
    nn = lib.nn
    m = nn.Module()
    m.kept, m.scratch = nn.Buffer(lib.ones(1)), nn.Buffer(lib.zeros(2), persistent=False)
    found = [list(m.state_dict()), [n for n, _ in m.named_buffers()], isinstance(m.kept, nn.Buffer), m.scratch.requires_grad]
    m.kept = lib.zeros(3)
    m.scratch = nn.Buffer(lib.zeros(4))
    found += [list(m.state_dict()), m.kept.tolist(), m.scratch.persistent]
    m.scratch = nn.Parameter(lib.ones(1))
    m.kept = nn.ReLU()
    found += [[n for n, _ in m.named_buffers()], [n for n, _ in m.named_parameters()], [n for n, _ in m.named_children()]]
    del m.scratch
    m.scratch = nn.Buffer(lib.ones(1), persistent=False)
    twin = copy.deepcopy(m)
    return [
        *found,
        list(m.state_dict()),
        list(twin.state_dict()),
        [n for n, _ in twin.named_buffers()],
        repr(nn.Buffer(lib.tensor([1]))),
    ]


# ---- words
def reprs(lib: Any) -> Any:
    nn = lib.nn

    class Wordy(nn.Module):
        def __init__(self, words: str, *children: Any) -> None:
            super().__init__()
            self.words = words
            for i, child in enumerate(children):
                self.add_module(f"part{i}", child)

        def extra_repr(self) -> str:
            return self.words

    class Renamed(nn.Module):
        def _get_name(self) -> str:
            return "Other"

    blocks = [nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(3)]
    made = [
        model(lib), nn.Module(), Renamed(), Wordy("one"), Wordy("one\ntwo"), Wordy("one", nn.ReLU()),
        Wordy("one\ntwo", Wordy("three\nfour"), None),
        nn.ModuleList([*blocks, nn.Tanh(), nn.Tanh(), nn.ModuleList([nn.ReLU(), nn.ReLU()])]), nn.Sequential(), nn.ModuleDict(),
        nn.Sequential(OrderedDict(a=nn.ModuleDict({"b": nn.ModuleList([nn.ReLU()])}), c=nn.Identity())),
        nn.ParameterList(), nn.ParameterList([lib.ones(2, 3)]), nn.ParameterList([lib.ones(2, 3), lib.ones(()), 3, nn.ReLU()]),
    ]  # fmt: skip
    # A ParameterDict of torch's prints the old name of the dtype, and only ours says what is shared.
    return [repr(m).replace(f"{lib.__name__}.", "").replace("FloatTensor", "float32").replace(" (shared)", "") for m in made]


# ---- containers
def containers(lib: Any) -> Any:
    """Names and identities after the operators that PyTorch has."""
    nn = lib.nn
    a, b = nn.Sequential(nn.ReLU(), nn.Tanh()), nn.Sequential(OrderedDict(own=nn.Identity()))
    listed = nn.ModuleList(a)
    c, d = a + b, b * 2
    a += b
    found = [[n for n, _ in s.named_modules(remove_duplicate=False)] for s in (c, d, 2 * b, a)]
    a *= 1
    d *= 3
    return [
        *found, len(d), d[0] is d[5], d[5] is b[0], c[0] is a[0], repr(a.pop(slice(0, 2))), repr(a), repr(a.pop(0)), len(a),
        listed.insert(0, nn.Identity()), repr(listed.pop(slice(1, None))),
        repr(listed + nn.ModuleList([nn.ReLU()])), repr(listed.extend([nn.GELU()])),
        "0" in dir(c), "forward" in dir(c),
    ]  # fmt: skip


def modes(lib: Any) -> Any:
    """A frozen layer has a train of its own; statistics stop where track_running_stats is turned off later."""

    class Frozen(lib.nn.BatchNorm1d):  # type: ignore[misc, name-defined]
        def train(self, mode: bool = True) -> Any:
            return super().train(False)

    net = lib.nn.Sequential(linear(lib, 0.0, 2, 2), lib.nn.Sequential(Frozen(2)), lib.nn.BatchNorm1d(2))
    net[2].track_running_stats = False
    y = net.train()(lib.arange(8.0).reshape(4, 2))
    net[2].eval()
    return [m.training for m in net.modules()], values([y, *net.buffers(), net[2](y)])


def tuples_through_sequential(lib: Any) -> Any:
    class Split(lib.nn.Module):
        def forward(self, x: Any) -> Any:
            return x, x * 2

    class Join(lib.nn.Module):
        def forward(self, both: Any) -> Any:
            return both[0] + both[1]

    return values(lib.nn.Sequential(Split(), Join())(lib.ones(2)))


def parameter_containers(lib: Any) -> Any:
    nn = lib.nn
    one = nn.Parameter(lib.ones(2))
    pl = nn.ParameterList([one, lib.zeros(2), "word"])
    pl.append(lib.ones(1)).extend(nn.ParameterList([lib.ones(3)]))
    pl += (one,)
    pl[1] = lib.ones(4)
    pd = nn.ParameterDict({"b": lib.ones(2), "a": one, "n": 3})
    pd.update([("c", lib.zeros(1)), ("b", lib.zeros(3))])
    pd["d"] = lib.ones(1)
    ordered = nn.ParameterDict(OrderedDict(z=lib.ones(1), y=lib.ones(1)))
    found = [
        len(pl), list(pl.state_dict()), pl[0] is one, pl[-1] is one, pl[2], type(pl[1]) is nn.Parameter, len(pl[1:4]), pl[:1][0] is one,
        list(pd), list(pd.keys()), [k for k, _ in pd.items()], list(pd.state_dict()), pd["a"] is one, pd.a is one, "b" in pd, len(pd),
        list(reversed(pd)), list(ordered), list(ordered.copy()), list(ordered | pd), pd.get("q", 5), pd.get("n"),
        pd.setdefault("n", 7), type(pd.setdefault("e", lib.ones(1))).__name__, list(pd.fromkeys(["u", "v"], 1).items()), pd.pop("n"),
        pd.popitem()[0], list(pd), [p.shape[0] for p in pd.values()],
    ]  # fmt: skip
    ordered |= pd
    found += [list(ordered)]
    pd.clear()
    del ordered["z"]
    return [*found, list(pd), list(pd.parameters()), list(ordered), [n for n, _ in ordered.named_parameters()]]


def paths(lib: Any) -> Any:
    m = model(lib)
    new = lib.nn.GELU()
    m.set_submodule("layers.0", new)
    m.set_submodule("by_name.a", new)
    m.set_submodule("by_name.later", lib.nn.ReLU())
    m.set_submodule("first.inner", lib.nn.ReLU())
    return [
        m.layers[0] is new, m.by_name["a"] is new, [n for n, _ in m.named_modules()], m.get_submodule("") is m,
        m.get_parameter("layers.1.weight") is m.first.weight, m.get_buffer("scratch") is m.scratch,
    ]  # fmt: skip


PROGRAMS: list[Program] = [
    order_of_hooks, gradients_that_hooks_see, hooks_without_input_gradients, hooks_that_replace, hooks_and_second_gradients,
    outputs_of_other_kinds, removed_and_copied_hooks, hooks_that_are_always_called, keys_and_names, order_of_state_hooks,
    order_of_load_hooks, renamed_keys, assigned_state, buffers, reprs, containers, modes, tuples_through_sequential,
    parameter_containers, paths,
]  # fmt: skip


def _post_hook_that_returns(lib: Any) -> Any:
    m = lib.nn.Linear(1, 1)
    m.register_state_dict_post_hook(lambda m, state, prefix, meta: state)
    return m.state_dict()


def _backward_hook(lib: Any, kind: str, hook: Any) -> Any:
    m = lib.nn.Linear(1, 1)
    getattr(m, f"register_full_backward_{kind}hook")(hook)
    m(lib.ones(1, 1, requires_grad=True)).sum().backward()


def _pre_hook(lib: Any, returned: Any) -> Any:
    m = lib.nn.Linear(1, 1)
    m.register_forward_pre_hook(lambda m, args, kwargs: returned, with_kwargs=True)
    return m(lib.ones(1, 1))


def _inplace_under_hooks(lib: Any) -> Any:
    m = lib.nn.ReLU(inplace=True)
    m.register_full_backward_hook(lambda *args: None)
    return m(lib.ones(1, requires_grad=True) * 1)


# What must raise in both, an error that whoever catches PyTorch's class catches.
REFUSED: dict[str, Program] = {
    "empty path": lambda lib: lib.nn.Sequential(lib.nn.ReLU()).set_submodule("", lib.nn.ReLU()),
    "no module": lambda lib: lib.nn.Sequential(lib.nn.ReLU()).set_submodule("0", 3),
    "strict path": lambda lib: lib.nn.Sequential(lib.nn.ReLU()).set_submodule("more", lib.nn.ReLU(), strict=True),
    "no such parent": lambda lib: lib.nn.Sequential(lib.nn.ReLU()).set_submodule("more.0", lib.nn.ReLU()),
    "a parameter's path": lambda lib: lib.nn.Linear(1, 1).set_submodule("weight", lib.nn.ReLU()),
    "an attribute's path": lambda lib: lib.nn.Linear(1, 1).set_submodule("in_features", lib.nn.ReLU()),
    "no such submodule": lambda lib: lib.nn.ReLU().get_submodule("a"),
    "no such parameter": lambda lib: lib.nn.ReLU().get_parameter("a"),
    "no such buffer": lambda lib: lib.nn.Linear(1, 1).get_buffer("weight"),
    "no extra state": lambda lib: lib.nn.ReLU().get_extra_state(),
    "extra state not wanted": lambda lib: lib.nn.ReLU().set_extra_state(1),
    "unexpected extra state": lambda lib: lib.nn.ReLU().load_state_dict({"_extra_state": 1}),
    "missing extra state": lambda lib: model(lib).load_state_dict({k: v for k, v in model(lib).state_dict().items() if "extra" not in k}),
    "state dict post-hook": _post_hook_that_returns,
    "forward pre-hook": lambda lib: _pre_hook(lib, 3),
    "too many gradients": lambda lib: _backward_hook(lib, "", lambda m, gi, go: (gi[0], gi[0])),
    "too many output gradients": lambda lib: _backward_hook(lib, "pre_", lambda m, go: (go[0], go[0])),
    "gradient of another shape": lambda lib: _backward_hook(lib, "", lambda m, gi, go: (lib.ones(3),)),
    "in place under hooks": _inplace_under_hooks,
    "ints that require gradients": lambda lib: lib.nn.Linear(1, 1).type(lib.int64),
    "a list is called": lambda lib: lib.nn.ModuleList([lib.nn.ReLU()])(lib.ones(1)),
    "a dict is called": lambda lib: lib.nn.ModuleDict({"a": lib.nn.ReLU()})(lib.ones(1)),
    "a parameter list is called": lambda lib: lib.nn.ParameterList()(1),
    "a parameter dict is called": lambda lib: lib.nn.ParameterDict()(1),
    "no forward": lambda lib: lib.nn.Module()(1),
    "Sequential + list": lambda lib: lib.nn.Sequential() + lib.nn.ModuleList(),
    "Sequential * 0": lambda lib: lib.nn.Sequential(lib.nn.ReLU()) * 0,
    "Sequential * word": lambda lib: lib.nn.Sequential(lib.nn.ReLU()) * "a",
    "parameter list index": lambda lib: lib.nn.ParameterList()[0],
    "parameter list of a tensor": lambda lib: lib.nn.ParameterList(lib.ones(2)),
    "parameter to a number": lambda lib: lib.nn.ParameterList([lib.ones(2)]).__setitem__(0, 3),
    "parameter dict key": lambda lib: lib.nn.ParameterDict({"a.b": lib.ones(1)}),
    "parameter dict key of ints": lambda lib: lib.nn.ParameterDict({3: lib.ones(1)}),
    "parameter dict of a number": lambda lib: lib.nn.ParameterDict(3),
    "parameter dict pair": lambda lib: lib.nn.ParameterDict([("a", 1, 2)]),
    "parameter dict deletion": lambda lib: lib.nn.ParameterDict().__delitem__("a"),
    "buffer for a parameter": lambda lib: setattr(lib.nn.Linear(1, 1), "weight", lib.nn.Buffer(lib.ones(1))),
    "buffer for a module": lambda lib: setattr(lib.nn.Sequential(lib.nn.ReLU()), "0", lib.nn.Buffer(lib.ones(1))),
    "parameter before init": lambda lib: _before_init(lib),
}


def _before_init(lib: Any) -> Any:
    class Late(lib.nn.Module):
        def __init__(self) -> None:
            self.weight = lib.nn.Parameter(lib.ones(1))

    return Late()
