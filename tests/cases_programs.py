"""Small programs of views and in-place ops, the same text for jitgrad and torch: x (3, 4) and y (4,) are leaves, ``a`` is computed.

PROGRAMS return tensors to differentiate; FORBIDDEN must raise, in the program or in backward, what torch raises, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PROGRAMS: list[Callable[..., Any]] = []
FORBIDDEN: list[Callable[..., Any]] = []


def program(f: Callable[..., Any]) -> Callable[..., Any]:
    PROGRAMS.append(f)
    return f


def forbidden(f: Callable[..., Any]) -> Callable[..., Any]:
    FORBIDDEN.append(f)
    return f


@program
def in_place_chain(x: Any, y: Any) -> Any:
    a = x * 2
    a.mul_(y).add_(1).pow_(2)
    return a


@program
def row_of_a_base(x: Any, y: Any) -> Any:
    a = x * 2
    a[0].mul_(y)
    return a


@program
def column_and_row(x: Any, y: Any) -> Any:
    a = x * 2
    a[:, 1].mul_(3)
    a[2].add_(y)
    return a * a


@program
def view_sees_the_base_change(x: Any, y: Any) -> Any:
    a = x * 2
    v = a[1]
    a.mul_(y)
    return v * v


@program
def view_sees_another_view_change(x: Any, y: Any) -> Any:
    a = x * 2
    v, w = a[1], a[:, 2]
    v.mul_(y)
    return w * w, v


@program
def view_of_a_view(x: Any, y: Any) -> Any:
    a = x * 2
    v = a[1:]
    w = v[0]
    w.mul_(y)
    return a * v.sum()


@program
def through_a_transpose(x: Any, y: Any) -> Any:
    a = x * 2
    a.t().mul_(x.t())
    return a + y


@program
def through_a_reshape(x: Any, y: Any) -> Any:
    a = x * 2
    a.view(-1)[2:6].mul_(y)
    return a


@program
def through_steps(x: Any, y: Any) -> Any:
    a = x * 2
    a[::2, 1::2].mul_(y[:2])
    return a


@program
def through_unsqueeze_and_permute(x: Any, y: Any) -> Any:
    a = x * 2
    a.unsqueeze(0).permute(2, 0, 1)[1].mul_(x[:, 1])
    return a * y


@program
def assignment_from_itself(x: Any, y: Any) -> Any:
    a = x * 2
    a[0] = a[1] + y
    a[1] = a[0].clone()
    return a * y


@program
def assignment_to_a_constant(x: Any, y: Any) -> Any:
    a = (x * 0).detach()
    a[1] = y * y
    a[:, 0] = x[:, 0]
    return a


@program
def filled_and_copied(x: Any, y: Any) -> Any:
    a = x * 2
    a[0].zero_()
    a[1].fill_(3)
    a[2].copy_(y * y)
    return a


@program
def broadcast_of_a_part_of_itself(x: Any, y: Any) -> Any:
    a = x * 2
    a.mul_(a[0].clone())
    return a + y


@program
def masks_and_indices(x: Any, y: Any) -> Any:
    a = x * 2
    a[[0, 2]] *= y
    a[:, [1, 3]] = y[:2]
    return a


@program
def augmented_item(x: Any, y: Any) -> Any:
    a = x * 2
    a[1] += y
    a[:, 0] *= 3
    a[2] /= y * y + 1
    return a


@program
def old_value_used_before(x: Any, y: Any) -> Any:
    a = x * 2
    b = a + y  # keeps nothing of a
    a.mul_(3)
    return a * b


@program
def view_written_many_times(x: Any, y: Any) -> Any:
    a = x * 2
    v = a[0]
    for _ in range(3):
        v.mul_(y)
        v.add_(1)
    return a


@program
def view_of_a_leaf_read_only(x: Any, y: Any) -> Any:
    return x[0] * x.t()[:, 1] + x.view(-1)[:4] * y


@program
def windows_that_overlap(x: Any, y: Any) -> Any:
    a = (x * 2).as_strided((5, 4), (2, 1))
    return a * y


@forbidden
def saved_row_overwritten(x: Any, y: Any) -> Any:
    a = x * 2
    a[0] = a[1] * y
    a[1] = a[0].clone()
    return a


@forbidden
def leaf(x: Any, y: Any) -> Any:
    x.add_(1)
    return x


@forbidden
def view_of_a_leaf(x: Any, y: Any) -> Any:
    x[0].mul_(2)
    return x


@forbidden
def leaf_item(x: Any, y: Any) -> Any:
    x[0] = 1.0
    return x


@forbidden
def expanded(x: Any, y: Any) -> Any:
    a = (y * 2).expand(3, 4)
    a.add_(1)
    return a


@forbidden
def saved_output_overwritten(x: Any, y: Any) -> Any:
    a = x.exp()
    a.add_(1)
    return a


@forbidden
def saved_input_overwritten(x: Any, y: Any) -> Any:
    a = x * 2
    b = a * y
    a.add_(1)
    return b


@forbidden
def saved_input_overwritten_through_a_view(x: Any, y: Any) -> Any:
    a = x * 2
    b = a * a
    a[0].zero_()
    return b


@forbidden
def saved_view_overwritten_through_its_base(x: Any, y: Any) -> Any:
    a = x * 2
    b = a[0] * y
    a.zero_()
    return b


@forbidden
def saved_input_overwritten_through_detach(x: Any, y: Any) -> Any:
    a = x * 2
    b = a * y
    a.detach().zero_()
    return b
