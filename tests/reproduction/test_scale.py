"""Shrinking: everything in proportion, never below the minima, and every change is named."""

from __future__ import annotations

import pytest

from robcert.certify.errors import InvalidParameterError
from robcert.reproduction import ITEMS, ReproductionRequest, Scale
from robcert.reproduction.llr import MULTI
from robcert.reproduction.plan import paper_config, shrunk
from robcert.reproduction.scale import LEAST_CHANNELS, LEAST_EPOCHS, LEAST_TRAINING

LLR = ITEMS["LLR-Tab2a"].models[-1]
TRAINING = 50_000


def test_the_papers_size_changes_nothing() -> None:
    config = paper_config(LLR)
    assert Scale(1.0).training(config, TRAINING) == config
    assert MULTI.scaled(Scale(1.0)) == MULTI


def test_warm_up_and_milestones_keep_their_share_of_the_training() -> None:
    paper, ours = paper_config(LLR), Scale(0.1).training(paper_config(LLR), TRAINING)
    assert (ours.epochs, ours.subset) == (11, 5000)
    assert ours.objective.warmup / ours.epochs == pytest.approx(
        paper.objective.warmup / paper.epochs
    )
    assert ours.schedule.milestones == pytest.approx((10.0, 10.5))
    assert ours.architecture.width == 2  # 16 channels in the first stage of a WRN-28-8
    ours.require_reached()


@pytest.mark.parametrize("factor", [0.0001, 0.003, 0.02, 0.3])
@pytest.mark.parametrize("name", ITEMS)
def test_every_shrunk_training_can_run(name: str, factor: float) -> None:
    item = ITEMS[name]
    for model in item.models:
        paper = paper_config(model)
        ours = Scale(factor).training(paper, item.training)
        ours.require_reached()
        replays = ours.objective.replays
        assert ours.epochs >= max(LEAST_EPOCHS, replays)
        assert ours.epochs // replays >= 1
        assert (ours.subset or item.training) >= LEAST_TRAINING
        assert (ours.subset or item.training) >= ours.batch_size
        assert ours.epochs <= paper.epochs
        assert ours.batch_size <= paper.batch_size


def test_a_network_keeps_channels() -> None:
    config = paper_config(ITEMS["SOAR-Tab1"].models[0])
    assert Scale(0.001).training(config, TRAINING).architecture.width == LEAST_CHANNELS


@pytest.mark.parametrize("factor", [0.0, -0.5, 1.5, float("nan")])
def test_a_scale_outside_its_range_is_refused(factor: float) -> None:
    with pytest.raises(InvalidParameterError, match="--scale"):
        Scale(factor)


def test_every_change_is_named_with_both_values(tmp_path: object) -> None:
    request = ReproductionRequest(ITEMS["LLR-Tab2a"], tmp_path, scale=Scale(0.02))  # type: ignore[arg-type]
    found = {(one.quantity, one.where): (one.paper, one.ours) for one in shrunk(request, 200, 900)}
    assert found["evaluated images", "all models"] == ("10000", "200")
    assert found["epochs", "all models"] == ("110", "3")
    assert found["training images", "all models"] == ("50000", "900")
    assert found["width", "all models"] == ("16", "1")
    assert found["random restarts", "Untargeted, Multi-Targeted"] == ("20", "1")
    assert found["epochs of warm-up", LLR.name] == ("15", "0.4091")
    whole = ReproductionRequest(ITEMS["LLR-Tab2a"], tmp_path)  # type: ignore[arg-type]
    assert shrunk(whole, 10_000, TRAINING) == []
