"""How work is cut over threads: a task is what one thread does, from the beginning to the end of a kernel.

Tasks share the images, or matrices, in equal parts; those of one part share its rows or columns in pieces. Each has memory of its own,
so that none waits for another.
"""

from __future__ import annotations

from math import gcd

from jitgrad.kernels.jit import njit


def parts_of(tasks: int, count: int) -> int:
    """Into how many parts to cut so many images: one for each task, or so many that none has more to do than another."""
    return tasks if count >= 4 * tasks else gcd(tasks, count)


@njit(inline=True)
def own(x, task, tasks):
    """A task's share of memory for all tasks."""
    return x[task * (x.size // tasks) : (task + 1) * (x.size // tasks)]


@njit(inline=True)
def equal(tasks, most):
    """The largest number of equal groups of tasks, of at most so many groups."""
    groups = max(min(tasks, most), 1)
    while tasks % groups:
        groups -= 1
    return groups
