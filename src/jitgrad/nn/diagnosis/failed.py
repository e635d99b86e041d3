"""An error of the run as a finding: what was raised, where, and the fix that its message names."""

from __future__ import annotations

from jitgrad.autograd import Line, raised_at
from jitgrad.errors import JitgradError, LayerDTypeError
from jitgrad.nn._trace import Call, Op, tensors_in
from jitgrad.nn.diagnosis.report import Finding
from jitgrad.nn.diagnosis.watch import LossError, Run, named, place_of

_COMPUTED = ("float32", "float64")  # dtypes that layers compute in


def failure(run: Run) -> Finding:
    """The finding about what was raised."""
    error = run.error
    assert error is not None
    line = raised_at(error)
    if isinstance(error, LossError):
        text, fix = error.args
        return Finding("error", "error", "", text, None, fix)
    text, fix = _parts(error)
    call = run.watch.failed_call(error) if run.stage == "forward" else None
    if isinstance(error, LayerDTypeError) and call is not None:
        return _dtype(run, error, call, line, text, fix)
    at = run.watch.failed_op()
    if run.stage == "backward":
        # What a backward says of anomaly mode: here the trace knows lines without it.
        text, fix = (words.partition("\n  in ")[0].partition(". To see the line of the forward")[0] for words in (text, fix))
    if run.stage == "backward" and at is not None:
        return _backward(run, error, run.watch.ops[at], at, line, text, fix)
    if isinstance(error, JitgradError):
        where = f"\n    in {error.place}" if error.place else ""
    else:
        text, where = f"{type(error).__name__}{': ' * bool(text)}{text}", f" (in {named(call)})" if call is not None else ""
    return Finding("error", "error", call.path if call else "", f"{run.stage} failed: {text}{where}", line, fix)


def _parts(error: Exception) -> tuple[str, str]:
    """What is wrong, and what to do about it: the errors of jitgrad say this after their first sentence. Others are left whole."""
    if not isinstance(error, JitgradError):
        return str(error), ""
    what, fix = error.parts()
    fix = fix.removesuffix(".")
    return what, fix[:1].lower() + fix[1:]


def _backward(run: Run, error: Exception, op: Op, at: int, line: Line | None, text: str, fix: str) -> Finding:
    """The backward of an operation failed: its layer and line, or the later line that wrote over what it had kept."""
    if not isinstance(error, JitgradError):
        text = f"{type(error).__name__}{': ' * bool(text)}{text}"
    where = f"\n    in {place_of(op)}"
    path = op.call.path if op.call else ""
    written = _written_later(run, at) if "overwritten later" in text else None
    at_line = line if written is None else written.line
    if at_line is None:
        at_line = op.line
    elif op.line is not None and at_line != op.line:
        where += f", at {op.line}"
    return Finding("error", "error", path, f"backward failed: {text}{where}", at_line, fix)


def _written_later(run: Run, at: int) -> Op | None:
    """The last operation that wrote to the memory of what the one at a place in the trace got or made."""
    op, flow = run.watch.ops[at], run.flow
    memories = {flow.memory(t) for t in (*op.inputs, *op.outputs) if t is not None}
    after = [o for o in run.watch.ops[at + 1 :] if o.prim.mutates and any(flow.memory(t) in memories for t in flow.written(o))]
    return after[-1] if after else None


def _dtype(run: Run, error: LayerDTypeError, call: Call, line: Line | None, text: str, fix: str) -> Finding:
    """Input and weight of different dtypes: also where the input's dtype came from."""
    weights = {p.dtype.name: p for p in call.module._parameters.values() if p is not None}
    given = tensors_in([call.args, call.kwargs])
    odd = next((t for t in given if t.dtype.name not in weights and t.dtype.name in text), None)
    if odd is None or len(weights) != 1:
        return Finding("dtype", "error", call.path, f"forward failed: {text}\n    in {error.place}", line, fix)
    weight = next(iter(weights))
    made = next((op for op in reversed(run.watch.ops) if any(odd is y for y in op.outputs)), None)
    origin = ""
    if any(odd is t for t in run.inputs):
        origin = ", as the model itself was"
        fixes = [f"model(x.to(jg.{weight}))"] if weight in _COMPUTED else []
        fix = ", or ".join([*fixes, f"model.to(jg.{odd.dtype.name})"] if odd.dtype.name in _COMPUTED else fixes)
    elif made is not None:
        origin = f", made by {place_of(made)}" + (f" at {made.line}" if made.line else "")
        fix = f"x.to(jg.{weight}) before the call"
    text = f"{named(call)} has {weight} weights and was given an input {odd.shape} {odd.dtype.name}{origin}; layers do not promote."
    return Finding("dtype", "error", call.path, text, line, fix)
