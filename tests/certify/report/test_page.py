"""What the verdict, the headline tiles and the tables say of numbers that do not stand alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from command_line import robcert
from summaries import attack, blank, bounds, findings, fit, masking, omega, robust

from robcert.certify.auditing.open import bundled
from robcert.certify.auditing.summaries import incomplete
from robcert.certify.auditing.verdict import cards, contradictions, verdict
from robcert.certify.masking.verdict import MaskingVerdict
from robcert.certify.report.svg import LARGE, TICK_LETTER, curves, histogram
from robcert.certify.stats.intervals import Proportion
from robcert.certify.store.ledger import Comparison, Ledger
from robcert.certify.tables.charts import Lines, Series

MODEL = str(bundled("fashion-honest.onnx"))


def comparison(estimate: str, count: int) -> Comparison:
    found: Comparison = blank(Comparison, estimate=estimate, count=count, compared=3)
    return found


LEDGER = Ledger(
    (
        comparison("/bounds/a:l_bound", 1),
        comparison("/bounds/a:l_bound", 3),
        comparison("/bounds/a:omega_bound", 0),
        comparison("/bounds/b:omega_bound", 2),
    )
)


@dataclass(frozen=True)
class Table:
    """Stands for the table of the bounds, of which a tile needs the path."""

    path: str = "/bounds/a"


def tile(ledger: Ledger, status: str = "ok", **radius: float) -> str:
    summary = bounds(fit(status), radius=radius, omega=(omega(), omega("failed")))
    (card,) = cards(findings(bounds=summary, bounds_group=Table(), ledger=ledger))
    return card.text


def test_a_tile_says_that_its_bound_is_contradicted() -> None:
    assert contradictions(LEDGER, "/bounds/a") == {"l_bound": (3, 3)}
    assert "contradicted for 3 of 3 images" in tile(LEDGER, l_bound=0.1)
    assert tile(Ledger(()), l_bound=0.1).endswith("pixel units")


def test_a_tile_says_that_the_fit_under_its_bound_failed() -> None:
    assert tile(Ledger(()), "degenerate", l_bound=0.1).endswith("; L: status degenerate")
    assert tile(Ledger(()), omega_bound=0.1).endswith("; ω: status failed")


@pytest.mark.parametrize(
    ("hidden_in", "quantised", "said"),
    [("file", True, True), ("file", False, False), ("every loss", True, False)],
)
def test_the_verdict_names_quantisation_where_it_alone_hides(
    hidden_in: str, quantised: bool, said: bool
) -> None:
    check = masking(verdict=MaskingVerdict.MASKED, hidden_in=hidden_in)
    found = verdict(findings(masking=check, quantised=quantised))
    assert ("because the model is quantised" in found.sentences[0]) is said


@pytest.mark.parametrize(
    ("norm", "n", "left"), [("linf", 100, "98.0 %"), ("l2", 100, "99.0 %"), ("linf", 50, "99.0 %")]
)
def test_the_headline_counts_what_the_masking_check_broke(norm: str, n: int, left: str) -> None:
    curve, clean = (robust(0.1, 0.99),), Proportion(1.0, 0.96, 1.0, 100, 0.95)
    attacked = attack(n=100, robust_accuracy=curve, clean_accuracy=clean)
    corrected = Proportion(0.98, 0.9, 1.0, n, 0.95)
    check = masking(verdict=MaskingVerdict.CLEAR, norm=norm, epsilon=0.1, corrected=corrected)
    found = findings(attack=attacked, masking=check)
    assert f"{left} [" in verdict(found).headline
    assert any(card.value == left for card in cards(found))


def test_the_verdict_says_that_it_is_incomplete() -> None:
    record = {"unfinished": {"attack": "2 of 9 images", "masking": "not started"}}
    sentence = incomplete(record)
    assert "attack (2 of 9 images), masking (not started)" in sentence
    assert verdict(findings(incomplete=sentence)).sentences[0] == sentence
    assert incomplete({}) == ""


def test_a_command_on_unlabelled_images_that_ran_out_of_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with np.load(bundled("fashion-mnist-2000.npz")) as content:
        np.savez("bare.npz", images=content["images"][:4])
    common = ("-m", MODEL, "-d", "bare.npz", "--attack", "fgsm", "--out", "bare.h5", "-q")
    cut = robcert("attack", *common, "--time-budget", "0s")
    assert "0 of 4 images done" in cut.stderr
    assert "run the same command again with more time" in cut.stderr
    done = robcert("attack", *common)
    assert "incomplete" not in done.stderr
    assert "the model's own prediction" in done.stdout
    assert "the model's own prediction" in robcert("show", "bare.h5").stdout
    assert robcert("report", "bare.h5").status == 0
    page = Path("bare.html").read_text(encoding="utf-8")
    assert "the model&#39;s own prediction" in page
    assert str(tmp_path) not in page


@pytest.mark.parametrize("command", [("taylor", "--limit", "2"), ("surface", "--index", "1")])
def test_no_picture_where_no_time_was_left(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = robcert(*command, "-m", MODEL, "--out", "none.h5", "-q", "--time-budget", "0s")
    assert ended.status == 0
    assert "incomplete" in ended.stderr
    assert not list(tmp_path.glob("*.png"))


def labels(svg: str) -> list[tuple[float, str]]:
    """Place and text of each number below the x axis."""
    found = re.findall(r'class="tick" x="([\d.]+)" y="[\d.]+" text-anchor="middle">([^<]+)<', svg)
    return [(float(x), text) for x, text in found]


@pytest.mark.parametrize("reach", [0.025, 1.0, 0.4, 120.0])
def test_the_last_number_of_an_axis_is_inside_the_picture(reach: float) -> None:
    series = Series("a", "attacked", ((0.0, 1.0), (reach, 0.0)))
    places = labels(curves(Lines((series,), "x", "y"), title="t"))
    assert len(places) > 2
    assert all(x + TICK_LETTER * len(text) / 2 <= LARGE[0] + 0.1 for x, text in places)


@pytest.mark.parametrize("images", [1, 2, 7, 300])
def test_images_are_counted_in_whole_numbers(images: int) -> None:
    svg = histogram(np.repeat(0.3, images), claim="measured", x_label="x", title="t")
    heights = re.findall(r'text-anchor="end">([^<]+)<', svg)
    assert len(heights) > 1
    assert all(float(text) == int(float(text)) for text in heights)
