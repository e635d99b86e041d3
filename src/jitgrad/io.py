"""Saving and loading: state dicts and whole checkpoints in one safetensors file, with nothing in it that could be executed."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from math import isfinite, prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jitgrad.autograd import Tensor, as_device, as_tensor, detach, to_device
from jitgrad.device import CPU
from jitgrad.errors import ArgumentError, CheckpointError
from jitgrad.shapes import Size

# The file's metadata has the tree of containers and numbers as JSON under this key. Dicts with one of these keys stand for what JSON
# has not: {"$tensor": name}, {"$tuple": [...]}, {"$dict": [[key, value], ...]}, {"$float": "nan"}.
_KEY = "jitgrad"
_MAX_HEADER = 90_000_000  # safetensors refuses to read headers above 100 MB

# dtypes of the format: how they are stored. Those that jitgrad has not are widened when read.
_STORED = {
    "BOOL": "u1", "U8": "u1", "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
    "BF16": "<u2", "U16": "<u2", "U32": "<u4",
}  # fmt: skip


def save(obj: Any, path: str | os.PathLike[str]) -> None:
    """Write a tensor, a state dict or a whole checkpoint to a file: the new file is there at once and complete, or the old one stays.

    Parameters
    ----------
    obj
        Tensors, numbers, strings, bools and None in dicts, lists and tuples of any depth. Keys are strings, numbers, bools or None.
        NumPy's scalars become Python's; Parameters come back as Tensors, shapes as tuples.
    path
        Where. The file is written beside it, in a hidden folder whose name ends in ``.part``, brought to disk, and moved to its place.
        A process that is killed meanwhile leaves that folder, which can be deleted.

    Other programs read the file as safetensors: entries are named by their keys, joined by dots (``model.0.weight``).
    Raises CheckpointError for any other object, with its place, TypeError and OSError for a path that cannot be written.

    >>> import jitgrad as jg, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
    >>> jg.save({"epoch": 3, "model": {"weight": jg.ones(2)}}, path)
    >>> checkpoint = jg.load(path)
    >>> checkpoint["epoch"], checkpoint["model"]["weight"].tolist()
    (3, [1.0, 1.0])
    """
    name = _name("save", path)
    tensors: dict[str, np.ndarray] = {}
    try:
        text = json.dumps({"version": 1, "tree": _encode(obj, (), tensors, [])}, allow_nan=False)
    except RecursionError:
        raise CheckpointError(f"save: nothing was written to {name}: the object is nested too deep.") from None
    except ValueError as error:  # a CheckpointError is one; an int of thousands of digits, a key that is no Unicode
        raise CheckpointError(f"save: nothing was written to {name}: {error}") from None
    if len(text) > _MAX_HEADER:
        raise CheckpointError(f"save: nothing was written to {name}: its numbers and strings take {len(text)} bytes. Put them in tensors.")
    _write(name, tensors, {_KEY: text})


def load(path: str | os.PathLike[str], map_location: Any = None, *, weights_only: bool = True) -> Any:
    """Read what save() wrote, or any other safetensors file: that gives a dict of its tensors by name.

    Parameters
    ----------
    path
        The file.
    map_location
        Device of the tensors; the CPU unless given.
    weights_only
        True, as nothing else can be in a file; False is refused.

    What save() wrote comes back with its dtypes. Of other files float16 and bfloat16 come as float32, uint16 as int32, uint32 as int64.
    Raises FileNotFoundError, or CheckpointError for a file that is no safetensors file, is truncated or has a dtype that jitgrad has not.

    >>> import jitgrad as jg, numpy as np, os, safetensors.numpy, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "other.safetensors")
    >>> safetensors.numpy.save_file({"weight": np.ones(2, np.float16)}, path)
    >>> jg.load(path)
    {'weight': tensor([1., 1.])}
    """
    if weights_only is not True:
        raise ArgumentError(f"load: weights_only is expected to be True, as files hold no objects that run code, given {weights_only!r}.")
    name, where = _name("load", path), as_device(map_location)
    if not os.path.exists(name):
        raise FileNotFoundError(f"load: there is no file {name}.")
    if os.path.isdir(name):
        raise IsADirectoryError(f"load: {name} is a folder, expected a file.")
    if not os.path.isfile(name):
        raise OSError(f"load: {name} is a device or a pipe, expected a file.")
    with open(name, "rb") as file:
        text, entries, start = _header(name, file)
        tensors = {}
        for key, entry in entries.items():
            array = _read(name, key, entry, file, start, keep_half=text is not None)
            t = as_tensor(array)
            tensors[key] = t if where == CPU else to_device(t, where)
    if text is None:
        return tensors
    try:
        content = json.loads(text)
        if content["version"] != 1:
            raise ValueError(f"it has version {content['version']!r} of the format, expected 1")
        return _decode(content["tree"], tensors)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"load: {name} is a safetensors file, but its jitgrad metadata cannot be read: {error}.") from None


def _name(what: str, path: Any) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{what}: expected a path, given {type(path).__name__}.")
    return str(os.fspath(path))


# ---- objects to JSON and back
Keys = tuple[Any, ...]


def _encode(obj: Any, at: Keys, tensors: dict[str, np.ndarray], within: list[int]) -> Any:
    """obj as JSON; its tensors go into ``tensors`` under names of their own. within: ids of the containers around it."""
    if obj is None or type(obj) in (bool, int, str):
        return obj
    if isinstance(obj, Tensor):
        return {"$tensor": _keep(obj, at, tensors)}
    if isinstance(obj, np.generic) and obj.dtype.kind in "biuf" and obj.dtype.itemsize <= 8:
        obj = obj.item()
    if type(obj) in (bool, int, float):
        return obj if isfinite(obj) else {"$float": str(obj)}
    if isinstance(obj, dict) or type(obj) in (list, tuple, Size):
        if id(obj) in within:
            raise CheckpointError(f"the container at {_place(at)} contains itself.")
        inner = [*within, id(obj)]
        if not isinstance(obj, dict):
            items = [_encode(v, (*at, i), tensors, inner) for i, v in enumerate(obj)]
            return items if type(obj) is list else {"$tuple": items}
        pairs = [[_key(k, at), _encode(v, (*at, k), tensors, inner)] for k, v in obj.items()]
        plain = all(type(k) is str for k, _ in pairs) and not any(k.startswith("$") for k, _ in pairs)
        return dict(pairs) if plain else {"$dict": pairs}
    raise CheckpointError(
        f"expected Tensors, numbers, strings, bools and None in dicts, lists and tuples, given {type(obj).__name__} at {_place(at)}."
        + _advice(obj)
    )


def _key(key: Any, at: Keys) -> Any:
    if isinstance(key, np.generic) and key.dtype.kind in "biuf":
        key = key.item()
    if key is None or type(key) in (bool, int, str) or (type(key) is float and isfinite(key)):
        return key
    raise CheckpointError(f"keys are expected to be strings, numbers, bools or None, given {key!r:.60} in the dict at {_place(at)}.")


def _keep(t: Tensor, at: Keys, tensors: dict[str, np.ndarray]) -> str:
    """Put a tensor's data among the entries; returns the entry's name."""
    base = ".".join(map(str, at)) or "tensor"
    name, n = base, 1
    while name in tensors or name == "__metadata__":
        n += 1
        name = f"{base}#{n}"
    name.encode()  # the file has names in UTF-8
    array = to_device(detach(t), CPU).array
    # The writer takes memory as it lies: it must be C-contiguous. It turns native bytes into little-endian ones itself.
    tensors[name] = np.array(array, dtype=array.dtype.newbyteorder("="), order="C", copy=None)
    return name


def _place(at: Keys) -> str:
    return "the top" if not at else "".join(f"[{k!r}]" for k in at)


def _advice(obj: Any) -> str:
    if hasattr(obj, "state_dict"):
        return " Save its state_dict()."
    if isinstance(obj, np.ndarray):
        return " Try jg.tensor(array)."
    if isinstance(obj, (tuple, set, frozenset)):
        return " Try a list of it."
    return ""


_TAGS: dict[str, Callable[[Any, dict[str, Tensor]], Any]] = {
    "$tensor": lambda v, tensors: tensors[v],
    "$float": lambda v, tensors: float(v),
    "$tuple": lambda v, tensors: tuple(_decode(x, tensors) for x in v),
    "$dict": lambda v, tensors: {k: _decode(x, tensors) for k, x in v},
}


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((key, v),) = value.items()
        if key.startswith("$"):
            return _TAGS[key](v, tensors)
    return {k: _decode(v, tensors) for k, v in value.items()}


# ---- the file
def _write(name: str, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write beside the target, bring it to disk, rename: at no moment is there half a file under the name."""
    target = os.path.realpath(name)  # through a link: the file that it points to is replaced, not the link
    folder, last = os.path.split(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"save: there is no folder {folder} for {name}.")
    if os.path.isdir(target):
        raise IsADirectoryError(f"save: {name} is a folder, expected the path of a file.")
    if os.path.exists(target) and not os.path.isfile(target):  # the new file would take its place
        raise OSError(f"save: {name} is a device or a pipe, expected the path of a file.")
    # In a folder of its own: the writer may use temporary names, too.
    beside = tempfile.mkdtemp(".part", f".{last[:100]}.", folder)
    part = os.path.join(beside, "file")
    try:
        Path(part).touch()  # with the mode of any new file
        mode = os.stat(target if os.path.exists(target) else part).st_mode & 0o777
        save_file(tensors, part, metadata)
        os.chmod(part, mode)
        _to_disk(part, os.O_RDWR)
        os.replace(part, target)
    except SafetensorError as error:
        raise OSError(f"save: {name} cannot be written: {error}. The old file, if there was one, is as it was.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    if os.name == "posix":
        _to_disk(folder, os.O_RDONLY)  # the new name


def _to_disk(path: str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _header(name: str, file: IO[bytes]) -> tuple[str | None, dict[str, Any], int]:
    """The metadata that save() wrote, the entries by name, and where the data starts; CheckpointError where the file is not sound."""
    first = file.read(8)
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(first, "little")
    if len(first) < 8 or length > size - 8:
        cut = f"it has {size} bytes"
        hint = " It looks like a pickle, which may run any program when read." if first[:2] == b"PK" or first[:1] == b"\x80" else ""
        raise CheckpointError(f"load: {name} is not a safetensors file, or it is truncated: {cut}, which is less than its header.{hint}")
    try:
        with safe_open(name, framework="np"):  # checks the header, every dtype and offset, and the length of the file
            pass
        header = json.loads(file.read(length))
    except (SafetensorError, ValueError) as error:
        what = "is truncated, or has more behind its data" if "ncomplete" in str(error) else "is not a safetensors file"
        raise CheckpointError(f"load: {name} {what}: {error}.") from None
    metadata = header.pop("__metadata__", None) or {}
    return metadata.get(_KEY), header, 8 + length


def _read(name: str, key: str, entry: dict[str, Any], file: IO[bytes], start: int, keep_half: bool) -> np.ndarray:
    """One entry as an array with a dtype that jitgrad has."""
    kind, shape, (first, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    if kind not in _STORED:
        raise CheckpointError(f"load: {key!r} in {name} has dtype {kind}, which jitgrad has not: expected one of {', '.join(_STORED)}.")
    file.seek(start + first)
    stored = np.fromfile(file, np.dtype(_STORED[kind]), prod(shape))
    if stored.size != prod(shape) or stored.nbytes != end - first:
        raise CheckpointError(f"load: {name} is truncated: {key!r} is expected to have {end - first} bytes, given {stored.nbytes}.")
    if kind == "BOOL":
        stored = stored != 0
    elif kind == "BF16":  # the upper half of a float32
        stored = (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
    elif kind == "F16" and not keep_half:
        stored = stored.astype(np.float32)
    elif kind in ("U16", "U32"):
        stored = stored.astype(np.int32 if kind == "U16" else np.int64)
    return stored.reshape(shape)
