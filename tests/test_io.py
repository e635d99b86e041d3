"""save and load: what comes back, files of other programs, every refusal, killed savers, runs that go on bit for bit."""

from __future__ import annotations

import ast
import io
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import jitgrad as jg
from jitgrad import nn
from jitgrad.errors import CheckpointError, DeviceError

ROOT = Path(__file__).parents[1]
ENV = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])}


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "run.safetensors")


def same(a: Any, b: Any) -> bool:
    """Equal in types, values, dtypes and bits."""
    if isinstance(a, jg.Tensor):
        return isinstance(b, jg.Tensor) and a.dtype is b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and [type(k) for k in a] == [type(k) for k in b] and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b or (a != a and b != b)


OBJECTS: dict[str, Any] = {
    "none": None,
    "numbers": [0, -1, 2**80, True, 0.1, -0.0, 1e-320, math.inf, -math.inf, math.nan],
    "strings": ["", 'ä\n"\\\0', "\ud800", "$tensor"],
    "empty": [{}, [], (), ""],
    "tuples": (1, (2, [3, ()]), ((),)),
    "keys": {0: "int", "0": "str", None: 1, True: 2, 0.5: 3, "": 4, "a.b": 5},
    "tags": [{"$tensor": "x"}, {"$dict": []}, {"$": 1, "b": 2}, {1: {"$tuple": 3}}],
    "deep": {"a": [{"b": [{"c": (jg.ones(1), {"d": jg.zeros(2)})}]}]},
    "tensor": jg.arange(3),
    "same names": {"a": {"b": jg.ones(1)}, "a.b": jg.zeros(2), "": {"": jg.ones(3)}, 1: jg.ones(1), "1": jg.ones(2)},
    "reserved": {"__metadata__": jg.ones(1), "jitgrad": "x"},
    "shapes": [jg.ones(()), jg.ones(0), jg.ones(2, 0, 3), jg.ones(1, 1, 1, 1, 1)],
    "random": random.Random(0).getstate(),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_what_is_saved_comes_back(name: str, path: str) -> None:
    jg.save(OBJECTS[name], path)
    assert same(OBJECTS[name], jg.load(path))
    jg.save(jg.load(path), Path(path))  # a second time, as a Path
    assert same(OBJECTS[name], jg.load(Path(path)))


def test_a_shape_comes_back_as_a_tuple(path: str) -> None:
    jg.save({"shape": jg.zeros(2, 3).shape}, path)
    assert jg.load(path) == {"shape": (2, 3)}


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"])
def test_dtypes(dtype: str, path: str) -> None:
    t = jg.tensor(np.array([0, 1, 100])).to(getattr(jg, dtype))
    jg.save({"t": t}, path)
    assert same({"t": t}, jg.load(path)) and load_file(path)["t"].dtype == np.dtype(dtype)


def test_special_values_keep_their_bits(path: str) -> None:
    bits = np.array([0x7FC00001, 0xFF800000, 0x80000000, 0x00000001, 0xFFC12345], np.uint32).view(np.float32)
    jg.save(jg.from_numpy(bits), path)
    assert jg.load(path).numpy().tobytes() == bits.tobytes()


@pytest.mark.parametrize(
    "change", [lambda x: x.t(), lambda x: x[::2], lambda x: x[:, 1:3], lambda x: x[::-1], lambda x: x[:1].expand(3, 4), lambda x: x[1, 2]]
)
def test_memory_layouts(change: Any, path: str) -> None:
    """Views are saved as they read, not as their memory lies, also for other programs."""
    x = change(jg.arange(12).reshape(3, 4).float())
    jg.save({"x": x}, path)
    assert jg.load(path)["x"].tolist() == x.tolist() == load_file(path)["x"].tolist()


def test_foreign_byte_order(path: str) -> None:
    jg.save(jg.as_tensor(np.arange(3, dtype=">i4")), path)
    assert jg.load(path).tolist() == [0, 1, 2]


def test_scalars_of_numpy_and_subclasses_of_dict(path: str) -> None:
    jg.save({"f": np.float64(0.1), "i": np.int32(3), "b": np.bool_(True), "d": OrderedDict(a=1), np.int64(2): 4}, path)
    assert same(jg.load(path), {"f": 0.1, "i": 3, "b": True, "d": {"a": 1}, 2: 4})


def test_parameters_come_back_as_tensors(path: str) -> None:
    x = nn.Parameter(jg.ones(2))
    jg.save([x, x * 2], path)
    back = jg.load(path)
    assert [type(t) for t in back] == [jg.Tensor] * 2 and not any(t.requires_grad for t in back)
    back[0].add_(1.0)
    assert x.tolist() == [1.0, 1.0]


def test_entries_have_their_names(path: str) -> None:
    """Other programs find a state dict under its keys."""
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    jg.save(model.state_dict(), path)
    found = load_file(path)
    assert set(found) == set(model.state_dict())
    assert all(found[k].tolist() == v.tolist() for k, v in model.state_dict().items())
    twin = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    twin.load_state_dict(jg.load(path))
    assert all(same(a, b) for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True))
    jg.save({"model": model.state_dict(), "epoch": 3}, path)
    assert set(load_file(path)) == {f"model.{k}" for k in model.state_dict()}


# ---- files of other programs
def raw(path: str, header: Any, data: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    Path(path).write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_files_of_others(path: str) -> None:
    arrays = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(7), "h": np.array([0.1, np.inf, -2], np.float16)}
    save_file(arrays, path, {"format": "np", "note": "x"})
    found = jg.load(path)
    assert set(found) == set(arrays) and found["h"].dtype is jg.float32 and found["n"].dtype is jg.int64
    assert all(np.array_equal(found[k].numpy(), v) for k, v in arrays.items())
    save_file({}, path)
    assert jg.load(path) == {}


def test_bfloat16_and_unsigned(path: str) -> None:
    """bfloat16 is the upper half of a float32; unsigned ints are widened."""
    values = np.array([1.5, -3.0, 2.0**-130, np.inf, -0.0], np.float32)
    half = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    entries = {
        "b": {"dtype": "BF16", "shape": [5], "data_offsets": [0, 10]},
        "u": {"dtype": "U16", "shape": [1], "data_offsets": [10, 12]},
        "v": {"dtype": "U32", "shape": [], "data_offsets": [12, 16]},
    }
    raw(path, entries, half + b"\xff\xff" + b"\xff\xff\xff\xff")
    found = jg.load(path)
    assert found["b"].dtype is jg.float32 and found["b"].numpy().tobytes() == values.tobytes()
    assert found["u"].tolist() == [65535] and found["v"].item() == 2**32 - 1


def test_files_of_torch(path: str) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as load_torch, save_file as save_torch

    x = torch.tensor([[1.1, -2.5, float("nan")]])
    save_torch({"b": x.bfloat16(), "h": x.half(), "f": x}, path)
    found = jg.load(path)
    for key, dtype in (("b", torch.bfloat16), ("h", torch.float16), ("f", torch.float32)):
        np.testing.assert_array_equal(found[key].numpy(), x.to(dtype).float().numpy())
    jg.save({"t": jg.arange(6).reshape(2, 3).t()}, path)
    assert load_torch(path)["t"].tolist() == [[0, 3], [1, 4], [2, 5]]


# ---- refusals
class Model(nn.Module):
    pass


CYCLE: list[Any] = []
CYCLE.append({"a": CYCLE})


def deep(n: int) -> Any:
    tree: Any = 1
    for _ in range(n):
        tree = [tree]
    return tree


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        ({"model": [0, Model()]}, r"given Model at \['model'\]\[1\]. Save its state_dict\(\)."),
        ({"a": {0: np.ones(2)}}, r"given ndarray at \['a'\]\[0\]. Try jg.tensor\(array\)."),
        (({1, 2},), r"given set at \[0\]. Try a list"),
        ({"f": len}, r"given builtin_function_or_method at \['f'\]"),
        (object(), "given object at the top"),
        (1j, "given complex"),
        ({"b": b"x"}, "given bytes"),
        ([jg.float32], "given DType"),
        ({"a": {(1, 2): 3}}, r"keys are expected to be strings, numbers, bools or None, given \(1, 2\) in the dict at \['a'\]"),
        (CYCLE, r"the container at \[0\]\['a'\] contains itself"),
        (deep(100_000), "nested too deep"),
        ([10**5000], "4300 digits"),
        ({"\ud800": jg.ones(1)}, "surrogates not allowed"),
    ],
)
def test_what_cannot_be_saved(obj: Any, words: str, path: str) -> None:
    """One line that names the path and the place; the old file stays, and no other comes to be."""
    jg.save("old", path)
    with pytest.raises(CheckpointError, match=words) as caught:
        jg.save(obj, path)
    assert path in str(caught.value) and "\n" not in str(caught.value)
    assert jg.load(path) == "old" and os.listdir(os.path.dirname(path)) == ["run.safetensors"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for use in (lambda: jg.save(1, pipe), lambda: jg.load(pipe)):
        with pytest.raises(OSError, match="is a device or a pipe"):
            use()
    assert pipe.is_fifo()


def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        jg.save(1, tmp_path / "nowhere" / "x")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        jg.save(1, tmp_path)
    for use in (lambda p: jg.save(1, p), jg.load):
        with pytest.raises(TypeError, match="expected a path, given BytesIO"):
            use(io.BytesIO())  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []


def test_a_failing_write_leaves_the_old_file(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    jg.save("old", path)

    def fail(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    for module, name in (("jitgrad.io", "save_file"), ("jitgrad.io", "_to_disk"), ("os", "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(sys.modules[module], name, fail)
            with pytest.raises(OSError, match="No space"):
                jg.save("new", path)
        assert jg.load(path) == "old" and os.listdir(os.path.dirname(path)) == ["run.safetensors"]


def test_links_and_modes(tmp_path: Path) -> None:
    target, link = tmp_path / "real", tmp_path / "link"
    jg.save(1, target)
    os.chmod(target, 0o600)
    link.symlink_to(target)
    plain = tmp_path / "plain"
    plain.touch()
    fresh = tmp_path / "fresh"
    jg.save(1, fresh)
    assert fresh.stat().st_mode == plain.stat().st_mode
    jg.save(2, link)
    assert link.is_symlink() and jg.load(target) == 2 and target.stat().st_mode & 0o777 == 0o600


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "truncated: it has 0 bytes"),
        (b"short", "it has 5 bytes"),
        (b"PK\x03\x04" + bytes(100), "It looks like a pickle"),
        (b"just some text that is longer", "not a safetensors file"),
        (({"a": ENTRY}, bytes(7)), "truncated"),
        (({"a": ENTRY}, bytes(9)), "more behind"),
        ((b"{nonsense", b""), "not a safetensors file"),
        (({"a": {**ENTRY, "dtype": "F8_E4M3", "shape": [8]}}, bytes(8)), "'a' in .* has dtype F8_E4M3, which jitgrad has not"),
        (({"a": {**ENTRY, "dtype": "U64", "shape": [1]}}, bytes(8)), "dtype U64"),
        (({"a": {**ENTRY, "shape": [3]}}, bytes(8)), "not a safetensors file"),
        (({"__metadata__": {"jitgrad": "{"}}, b""), "metadata cannot be read"),
        (({"__metadata__": {"jitgrad": "[]"}}, b""), "metadata cannot be read"),
        (({"__metadata__": {"jitgrad": '{"version": 2, "tree": 1}'}}, b""), "version 2 of the format, expected 1"),
        (({"__metadata__": {"jitgrad": '{"version": 1, "tree": {"$tensor": "b"}}'}}, b""), "cannot be read: 'b'"),
        (({"__metadata__": {"jitgrad": '{"version": 1, "tree": {"$eval": "1"}}'}}, b""), r"cannot be read: '\$eval'"),
        (({"__metadata__": {"jitgrad": '{"version": 1, "tree": {"$dict": [1]}}'}}, b""), "cannot be read"),
    ],
)
def test_files_that_cannot_be_loaded(content: Any, words: str, path: str) -> None:
    if isinstance(content, bytes):
        Path(path).write_bytes(content)
    else:
        raw(path, *content)
    with pytest.raises(CheckpointError, match=words) as caught:
        jg.load(path)
    assert path in str(caught.value) and "\n" not in str(caught.value)


def test_every_truncation_is_seen(path: str) -> None:
    jg.save({"a": jg.arange(20), "n": 3}, path)
    whole = Path(path).read_bytes()
    for n in range(0, len(whole), 7):
        Path(path).write_bytes(whole[:n])
        with pytest.raises(CheckpointError, match="truncated"):
            jg.load(path)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"load: there is no file .*nothing"):
        jg.load(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        jg.load(tmp_path)
    with pytest.raises(DeviceError, match="nowhere"):
        jg.load(tmp_path / "nothing", map_location="nowhere")


# ---- kills
def test_killed_savers_leave_a_whole_file(path: str) -> None:
    """kill -9 at random moments of saving: there is always a file, and all of it is of one save. JITGRAD_KILLS=200 for more."""
    kills, rng, leftovers, last = int(os.environ.get("JITGRAD_KILLS", "20")), random.Random(0), 0, 0
    saver = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "saver.py"), path], env=ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert saver.stdin and saver.stdout
    try:
        assert saver.stdout.readline() == "ready\n"
        for _ in range(kills):
            saver.stdin.write("\n")
            saver.stdin.flush()
            words = {saver.stdout.readline().strip() for _ in range(2)}  # in either order
            child = int((words - {"saved"}).pop())
            time.sleep(rng.uniform(0.0, 0.03))
            os.kill(child, signal.SIGKILL)
            assert saver.stdout.readline() == "dead\n"
            found = jg.load(path)
            last = found["n"]
            assert found["list"] == [last] * 100 and list(found["model"]) == [f"layer{i}" for i in range(5)]
            assert all((t == last).sum().item() == 100_000 for t in found["model"].values())
            for name in os.listdir(os.path.dirname(path)):
                if name.endswith(".part"):
                    leftovers += 1
                    shutil.rmtree(os.path.join(os.path.dirname(path), name))
        assert os.listdir(os.path.dirname(path)) == ["run.safetensors"]
        print(f"{kills} kills, {leftovers} of them within a write; the file was whole each time")
    finally:
        saver.kill()
        saver.communicate()
    assert last > 0


# ---- going on
RUN = """
import random, sys
import numpy as np
import jitgrad as jg
from jitgrad import nn
from jitgrad.ops.random import default_generator
from jitgrad.optim.lr_scheduler import OneCycleLR
from jitgrad.utils.data import DataLoader, TensorDataset

path, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
jg.manual_seed(first)  # the state that is loaded must win
rng = np.random.default_rng(0)
data = TensorDataset(jg.tensor(rng.standard_normal((40, 6)), dtype=jg.float32), jg.tensor(rng.integers(0, 3, 40)))
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))
optimizer = getattr(jg.optim, sys.argv[4])(model.parameters(), lr=0.05, weight_decay=0.01)
scheduler = OneCycleLR(optimizer, 0.05, epochs=3, steps_per_epoch=5)
generator = jg.Generator().manual_seed(5 + first)
loader = DataLoader(data, 8, shuffle=True, generator=generator)
if first:
    checkpoint = jg.load(path)
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    scheduler.load_state_dict(checkpoint["scheduler"])
    generator.set_state(checkpoint["generator"])
    default_generator.set_state(checkpoint["random"])
    assert checkpoint["epoch"] == first
for epoch in range(first, last):
    for x, y in loader:
        loss = nn.CrossEntropyLoss()(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        print(epoch, loss.item().hex(), optimizer.param_groups[0]["lr"].hex())
    if epoch == 0:
        jg.save({
            "model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(),
            "epoch": epoch + 1, "generator": generator.get_state(), "random": default_generator.get_state(),
        }, path)
"""


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_a_run_goes_on_bit_for_bit(name: str, path: str) -> None:
    """Three epochs, against one, a checkpoint, and two more in a fresh process."""

    def run(first: int, last: int) -> list[str]:
        command = [sys.executable, "-c", RUN, path, str(first), str(last), name]
        return subprocess.run(command, env=ENV, capture_output=True, text=True, check=True, timeout=300).stdout.splitlines()

    whole = run(0, 3)
    assert len(whole) == 15 and len(set(whole)) == 15
    assert run(1, 3) == whole[5:]


def test_nothing_executable_is_read() -> None:
    """The reader knows no pickle."""
    tree = ast.parse((ROOT / "src" / "jitgrad" / "io.py").read_text())
    imported = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {
        name for name in imported if str(name).partition(".")[0] in ("pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib")
    }
    assert not {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & {"eval", "exec", "compile", "__import__"}


def test_weights_only(path: str) -> None:
    """As current scripts for PyTorch have it; the other choice does not exist."""
    jg.save({"w": jg.ones(1)}, path)
    assert jg.load(path, weights_only=True)["w"].tolist() == [1.0]
    with pytest.raises(ValueError, match="weights_only is expected to be True"):
        jg.load(path, weights_only=False)
