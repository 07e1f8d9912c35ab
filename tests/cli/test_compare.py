"""robcert compare: two or more results files, and what cannot be compared."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from command_line import Ended, robcert

from robcert.certify.attacks.schema import ATTACK
from robcert.certify.auditing.schema import CLEAN
from robcert.certify.comparison import compare
from robcert.certify.comparison.figures import figure_of
from robcert.certify.comparison.overview import overview
from robcert.certify.comparison.overview_table import overview_table
from robcert.certify.data.load import DataInfo
from robcert.certify.model.classifier import ModelInfo
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

N = 20
LABELS = np.arange(N) % 4
SETTINGS = {"norm": "linf", "suite": "quick"}
DISTANCES = np.linspace(0.01, 0.2, N)


def results(
    path: Path,
    *,
    scale: Any = 1.0,
    digest: str = "d",
    seed: int = 0,
    labels: NDArray[np.int64] | None = LABELS,
    file: str = "",
    **held: Any,
) -> str:
    """A results file whose attack found adversarial images at ``scale`` times DISTANCES."""
    name = path.stem
    model = ModelInfo(file=file or f"{name}.onnx", sha256=name, kind="onnx")
    with ResultStore.open(path, model=model, data=DataInfo("set", digest, N)) as store:
        store.add_images(np.arange(N), labels)
        for schema, column, found in (
            (CLEAN, "prediction", LABELS),
            (ATTACK, "distance", scale * DISTANCES),
        ):
            group = store.group(schema, prefix="x", settings=SETTINGS | held, seed=seed)
            group.append(np.arange(N), {**constants(schema), column: found})
            if schema is ATTACK:
                group.set_attributes(epsilons=[0.1], headline_epsilon=0.1)
    return str(path)


def attacked_only(path: Path, **norms: float) -> Path:
    """A results file without an audit, with an attack in each norm; three images are wrong.

    Args:
        path: the file.
        norms: headline radius by norm, the last attack last.
    """
    model = ModelInfo(file=f"{path.stem}.onnx", sha256=path.stem, kind="onnx")
    with ResultStore.open(path, model=model, data=DataInfo("set", "d", N)) as store:
        store.add_images(np.arange(N), LABELS)
        for norm, epsilon in norms.items():
            group = store.group(ATTACK, prefix="x", settings=SETTINGS | {"norm": norm}, seed=0)
            distances = np.where(np.arange(N) < 3, 0, DISTANCES * epsilon / 0.1)
            group.append(np.arange(N), {**constants(ATTACK), "distance": distances})
            group.set_attributes(epsilons=[epsilon], headline_epsilon=epsilon)
    return path


def test_a_file_without_an_audit_has_its_clean_accuracy(tmp_path: Path) -> None:
    with ResultStore.read(attacked_only(tmp_path / "a.h5", linf=0.1)) as store:
        clean = overview(store).clean
    assert clean is not None
    assert (clean.value, clean.n) == (17 / 20, 20)
    assert clean.lower < clean.value < clean.upper
    unlabelled = results(tmp_path / "b.h5", labels=None)
    with ResultStore.read(Path(unlabelled)) as store:
        assert overview(store).clean is None


def test_numbers_are_in_a_norm_that_all_files_have(tmp_path: Path) -> None:
    first = attacked_only(tmp_path / "a.h5", linf=0.1, l1=12.0)
    second = attacked_only(tmp_path / "b.h5", linf=0.1)
    found = compare([first, second])
    assert [row.norm for row in found.rows] == ["linf", "linf"]
    alone = attacked_only(tmp_path / "c.h5", l2=0.5)
    with ResultStore.read(first) as store:
        assert overview(store).norm == "l1"
        assert overview(store, norm="linf").distance == pytest.approx(np.median(DISTANCES))
        assert overview(store, norm="l2").norm == "l1"  # it has none
    with ResultStore.read(alone) as store:
        assert overview(store).norm == "l2"


def test_each_norm_has_an_axis_of_its_own(tmp_path: Path) -> None:
    rows = []
    for name, norm, epsilon in (("a", "l1", 12.0), ("b", "linf", 0.1), ("c", "l1", 6.0)):
        with ResultStore.read(attacked_only(tmp_path / f"{name}.h5", **{norm: epsilon})) as store:
            rows.append(overview(store))
    accuracies, *distances = figure_of(rows).axes
    drawn = {
        axes.get_xlabel().split()[1].strip(","): {
            (float(x), int(y)) for line in axes.lines for x, y in np.asarray(line.get_xydata())
        }
        for axes in distances
    }
    assert drawn == {
        norm: {(row.distance, y) for y, row in enumerate(rows) if row.norm == norm}
        for norm in ("l1", "linf")
    }
    _, names = accuracies.get_legend_handles_labels()
    assert names == [
        "clean (measured)",
        *(f"at {ball} (attacked)" for ball in ("12 l1", "0.1 linf", "6 l1")),
    ]


def test_numbers_that_no_file_has_take_no_column(tmp_path: Path) -> None:
    with ResultStore.read(attacked_only(tmp_path / "a.h5", linf=0.1)) as store:
        row = overview(store)
    table = overview_table([row, row])
    assert table.header == ("model", "clean measured", "0.1 linf attacked")
    assert "bounds" not in table.note
    estimated = overview_table([row, replace(row, gamma=0.25, attacked=None, clean=None)])
    assert estimated.header == (*table.header, "γ estimated")
    assert estimated.rows[1][1:] == ("–", "–", "0.25")


def constants(schema: Any) -> dict[str, np.ndarray]:
    found = {}
    for column in schema.everywhere:
        found[column.name] = np.ones((N, *(1 for _ in column.trailing)))
    return found


def refused(ended: Ended, *words: str) -> None:
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert ended.status == 2, ended
    assert len(errors) == 1, ended.stderr
    assert "bug in robcert" not in ended.stderr
    assert ended.stdout == ""
    for word in words:
        assert word in ended.stderr, ended.stderr


def test_each_row_of_the_table_says_what_it_claims(tmp_path: Path) -> None:
    a, b = results(tmp_path / "a.h5"), results(tmp_path / "b.h5", scale=2)
    ended = robcert("compare", a, b)
    assert ended.status == 0, ended.stderr
    assert "b.onnx against a.onnx: attack/x-" in ended.stdout
    text = " ".join(ended.stdout.split())
    assert "clean accuracy measured 1 1 +0" in text
    assert "distance attacked 0.105 0.21 +0.105" in text
    assert "0 : 20 1.9e-06 5.7e-06 20" in text  # 2 / 2^20, and three times as much by Holm


def test_what_was_found_at_a_radius_counts_at_it(tmp_path: Path) -> None:
    at_radius = 0.1 * (1 + 1e-6) / DISTANCES  # float32 pixels add so much
    free = results(tmp_path / "a.h5", scale=at_radius)
    held = results(tmp_path / "b.h5", scale=at_radius, radii=[0.1])
    shares = []
    for path in (free, held):
        with ResultStore.read(Path(path)) as store:
            attacked = overview(store).attacked
            assert attacked is not None
            shares.append(attacked.value)
    assert shares == [1, 0]


def test_margins_of_bounds_are_named(tmp_path: Path) -> None:
    with ResultStore.read(Path(results(tmp_path / "a.h5"))) as store:
        row = replace(overview(store), margin="logit")
    other = replace(row, model="b.onnx", margin="prob")
    note = overview_table([row, other]).note
    assert "Bounds: a.onnx logit margin, b.onnx probability margin." in note
    assert "Bounds:" not in overview_table([row]).note


def test_models_stand_side_by_side(tmp_path: Path) -> None:
    a, b = results(tmp_path / "a.h5"), results(tmp_path / "b.h5", scale=2)
    picture = tmp_path / "both.png"
    ended = robcert("compare", a, b, "--eps", "1/5", "--picture", str(picture), "--brief")
    assert ended.status == 0, ended.stderr
    text = " ".join(ended.stdout.split())
    assert "a.onnx 100.0 % 0.0 %" in text
    assert "b.onnx 100.0 % 50.0 %" in text
    assert "against" not in text
    assert "labels" not in text
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_models_of_one_file_name_go_by_their_results(tmp_path: Path) -> None:
    a, b = (results(tmp_path / f"{name}.h5", file="model.onnx") for name in "ab")
    text = robcert("compare", a, b).stdout
    assert "b against a: attack/x-" in text
    assert "model.onnx" not in text


def test_images_without_labels_are_named_so(tmp_path: Path) -> None:
    a, b = (results(tmp_path / f"{name}.h5", labels=None) for name in "ab")
    ended = robcert("compare", a, b)
    assert ended.status == 0, ended.stderr
    assert " ".join(ended.stdout.split()).count("The images carry no labels") == 2
    assert json.loads(robcert("compare", a, b, "--json").stdout)["labelled"] is False


def test_json_has_every_file_against_the_first(tmp_path: Path) -> None:
    files = [
        results(tmp_path / f"{name}.h5", scale=scale)
        for name, scale in (("a", 1), ("b", 2), ("c", 3))
    ]
    ended = robcert("compare", *files, "--eps", "1/5", "--level", "0.9", "--json")
    assert ended.status == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["first"]["model"]["file"] == "a.onnx"
    assert [entry["results"] for entry in found["compared"]] == files[1:]
    for entry, scale in zip(found["compared"], (2, 3), strict=True):
        by_name = {row["quantity"]: row for row in entry["differences"]}
        robust = by_name["robust accuracy at 51/255 (linf)"]
        assert robust["a"] == (DISTANCES > 0.2).mean()
        assert robust["b"] == (scale * DISTANCES > 0.2).mean()
        assert (robust["kind"], robust["level"], robust["n"]) == ("attacked", 0.9, N)


def test_csv_is_one_line_a_difference(tmp_path: Path) -> None:
    a, b = results(tmp_path / "a.h5"), results(tmp_path / "b.h5", scale=2)
    rows = list(csv.DictReader(robcert("compare", a, b, "--format", "csv").stdout.splitlines()))
    assert [row["quantity"] for row in rows] == [
        *("clean accuracy", "distance", "robust accuracy at 0.1 (linf)")
    ]
    assert {row["results"] for row in rows} == {b}
    assert float(rows[1]["difference"]) == pytest.approx(DISTANCES.mean())


def test_the_name_of_a_file_is_no_formula_in_csv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results(tmp_path / "a.h5")
    results(tmp_path / "=1+1.h5", scale=2)
    _, *rows = robcert("compare", "a.h5", "=1+1.h5", "--format", "csv").stdout.splitlines()
    assert len(rows) == 3
    assert all(row.startswith("'=1+1.h5,") for row in rows)


def test_p_values_are_adjusted_over_all_files(tmp_path: Path) -> None:
    files = [
        results(tmp_path / f"{name}.h5", scale=scale)
        for name, scale in (("a", 1), ("b", 2), ("c", 3))
    ]
    found = {}
    for correction in ("holm", "bh", "none"):
        ended = robcert("compare", *files, "--correction", correction, "--json")
        assert ended.status == 0, ended.stderr
        content = json.loads(ended.stdout)
        family = content["family"]
        assert (family["correction"], family["size"]) == (correction, 6)
        assert "6 comparisons" in family["statement"]
        rows = [row for entry in content["compared"] for row in entry["differences"]]
        found[correction] = [row["p_adjusted"] for row in rows if row["quantity"] == "distance"]
    raw = 2 / 2**20
    assert found["holm"] == pytest.approx([6 * raw, 6 * raw])
    assert found["bh"] == pytest.approx([3 * raw, 3 * raw])
    assert found["none"] == [None, None]


def test_the_note_says_what_is_controlled(tmp_path: Path) -> None:
    a, b = results(tmp_path / "a.h5"), results(tmp_path / "b.h5", scale=2)
    holm, bh, none = (
        " ".join(robcert("compare", a, b, "--correction", name).stdout.split())
        for name in ("holm", "bh", "none")
    )
    assert "over the 3 comparisons" in holm
    assert "family-wise error rate" in holm
    assert "false discovery rate" in bh
    assert "not adjusted for the 3 comparisons" in none
    assert "adjusted p n" not in none


def test_other_data_cannot_be_compared(tmp_path: Path) -> None:
    refused(
        robcert("compare", results(tmp_path / "a.h5"), results(tmp_path / "b.h5", digest="e")),
        "set",
    )


def test_nothing_in_common_is_an_error(tmp_path: Path) -> None:
    other = results(tmp_path / "other.h5", seed=1)
    refused(robcert("compare", results(tmp_path / "a.h5"), other), "a.h5 and", "other.h5", "hint: ")


def test_wrong_usage(tmp_path: Path) -> None:
    a, b = results(tmp_path / "a.h5"), results(tmp_path / "b.h5")
    refused(robcert("compare", a), "at least two")
    refused(robcert("compare", a, str(tmp_path / "missing.h5")), "missing.h5")
    refused(robcert("compare", a, b, "--format", "csv", "--json"), "cannot be combined")
    refused(robcert("compare", a, b, "--picture", "b.gif"), "--picture", ".png")
    refused(robcert("compare", a, b, "--eps", "0"), "epsilon must be a positive")
    refused(robcert("compare", a, b, "--level", "1"), "level")
