"""graph: the picture of what computed a tensor, or of what happens in a model."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from jitgrad import dtypes
from jitgrad.autograd import Tensor
from jitgrad.errors import ArgumentError, InputTypeError
from jitgrad.nn._dry import Arguments, traced
from jitgrad.nn.module import Module
from jitgrad.viz.drawing import Graph
from jitgrad.viz.models import graph_of_model
from jitgrad.viz.tensors import graph_of_tensors


def graph(
    x: Tensor | list[Tensor] | tuple[Tensor, ...] | Module, *inputs: Any,
    params: Mapping[str, Tensor] | Module | None = None, dtype: Any = dtypes.float32,
    kwargs: Mapping[str, Any] | None = None, depth: int | None = None, limit: int = 400,
) -> Graph:  # fmt: skip
    """The graph of a tensor (what backward walks through), or of a model (its modules, and the operations between them).

    Parameters
    ----------
    x
        A Tensor, several of them in a list or tuple, or a Module.
    *inputs
        Of a model: Tensors, or tuples of ints as shapes, as ``nn.summary`` takes them. Nothing is computed, unless forward asks
        for values, and the model is afterwards as it was.
    params
        Of a tensor: names of leaves, as in ``dict(model.named_parameters())``, or the model.
    dtype
        Of inputs given as shapes: one for all, or a list with one for each.
    kwargs
        Keyword arguments of the model's forward.
    depth
        Levels of calls in a model that are unfolded; a module at this depth is one box. All unless given.
    limit
        Boxes that are drawn at most; what is left out is said in ``note``. 400 is about what Mermaid takes.

    Returns a Graph: a picture in notebooks, Mermaid text by ``str``, DOT in ``source``, files by ``render(path)``. Shapes stand
    on the edges; pointing at a box of a picture tells the line of the program. A model that fails is drawn up to there.

    Raises GradError for a tensor without a graph, ArgumentError and InputTypeError for other arguments.

    >>> import jitgrad as jg
    >>> w = jg.ones(2, 3, requires_grad=True)
    >>> print(jg.viz.graph(w.tanh(), params={"w": w}))
    flowchart TD
      n0["tanh"]:::op
      n1(["w<br/>(2, 3)"]):::parameter
      n3(["output"]):::output
      n1 -->|"(2, 3)"| n0
      n0 -->|"(2, 3)"| n3
      classDef op fill:#f0f0f0,stroke:#999999,color:#000
      classDef parameter fill:#dae8fc,stroke:#6c8ebf,color:#000
      classDef output fill:#d5e8d4,stroke:#82b366,color:#000
    """
    for name, n, least in (("depth", depth, 0), ("limit", limit, 1)):
        if not (n is None and name == "depth") and (isinstance(n, bool) or not isinstance(n, int) or n < least):
            raise ArgumentError(f"graph: {name} is expected to be an int of at least {least}, given {n!r}.")
    if isinstance(x, Module):
        if params is not None:
            raise ArgumentError("graph: a model knows the names of its parameters: params is for the graph of a tensor.")
        if not inputs and not kwargs and _asks_for_more(x):
            raise ArgumentError("graph: expected a model's inputs, or their shapes, as in graph(model, (1, 3, 32, 32)).")
        trace, error = traced(x, Arguments(x, inputs, kwargs, dtype, "graph"))
        if not trace.calls:
            raise error or ArgumentError("graph: the model was not called.")
        return graph_of_model(trace, error, depth, limit)
    tensors = [x] if isinstance(x, Tensor) else list(x) if isinstance(x, (list, tuple)) else []
    if not tensors or not all(isinstance(t, Tensor) for t in tensors):
        raise InputTypeError(f"graph: expected a Tensor, several in a list, or a Module, given {type(x).__name__}.")
    if inputs or kwargs or depth is not None:
        raise ArgumentError("graph: inputs, kwargs and depth are for the graph of a model, and a Tensor was given.")
    return graph_of_tensors(tensors, dict(params.named_parameters()) if isinstance(params, Module) else params or {}, limit)


def _asks_for_more(model: Module) -> bool:
    """Whether a forward cannot be called without arguments."""
    try:
        signature(model.forward).bind()
    except TypeError:
        return True
    return False
