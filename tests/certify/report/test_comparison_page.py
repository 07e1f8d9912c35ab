"""The page of several results files: ranking, intervals, paired differences, doubts."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from command_line import robcert
from page_outline import Outline
from ranked_files import N, results

from robcert.certify.comparison import AccuracyInterval, Comparison, ball_of, compare
from robcert.certify.errors import OutputError
from robcert.certify.report import write_comparison
from robcert.certify.report.comparison_curves import claim_curves
from robcert.certify.report.comparison_page import render_comparison
from robcert.certify.report.ranking import (
    Ranked,
    headline,
    ranked,
    ranking_figure,
    ranking_table,
)

if TYPE_CHECKING:
    from pathlib import Path


def compared(folder: Path, **survivors: int) -> Comparison:
    return compare([results(folder / f"{name}.h5", kept) for name, kept in survivors.items()])


def test_models_are_ranked_by_accuracy_under_attack(tmp_path: Path) -> None:
    found = compared(tmp_path, low=4, high=36, middle=20)
    models = ranked(found)
    assert [(model.place, model.name) for model in models] == [
        ("1", "high.onnx"),
        ("2", "middle.onnx"),
        ("3", "low.onnx"),
    ]
    said = headline(models)
    assert said.startswith("high.onnx keeps the highest accuracy under attack at ε = 0.1 linf, 90")
    assert said.endswith("above the interval of every other ranked model.")


def test_models_with_overlapping_intervals_share_places(tmp_path: Path) -> None:
    found = compared(tmp_path, a=20, b=22, c=1)
    models = ranked(found)
    assert [(model.place, model.name) for model in models] == [
        ("1–2", "b.onnx"),
        ("1–2", "a.onnx"),
        ("3", "c.onnx"),
    ]
    assert headline(models).endswith("intervals overlap, so the paired differences decide.")


def test_curves_of_all_models_are_in_one_picture_of_each_claim(tmp_path: Path) -> None:
    models = ranked(compared(tmp_path, low=4, high=36, middle=20))
    (attacked,) = claim_curves(models)  # the files have no certificates
    assert attacked.claim == "attacked"
    assert attacked.svg.count('<path class="line model') == 2 * 3  # with the legend
    for name in ("high.onnx (attacked)", "middle.onnx (attacked)", "low.onnx (attacked)"):
        assert name in attacked.svg


def test_curves_of_masked_models_say_so_and_the_last_of_many_are_left_out(tmp_path: Path) -> None:
    found = compared(tmp_path, **{f"m{kept}": kept for kept in range(1, 11)})
    models = list(ranked(found))
    models[0] = replace(models[0], row=replace(models[0].row, masking="masked"))
    (attacked,) = claim_curves(models)
    assert f"{models[0].name}, masked gradients (attacked)" in attacked.svg
    assert models[7].name in attacked.svg
    assert models[8].name not in attacked.svg
    assert attacked.caption.endswith("The first 8 models only.")


def test_the_radius_of_the_ranking_can_be_chosen(tmp_path: Path) -> None:
    files = [results(tmp_path / f"{name}.h5", kept) for name, kept in (("a", 4), ("b", 36))]
    page = tmp_path / "page.html"
    assert robcert("report", *files, "--out", page, "--eps", "0.01").status == 0
    assert "at \u03b5 = 0.01 linf" in page.read_text(encoding="utf-8")


def test_attacks_held_to_a_radius_tell_of_no_other(tmp_path: Path) -> None:
    held: dict[str, Any] = {"radii": [0.1]}
    files = [
        results(tmp_path / f"{name}.h5", kept, more=held) for name, kept in (("a", 4), ("b", 36))
    ]
    page = tmp_path / "page.html"
    assert robcert("report", *files, "--out", page, "--eps", "0.05").status == 0
    text = page.read_text(encoding="utf-8")
    assert "No ranking: the files have no accuracy under attack at one radius." in text
    (attacked,) = claim_curves(ranked(compare(files)))
    assert "line model0 apart" in attacked.svg
    assert attacked.svg.count('<circle class="point model0 apart') == 2  # at 0 and at the radius


def test_the_headline_says_that_masking_was_not_checked(tmp_path: Path) -> None:
    models = list(ranked(compared(tmp_path, low=4, high=36)))
    assert "not checked for masked gradients" in headline(models)
    models[0] = replace(models[0], row=replace(models[0].row, masking="clear"))
    assert "not checked" not in headline(models)


def test_a_radius_is_for_the_page_of_several_files(tmp_path: Path) -> None:
    file = results(tmp_path / "a.h5", 4)
    for more in (("--eps", "0.1"), ("--eps", "0.1", "--format", "csv")):
        ended = robcert("report", file, *more)
        assert ended.status == 2
        assert "--eps is for the page of several results files" in ended.stderr


def test_every_accuracy_names_its_radius(tmp_path: Path) -> None:
    """In the heading where all models have the same, else in each cell."""
    found = compared(tmp_path, weak=3, strong=35)
    share = AccuracyInterval(0.5, 0.4, 0.6)
    first, second = (replace(row, certified=share, radius=0.25) for row in found.rows)
    same = [Ranked("1", "first", first), Ranked("2", "second", second)]
    header = ranking_table(same).header
    assert header[4].startswith(f"under attack at {ball_of(first)} ")
    assert header[6] == "smoothed at 0.25 l2 (certified)"
    assert "when smoothed at 0.25 l2 (certified)" in ranking_figure(same)
    differ = [same[0], Ranked("2", "second", replace(second, radius=0.5))]
    table = ranking_table(differ)
    assert table.header[6] == "smoothed (certified)"
    assert {row[6].rpartition(" at ")[2] for row in table.rows} == {"0.25 l2", "0.5 l2"}
    assert "when smoothed at the radius in the table" in ranking_figure(differ)


def test_a_masked_model_has_no_place_and_is_a_doubt(tmp_path: Path) -> None:
    found = compared(tmp_path, honest=4, masked=39)
    (other,) = found.others
    row = replace(other.overview, masking="masked")
    found = replace(found, others=(replace(other, overview=row),))
    assert [(model.place, model.name) for model in ranked(found)] == [
        ("1", "honest.onnx"),
        ("–", "masked.onnx"),
    ]
    page = render_comparison(found)
    assert "masked.onnx masks its gradients: its accuracy under attack is too high." in page
    assert "Not checked for masking: honest.onnx." in page


def test_every_mark_of_a_row_has_a_height_of_its_own(tmp_path: Path) -> None:
    found = compared(tmp_path, a=20, b=20)
    same = AccuracyInterval(0.5, 0.4, 0.6, N)
    rows = [
        replace(row, clean=same, attacked=same, proven=same, certified=same, radius=0.25)
        for row in found.rows
    ]
    first, (other,) = found.first, found.others
    found = replace(
        found,
        first=replace(first, overview=rows[0]),
        others=(replace(other, overview=rows[1]),),
    )
    svg = ranking_figure(ranked(found))
    heights = re.findall(r'class="whisker \w+" d="M[\d.]+ ([\d.]+)H', svg.split("<ul")[0])
    assert len(heights) == len(set(heights)) == 8


def test_the_page_of_two_files_is_whole(tmp_path: Path) -> None:
    paths = [results(tmp_path / "a.h5", 4), results(tmp_path / "b.h5", 30, std=0.25)]
    page = write_comparison(paths).read_text(encoding="utf-8")
    assert (tmp_path / "comparison.html").read_text(encoding="utf-8") == page
    outline = Outline.of(page)
    assert [text for tag, text in outline.headings if tag == "h2"] == [
        "Accuracy against distance",
        "Paired differences",
        "Main numbers",
        "Glossary",
    ]
    assert len(outline.ids) == len(set(outline.ids))
    assert set(outline.targets) <= set(outline.ids)
    assert outline.unlabelled == 0
    assert all({"stack", "lines"} & set(table["class"]) for table in outline.tables)
    assert "b.onnx minus a.onnx" in outline.text
    assert "0.1 → 0.75 +0.65 [" in outline.text
    assert "Preprocessing of a.onnx: pixels from 0 (black) to 1 (white)" in outline.text
    assert "(pixel − 0.5) / 0.25" in outline.text
    assert "McNemar" in outline.text
    for trace in (
        "http:",
        "https:",
        "<link",
        "<script",
        "url(",
        "@import",
        'src="/',
        str(tmp_path),
    ):
        assert trace not in page


def test_without_labels_it_speaks_of_predictions(tmp_path: Path) -> None:
    paths = [results(tmp_path / f"{name}.h5", 9, labelled=False) for name in "ab"]
    page = render_comparison(compare(paths))
    assert "not about accuracy" in page
    assert "Stability against distance" in page
    assert "share that keeps its class" in page


def test_the_command_takes_several_files_for_the_page_alone(tmp_path: Path) -> None:
    paths = [results(tmp_path / f"{name}.h5", 9) for name in "ab"]
    out = tmp_path / "page.html"
    ended = robcert("report", *paths, "--out", out)
    assert (ended.status, ended.stdout) == (0, f"{out}\n")
    assert "2 models compared" in out.read_text(encoding="utf-8")
    refused = robcert("report", *paths, "--format", "csv")
    assert refused.status == 2
    assert "--format csv takes one results file, got 2" in refused.stderr
    assert "robcert compare" in refused.stderr


def test_a_page_never_replaces_a_results_file(tmp_path: Path) -> None:
    paths = [results(tmp_path / f"{name}.h5", 9) for name in "ab"]
    with pytest.raises(OutputError):
        write_comparison(paths, paths[0])
