"""optimizer.sync(model): who stays, who goes, and where the new ones go."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from edited_model import Net, editing, layer, new, said

import jitgrad as jg
from jitgrad import nn, optim
from jitgrad.errors import GradError, SurgeryError
from jitgrad.nn import surgery
from jitgrad.optim import lr_scheduler


def trained(opt: optim.Optimizer, m: nn.Module) -> None:
    for p in m.parameters():
        p.grad = jg.ones_like(p)
    opt.step()


@pytest.mark.parametrize("make", [lambda m: m, lambda m: m.parameters(), lambda m: list(m.parameters())], ids=["model", "walk", "list"])
def test_sync_keeps_survivors_and_begins_anew_for_the_new(make: Any) -> None:
    m = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    opt = optim.Adam(make(m), lr=0.1)
    trained(opt, m)
    trained(opt, m)
    weight, old = m[0].weight, m[1].weight
    moments = opt.state[weight]["exp_avg"]
    m[1] = nn.Linear(3, 5)
    m.insert(0, nn.Linear(2, 2))
    synced = opt.sync(m)
    assert synced == (("0.weight", "0.bias", "2.weight", "2.bias"), ("1.weight", "1.bias"), ())
    assert repr(synced) == "Synced: added 0.weight, 0.bias, 2.weight and 2.bias; dropped 1.weight and 1.bias"
    assert opt.state[weight]["exp_avg"] is moments and old not in opt.state and set(opt.state) == {weight, m[1].bias}
    trained(opt, m)
    assert [opt.state[p]["step"] for p in m.parameters()] == [1, 1, 3, 3, 1, 1]
    # A new optimizer can go on from its state.
    fresh = optim.Adam(m)
    fresh.load_state_dict(opt.state_dict())
    assert fresh.state[weight]["exp_avg"].tolist() == opt.state[weight]["exp_avg"].tolist()
    m[0] = nn.Linear(2, 2)
    assert said(opt) == "0.weight"  # watched from now on, however it was made


HOMES: list[tuple[str, str, dict[str, int]]] = [
    # How the groups are made, the edit, and the groups of what is new.
    ("ends", "m.head = layer()", {"head.weight": 1, "head.bias": 1}),
    ("ends", "m.head = nn.Sequential(layer())", {"head.0.weight": 1, "head.0.bias": 1}),
    ("ends", "m.body.append(layer())", {"body.1.weight": 0, "body.1.bias": 0}),
    ("ends", "m.neck = layer()", {"neck.weight": 0, "neck.bias": 0}),
    ("ends", "m.body[0] = layer(); m.head = layer()", {"body.0.weight": 0, "body.0.bias": 0, "head.weight": 1, "head.bias": 1}),
    ("parts", "m.head = layer()", {"head.weight": 1, "head.bias": 1}),
    ("parts", "m.head = nn.Sequential(layer(), layer())", {"head.0.weight": 1, "head.1.bias": 1}),
    ("parts", "m.body.append(layer())", {"body.1.weight": 0}),
    ("kinds", "m.head = layer()", {"head.weight": 0, "head.bias": 1}),
    ("kinds", "m.body.append(layer())", {"body.1.weight": 0, "body.1.bias": 1}),
    ("kinds", "m.neck = layer()", {"neck.weight": 0, "neck.bias": 1}),
    ("kinds", "m.neck = new()", {"neck": 0}),
]


@pytest.mark.parametrize(("how", "edit", "homes"), HOMES)
def test_groups_of_new_parameters(how: str, edit: str, homes: dict[str, int]) -> None:
    m: Any = nn.Module()
    m.body, m.head = nn.Sequential(layer()), layer()
    pairs = list(m.named_parameters())
    groups: list[Any] = {
        "ends": [pairs[:2], pairs[2:]],
        "parts": [m.body.parameters(), m.head.parameters()],
        "kinds": [pairs[::2], pairs[1::2]],
    }[how]
    opt = optim.SGD([{"params": groups[0]}, {"params": groups[1], "lr": 0.5}], lr=0.25)
    scheduler = lr_scheduler.StepLR(opt, 1, 0.5)
    held = {id(p) for g in opt.param_groups for p in g["params"]}
    editing(edit)(m)
    opt.sync(m)
    found = {id(p): i for i, g in enumerate(opt.param_groups) for p in g["params"]}
    assert len(opt.param_groups) == 2 and sorted(found) == sorted(id(p) for p in m.parameters())
    added = {name: found[id(p)] for name, p in m.named_parameters() if id(p) not in held}
    assert homes.items() <= added.items()
    order = {id(p): k for k, p in enumerate(m.parameters())}
    for g in opt.param_groups:
        assert sorted(order[id(p)] for p in g["params"]) == [order[id(p)] for p in g["params"]]
        if how != "parts":
            names = {id(p): name for name, p in m.named_parameters()}
            assert g["param_names"] == [names[id(p)] for p in g["params"]]
    opt.step()
    scheduler.step()
    assert [g["lr"] for g in opt.param_groups] == [0.125, 0.25]


def head_of(m: Any) -> Any:
    return [p for n, p in m.named_parameters() if n.startswith("fc")]


def trainable(m: Any) -> Any:
    m.body.requires_grad_(False)
    return [p for p in m.parameters() if p.requires_grad]


# What is given of a model with a body and a head, the edit, what sync takes as the model, and the first names it adds, drops, leaves out.
LEFT_OUT: list[tuple[Any, str, str, str, str, str]] = [
    (lambda m: m.fc.parameters(), "pass", "m", "", "", "body.0.weight"),
    (lambda m: m.fc.parameters(), "m.fc = layer()", "m", "fc.weight", "weight", "body.0.weight"),
    (lambda m: m.fc.parameters(), "m.fc = layer()", "m.fc", "weight", "weight", ""),
    (lambda m: m.fc.parameters(), "surgery.replace(m, 'fc', older)", "m", "fc.weight", "weight", "body.0.weight"),
    (lambda m: m.fc.parameters(), "surgery.replace(m, 'fc', older)", "m.fc", "weight", "weight", ""),
    (head_of, "pass", "m", "", "", "body.0.weight"),
    (head_of, "m.fc = older", "m", "fc.weight", "fc.weight", "body.0.weight"),
    (head_of, "m.fc = older", "m.fc", "fc.weight", "fc.weight", "body.0.weight"),
    (head_of, "m.fc = nn.Sequential(older)", "m", "fc.0.weight", "fc.weight", "body.0.weight"),
    (head_of, "m.body.append(layer())", "m", "", "", "body.0.weight"),
    (head_of, "m.body[0] = layer()", "m", "", "", "body.0.weight"),
    (head_of, "m.more = older", "m", "more.weight", "", "body.0.weight"),
    (head_of, "m.more = older.requires_grad_(False)", "m", "", "", "body.0.weight"),
    (trainable, "pass", "m", "", "", "body.0.weight"),
    (trainable, "m.body.requires_grad_()", "m", "", "", "body.0.weight"),
    (trainable, "m.body[0] = layer()", "m", "body.0.weight", "", "body.1.weight"),
    (trainable, "m.body.append(older)", "m", "body.2.weight", "", "body.0.weight"),
    (lambda m: m, "m.fc = older.requires_grad_(False)", "m", "fc.weight", "fc.weight", ""),
    (lambda m: m, "m.fc = older", "m.fc", "fc.weight", "fc.weight", ""),
    (lambda m: list(m.parameters()), "m.more = older", "m", "more.weight", "", ""),
    (lambda m: [{"params": m.body.parameters()}, {"params": m.fc}], "surgery.replace(m, 'fc', older)", "m.fc", "weight", "weight", ""),
    (lambda m: [{"params": m.body.parameters()}, {"params": m.fc}], "m.body.append(older)", "m", "body.2.weight", "", ""),
]


@pytest.mark.parametrize("case", range(len(LEFT_OUT)))
def test_sync_leaves_out_what_was_left_out(case: int) -> None:
    give, edit, what, *expected = LEFT_OUT[case]
    m: Any = nn.Module()
    m.body, m.fc = nn.Sequential(layer(), layer()), layer()
    names = {"m": m, "older": layer(), "layer": layer, "nn": nn, "surgery": surgery, "kept": list(m.modules())}
    opt = optim.SGD(give(m), lr=0.1)
    exec(edit, names)
    before = sum(len(g["params"]) for g in opt.param_groups)
    synced = opt.sync(eval(what, names))
    assert [(*paths, "")[0] for paths in synced] == expected
    assert sum(len(g["params"]) for g in opt.param_groups) == before + len(synced.added) - len(synced.dropped)
    assert said(opt) is None
    assert not opt.sync(m).added or what == "m.fc"


def test_sync_of_copies_and_of_models_it_does_not_know() -> None:
    m: Any = nn.Module()
    m.body, m.fc = nn.Sequential(layer(), layer()), layer()
    twin, opt = copy.deepcopy((m, optim.SGD(m.fc.parameters(), lr=0.1)))
    assert opt.sync(twin).added == ()
    twin, opt = copy.deepcopy((m, optim.SGD(m, lr=0.1)))
    twin.fc = layer()
    twin.body.append(layer())
    assert opt.sync(twin).added == ("body.2.weight", "body.2.bias", "fc.weight", "fc.bias")
    older, opt = layer(), optim.SGD(m.fc.parameters(), lr=0.1)
    m.fc = older
    with pytest.raises(SurgeryError, match=r"SGD.sync: the optimizer has no parameter of this Module, and none .* Make a new optimizer"):
        opt.sync(m)
    assert len(opt.param_groups[0]["params"]) == 2


def test_what_sync_did_is_readable() -> None:
    m = nn.Sequential(*(layer() for _ in range(6)))
    opt = optim.SGD(m[0].parameters(), lr=0.1)
    assert repr(opt.sync(m)) == (
        "Synced: nothing has changed\n  left out: 1.weight, 1.bias, 2.weight, 2.bias, 3.weight, 3.bias, 4.weight, 4.bias and 2 more"
    )


def test_sync_leaves_other_models_alone() -> None:
    a, b, loose = Net(), Net(), new()
    opt = optim.SGD([{"params": a}, {"params": b.parameters()}, {"params": [loose]}], lr=0.1, momentum=0.9)
    trained(opt, b)
    moved = a.head.weight
    a.head = layer()
    b.moved = moved  # has left a, but not the optimizer's models
    opt.sync(a)
    assert [len(g["params"]) for g in opt.param_groups] == [22, 21, 1] and len(opt.state) == 21
    assert opt.param_groups[0]["params"][-1] is moved
    assert [opt.param_groups[0]["params"][i] is p for i, p in enumerate(a.parameters())] == [True] * 21
    del b.scale
    assert said(opt) == "scale"
    opt.sync(b)
    assert said(opt) is None and opt.param_groups[2]["params"][0] is loose
    alone = optim.SGD([*a.parameters(), loose], lr=0.1)  # of a list, nobody knows whose it is
    alone.sync(a)
    assert [id(p) for p in alone.param_groups[0]["params"]] == [id(p) for p in a.parameters()]


def test_sync_all_or_nothing() -> None:
    m = Net()
    opt = optim.SGD(m, lr=0.1, momentum=0.9)
    trained(opt, m)
    m.head = layer()
    m.last = nn.Parameter(jg.ones(1).expand(3))
    before = [id(p) for p in opt.param_groups[0]["params"]], list(opt.state.values())
    with pytest.raises(GradError, match=r"SGD: several elements of parameter last, an expanded view of shape \(3,\)"):
        opt.sync(m)
    assert ([id(p) for p in opt.param_groups[0]["params"]], list(opt.state.values())) == before
    assert said(opt) == "head.weight"


def test_a_load_that_is_undone_is_an_edit_too() -> None:
    m = layer()
    opt = optim.SGD(m, lr=0.1)

    def hook(module: nn.Module, keys: Any) -> None:
        opt.sync(module)
        raise RuntimeError("no")

    m.register_load_state_dict_post_hook(hook)
    with pytest.raises(RuntimeError, match="no"):
        m.load_state_dict(layer().state_dict(), assign=True)
    assert said(opt) == "weight"


def test_sync_to_a_copy() -> None:
    m = Net()
    loose = new()
    opt = optim.SGD([{"params": m.named_parameters()}, {"params": loose, "lr": 1.0}], lr=0.1)
    twin = copy.deepcopy(m)
    opt.sync(twin)
    assert opt.param_groups[0]["param_names"] == [name for name, _ in twin.named_parameters()]
    assert opt.param_groups[1]["params"] == [loose]
    del m.seq, twin.head
    assert said(opt) == "head.weight"


def test_sync_does_not_guess_between_empty_groups() -> None:
    m = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    opt = optim.SGD([{"params": m[0]}, {"params": m[1], "lr": 1.0}], lr=0.1)
    m[0], m[1] = nn.Linear(2, 2), nn.Linear(2, 2)
    before = [[id(p) for p in g["params"]] for g in opt.param_groups]
    with pytest.raises(SurgeryError, match=r"SGD.sync: groups \[0, 1\] have lost all their parameters, and nothing .* 0.weight belongs"):
        opt.sync(m)
    assert [[id(p) for p in g["params"]] for g in opt.param_groups] == before
    named = optim.SGD([{"params": list(m.named_parameters())[:2]}, {"params": list(m.named_parameters())[2:], "lr": 1.0}], lr=0.1)
    m[0], m[1] = nn.Linear(2, 3), nn.Linear(3, 2)
    named.sync(m)
    assert [g["params"][0].shape for g in named.param_groups] == [(3, 2), (2, 3)]


def test_a_shared_parameter_has_two_places() -> None:
    m = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    m[1].weight = m[0].weight
    opt = optim.SGD(m, lr=0.1)
    assert len(opt.param_groups[0]["params"]) == 3
    del m[0]
    assert said(opt) == "0.bias"
    opt.sync(m)
    assert opt.param_groups[0]["param_names"] == ["0.weight", "0.bias"] and opt.param_groups[0]["params"][0] is m[0].weight
