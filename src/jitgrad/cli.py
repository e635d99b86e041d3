"""The command line: ``python -m jitgrad demo``. Wrong use is one clear line and exit code 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from jitgrad import demo


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


# The names that argparse puts into "invalid ... value".
_whole.__name__, _seed.__name__, _rate.__name__ = "whole number", "seed", "learning rate"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="python -m jitgrad", description="jitgrad: deep learning on Numba kernels", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    default = demo.Recipe()
    job = commands.add_parser(
        "demo", help="train a small CNN on handwritten digits", description="Train a small CNN on scikit-learn's handwritten digits.",
        allow_abbrev=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    job.add_argument("--epochs", type=_whole, default=default.epochs, metavar="N", help="passes over the training images")
    job.add_argument("--batch-size", type=_whole, default=default.batch_size, metavar="N", help="images in a step")
    job.add_argument("--lr", type=_rate, default=default.lr, metavar="F", help="learning rate at its highest")
    job.add_argument("--seed", type=_seed, default=default.seed, metavar="N", help="seed of weights, dropout and shuffling")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    args = _arguments(argv)
    recipe = demo.Recipe(args.epochs, args.batch_size, args.lr, args.seed)
    try:
        for line in demo.run(recipe):
            print(line, flush=True)
    except demo.MissingExtraError as error:
        print(f"python -m jitgrad demo: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("python -m jitgrad demo: interrupted", file=sys.stderr)
        return 130
    return 0
