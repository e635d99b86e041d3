"""Machine code of kernels: made once, for what Python calls.

Numba optimises every function, body of a parallel loop and wrapper, makes machine code of it, links all that a caller needs into the
caller, and does the same again there. A kernel of several levels is so compiled several times, and half of a cold start went into
code that nothing ever called. Here a function that only other functions call stays LLVM code, which is optimised and becomes
machine code together with the kernel that Python calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompileResult
from numba.core.registry import cpu_target

# An attribute of LLVM functions, see full_vectors in simd.py. llvmlite knows none with a value; what is in its set is printed as it is.
FULL_VECTORS = '"prefer-vector-width"="512"'


class Linked:
    """Stands for the entry point of a kernel that Python has not called yet."""


class Library(JITCodeLibrary):
    """LLVM code, and machine code as soon as an address is wanted."""

    _native = False
    _full_vectors: bool | None = None

    @property
    def full_vectors(self) -> bool:
        """Whether a function in it asks for the longest vectors."""
        if self._full_vectors is None:
            module = self._shared_module or self._final_module
            self._full_vectors = any(FULL_VECTORS.encode() in f.attributes for f in module.functions)
        return self._full_vectors

    def add_ir_module(self, ir_module: Any) -> None:
        # A function that becomes part of its caller takes its code along, not its attributes.
        if not self._full_vectors:
            inner = any(isinstance(library, Library) and library.full_vectors for library in self._linking_libraries)
            self._full_vectors = inner or any(FULL_VECTORS in function.attributes for function in ir_module.functions)
        for function in ir_module.functions:
            if self._full_vectors and not function.is_declaration:
                set.add(function.attributes, FULL_VECTORS)
        super().add_ir_module(ir_module)

    def get_pointer_to_function(self, name: str) -> int:
        if not self._native:
            self._ensure_finalized()
            self._get_module_for_linking()  # kept as it is now: what others link does not depend on who was compiled first
            self._native = True
            self._optimize_final_module()
            self._final_module.verify()
            self._finalize_final_module()
        address: int = super().get_pointer_to_function(name)
        return address

    def _optimize_final_module(self) -> None:
        if self._native:
            super()._optimize_final_module()

    def _finalize_final_module(self) -> None:
        if self._native:
            super()._finalize_final_module()
        else:
            self._finalize_dynamic_globals()
            self._finalized = True

    def _set_compiled_object(self, value: bytes) -> None:
        self._native = True
        super()._set_compiled_object(value)

    def serialize_using_object_code(self) -> Any:
        return super().serialize_using_object_code() if self._native else self.serialize_using_bitcode()


@contextmanager
def libraries() -> Iterator[None]:
    """Numba makes such libraries. Only for who holds its compiler lock."""
    codegen = cpu_target.target_context.codegen()
    before = codegen._library_class
    codegen._library_class = Library
    try:
        yield
    finally:
        codegen._library_class = before


def link(result: CompileResult) -> CompileResult:
    """Makes a new function known to compiled code."""
    result = result._replace(entry_point=Linked())
    result.target_context.insert_user_function(result.entry_point, result.fndesc, [result.library])
    return result


def make_callable(result: CompileResult, nogil: bool) -> CompileResult:
    """The same function for Python to call."""
    context, library, fndesc, environment = result.target_context, result.library, result.fndesc, result.environment
    if library._finalized:  # others link it: nothing can be added to it any more
        copy = llvm.parse_bitcode(library._final_module.as_bitcode())
        library = context.codegen().create_library(library.name)
        library.enable_object_caching()
        library._final_module = copy
    context.create_cpython_wrapper(library, fndesc, environment, result.call_helper, nogil)
    result = result._replace(library=library, entry_point=context.get_executable(library, fndesc, environment))
    for inner in result._find_referenced_environments():
        library.codegen.set_env(inner.env_name, inner)
    context.insert_user_function(result.entry_point, fndesc, [library])
    return result


def rebuild(context: Any, state: tuple[Any, ...]) -> CompileResult:
    """What `CompileResult._reduce` made smaller; no machine code where that had none."""
    data, fndesc, environment, signature, objectmode, lifted, annotation, reload_init, environments = state
    if data[1] == "object":
        return CompileResult._rebuild(context, *state)
    for function in reload_init:
        function()
    return CompileResult(
        typing_context=context.typing_context, target_context=context, entry_point=Linked(), typing_error=None,
        type_annotation=annotation, signature=signature, objectmode=objectmode, lifted=lifted, fndesc=fndesc,
        library=context.codegen().unserialize_library(data), call_helper=None, environment=environment, metadata=None,
        reload_init=reload_init, referenced_envs=environments,
    )  # fmt: skip
