"""The command line, ``python -m jitgrad COMMAND``: demo, info, warmup, cache. Wrong use is one clear line and exit code 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jitgrad import __version__, demo, info, warmup


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _whole(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, given {text}")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 2**63 - 1, given {text}")
    return value


def _rate(text: str) -> float:
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, given {text}")
    return value


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("expected a path, given nothing that can be one")
    return Path(text)


# The names that argparse puts into "invalid ... value".
_whole.__name__, _seed.__name__, _rate.__name__ = "whole number", "seed", "learning rate"


class _OutputError(Exception):
    """Nobody reads what is printed, or it cannot be written."""


def _say(line: str) -> None:
    try:
        print(line, flush=True)
    except OSError as error:
        raise _OutputError(error.strerror or str(error)) from None


def _demo(args: argparse.Namespace) -> None:
    options = {name: value for name in demo.Recipe._fields if (value := getattr(args, name)) is not None}
    for line in demo.Job(options, args.out, args.data, args.resume).lines():
        _say(line)


def _info(args: argparse.Namespace) -> None:
    for line in info.lines():
        _say(line)


def _warmup(args: argparse.Namespace) -> None:
    _say(warmup.run())


def _cache(args: argparse.Namespace) -> None:
    for line in info.cleared() if args.clear else info.cache_lines():
        _say(line)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="python -m jitgrad", description="jitgrad: deep learning on Numba kernels", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"jitgrad {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None], words: str, more: str = "") -> Any:
        made = commands.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}. {more}".strip(), allow_abbrev=False)
        made.set_defaults(run=run)
        return made

    default = demo.Recipe()
    job = command(
        "demo", _demo, "train a small CNN on handwritten digits",
        "The digits are scikit-learn's, 1,797 images of 8 x 8 pixels; --data takes images of your own.",
    )  # fmt: skip
    job.add_argument("--epochs", type=_whole, metavar="N", help=f"passes over the training images, in all (default: {default.epochs})")
    job.add_argument("--batch-size", type=_whole, metavar="N", help=f"images in a step (default: {default.batch_size})")
    job.add_argument("--lr", type=_rate, metavar="F", help=f"learning rate at its highest (default: {default.lr})")
    job.add_argument("--seed", type=_seed, metavar="N", help=f"seed of weights, dropout and shuffling (default: {default.seed})")
    job.add_argument("--out", type=_path, metavar="DIR", help="write weights, curves and test images with what was read in them to DIR")
    job.add_argument(
        "--data", type=_path, metavar="FILE.npz",
        help="train on the arrays images, (N, H, W) or (N, 1, H, W) with H and W at least 2, and labels, (N,) ints or strings",
    )  # fmt: skip
    job.add_argument("--resume", action="store_true", help="go on with the training in --out DIR, to the same bits as without a break")
    command("info", _info, "show what a bug report needs: versions, CPU, threads, cache, GPU")
    command("warmup", _warmup, "compile the usual kernels now and keep them on disk", "They are those for float32.")
    cache = command("cache", _cache, "show where compiled kernels are kept, how many, how large")
    cache.add_argument("--clear", action="store_true", help="remove them")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    args = _arguments(argv)
    name = f"python -m jitgrad {args.command}"
    try:
        args.run(args)
    except (demo.MissingExtraError, demo.UsageError) as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 2
    except _OutputError as error:
        # What is still in the buffer goes nowhere, or Python would try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"{name}: the output cannot be written: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print(f"{name}: interrupted{''.join(f'; {word}' for word in interrupt.args)}", file=sys.stderr)
        return 130
    return 0
