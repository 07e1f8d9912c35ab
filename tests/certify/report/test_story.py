"""The report as a story: its order, one value for each number, and what it does without a part."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from audited_files import REPORTED, audited
from page_outline import Outline

from robcert.certify.auditing import findings_of, results
from robcert.certify.report.first_screen import NO_DOUBT, first_screen
from robcert.certify.report.page import render
from robcert.certify.report.trust import checks
from robcert.certify.store.ledger import Ledger
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = ("cat", "dog", "a <b>fox</b>", "owl\x1b[31m", "ape", "bee", "cow", "eel", "elk", "gnu")


def page_of(path: Path) -> str:
    with ResultStore.read(path) as store:
        return render(store)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return audited(tmp_path_factory.mktemp("story") / "r.h5", classes=CLASSES)


@pytest.fixture(scope="module")
def page(path: Path) -> str:
    return page_of(path)


def sections(page: str) -> list[str]:
    return [text.strip() for tag, text in Outline.of(page).headings if tag == "h2"]


def test_the_sections_are_in_the_order_of_the_story(page: str) -> None:
    assert sections(page) == [
        "1 · Can the numbers be trusted?",
        "2 · Where does it fail?",
        "3 · The analyses",
        "4 · The model, and how to reproduce this report",
        "Glossary",
    ]
    places = [
        page.index(text)
        for text in ("class=" + '"verdict', 'id="picture"', "What was assumed", "What is doubtful")
    ]
    assert places == sorted(places)
    assert places[-1] < page.index('id="trust"')


def test_the_first_screen_has_no_words_of_the_method(page: str) -> None:
    first = page[page.index('class="verdict') : page.index("The verdict in detail")]
    for word in ("small blocks", "degenerate", "Anderson", "block maxima", "status", "SHA"):
        assert word not in first
    assert "Preprocessing: " in first
    assert first.count('class="fact ') == 3
    for claim in ("measured", "attacked", "certified"):
        assert f'<div class="fact {claim}"><span class="claim {claim}">{claim}</span>' in first


def test_links_tips_and_tables_of_the_page_are_whole(page: str) -> None:
    outline = Outline.of(page)
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.targets
    assert set(outline.targets) <= set(outline.ids)
    assert outline.unlabelled == 0  # each cell names its column on a phone, where rows are stacked
    assert outline.tables
    for table in outline.tables:
        assert {"stack", "lines"} & set(table["class"])
        assert table["columns"] <= 7 or "many" in table["class"]  # 7 of 25 mm fit on a page


def test_nothing_has_a_width_that_a_phone_lacks(page: str) -> None:
    style = page.split("<style>")[1].split("</style>")[0].split("@media print")[0]
    assert page.count("<svg") == page.count("viewBox=")
    assert not re.findall(r"<(?:svg|img|table|div|figure)[^>]* (?:width|style)=", page)
    wide = [float(rem) for rem in re.findall(r"min-width: ([\d.]+)rem", style)]
    assert max(wide) < 21
    for tracks in re.findall(r"minmax\(([\d.]+)rem", style):
        assert float(tracks) < 21


def test_a_number_has_one_value(path: Path, page: str) -> None:
    with ResultStore.read(path) as store:
        said = findings_of(store)
    attack, smoothing = said.attack, said.smoothing
    assert attack is not None
    assert smoothing is not None
    text = Outline.of(page).text
    drawn = re.findall(r"mean ([\d.]+), at most \d+ noise draws per image, all counted", text)
    table = re.findall(r"mean draws per image, all counted ([\d.]+)", text)
    assert [float(value) for value in drawn] == [float(value) for value in table]
    assert float(table[0]) == pytest.approx(smoothing.mean_samples, rel=1e-5)
    clean = f"{100 * attack.clean_accuracy.value:.1f} %"
    assert f"{clean} without attack" in text
    assert f"{clean} accuracy on {REPORTED} unchanged images" in text
    at = next(e for e in attack.robust_accuracy if abs(e.epsilon - 8 / 255) < 1e-9)
    robust = f"{100 * at.value:.1f} %"
    assert f"{robust} [" in text.split("Accuracy against")[0]
    assert f"8/255 {robust} [" in text
    assert f"attacked {robust} [" in text  # the fact of the first screen


def test_counts_per_class_add_up(path: Path, page: str) -> None:
    with ResultStore.read(path) as store:
        labels = store.labels
    numbers = re.findall(r'class="count"[^>]*>(\d+)<', page)
    assert sum(map(int, numbers)) == REPORTED
    for number in np.unique(labels).tolist():
        name = CLASSES[number].replace("<", "&lt;").replace(">", "&gt;").replace("\x1b", "\\u001b")
        assert f"{name} ({(labels == number).sum()})" in page


def test_foreign_names_are_text(page: str) -> None:
    assert "<b>fox" not in page
    assert "\x1b" not in page


def test_without_names_classes_have_their_numbers(tmp_path: Path) -> None:
    page = page_of(audited(tmp_path / "r.h5", parts=("attack",)))
    assert re.search(r"class \d \(\d+\)", page)
    assert "Gradients were not checked for masking" in page
    assert "3 · The analyses" in page
    assert "Certified" not in sections(page)
    assert "What is doubtful" in page


def test_without_attacks_the_page_says_so(tmp_path: Path) -> None:
    path = audited(tmp_path / "r.h5", parts=("smoothing",))
    page = page_of(path)
    assert "No attack in this file: robustness was not tested." in page
    assert "run <code>robcert attack</code>" in page
    assert "size of the change ε (l2)" in page  # the radii of smoothing as they are
    with ResultStore.read(path) as store:
        first = first_screen(store, results(store), findings_of(store))
    assert first.ball == ""
    assert {fact.claim for fact in first.facts} == {"measured", "certified"}


def test_without_labels_it_speaks_of_stability(tmp_path: Path) -> None:
    page = page_of(audited(tmp_path / "r.h5", parts=("attack",), labelled=False))
    first = page[: page.index('id="trust"')]
    assert "No labels: every number is about the model&#39;s own predictions" in first
    assert "Share of images that keep their class against the size of the change" in first
    assert "accuracy, with 95 % interval" not in page


def test_a_refuted_estimate_is_named_wherever_it_is_drawn(path: Path) -> None:
    with ResultStore.read(path) as store:
        found, said = results(store), findings_of(store)
        before = first_screen(store, found, said)
        assert said.bounds_group is not None
        of_bounds = [
            one
            for one in said.ledger.comparisons
            if one.estimate == f"{said.bounds_group.path}:rho_bound"
        ]
        refuted = replace(of_bounds[0], count=3, compared=11, indices=(1, 2, 3))
        wrong = replace(said, ledger=Ledger((refuted,)))
        after = first_screen(store, found, wrong)
        (row,) = [check for check in checks(store, found, wrong) if check.name == "Ledger"]
    assert before.picture is not None
    assert after.picture is not None
    assert "refuted for 3 of 11 images" not in before.picture.wide
    assert "refuted for 3 of 11 images" in after.picture.wide
    assert "refuted for 3 of 11 images" in after.picture.narrow
    assert any(line.startswith("Estimates: ") for line in after.doubtful)
    assert not any(line.startswith("Estimates: ") for line in before.doubtful)
    assert NO_DOUBT not in after.doubtful
    assert (row.tone, row.state) == ("warn", "3 violations")


def test_the_picture_is_in_one_norm(path: Path) -> None:
    with ResultStore.read(path) as store:
        found, said = results(store), findings_of(store)
        picture = first_screen(store, found, said).picture
    assert picture is not None
    assert "ε (linf)" in picture.wide
    for words in (
        "(attacked)",
        "(estimated)",
        "the model itself (certified)",
        "smoothed classifier",
    ):
        assert words in picture.wide
        assert words in picture.narrow
    for claim in ("attacked", "estimated", "certified", "smoothed"):
        assert f'class="line {claim}"' in picture.wide
        assert f'class="mark {claim}"' in picture.wide
        assert f'class="band {claim}"' in picture.wide
    assert "converted from l2" in picture.caption
