from __future__ import annotations

import json

import pytest

from robcert.certify.errors import InvalidParameterError
from robcert.trainers.config import TrainConfig
from robcert.trainers.llr import Llr
from robcert.trainers.presets import PRESETS, preset


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_whole_and_survive_json(name: str) -> None:
    found = preset(name)
    assert TrainConfig.from_json(json.loads(json.dumps(found.config.to_json()))) == found.config
    assert found.doc
    assert not found.first or found.first in PRESETS
    assert all(m < found.config.epochs for m in found.config.schedule.milestones)


def test_llrs_presets_have_the_weights_of_table_f2() -> None:
    # the table prints mu / lambda: 0.5 for WRN-28-8, 0.75 for WRN-40-8, 2 and 3 for ImageNet
    ratios = {"llr-wrn28": 0.5, "llr-wrn40": 0.75, "llr-in4": 2.0, "llr-in16": 3.0}
    for name, ratio in ratios.items():
        objective = preset(name).config.objective
        assert isinstance(objective, Llr)
        assert objective.linear_weight / objective.gamma_weight == ratio
        assert objective.warmup_epochs < preset(name).config.epochs


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(InvalidParameterError, match="no preset named 'soar-v9'"):
        preset("soar-v9")
