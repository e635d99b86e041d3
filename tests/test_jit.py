"""The compiled kernels on disk: what makes them stale, and what may go wrong with files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SRC = HERE.parent / "src"

HELPER = "from jitgrad.kernels.jit import njit\n@njit\ndef factor(x):\n    return x * 2\n"
KERNEL = """
from helper import factor
from jitgrad.kernels.jit import EXACT, SUM, njit
@njit(fastmath=SUM)
def _scale(x, out):
    for i in range(x.size):
        out[i] = factor(x[i])
"""
MAIN = """
import numpy as np
from kernel import _scale
from jitgrad.kernels import jit
x, out = np.arange(3.0), np.empty(3)
_scale(x, out)
print(*out, *jit.cache_info())
"""


class Project:
    """A small project with kernels and a cache of its own."""

    def __init__(self, root: Path, runner: subprocess.Popen[str] | None) -> None:
        self.root = root
        self.runner = runner
        self.cache = root / "cache"
        self.write("helper.py", HELPER)
        self.write("kernel.py", KERNEL)
        self.write("main.py", MAIN)

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def env(self, **more: str) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "JITGRAD_", "OMP_"))}
        paths = f"{SRC}{os.pathsep}{self.root}"
        # sources change within a second here, faster than the times in .pyc files tell
        ours = {"PYTHONPATH": paths, "JITGRAD_CACHE_DIR": str(self.cache), "PYTHONDONTWRITEBYTECODE": "1"}
        return clean | ours | more

    def start(self, script: str = "main.py", **env: str) -> subprocess.Popen[str]:
        """A process of its own."""
        command = [sys.executable, str(self.root / script)]
        return subprocess.Popen(command, env=self.env(**env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, **env: str) -> tuple[list[str], str]:
        """Words on stdout, and stderr, of main.py in a new process, if possible one that has Numba imported."""
        if self.runner is None or any(name.startswith("NUMBA_") for name in env):
            process = self.start(**env)
            out, err = process.communicate(timeout=60)
            status = process.returncode
        else:
            assert self.runner.stdin is not None and self.runner.stdout is not None
            files = {"out": str(self.root / "out.txt"), "err": str(self.root / "err.txt")}
            order = {"script": str(self.root / "main.py"), "env": self.env(**env), **files}
            print(json.dumps(order), file=self.runner.stdin, flush=True)
            status = int(self.runner.stdout.readline())
            out, err = (Path(file).read_text() for file in files.values())
        assert status == 0, err
        return out.split(), err

    def directories(self, stem: str) -> list[Path]:
        return list((self.cache / "kernels").glob(f"{stem}-*"))


@pytest.fixture(scope="module")
def runner() -> Iterator[subprocess.Popen[str] | None]:
    if not hasattr(os, "fork"):
        yield None
        return
    env = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "PYTHONPATH"))}
    command = [sys.executable, "-B", "-W", "always", str(HERE / "fork_runner.py")]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def project(tmp_path: Path, runner: subprocess.Popen[str] | None) -> Project:
    return Project(tmp_path, runner)


def test_a_second_process_compiles_nothing(project: Project) -> None:
    assert project.run()[0] == ["0.0", "2.0", "4.0", "0", "2"]
    assert project.run() == (["0.0", "2.0", "4.0", "1", "0"], "")


def test_a_changed_helper_recompiles_its_callers_and_the_old_binaries_go(project: Project) -> None:
    project.run()
    project.write("helper.py", HELPER.replace("2", "5"))
    words, _ = project.run()
    assert words[:3] == ["0.0", "5.0", "10.0"] and words[-1] == "2"
    assert len(project.directories("kernel")) == len(project.directories("helper")) == 1


def test_a_helper_behind_a_helper_and_behind_a_relative_import(project: Project) -> None:
    package = project.root / "pack"
    package.mkdir()
    for name, text in {
        "__init__.py": "",
        "base.py": "FACTOR = 2\n",
        "helper.py": HELPER.replace("2", "FACTOR").replace("from jit", "from .base import (\n    FACTOR,\n)\nfrom jit"),
        "kernel.py": KERNEL.replace("from helper import", "from . import helper\nfrom .helper import"),
    }.items():
        (package / name).write_text(text)
    project.write("main.py", MAIN.replace("from kernel", "from pack.kernel"))
    assert project.run()[0][:3] == ["0.0", "2.0", "4.0"]
    assert project.run()[0][3:] == ["1", "0"]
    (package / "base.py").write_text("FACTOR = 7\n")
    assert project.run()[0][:3] == ["0.0", "7.0", "14.0"]


@pytest.mark.parametrize("place", ["site-packages", "venv/lib/site-packages"])
def test_what_else_is_installed_does_not_matter(project: Project, place: str) -> None:
    """A kernel's binary is the same for all programs, whatever else each has imported from where packages are installed."""
    installed = project.root / place
    (installed / "pack").mkdir(parents=True)
    (installed / "other").mkdir()
    kernels = installed / "pack" if place == "site-packages" else project.root
    for name in ("helper.py", "kernel.py"):
        text = (project.root / name).read_text().replace("from helper", "from pack.helper" if kernels != project.root else "from helper")
        (kernels / name).write_text("try:\n    import other.part\nexcept ImportError:\n    pass\n" + text)
    (installed / "pack" / "__init__.py").touch()
    (installed / "other" / "__init__.py").touch()
    (installed / "other" / "part.py").touch()
    main = MAIN if kernels == project.root else MAIN.replace("from kernel", "from pack.kernel")
    path = f"import sys\nsys.path.insert(0, {str(installed)!r})\n"
    project.write("main.py", path + main)
    assert project.run()[0][-1] == "2"
    (installed / "other" / "part.py").write_text("x = 1\n")
    project.write("main.py", path + "import tokenize\n" + main)
    assert project.run()[0][3:] == ["1", "0"]


def test_a_changed_flag_recompiles(project: Project) -> None:
    project.write("main.py", MAIN.replace("from kernel", "import sys\nfrom kernel"))
    project.run()
    flags = 'from jitgrad.kernels import jit\njit.SUM = frozenset({"nsz"})\n'
    project.write("main.py", flags + MAIN)
    assert project.run()[0][-2:] == ["1", "1"]  # the helper is found, the kernel with other flags is not


def test_forms_of_one_kernel_are_kept_apart(project: Project) -> None:
    project.write("kernel.py", KERNEL + "from jitgrad.kernels.jit import parallel_form\n_par = parallel_form(_scale)\n")
    project.write("main.py", MAIN.replace("_scale(x, out)", "_scale(x, out)\nfrom kernel import _par\n_par(x, out)"))
    assert project.run()[0][-1] == "3"
    assert project.run()[0] == ["0.0", "2.0", "4.0", "2", "0"]


@pytest.mark.parametrize("damage", ["truncate", "empty", "garbage", "flip"])
def test_a_corrupt_file_is_compiled_anew_and_replaced(project: Project, damage: str) -> None:
    project.run()
    for file in (project.cache / "kernels").glob("*/*.bin"):
        data = bytearray(file.read_bytes())
        if damage == "truncate":
            data = data[: len(data) // 2]
        elif damage == "empty":
            data = bytearray()
        elif damage == "garbage":
            data = bytearray(b"no kernel at all" * 20)
        else:
            data[len(data) // 2] ^= 255
        file.write_bytes(data)
    assert project.run()[0] == ["0.0", "2.0", "4.0", "0", "2"]
    assert project.run()[0] == ["0.0", "2.0", "4.0", "1", "0"]


def test_a_cache_that_cannot_be_written_is_said_once(project: Project) -> None:
    project.write("plain.txt", "a file where a directory should be")
    for _ in range(2):
        words, err = project.run(JITGRAD_CACHE_DIR=str(project.root / "plain.txt"))
        assert words == ["0.0", "2.0", "4.0", "0", "2"]
        assert err.count("cannot be written") == 1 and "JITGRAD_CACHE_DIR" in err


def test_without_a_home_directory_nothing_is_kept(project: Project) -> None:
    nowhere = {"JITGRAD_CACHE_DIR": "", "XDG_CACHE_HOME": "", "LOCALAPPDATA": "", "HOME": "~", "USERPROFILE": "~"}
    for _ in range(2):
        words, err = project.run(**nowhere)
        assert words == ["0.0", "2.0", "4.0", "0", "2"]
        assert err.count("the home directory is not known") == 1 and "JITGRAD_CACHE_DIR" in err
    assert not list(project.root.glob("~*"))


def test_a_read_only_install_caches_in_the_user_directory(project: Project) -> None:
    install = project.root / "install"
    shutil.copytree(SRC / "jitgrad", install / "jitgrad", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("helper.py", "kernel.py"):
        (project.root / name).rename(install / name)
    for path in [*install.rglob("*"), install]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(install.rglob("*"))
    env = {
        "PYTHONPATH": str(install),
        "JITGRAD_CACHE_DIR": "",
        "XDG_CACHE_HOME": str(project.root / "xdg"),
    }
    assert project.run(**env)[0][-1] == "2"
    assert project.run(**env)[0][-2:] == ["1", "0"]
    assert sorted(install.rglob("*")) == before
    assert (project.root / "xdg" / "jitgrad" / "kernels").is_dir()
    for path in [install, *install.rglob("*")]:
        path.chmod(0o755)


def test_of_two_processes_one_compiles(project: Project) -> None:
    slow = "".join(f"    y = factor(y) if y < {i} else y + {i}\n" for i in range(60))
    project.write("kernel.py", KERNEL.replace("out[i] = factor(x[i])", "out[i] = long(x[i])"))
    body = f"@njit\ndef long(x):\n    y = x\n{slow}    return x * 2\n@njit"
    project.write("kernel.py", (project.root / "kernel.py").read_text().replace("@njit(", body + "(", 1))
    processes = [project.start() for _ in range(2)]
    words = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [w[:3] for w in words] == [["0.0", "2.0", "4.0"]] * 2
    assert sum(int(w[-1]) for w in words) == 3  # as many as one process alone
    assert not list(project.cache.rglob("*.part"))


def test_waiting_for_another_process_is_said_and_ends_when_it_dies(project: Project) -> None:
    pytest.importorskip("fcntl")
    holder = """
        import os, time
        from jitgrad.kernels import cache
        import fcntl
        file = cache._locks._open()
        fcntl.lockf(file, fcntl.LOCK_EX)  # every byte
        print("locked", flush=True)
        time.sleep(60)
    """
    project.write("holder.py", "\n".join(line.strip() for line in holder.splitlines()))
    other = project.start("holder.py")
    assert other.stdout is not None and other.stdout.readline() == "locked\n"
    waiting = project.start()
    assert waiting.stderr is not None and "waiting for another process" in waiting.stderr.readline()
    other.kill()
    other.communicate()
    out, err = waiting.communicate(timeout=60)
    assert out.split() == ["0.0", "2.0", "4.0", "0", "2"], err


def test_slow_compilations_are_said(project: Project) -> None:
    project.write("main.py", "from jitgrad.kernels import cache\ncache.SLOW = 0.01\n" + MAIN)
    assert "jitgrad: compiling scale ..." in project.run()[1]
    assert project.run()[1] == ""


def test_generated_source_caches_and_is_one_module(project: Project) -> None:
    text = KERNEL.replace("SUM, njit", "SUM, njit, parallel_form") + "_par = parallel_form(_scale)\n"
    main = f"""
from jitgrad.kernels.jit import from_source
import sys
module = from_source({text!r}, "scale")
assert module is from_source({text!r}, "scale") is sys.modules[module.__name__]
assert from_source("x = 1", "scale").x == 1
_scale = module._scale
"""
    project.write("main.py", main + MAIN.replace("from kernel import _scale", ""))
    assert project.run()[0] == ["0.0", "2.0", "4.0", "0", "2"]
    assert project.run()[0] == ["0.0", "2.0", "4.0", "1", "0"]
    assert len(list((project.cache / "generated").glob("scale_*.py"))) == 2
    project.write("plain.txt", "")
    assert project.run(JITGRAD_CACHE_DIR=str(project.root / "plain.txt"))[0][:3] == ["0.0", "2.0", "4.0"]


def test_clear_cache(project: Project) -> None:
    project.write("main.py", MAIN + "jit.clear_cache()\n_scale(x, out)\n_scale(x.astype('f4'), out)\n")
    assert project.run()[0][-1] == "2"
    assert project.run()[0][-1] == "2"


def test_functions_that_a_file_does_not_tell_apart_are_not_kept(project: Project) -> None:
    closures = """
from jitgrad.kernels.jit import njit, cache_info
def make(c):
    @njit
    def f(x):
        return x + c
    return f
print(make(1)(1.0), make(2)(1.0), *cache_info())
"""
    project.write("main.py", closures)
    assert project.run()[0] == project.run()[0] == ["2.0", "3.0", "0", "2"]


def test_without_jit_kernels_are_python(project: Project) -> None:
    project.write("kernel.py", KERNEL + "from jitgrad.kernels.jit import parallel_form\n_par = parallel_form(_scale)\n")
    project.write("main.py", MAIN + "import kernel, types\nprint(kernel._par is _scale, type(_scale) is types.FunctionType)")
    words, _ = project.run(NUMBA_DISABLE_JIT="1")
    assert words == ["0.0", "2.0", "4.0", "0", "0", "True", "True"]
    assert not project.cache.exists()


def test_importing_the_kernels_reads_and_writes_no_cache_and_no_cuda(project: Project) -> None:
    project.write("main.py", "import sys, jitgrad.kernels.cpu.pointwise\nprint('numba.cuda' in sys.modules)")
    assert project.run()[0] == ["False"]
    assert not project.cache.exists()


def test_kernel_called_by_kernels_and_by_python(project: Project) -> None:
    """It has machine code once Python calls it, which is kept on disk."""
    asks = "print(*(type(o.entry_point).__name__ for o in factor.overloads.values()))\n"
    project.write("main.py", MAIN.replace(", *jit.cache_info()", "") + "from helper import factor\n" + asks + "print(factor(4.0))\n" + asks)
    assert project.run()[0] == ["0.0", "2.0", "4.0", "Linked", "8.0", "builtin_function_or_method"]
    project.write("main.py", "from helper import factor\nfrom jitgrad.kernels import jit\nprint(factor(4.0), *jit.cache_info())\n")
    assert project.run()[0] == ["8.0", "1", "0"]  # the machine code is on disk


def test_kernel_from_disk_without_machine_code(project: Project) -> None:
    project.run()  # _scale is compiled, and factor as a part of it
    project.write("main.py", "from helper import factor\nfrom jitgrad.kernels import jit\nprint(factor(4.0), *jit.cache_info())\n")
    assert project.run()[0] == project.run()[0] == ["8.0", "1", "0"]
