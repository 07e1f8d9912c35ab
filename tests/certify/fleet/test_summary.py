"""One table, one page and one exit status of all models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ranked_files import results

from robcert.certify.fleet import FleetModel, MemberOutcome, State, summarise
from robcert.certify.fleet.processes import Ending
from robcert.certify.tables import DASH

ANSWER = {
    "report": "r.html",
    "verdict": {"headline": "a verdict"},
    "gates": [],
    "failures": [],
    "warnings": ["a warning"],
    "masked": False,
    "contradiction": "",
}


def model(name: str) -> FleetModel:
    return FleetModel(Path("models") / name, name, name)


def audited(name: str, path: Path, **more: object) -> MemberOutcome:
    answer = {**ANSWER, "results": str(path), **more}
    return MemberOutcome.of(model(name), Ending(answer, seconds=1.0))


def failed(name: str) -> MemberOutcome:
    return MemberOutcome.of(model(name), Ending(error=f"models/{name}: is broken", hint="mend it"))


@pytest.mark.slow
def test_failed_models_are_rows_below_the_ranked_ones(tmp_path: Path) -> None:
    low, high = results(tmp_path / "low.h5", 4), results(tmp_path / "high.h5", 36)
    given = [failed("x.onnx"), audited("a/m.onnx", low), audited("b/m.onnx", high)]
    found = summarise([*given, MemberOutcome.of(model("y.onnx"), Ending())], gated=False)
    table = found.table()
    assert [row[:2] for row in table.rows] == [
        ("1", "b/m.onnx"),
        ("2", "a/m.onnx"),
        (DASH, "x.onnx"),
        (DASH, "y.onnx"),
    ]
    assert [row[-1] for row in table.rows] == [
        "audited",
        "audited",
        "failed: x.onnx: is broken",
        "not started: the time budget was used up before it started",
    ]
    assert not any("certified" in name for name in table.header), "no model has such numbers"
    page = found.write_page(tmp_path)
    assert page == tmp_path / "comparison.html"
    text = page.read_text()
    assert "b/m.onnx keeps the highest accuracy under attack" in text
    assert "b/m.onnx minus a/m.onnx" in text, "differences to the first that has numbers"
    assert "x.onnx: is broken" in text
    content = found.to_json()
    assert [one["place"] for one in content["models"]] == [DASH, "2", "1", DASH]
    assert [one["numbers"] is None for one in content["models"]] == [True, False, False, True]
    assert content["models"][1]["warnings"] == ["a warning"]
    assert content["models"][0]["hint"] == "mend it"


def test_the_exit_status_is_the_worst(tmp_path: Path) -> None:
    good = audited("a", results(tmp_path / "a.h5", 4))
    poor = audited("b", results(tmp_path / "b.h5", 4), gates=[{}, {}], failures=["too low"])
    refuted = audited("c", results(tmp_path / "c.h5", 4), contradiction="an image lies within")
    late = MemberOutcome.of(model("d"), Ending())

    def status(*given: MemberOutcome, gated: bool = True) -> int:
        return summarise(given, gated=gated).exit_status

    assert status(good) == 0
    assert status(good, late, gated=False) == 0
    assert status(good, late) == 1, "its gates are not decided"
    assert status(good, poor) == 1
    assert status(poor, failed("x")) == 2
    assert status(good, refuted) == 2
    cells = {row[1]: row[-1] for row in summarise([good, poor, refuted], gated=True).table().rows}
    assert cells["a"] == "audited, all gates passed"
    assert cells["b"] == "audited, 1 of 2 gates did not pass"
    assert cells["c"] == "failed: an image lies within"


def test_equal_models_count_once(tmp_path: Path) -> None:
    path = results(tmp_path / "a.h5", 4)
    found = summarise([audited("a", path), audited("b", path)], gated=False)
    assert [one.state for one in found.outcomes] == [State.AUDITED, State.SAME]
    assert found.table().rows[1][-1] == "same model: its content is that of a"
    assert found.exit_status == 0


def test_of_models_that_failed_the_page_says_so_beside_the_only_one(tmp_path: Path) -> None:
    one = audited("a", results(tmp_path / "a.h5", 4))
    assert summarise([one], gated=False).write_page(tmp_path) is None
    page = summarise([one, failed("x")], gated=False).write_page(tmp_path)
    assert page is not None
    text = page.read_text()
    assert "no other model can be ranked against it" in text
    assert "x: is broken" in text
    assert "Paired differences" not in text


def test_models_on_other_images_or_without_a_file_stand_apart(tmp_path: Path) -> None:
    paths = [results(tmp_path / f"{name}.h5", 4) for name in "ab"]
    other = results(tmp_path / "c.h5", 4, data="other images")
    (tmp_path / "d.h5").write_bytes(b"no results")
    given = [audited(p.name, p) for p in (paths[0], other, tmp_path / "d.h5", paths[1])]
    found = summarise(given, gated=False)
    states = [State.AUDITED, State.APART, State.APART, State.AUDITED]
    assert [one.state for one in found.outcomes] == states
    assert found.comparison is not None
    assert [row.model for row in found.comparison.rows] == ["a.h5", "b.h5"]


def test_without_numbers_there_is_a_table_of_reasons(tmp_path: Path) -> None:
    found = summarise([failed("x"), failed("y")], gated=False)
    assert [row[0] for row in found.table().rows] == ["x", "y"]
    assert found.write_page(tmp_path) is None
    assert found.exit_status == 2


@pytest.mark.parametrize("missing", sorted({*ANSWER, "results"}))
def test_an_answer_that_robcert_does_not_write_is_a_failure(tmp_path: Path, missing: str) -> None:
    answer = {**ANSWER, "results": str(tmp_path / "r.h5")}
    del answer[missing]
    found = MemberOutcome.of(model("a"), Ending(answer))
    assert found.state is State.FAILED
    assert found.reason.startswith("its process answered what robcert does not write")
    assert MemberOutcome.of(model("a"), replace(Ending(answer), answer=None)).results is None
