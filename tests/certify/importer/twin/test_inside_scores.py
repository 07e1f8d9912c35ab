"""The twin opened up: what hides a linear classifier's gradient, and its slope behind that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from onnx import TensorProto
from onnx_models import model, node
from torch import Tensor

from robcert.certify.importer.twin.inside_scores import InsideScores, _watched, find_inside_scores
from robcert.certify.importer.twin.twin import build_twin

if TYPE_CHECKING:
    from onnx import NodeProto

WEIGHT = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
HIDDEN = np.random.default_rng(1).normal(size=(16, 40)).astype(np.float32)
LAST = np.random.default_rng(2).normal(size=(40, 3)).astype(np.float32)
IMAGES = torch.from_numpy(np.random.default_rng(3).random((8, 1, 4, 4), dtype=np.float32))

LINEAR = [node("Flatten", "x", "flat"), node("MatMul", "flat weight", "logits")]


def found_in(nodes: list[NodeProto], **weights: Any) -> InsideScores | None:
    given = {name: np.asarray(value) for name, value in weights.items()}
    made = model(
        nodes,
        inputs={"x": ["b", 1, 4, 4]},
        outputs={"y": None},
        weights={"weight": WEIGHT, "hidden": HIDDEN, "last": LAST, **given},
    )
    twin = build_twin(made, image_shape=(1, 4, 4))
    return find_inside_scores(twin, IMAGES, classes=3)


def slope(inside: InsideScores) -> Tensor:
    """Of the first class's scores."""
    x = IMAGES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(inside.module(x)[:, 0].sum(), x)
    return gradient.flatten(1)


def the_linear_slope() -> Tensor:
    return torch.from_numpy(WEIGHT[:, 0]).expand(len(IMAGES), 16)


def test_nothing_to_go_past_in_a_plain_network() -> None:
    scaled = [*LINEAR, node("Mul", "logits hundredth", "y")]
    assert found_in([*LINEAR, node("Identity", "logits", "y")]) is None
    assert found_in(scaled, hundredth=np.float32(0.01)) is None
    prepared = [
        node("Sub", "x half", "centred"),
        node("Flatten", "centred", "flat"),
        node("MatMul", "flat weight", "y"),
    ]
    assert found_in(prepared, half=np.float32(0.5)) is None


@pytest.mark.parametrize(
    "after",
    [
        [node("ArgMax", "logits", "top", axis=1, keepdims=0), node("OneHot", "top k values", "y")],
        [node("Add", "logits large", "y")],
        [
            node("ReduceMax", "logits", "top", axes=[1], keepdims=1),
            node("Sub", "logits top", "gap"),
            node("Mul", "gap steep", "far"),
            node("Exp", "far", "y"),
        ],
    ],
    ids=["labels", "absorbed", "underflow"],
)
def test_scores_are_found_behind_what_flattens_them(after: list[NodeProto]) -> None:
    inside = found_in(
        [*LINEAR, *after],
        k=np.array(3),
        values=np.array([0, 1], dtype=np.float32),
        large=np.float32(2.0**22),
        steep=np.float32(1000),
    )
    assert inside is not None
    assert not inside.outermost
    assert inside.own_slopes
    torch.testing.assert_close(inside.module(IMAGES), IMAGES.flatten(1) @ torch.from_numpy(WEIGHT))
    torch.testing.assert_close(slope(inside), the_linear_slope())


def test_an_image_that_is_looked_up_gets_the_slope_of_the_image() -> None:
    nodes = [
        node("Mul", "x levels", "large"),
        node("Cast", "large", "place", to=TensorProto.INT64),
        node("Gather", "table place", "seen"),
        node("Flatten", "seen", "flat"),
        node("MatMul", "flat weight", "y"),
    ]
    table = (np.arange(17, dtype=np.float32) / 16).astype(np.float32)
    inside = found_in(nodes, levels=np.float32(16), table=table)
    assert inside is not None
    assert inside.outermost
    assert not inside.own_slopes
    torch.testing.assert_close(slope(inside), the_linear_slope())


def test_an_image_turned_round_gets_the_slope_of_the_image() -> None:
    nodes = [
        node("Mul", "x levels", "large"),
        node("Round", "large", "steps"),
        node("Mul", "steps eighth", "twice"),
        node("Sub", "twice x", "seen"),
        node("Flatten", "seen", "flat"),
        node("MatMul", "flat weight", "y"),
    ]
    inside = found_in(nodes, levels=np.float32(16), eighth=np.float32(2 / 16))
    assert inside is not None
    torch.testing.assert_close(slope(inside), the_linear_slope())


HIDES = {
    "sigmoid": [node("Mul", "units steep", "large"), node("Sigmoid", "large", "bits")],
    "tanh": [node("Mul", "units steep", "large"), node("Tanh", "large", "bits")],
    "clip": [node("Mul", "units steep", "large"), node("Clip", "large low high", "bits")],
    "cast": [node("Greater", "units low", "flag"), node("Cast", "flag", "bits", to=1)],
    "less": [node("Less", "units low", "flag"), node("Cast", "flag", "bits", to=1)],
    "where": [node("Greater", "units low", "flag"), node("Where", "flag high low", "bits")],
}


@pytest.mark.parametrize("way", HIDES)
def test_flat_functions_inside_get_a_slope_that_rises_as_they_do(way: str) -> None:
    units = [node("Flatten", "x", "flat"), node("MatMul", "flat hidden", "units")]
    nodes = [*units, *HIDES[way], node("MatMul", "bits last", "y")]
    given = {"steep": np.float32(1e6), "low": np.float32(0), "high": np.float32(1)}
    inside = found_in(nodes, **given)
    assert inside is not None
    gradient = slope(inside)
    assert (gradient.abs().amax(1) > 0).all()
    sign = -1 if way == "less" else 1
    by_units = torch.from_numpy(HIDDEN).T * sign * torch.from_numpy(LAST[:, :1])
    values = IMAGES.flatten(1) @ torch.from_numpy(HIDDEN)
    # a unit counts the more the nearer it is to its threshold
    weights = (1 + values.abs() / values.square().mean(1, keepdim=True).sqrt()) ** -2
    expected = weights @ by_units
    cosine = torch.cosine_similarity(gradient, expected, dim=1)
    assert (cosine > 0.99).all()


UNITS = [node("Flatten", "x", "flat"), node("MatMul", "flat hidden", "units")]
RIPPLED = [
    *UNITS,
    node("Mul", "units often", "many"),
    node("Sin", "many", "wave"),
    node("Mul", "wave height", "ripple"),
    node("Add", "units ripple", "seen"),
    node("MatMul", "seen last", "y"),
]
CROSSED = [
    node("Cos" if one.op_type == "Sin" else one.op_type, " ".join(one.input), one.output[0])
    for one in RIPPLED
]
STEPPED = [
    *UNITS,
    node("Mod", "units step", "rest", fmod=1),
    node("Sub", "units rest", "seen"),
    node("MatMul", "seen last", "y"),
]


@pytest.mark.parametrize("nodes", [RIPPLED, CROSSED, STEPPED], ids=["sine", "cosine", "remainder"])
def test_what_a_wave_is_added_to_keeps_its_slope(nodes: list[NodeProto]) -> None:
    given = {"often": np.float32(1e3), "height": np.float32(0.1), "step": np.float32(0.1)}
    inside = found_in(nodes, **given)
    assert inside is not None
    assert not inside.own_slopes
    linear = torch.from_numpy(HIDDEN @ LAST[:, 0]).expand(len(IMAGES), 16)
    torch.testing.assert_close(slope(inside), linear)


def test_a_wave_of_which_an_image_sees_a_part_keeps_its_own_slope() -> None:
    nodes = [
        *UNITS,
        node("Mul", "units seldom", "few"),
        node("Sin", "few", "seen"),
        node("MatMul", "seen last", "y"),
    ]
    seldom, hidden = 0.1, torch.from_numpy(HIDDEN)
    inside = found_in(nodes, seldom=np.float32(seldom))
    assert inside is not None
    slopes = seldom * (seldom * IMAGES.flatten(1) @ hidden).cos() * torch.from_numpy(LAST[:, 0])
    torch.testing.assert_close(slope(inside), slopes @ hidden.T)


def test_stand_ins_change_no_value() -> None:
    units = [node("Flatten", "x", "flat"), node("MatMul", "flat hidden", "units")]
    for way in ("cast", "less", "where", "clip"):
        nodes = [*units, *HIDES[way], node("MatMul", "bits last", "y")]
        numbers = {"steep": 2.0, "low": 0.0, "high": 1.0}
        given = {name: np.array(one, dtype=np.float32) for name, one in numbers.items()}
        inside = found_in(nodes, **given)
        assert inside is not None
        made = model(
            nodes,
            inputs={"x": ["b", 1, 4, 4]},
            outputs={"y": None},
            weights={
                "hidden": HIDDEN,
                "last": LAST,
                **{k: np.asarray(v) for k, v in given.items()},
            },
        )
        torch.testing.assert_close(inside.module(IMAGES), build_twin(made)(IMAGES))


def test_what_was_seen_stays_though_the_rectifier_overwrites_it() -> None:
    made = model(
        [*LINEAR, node("Add", "logits shift", "low"), node("Relu", "low", "y")],
        inputs={"x": ["b", 1, 4, 4]},
        outputs={"y": None},
        weights={"weight": WEIGHT, "shift": np.array(-100, np.float32)},
    )
    twin = build_twin(made)
    seen = _watched(twin.module, IMAGES[:1], 3)
    assert min(float(values.max()) for values in seen.values()) < -50
