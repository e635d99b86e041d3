"""What modules and containers cost: calls, attributes, indices, walks; a family of the runner.

By itself, ``python -m benchmarks.compare.modules`` says what it costs that a call can name the place of an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jitgrad as jg
from benchmarks.compare.case import Arrays, Call, Uncounted, function
from benchmarks.compare.timing import medians
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


@dataclass(frozen=True)
class Expression(Uncounted):
    """An expression about modules."""

    name: str
    row: str = "modules and containers"
    modes: tuple[str, ...] = ("call",)
    exact: bool = False  # there are no numbers to compare

    def arrays(self) -> Arrays:
        """None."""
        return {}

    def calls(self, lib: Any, arrays: Arrays, dtype: Any = None) -> dict[str, Call]:
        """The expression, about modules of its own."""
        return {"call": function(CASES[self.name], None, space(lib))}


def modules() -> Iterator[Expression]:
    """The family."""
    yield from map(Expression, CASES)


def main() -> None:
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
    seconds = medians([lambda: named(1.0), lambda: bare(1.0)], block=2e-4, rounds=401)  # many short rounds: the two are close
    a, b = (1e6 * t for t in seconds)
    print(f"a call that names the place of errors: {a:.4f} us, without: {b:.4f}, ratio {b / a:.3f}")


if __name__ == "__main__":
    main()
