"""What is wrong with a model as it stands, before it runs: hidden modules, sharing, mixed dtypes, modes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jitgrad.nn._hidden import Hidden, in_words
from jitgrad.nn._place import short_name
from jitgrad.nn.containers import ModuleDict, ModuleList, Sequential
from jitgrad.nn.diagnosis.report import Finding, listed
from jitgrad.nn.dropout import Dropout
from jitgrad.nn.norm import _BatchNorm
from jitgrad.nn.parameter import Parameter

if TYPE_CHECKING:
    from jitgrad.nn.diagnosis.watch import Run
    from jitgrad.nn.module import Module


def in_plain_containers(found: list[Hidden], model: Module) -> Iterator[Finding]:
    """Modules and Parameters that nothing finds."""
    for h in found:
        what, fix = in_words(model, h)
        yield Finding("hidden", "error", h.path, what, fix=fix)


def hidden_parameters(found: list[Hidden]) -> dict[str, Parameter]:
    """Parameters in plain containers, and those of modules there, by the paths at which they are found."""
    parameters: dict[str, Parameter] = {}
    seen: set[int] = set()
    for path, x in (item for h in found for item in h.items):
        named = [("", x)] if isinstance(x, Parameter) else x._named("_parameters", "", True, True)
        for name, p in named:
            key = f"{path}.{name}" if name else path
            while key in parameters:  # the members of a set have no places
                key += "'"
            if id(p) not in seen:
                seen.add(id(p))
                parameters[key] = p
    return parameters


def sharing(model: Module) -> Iterator[Finding]:
    """Modules that stand at several places, and Parameters that several modules have."""
    paths: dict[int, list[str]] = {}
    modules: dict[int, Module] = {}
    for path, m in model.named_modules(remove_duplicate=False):
        paths.setdefault(id(m), []).append(path)
        modules[id(m)] = m
    told: set[int] = set()  # modules below what is shared are shared with it
    for key, places in paths.items():
        m = modules[key]
        if len(places) == 1 or key in told or not any(True for _ in m._named("_parameters", "", True, True)):
            continue
        told.update(id(below) for below in m.modules())
        yield _shared_module(model, m, places)
    yield from _tied(model, told)


def _shared_module(model: Module, m: Module, places: list[str]) -> Finding:
    container, times = Counter(p.rpartition(".")[0] for p in places).most_common(1)[0]
    owner = model.get_submodule(container)
    if times == 1 or not isinstance(owner, (Sequential, ModuleList, ModuleDict)):
        text = f"{listed(places)} are one {short_name(m)}: it has one set of weights, trained by all its uses."
        return Finding("shared", "note", listed(places), text)
    here = [p for p in places if p.rpartition(".")[0] == container]
    kind = type(owner).__name__
    where = f"{kind} {container}" if container else kind
    text = f"{listed(here)} are one and the same {short_name(m)}, {times} times in the {where}: they share all weights."
    if any(m is one for one in getattr(owner, "_shared", ())):
        return Finding("shared", "note", listed(here), text)
    if isinstance(owner, ModuleDict):
        own, on_purpose = "copy.deepcopy(layer)", "call one layer several times"
    else:
        own = f"nn.ModuleList([layer]).repeat({times})"
        on_purpose = f'call one layer several times, or say repeat({times}, mode="share")'
    fix = f"{own} makes layers with weights of their own; to share on purpose, {on_purpose}"
    return Finding("shared", "warning", listed(here), text, fix=fix)


def _tied(model: Module, told: set[int]) -> Iterator[Finding]:
    names: dict[int, list[str]] = {}
    for path, m in model.named_modules():
        if id(m) not in told:
            for name, p in m._parameters.items():
                if p is not None:
                    names.setdefault(id(p), []).append(f"{path}.{name}" if path else name)
    for same in names.values():
        if len(same) > 1:
            yield Finding("shared", "note", listed(same), f"{listed(same)} are one Parameter: tied weights, trained by all their uses.")


def mixed_dtypes(run: Run) -> Iterator[Finding]:
    """Float parameters of different dtypes: harmless where forward casts between them."""
    by_dtype: dict[str, list[str]] = {}
    sizes: Counter[str] = Counter()
    for path, p in run.parameters.items():
        if p.is_floating_point():
            by_dtype.setdefault(p.dtype.name, []).append(path)
            sizes[p.dtype.name] += 1
    if len(by_dtype) < 2:
        return
    most = sizes.most_common(1)[0][0]
    used = {id(t) for op in run.watch.ops for t in op.inputs}
    for dtype, paths in by_dtype.items():
        if dtype != most:
            reached = run.error is None and all(id(run.parameters[path]) in used for path in paths)
            text = f"{listed(paths)}: {dtype}, where the model's other parameters are {most}" + (
                "; forward casts between them." if reached else ", and layers do not promote."
            )
            owner = paths[0].rpartition(".")[0]
            fix = f"model.to(jg.{most})" + (f", or model.get_submodule({owner!r}).to(jg.{most})" if owner and not reached else "")
            yield Finding("dtype", "note" if reached else "warning", listed(paths), text, fix="" if reached else fix)


def drops_all(model: Module) -> Iterator[Finding]:
    """Dropout that keeps nothing."""
    paths = [path for path, m in model.named_modules() if isinstance(m, Dropout) and m.p == 1.0]
    if paths:
        several = len(paths) > 1
        text = (
            f"{listed([path or 'the model' for path in paths])} {'are' if several else 'is'} Dropout with p=1.0: in training all becomes 0."
        )
        yield Finding(
            "dropout", "warning", listed(paths), text, fix="p is the share that is dropped, not kept: try a smaller one, as p=0.1"
        )


def evaluated(run: Run) -> Iterator[Finding]:
    """A loss for a model in evaluation mode that has layers for which that matters."""
    if not run.given_loss or run.model.training:
        return
    kinds = {"dropout is off": Dropout, "batch norm uses its running statistics": _BatchNorm}
    effects = [what for what, kind in kinds.items() if any(isinstance(m, kind) for m in run.model.modules())]
    if effects:
        text = f"the model is in evaluation mode: {listed(effects)}."
        yield Finding("evaluation", "note", "", text, fix="model.train() before training")
