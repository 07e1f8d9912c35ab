"""robcert smoothing: what its options change, on the bundled Gaussian-trained model."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from command_line import Ended, robcert
from places import FIXTURES

from robcert.certify.auditing.summaries import results
from robcert.certify.comparison.figures import save_picture
from robcert.certify.comparison.overview import overview
from robcert.certify.report.figures import figures
from robcert.certify.smoothing.summary import SmoothingSummary, Unfinished
from robcert.certify.smoothing.tables import tables
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

GAUSSIAN = FIXTURES / "fashion-gaussian.onnx"
FEW = ("--model", GAUSSIAN, "--indices", "0,1,2,3,5", "--quiet", "--n", "600")


def certify(out: Path, *options: object) -> dict[str, Any]:
    ended = robcert("smoothing", "certify", *FEW, "--json", "--out", out, *options)
    assert ended.status == 0, ended.stderr
    return dict(json.loads(ended.stdout))


def column(out: Path, name: str) -> np.ndarray:
    """Column of the only smoothing table."""
    with ResultStore.read(out) as store:
        (group,) = store.existing("smoothing")
        return np.asarray(group.column(name, group.indices))


def refused(ended: Ended, words: str) -> None:
    assert ended.status == 2
    assert words in ended.stderr
    assert len([line for line in ended.stderr.splitlines() if line.startswith("error: ")]) == 1


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default mode."""
    out = tmp_path_factory.mktemp("plain") / "r.h5"
    certify(out)
    return out


def test_one_alpha_for_all_images_makes_certificates_harder(plain: Path, tmp_path: Path) -> None:
    found = certify(tmp_path / "r.h5", "--familywise")
    assert found["summary"]["guarantee"].startswith("For all 5 images together, with probability")
    assert found["summary"]["expected_false"] == pytest.approx(0.001)
    seen, together = column(plain, "radius"), column(tmp_path / "r.h5", "radius")
    used = [column(path, "n_used") for path in (plain, tmp_path / "r.h5")]
    assert (together[used[0] == used[1]] <= seen[used[0] == used[1]]).all()


def test_group_sequential_boundaries_need_no_more_draws(plain: Path, tmp_path: Path) -> None:
    certify(tmp_path / "r.h5", "--design", "group-sequential")
    exact = column(tmp_path / "r.h5", "n_used")
    assert exact.sum() <= column(plain, "n_used").sum()
    assert set(column(tmp_path / "r.h5", "radius")) <= {0.0, 0.25, 0.5}  # of the grid alone


def test_the_second_class_is_limited_too(plain: Path, tmp_path: Path) -> None:
    certify(tmp_path / "r.h5", "--design", "runner-up")
    upper = column(tmp_path / "r.h5", "p_upper")
    assert np.isfinite(upper).all()
    assert np.isnan(column(plain, "p_upper")).all()


def test_the_label_itself_is_tested(tmp_path: Path) -> None:
    certify(tmp_path / "r.h5", "--label-mode")
    with ResultStore.read(tmp_path / "r.h5") as store:
        (group,) = store.existing("smoothing")
        labels = store.labels[store.rows(group.indices)]
    assert (column(tmp_path / "r.h5", "selected") == labels).all()


def test_an_open_ended_run_says_so_and_may_go_on(tmp_path: Path) -> None:
    out = tmp_path / "r.h5"
    certify(out, "--design", "open-ended")
    assert certify(out, "--design", "open-ended", "--n", "900")["summary"]["n"] == 5
    with ResultStore.read(out) as store:
        short, long = sorted(
            (group.column("path", group.indices) for group in store.existing("smoothing")),
            key=lambda path: path.shape[1],
        )
    seen = short >= 0
    assert (long[:, : short.shape[1]][seen] == short[seen]).all()  # the same draws, looked at alike


def test_radii_and_numbers_of_draws_are_as_asked(tmp_path: Path) -> None:
    found = certify(tmp_path / "r.h5", "--radii", "0.1,0.3", "--n0", "32", "--alpha", "0.01")
    assert [entry["radius"] for entry in found["summary"]["certified_accuracy"]] == [0.1, 0.3]
    assert "at least 0.99 over" in found["summary"]["guarantee"]


@pytest.mark.slow
def test_the_mode_of_the_paper_draws_all(tmp_path: Path) -> None:
    certify(tmp_path / "r.h5", "--design", "cohen")
    assert (column(tmp_path / "r.h5", "n_used") == 600).all()
    certify(tmp_path / "two.h5", "--design", "two-stage", "--tolerance", "0.2", "--n", "2000")
    assert column(tmp_path / "two.h5", "n_used").mean() < 2000


def test_several_sigma_are_tables_of_their_own(tmp_path: Path) -> None:
    found = certify(tmp_path / "r.h5", "--sigma", "0.25", "--sigma", "0.5")
    assert [run["sigma"] for run in found["summary"]["runs"]] == [0.25, 0.5]
    assert any("an alpha of its own" in line for line in found["warnings"])


def test_pictures_of_several_runs_are_told_apart(tmp_path: Path) -> None:
    certify(tmp_path / "r.h5", "--sigma", "0.25", "--sigma", "0.5")
    with ResultStore.read(tmp_path / "r.h5") as store:
        drawn = figures(store, results(store))
        row = overview(store)
    curve, *draws = drawn
    assert curve.claim == "certified"
    for number, sigma in enumerate((0.25, 0.5)):
        assert f"σ = {sigma}, n = 600 (certified)" in curve.svg
        assert f'class="line run{number}"' in curve.svg
        assert f'class="band run{number}"' in curve.svg
    assert [figure.claim for figure in draws] == ["measured", "measured"]
    assert "noise draws per image, all counted" in draws[0].caption
    assert [c.sigma for c in row.certified_curves] == [0.25, 0.5]
    save_picture([row, replace(row, model="other.onnx")], tmp_path / "c.svg")
    text = (tmp_path / "c.svg").read_text()
    for model in ("fashion-gaussian.onnx", "other.onnx"):
        assert f"{model}, σ = 0.5 (certified)" in text


def test_certificates_as_cohens_scripts_read_them(plain: Path, tmp_path: Path) -> None:
    certify(plain, "--tsv", tmp_path / "c.tsv")
    header, *lines = (tmp_path / "c.tsv").read_text().splitlines()
    assert header.split("\t") == ["idx", "label", "predict", "radius", "correct", "time"]
    assert [int(line.split("\t")[0]) for line in lines] == [0, 1, 2, 3, 5]
    radii = [float(line.split("\t")[3]) for line in lines]
    assert radii == pytest.approx(column(plain, "radius").tolist(), abs=1e-3)
    twice = ("--sigma", "0.25", "--sigma", "0.5", "--tsv", tmp_path / "d.tsv")
    refused(robcert("smoothing", "certify", *FEW, *twice), "one --sigma")


def test_a_time_budget_ends_soundly_and_the_next_run_goes_on(plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.h5"
    ended = robcert("smoothing", "certify", *FEW, "--json", "--out", out, "--time-budget", "0.001s")
    assert ended.status == 0, ended.stderr
    first = json.loads(ended.stdout)
    assert first["summary"]["n"] < 5
    assert first["summary"]["complete"] is False
    assert certify(out)["summary"]["complete"] is True
    for name in ("radius", "n_used", "path"):
        assert (column(out, name) == column(plain, name)).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--mode", "cohen", "--exact"), "--mode cohen --exact cannot be combined"),
        (("--exact", "--runner-up"), "--exact --runner-up cannot be combined"),
        (("--design", "cohen", "--exact"), "--exact cannot be combined with --design"),
        (("--design", "cohen", "--label-mode"), "needs a sequential design"),
        (("--sigma", "0"), "sigma must be a positive"),
        (("--alpha", "1"), "alpha must lie in"),
        (("--radii", "0.5,0.25"), "radii must be at least 0 and increase"),
    ],
)
def test_what_contradicts_itself_is_one_line(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    out = tmp_path / "r.h5"
    refused(robcert("smoothing", "certify", *FEW, "--out", out, *options), words)
    assert not out.exists()


def test_tables_hold_every_norm_the_draws_and_what_was_cut_off(plain: Path) -> None:
    with ResultStore.read(plain) as store:
        (result,) = results(store)
    assert isinstance(result.summary, SmoothingSummary)
    found = {table.title: table for table in result.tables}
    assert "cut off by the time budget: certified so far" not in found
    norms = found["the same certificates in each norm"]
    assert norms.claim == "certified"
    assert [row[0] for row in norms.rows] == ["l1", "l2", "linf"]
    assert sum(int(row[1]) for row in found["draws per image, all counted"].rows) == 5
    cut_off = replace(result.summary, in_progress=(Unfinished(7, 2, 128, 0.25),))
    *_, last = tables([cut_off])
    assert (last.claim, last.rows) == ("certified", (("7", "2", "128", "0.25"),))


def test_predictions_take_few_draws(tmp_path: Path) -> None:
    ended = robcert("smoothing", "predict", *FEW, "--json", "--out", tmp_path / "r.h5")
    summary = json.loads(ended.stdout)["summary"]
    assert summary["mean_samples"] <= 600
    assert "most probable class" in summary["guarantee"]
