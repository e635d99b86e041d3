"""The source text of a pointwise kernel, from its entry in the table of scalars.py."""

from __future__ import annotations

from jitgrad.kernels.cpu.ufunc import make_ufunc
from jitgrad.kernels.scalars import SPECIAL, Form, Pointwise

TEXT = '''\
"""{doc}

Generated from {formula} in scalars.py: the loops of {formula} for {dtypes}.
"""

from jitgrad.kernels.cpu.formulas import {formulas}
from jitgrad.kernels.jit import njit
from jitgrad.kernels.simd import full_vectors
{ufunc_import}

@njit
def _{formula}({params}, out):
    full_vectors()
    for i in range(out.size):
        out[i] = {formula}({elements})
'''

LOOP = """

def {formula}_loop(args, dims, steps, data):
    full_vectors()
    n = at(dims, 0)
    {pointers}
    {steps}
    if {contiguous}:
        for i in range(n):
            put(out, i, {formula}({pointed}))
{number_loops}    else:
        for i in range(n):
            put(moved(out, i * s_out), 0, {formula}({moved}))
    clear_flags()
"""

NUMBER_LOOP = """\
    elif {condition}:
        {name}_0 = at({name}, 0)
        for i in range(n):
            put(out, i, {formula}({pointed}))
"""

SPECIAL_LOOP = """\
    elif {condition} and at({name}, 0) == {number}:
        for i in range(n):
            put(out, i, {formula}({pointed}))
"""

UFUNC_IMPORT = "from jitgrad.kernels.cpu.ufunc import at, bools, clear_flags, moved, put, size\n"


def text(entry: Pointwise, form: Form) -> str:
    """Source of the kernel and, in `<formula>_loop`, of the ufunc's inner loop."""
    names = entry.parameters
    parts = {
        "doc": entry.doc,
        "formula": form.formula,
        "formulas": ", ".join([form.formula, *dict.fromkeys(SPECIAL.get(form.formula, {}).values())]),
        "dtypes": ", ".join(form.dtypes),
        "params": ", ".join(names),
        "elements": ", ".join(f"{name}[i]" for name in names),
        "ufunc_import": "" if make_ufunc is None else UFUNC_IMPORT,
    }
    source = TEXT.format(**parts)
    return source if make_ufunc is None else source + _loop(names, form)


def _loop(names: tuple[str, ...], form: Form) -> str:
    every = (*names, "out")
    kinds = (*form.inputs, form.output)
    pointers = []
    for i, (name, kind) in enumerate(zip(every, kinds, strict=True)):
        pointer = f"at(args, {i})"
        pointers.append(f"{name} = " + (f"bools({pointer})" if kind == "b" else pointer))
    dense = {name: f"s_{name} == size({name})" for name in every}
    number_loops = ""
    for fixed in names[:0:-1] if len(names) == 3 else names[::-1] if len(names) == 2 else ():
        number_loops += _number_loops(names, fixed, form.formula, dense)
    return LOOP.format(
        pointers="\n    ".join(pointers),
        steps="\n    ".join(f"s_{name} = at(steps, {i})" for i, name in enumerate(every)),
        contiguous=" and ".join(dense.values()),
        formula=form.formula,
        pointed=", ".join(f"at({name}, i)" for name in names),
        number_loops=number_loops,
        moved=", ".join(f"at(moved({name}, i * s_{name}), 0)" for name in names),
    )


def _number_loops(names: tuple[str, ...], fixed: str, formula: str, dense: dict[str, str]) -> str:
    """Loops where an operand is one number: its loads leave the loop, and for some numbers there is a cheaper formula."""
    condition = " and ".join(f"s_{name} == 0" if name == fixed else test for name, test in dense.items())
    text = ""
    if fixed == names[-1]:
        others = ", ".join(f"at({name}, i)" for name in names[:-1])
        for number, special in SPECIAL.get(formula, {}).items():
            text += SPECIAL_LOOP.format(condition=condition, name=fixed, number=number, formula=special, pointed=others)
    pointed = ", ".join(f"{name}_0" if name == fixed else f"at({name}, i)" for name in names)
    return text + NUMBER_LOOP.format(condition=condition, name=fixed, formula=formula, pointed=pointed)
