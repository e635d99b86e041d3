"""Primitive: all that the engine knows of an operation."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from jitgrad import kernels
from jitgrad.autograd.door import AUX, OUTPUT
from jitgrad.autograd.printed import door_of
from jitgrad.autograd.tensor import saved_output
from jitgrad.shapes import Shape, contiguous_strides


class Spec:
    """An array without data: shape, NumPy dtype, strides in bytes, device type. What ``infer`` sees in a dry run."""

    __slots__ = ("device_type", "dtype", "shape", "strides")

    def __init__(self, shape: Shape, dtype: Any, strides: tuple[int, ...] | None = None, device_type: str = "cpu") -> None:
        self.shape = shape
        self.dtype = dtype
        self.strides = contiguous_strides(shape, dtype.itemsize) if strides is None else strides
        self.device_type = device_type

    @property
    def itemsize(self) -> int:
        return int(self.dtype.itemsize)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    def __repr__(self) -> str:
        return f"Spec({self.shape}, {self.dtype}, device={self.device_type!r})"


class _Launchers(dict[type, Callable[..., Any]]):
    """The launcher by type of array, looked up in the kernels at the first call on a device."""

    def __init__(self, kernel: str) -> None:
        self.kernel = kernel

    def __missing__(self, array_type: type) -> Callable[..., Any]:
        launcher: Callable[..., Any] = getattr(kernels.of_type(array_type), self.kernel)
        self[array_type] = launcher
        return launcher

    def on(self, device_type: str) -> Callable[..., Any]:
        """The launcher for a device type, where there is no input to tell."""
        launcher: Callable[..., Any] = getattr(kernels.on(device_type), self.kernel)
        return launcher


class Primitive:
    """One operation: its name, inputs, ``infer``, kernel and one backward rule per argument.

    Parameters
    ----------
    name
        Also the name of the kernel, unless ``kernel`` names another.
    args
        Names of the tensor inputs, e.g. ``"x w b"``. A starred name stands for any number of tensors, which kernel and infer
        get as a tuple; several starred names (after the plain ones) have equally many.
    infer
        ``infer(x, w, ..., *static)`` takes arrays or Specs and the static parameters, makes every check, and returns
        ``(shape, dtype)``, or a list of them for several outputs. A size is None where only the data decides it.
    check
        ``check(x, ..., *static)`` for what only the data shows, such as an index out of range.
    optional
        Names of the inputs that may be None; the first never is.
    outputs
        Names of the outputs, ``"y"`` unless given; ``""`` where the kernel decides how many, with aux last. What the kernel
        returns beyond them is kept as the tuple ``aux`` where a rule names it.
    mutates
        Names of the inputs that the kernel writes to; such a primitive returns its first mutated input.
    geometry
        Given instead of infer for a view: ``geometry(x, *static)`` returns shape, strides, offset. Where a ``kernel`` is named
        too, it makes the view itself (and raises ValueError where it cannot, for geometry to explain); else as_strided does.
    detaches
        Whether the output is cut from the graph (it still shares memory and version).
    broadcasts
        Whether the engine sums gradients back over broadcast dims.
    source
        Whether it has no inputs and its first static parameter is the device type.
    grad_<arg>
        Rule ``lambda g, ...:`` that returns the gradient of arg from the upstream gradient ``g``. Its other parameters
        say what is kept for backward: an input by its name, an output by its name, ``aux``, a static parameter by its
        name in infer (or geometry), or ``<arg>_shape`` and ``<arg>_dtype``. With several outputs g is a tuple, with None where no
        gradient came. A rule may return None: no gradient.
    promote
        ``promote(a, b)``: what to do with two operands of different dtypes, instead of an error.
    grads
        One rule for all arguments, where one kernel gives all gradients: returns them in a sequence. Names what others do; for
        starred arguments ``shapes``, those of all inputs, and ``node``.
    impl
        Given instead of kernel: the launcher itself, the same for every device.
    recorded
        Called as ``recorded(node, inputs, outputs)`` when a node has been made.
    """

    __slots__ = (
        "apply", "args", "broadcasts", "check", "detaches", "geometry", "grads", "impl", "infer", "keep",
        "mutates", "name", "optional", "outputs", "own_kernel", "plain", "promote", "recorded", "rules", "source", "special", "statics",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        args: str,
        infer: Callable[..., Any] | None = None,
        *,
        kernel: str | None = None,
        check: Callable[..., None] | None = None,
        optional: str = "",
        outputs: str = "y",
        mutates: str = "",
        geometry: Callable[..., Any] | None = None,
        detaches: bool = False,
        broadcasts: bool = False,
        source: bool = False,
        promote: Callable[..., Any] | None = None,
        grads: Callable[..., Any] | None = None,
        impl: Callable[..., Any] | None = None,
        recorded: Callable[..., None] | None = None,
        **rules: Callable[..., Any] | None,
    ) -> None:
        self.name = name
        self.args = tuple(args.replace("*", "").split())
        self.plain = len(self.args) - args.count("*")
        self.check = check
        self.recorded = recorded
        self.outputs = tuple(outputs.split())
        self.mutates = tuple(self.args.index(a) for a in mutates.split())
        self.geometry = geometry
        self.detaches = detaches
        self.broadcasts = broadcasts
        self.source = source
        self.optional = tuple(optional.split())
        self.own_kernel = geometry is not None and kernel is not None
        self.promote = promote
        self.infer = infer if infer is not None else self._infer_view
        described = geometry or infer
        assert described is not None, f"{name}: infer or geometry is needed"
        self.statics = list(inspect.signature(described).parameters)[1 if geometry else len(self.args) :]
        self.impl: dict[type, Callable[..., Any]] = _Launchers(kernel or ("as_strided" if geometry else name))
        if impl is not None:
            self.impl = defaultdict(lambda: impl)
        variadic = "*" in args
        self.grads = None if grads is None else self._adapt(grads, None)
        unknown = set(rules) - {f"grad_{a}" for a in self.args}
        assert not unknown, f"{name}: rules for unknown arguments {unknown}"
        given = [rules.get(f"grad_{a}") for a in self.args]
        self.rules = () if variadic or not any(given) else tuple(self._adapt(r, a) for r, a in zip(given, self.args, strict=True))
        if grads is not None and not variadic:
            given = [grads] * len(self.args)  # whichever gradient is wanted, the one rule needs all that it names
        self.keep = self._keep_table(given) if self.rules or (grads is not None and not variadic) else ()
        self.special = bool(mutates or source or variadic or not self.outputs or len(self.args) > 4)
        self.apply: Callable[..., Any] = self._first

    def _first(self, *args: Any) -> Any:
        """The first call prints the door."""
        self.apply = door_of(self)
        return self.apply(*args)

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def _infer_view(self, x: Any, *p: Any) -> tuple[Shape, Any]:
        assert self.geometry is not None
        return self.geometry(x, *p)[0], x.dtype

    def _source_of(self, parameter: str, arg: str | None) -> tuple[str, int]:
        """Where a rule's parameter comes from (an expression over the node n), and the keep bits that it needs."""
        if parameter in self.args:
            i = self.args.index(parameter)
            return f"n.saved[0][{i}]", 1 << i
        if parameter in self.outputs:
            i = self.outputs.index(parameter)
            return f"output(n, {i})", OUTPUT
        if parameter == "aux":
            return "n.saved[3]", AUX
        if parameter in self.statics:
            return f"n.saved[1][{self.statics.index(parameter)}]", 0
        if arg is not None and parameter in (f"{arg}_shape", f"{arg}_dtype"):
            return f"n.edges[{self.args.index(arg)}].{parameter.rpartition('_')[2]}", 0
        if arg is None and parameter == "shapes":
            return "n.saved[3][-1]", 0
        if arg is None and parameter == "node":
            return "n", 0
        raise AssertionError(f"{self.name}: rule names {parameter!r}, which is neither kept nor static")

    def _adapt(self, rule: Callable[..., Any] | None, arg: str | None) -> Callable[..., Any] | None:
        """``adapted(g, n)`` that hands a rule what it names from the node n."""
        if rule is None:
            return None
        names = list(inspect.signature(rule).parameters)[1:]
        sources = "".join(f", {self._source_of(n, arg)[0]}" for n in names)
        text = compile(f"lambda g, n: rule(g{sources})", "<door rule>", "eval")
        adapted: Callable[..., Any] = eval(text, {"rule": rule, "output": saved_output})
        return adapted

    def _keep_table(self, rules: Sequence[Callable[..., Any] | None]) -> tuple[int, ...]:
        """Keep mask by bit set of the inputs that want a gradient; 0 marks inputs without any rule."""
        bits = []
        for rule, arg in zip(rules, self.args, strict=True):
            names = [] if rule is None else list(inspect.signature(rule).parameters)[1:]
            bits.append(sum({self._source_of(n, arg)[1] for n in names}))
        table = []
        for wanted in range(1 << len(bits)):
            mask = 0
            for i, b in enumerate(bits):
                if wanted >> i & 1:
                    mask |= b
            table.append(mask)
        return tuple(table)

    def grouped(self, inputs: Sequence[Any]) -> list[Any]:
        """Inputs as kernel and infer get them: plain ones, then a tuple for each starred name."""
        plain, stars = self.plain, len(self.args) - self.plain
        if not stars:
            return list(inputs)
        n = (len(inputs) - plain) // stars
        result = list(inputs[:plain])
        for at in range(plain, plain + n * stars, n) if n else (plain,) * stars:
            result.append(tuple(inputs[at : at + n]))
        return result
