"""diagnose: one run of a model, and all that it shows to be wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jitgrad.autograd import user_line
from jitgrad.errors import InputTypeError
from jitgrad.nn._hidden import hidden
from jitgrad.nn._place import short_name
from jitgrad.nn._trace import tensors_in
from jitgrad.nn.diagnosis.anew import made_in_forward
from jitgrad.nn.diagnosis.failed import failure
from jitgrad.nn.diagnosis.gradients import gradients
from jitgrad.nn.diagnosis.logits import not_logits
from jitgrad.nn.diagnosis.reach import reach
from jitgrad.nn.diagnosis.report import Finding, Report
from jitgrad.nn.diagnosis.sizes import gradient_sizes
from jitgrad.nn.diagnosis.structure import drops_all, evaluated, hidden_parameters, in_plain_containers, mixed_dtypes, sharing
from jitgrad.nn.diagnosis.values import dead_relus, input_ignored, not_finite
from jitgrad.nn.diagnosis.watch import Run
from jitgrad.nn.module import Module


def diagnose(
    model: Module, *inputs: Any, loss: Callable[[Any], Any] | None = None, kwargs: Mapping[str, Any] | None = None
) -> Report:  # fmt: skip
    """Run a model once, forward and backward, and report what is wrong with it: by name, with the line and the fix.

    Found are: what the model raises; modules that are never called, or whose output never reaches the result; modules and
    parameters in plain containers, where nothing finds them; layers that forward makes anew; parameters without a gradient, or
    with one that is zero, and why; gradients that vanish on the way back, or explode; layers that are shared by mistake; dtypes
    that do not fit; the operation that made the first NaN or infinity, forwards or on the way back, or whose backward failed;
    ReLUs that are 0 for the whole batch; a softmax before cross_entropy, a sigmoid before the loss with logits; Dropout with
    p=1; a loss in evaluation mode.

    Parameters
    ----------
    model
        Runs in the mode that it is in, and is afterwards as it was: buffers, gradients, attributes, random numbers.
    *inputs
        What its forward takes: a batch of real data. Shapes do not do: from random numbers NaNs, dead units and gradients of 0 say
        nothing about your training.
    loss
        ``loss(output)`` returns the number that training would minimize. Without it gradients start from all float outputs.
    kwargs
        Keyword arguments of forward, passed as they are.

    Returns a Report: ``findings``, ``ok`` (neither errors nor warnings), text, and HTML in a notebook. What the model raises is a
    finding; InputTypeError is raised for a model that is no Module and for shapes, TypeError for a loss that cannot be called.

    >>> import jitgrad as jg
    >>> from jitgrad import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
    ...     def forward(self, x):
    ...         for layer in self.layers:
    ...             layer(x)
    ...         return x
    >>> report = nn.diagnose(Net(), jg.ones(2, 4))
    >>> report.ok, [(f.severity, f.kind, f.path) for f in report]
    (False, [('error', 'output dropped', 'layers.0 and layers.1')])
    """
    if not isinstance(model, Module):
        raise InputTypeError(f"diagnose: expected a Module and then its inputs, given {type(model).__name__}.")
    if loss is not None and not callable(loss):
        raise TypeError(f"diagnose: loss is expected to be a function of the output, given {type(loss).__name__}.")
    kwargs = kwargs or {}
    _check_data(inputs, kwargs)
    found = list(hidden(model))  # before the parameters are listed, which would warn of it
    beside = hidden_parameters(found)
    parameters = {**dict(model.named_parameters()), **beside}
    run = Run(model, parameters, [x for h in found for _, x in h.items if isinstance(x, Module)], loss, user_line(), inputs, kwargs)
    of_modules, explained = reach(run)
    findings = [*in_plain_containers(found, model), *of_modules]
    if run.output_type == "NoneType" and parameters:
        text = f"forward of {type(model).__name__} returned None."
        findings.append(Finding("output dropped", "error", "", text, fix="end forward with return and what it computed"))
    elif run.error is not None:
        findings.append(failure(run))
    elif run.followed:
        used = {id(t) for op in run.watch.ops for t in op.inputs}
        explained |= {id(p) for p in beside.values() if id(p) not in used}
        dead = list(dead_relus(run))
        findings += [*gradients(run, explained, [op for op, _ in dead]), *(f for _, f in dead), *input_ignored(run)]
        findings += gradient_sizes(run)
    else:
        text = f"the output, a {run.output_type}, holds no Tensors that could be found: gradients were not looked at."
        findings.append(Finding("not followed", "note", "", text, fix="pass loss=, a function of the output that returns one number"))
    findings += [*made_in_forward(run), *sharing(model), *mixed_dtypes(run), *drops_all(model), *evaluated(run)]
    findings += [*not_finite(run), *not_logits(run)]
    return Report(short_name(model), _merged(findings), _facts(run))


def _check_data(inputs: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Shapes, which summary and the graph take, are refused; beside a Tensor a tuple of ints is an argument like others."""
    shape = next((x for x in inputs if isinstance(x, tuple) and x and all(type(n) is int for n in x)), None)
    if shape is not None and not tensors_in([inputs, kwargs]):
        raise InputTypeError(
            f"diagnose: expected a batch of real data, given the shape {shape}: random numbers do not show where "
            "yours make NaN, or gradients of 0. Pass a batch of your training data, or use nn.summary(model, shape)."
        )


def _merged(findings: list[Finding]) -> list[Finding]:
    """Without what another finding explains: NaN makes zero gradients, a dropped output a result without the input."""
    kinds = {f.kind for f in findings}
    causes = {"zero gradient": {"not finite", "vanishing gradient"}, "constant": {"output dropped"}}
    return [f for f in findings if not causes.get(f.kind, set()) & kinds]


def _facts(run: Run) -> str:
    calls = len(run.watch.calls)
    got = sum(g is not None for g in run.gradients.values())
    words = [f"{calls} module call{'s' * (calls != 1)}", f"gradients for {got} of {len(run.parameters)} parameters"]
    return ", ".join(words) + (f", stopped in {run.stage}" if run.stage else "")
