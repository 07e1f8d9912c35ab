from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from half_space import laboratory

from robcert.certify.exports import cohen_lines
from robcert.certify.smoothing.analysis import Mode, SmoothingSettings, analyse, summarise
from robcert.certify.smoothing.certificate import largest_radius
from robcert.certify.smoothing.forecast import _expected, _prior, forecast

if TYPE_CHECKING:
    from pathlib import Path

GRID = SmoothingSettings(n=20_000, radii=(0.1, 0.2, 0.3, 2.0))


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        (GRID, 0.3),
        (SmoothingSettings(n=20_000, mode=Mode.COHEN), 1e-9),
        (SmoothingSettings(runner_up=True), 0.6),  # forecast as if it had no second class
    ],
)
def test_forecast_is_near_what_it_costs(
    settings: SmoothingSettings, tolerance: float, tmp_path: Path
) -> None:
    lab = laboratory(tmp_path)
    with lab.store() as store:
        session = lab.session(store)
        expected = forecast(session, settings)
        mean = summarise(store, analyse(session, settings)).mean_samples
    assert expected.mean_samples == pytest.approx(mean, rel=tolerance)
    assert expected.images == 24
    assert expected.seconds > 0


def test_forecast_names_what_no_draws_can_reach(tmp_path: Path) -> None:
    lab = laboratory(tmp_path)
    with lab.store() as store:
        expected = forecast(lab.session(store), GRID)
    assert expected.largest_radius == largest_radius(20_000, sigma=0.25, alpha=5e-4)
    assert expected.unattainable == (2.0,)
    assert "not attainable: 2" in expected.sentence()


def test_table_for_cohens_scripts(tmp_path: Path) -> None:
    lab = laboratory(tmp_path, n=6)
    with lab.store() as store:
        key = analyse(lab.session(store), GRID)
        lines = [line.split("\t") for line in cohen_lines(store, key)]
        radii = store.at(key).column("radius")
    assert lines[0] == ["idx", "label", "predict", "radius", "correct", "time"]
    assert [line[0] for line in lines[1:]] == [str(i) for i in range(6)]
    assert [float(line[3]) for line in lines[1:]] == pytest.approx(radii, rel=1e-7)
    assert all(line[4] == str(int(line[1] == line[2])) for line in lines[1:])


def test_images_with_all_votes_for_one_class_are_not_taken_for_borderline() -> None:
    sure = [np.array([256, 0])] * 40 + [np.array([150, 106])] * 4
    rules = SmoothingSettings(radii=(0.75,))
    flat = _expected(rules, sure[0], (0.5, 0.5), seed=0)
    fitted = _expected(rules, sure[0], _prior(sure), seed=0)
    surely = _expected(rules, sure[0], (1e6, 1e-6), seed=0)
    assert surely <= fitted < 0.75 * flat
