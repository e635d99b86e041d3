"""diagnose: one run of a model, and all that it shows to be wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitgrad.autograd import user_line
from jitgrad.nn._place import short_name
from jitgrad.nn.diagnosis.failed import failure
from jitgrad.nn.diagnosis.gradients import Gradients
from jitgrad.nn.diagnosis.reach import Reach
from jitgrad.nn.diagnosis.report import Finding, Report
from jitgrad.nn.diagnosis.structure import Hidden, mixed_dtypes, sharing
from jitgrad.nn.diagnosis.values import NotFinite, dead_relus, input_ignored, softmax_too_many
from jitgrad.nn.diagnosis.watch import Run
from jitgrad.nn.module import Module


def diagnose(model: Module, *inputs: Any, loss: Callable[[Any], Any] | None = None, **kwargs: Any) -> Report:
    """Run a model once, forward and backward, and report what is wrong with it: by name, with the line and the fix.

    Found are: what the model raises; modules that are never called, or whose output never reaches the result; modules and
    parameters in plain containers, where nothing finds them; parameters without a gradient, or with one that is zero, and why;
    layers that are shared by mistake; dtypes that do not fit; the operation that made the first NaN or infinity, forwards or on
    the way back; ReLUs that are 0 for the whole batch; a softmax before cross_entropy.

    Parameters
    ----------
    model
        Runs in the mode that it is in, and is afterwards as it was: buffers, gradients, attributes, random numbers.
    inputs, kwargs
        What the model is called with: a real batch shows more than zeros do.
    loss
        ``loss(output)`` returns the number that training would minimize. Without it gradients start from all float outputs.

    Returns a Report: ``findings``, ``ok`` (neither errors nor warnings), text, and HTML in a notebook. What the model raises is a
    finding; TypeError is raised for a model that is no Module and a loss that cannot be called.

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
        raise TypeError(f"diagnose: expected a Module and then its inputs, given {type(model).__name__}.")
    if loss is not None and not callable(loss):
        raise TypeError(f"diagnose: loss is expected to be a function of the output, given {type(loss).__name__}.")
    hidden = Hidden(model)
    parameters = {**dict(model.named_parameters()), **hidden.parameters}
    run = Run(model, parameters, hidden.modules, loss, user_line())
    run.go(inputs, kwargs)
    reach = Reach(run)
    findings = [*hidden.findings, *reach.findings]
    if run.output_type == "NoneType" and parameters:
        text = f"forward of {type(model).__name__} returned None."
        findings.append(Finding("output dropped", "error", "", text, fix="end forward with return and what it computed"))
    elif run.error is not None:
        findings.append(failure(run))
    elif run.followed:
        used = {id(t) for op in run.watch.ops for t in op.inputs}
        explained = reach.explained | {id(p) for p in hidden.parameters.values() if id(p) not in used}
        dead = list(dead_relus(run))
        findings += [*Gradients(run, explained, [op for op, _ in dead]).findings, *(f for _, f in dead), *input_ignored(run)]
    else:
        text = f"the output, a {run.output_type}, holds no Tensors that could be found: gradients were not looked at."
        findings.append(Finding("not followed", "note", "", text, fix="pass loss=, a function of the output that returns one number"))
    findings += [*sharing(model), *mixed_dtypes(run), *NotFinite(run).findings, *softmax_too_many(run)]
    return Report(short_name(model), _merged(findings), _facts(run))


def _merged(findings: list[Finding]) -> list[Finding]:
    """Without what another finding explains: NaN makes zero gradients, a dropped output a result without the input."""
    kinds = {f.kind for f in findings}
    causes = {"zero gradient": "not finite", "constant": "output dropped"}
    return [f for f in findings if causes.get(f.kind) not in kinds]


def _facts(run: Run) -> str:
    calls = len(run.watch.calls)
    got = sum(g is not None for g in run.gradients.values())
    words = [f"{calls} module call{'s' * (calls != 1)}", f"gradients for {got} of {len(run.parameters)} parameters"]
    return ", ".join(words) + (f", stopped in {run.stage}" if run.stage else "")
