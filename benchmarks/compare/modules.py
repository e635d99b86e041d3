"""What modules and containers cost beside PyTorch's: calls, attributes, indices, walks. ``python -m benchmarks.compare.modules``

Rounds of the two alternate in one process; each figure is the median over rounds, ratios are the second time / the first.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import geometric_mean
from typing import Any

from benchmarks.compare.tiny import jg, pair, torch
from jitgrad.nn._hooks import call_with_hooks

# Name and expression, for either library; what is in it is made by `space`.
CASES = {
    "call of an empty module": "empty(x)",
    "call of an empty module, three levels deep": "nested(x)",
    "Sequential of ten empty modules": "ten(x)",
    "module with a forward hook": "hooked(x)",
    "attribute: net.fc": "net.fc",
    "attribute: net.fc.weight": "net.fc.weight",
    "index: sequential[5]": "ten[5]",
    "index: module_list[-1]": "listed[-1]",
    "slice: module_list[2:5]": "listed[2:5]",
    "key: module_dict['b']": "named['b']",
    "loop over a ModuleList of ten": "[m for m in listed]",
    "parameters() of ten Linear": "list(linears.parameters())",
    "named_modules() of ten Linear": "list(linears.named_modules())",
    "state_dict() of ten Linear": "linears.state_dict()",
    "train() of ten Linear": "linears.train()",
    "ModuleList of ten, made": "nn.ModuleList(ms)",
    "append and pop": "(listed.append(empty), listed.pop(-1))",
}


def space(lib: Any) -> dict[str, Any]:
    """What the expressions are about."""
    nn = lib.nn

    class Empty(nn.Module):
        def forward(self, x: Any) -> Any:
            return x

    class Nested(nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Any) -> Any:
            return self.inner(x)

    ms = [Empty() for _ in range(10)]
    net, hooked = nn.Module(), Empty()
    net.fc = nn.Linear(2, 2)
    hooked.register_forward_hook(lambda m, args, y: None)
    return {
        "nn": nn, "x": 1.0, "ms": ms, "empty": Empty(), "nested": Nested(Nested(Empty())), "ten": nn.Sequential(*ms), "hooked": hooked,
        "net": net, "listed": nn.ModuleList(ms), "named": nn.ModuleDict({"a": Empty(), "b": Empty()}),
        "linears": nn.Sequential(*(nn.Linear(2, 2) for _ in range(10))),
    }  # fmt: skip


def expression(text: str, names: dict[str, Any]) -> Callable[[], Any]:
    """The expression as a function whose names are local to it."""
    made: dict[str, Any] = {}
    exec(f"def make({', '.join(names)}):\n  return lambda: {text}", made)
    return made["make"](**names)  # type: ignore[no-any-return]


def places() -> tuple[float, float]:
    """A call that would name the place of an error, and the same call without the two clauses that do."""

    class Named(jg.nn.Module):
        def forward(self, x: Any) -> Any:
            return x

    class Bare(Named):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            if self._forward_pre_hooks or (own := self.__dict__)["_forward_hooks"] or own["_backward_pre_hooks"] or own["_backward_hooks"]:
                return call_with_hooks(self, args, kwargs)
            return self.forward(*args, **kwargs)

    named, bare = Named(), Bare()
    return pair(lambda: named(1.0), lambda: bare(1.0), 200, 401)  # many short rounds: the two are close


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    ours, theirs = space(jg), space(torch)
    ratios = []
    print(f"{'':44}{'us':>8}{'torch':>8}{'ratio':>7}")
    for name, text in CASES.items():
        a, b = pair(expression(text, ours), expression(text, theirs), 50, 201)  # short rounds, most of them undisturbed
        ratios.append(b / a)
        print(f"{name:44}{a:8.3f}{b:8.3f}{b / a:7.2f}")
    print(f"geometric mean {geometric_mean(ratios):.2f}, smallest {min(ratios):.2f}")
    a, b = places()
    print(f"a call that names the place of errors: {a:.4f} us, without: {b:.4f}, ratio {b / a:.3f}")


if __name__ == "__main__":
    main()
