"""`robcert masking-check`: its exit status is the verdict only where that was asked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from command_line import robcert
from onnx import helper
from onnx_models import images, linear, model, node, saved, weights

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Ended

ASKED = ("masking-check", "--profile", "quick", "--eps", "0.05", "--threads", "1", "-q", "--json")


def checked(folder: Path, made: Any, *more: str) -> Ended:
    """The check of a linear model, its own predictions on random images for labels."""
    pixels = images(16).pixels(np.arange(16)).numpy()
    np.savez(folder / "images.npz", images=pixels.transpose(0, 2, 3, 1))
    path = saved(folder, made)
    files = ("-m", str(path), "-d", str(folder / "images.npz"), "--out", str(folder / "r.h5"))
    return robcert(*ASKED, *files, *more)


def saturated() -> Any:
    """The linear model behind a softmax of a thousandfold logits."""
    return model(
        [
            node("Flatten", "x", "flat"),
            node("MatMul", "flat w", "small"),
            node("Mul", "small much", "logits"),
            node("Softmax", "logits", "out", axis=-1),
        ],
        inputs={"x": ("batch", 3, 4, 4)},
        outputs={"out": None},
        weights={"w": weights(5, 48), "much": np.array(1000, np.float32)},
    )


def test_strict_turns_the_verdict_into_the_exit_status(tmp_path: Path) -> None:
    honest = checked(tmp_path, linear(), "--strict")
    assert json.loads(honest.stdout)["summary"]["verdict"] == "clear"
    assert honest.status == 0


@pytest.mark.parametrize(("more", "status"), [((), 0), (("--strict",), 1)])
def test_a_masked_model_fails_only_where_it_was_asked_to(
    more: tuple[str, ...], status: int, tmp_path: Path
) -> None:
    ended = checked(tmp_path, saturated(), *more)
    summary = json.loads(ended.stdout)["summary"]
    assert summary["verdict"] == "masked", summary["reason"]
    assert summary["hidden_in"] in {"file", "both"}
    assert ended.status == status


def without_twin() -> Any:
    """The linear model through an operator that only the runtime knows."""
    made = model(
        [
            node("Flatten", "x", "flat"),
            node("MatMul", "flat w", "score"),
            node("Scaler", "score", "out", domain="ai.onnx.ml", offset=[0.0] * 5, scale=[1.0] * 5),
        ],
        inputs={"x": ("batch", 3, 4, 4)},
        outputs={"out": None},
        weights={"w": weights(5, 48)},
    )
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return made


def test_a_model_without_gradients_is_unknown_and_names_what_is_missing(tmp_path: Path) -> None:
    ended = checked(tmp_path, without_twin(), "--strict")
    summary = json.loads(ended.stdout)["summary"]
    assert ended.status == 1
    assert (summary["verdict"], summary["hidden_in"]) == ("unknown", "unknown")
    assert "hidden_from_cross_entropy" in summary["reason"]
    assert "robcert inspect" in summary["would_change"]
    not_run = {one["name"]: one["required"] for one in summary["indicators"] if not one["ran"]}
    assert not_run["hidden_from_cross_entropy"]
    assert not not_run["hopskipjump_beats_gradient"]
    tried = {one["name"]: one["robust_accuracy"]["n"] for one in summary["remedies"]}
    assert tried["score search"] == tried["transfer from other models"] == 16
    assert tried["margin loss"] == 0
