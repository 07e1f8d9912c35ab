"""Answers to questions of standards follow from what a results file holds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from command_line import robcert
from docs_pages import table_rows, text_of
from places import FIXTURES

from robcert.certify.auditing import standards_tables
from robcert.certify.auditing.standards import QUESTIONS
from robcert.certify.exports import store_json
from robcert.certify.report import write_report
from robcert.certify.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

MODEL = FIXTURES / "fashion-honest.onnx"

WITH_MODEL = ("--model", MODEL, "--limit", "2", "--no-config")


def made(results: Path, *command: object) -> None:
    ended = robcert(*command, *WITH_MODEL, "--out", results)
    assert ended.status == 0, ended.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("standards")


@pytest.fixture(scope="module")
def proven(folder: Path) -> Path:
    """Certificates of the model itself, in float32."""
    results = folder / "proven.h5"
    made(results, "verify", "--eps", "1/255", "--budget", "1s", "--method", "crown-ibp")
    return results


@pytest.fixture(scope="module")
def smoothed(folder: Path) -> Path:
    results = folder / "smoothed.h5"
    made(results, "smoothing", "certify", "--sigma", "0.25", "--n", "200", "--alpha", "0.01")
    return results


def answers(results: Path) -> dict[str, tuple[str, ...]]:
    """Cells of all tables by question."""
    with ResultStore.read(results) as store:
        return {row[0]: row[1:] for table in standards_tables(store) for row in table.rows}


def test_proofs_of_the_model_answer_for_it_alone(proven: Path) -> None:
    found = answers(proven)
    assert all(len(found[question]) == 1 for question in QUESTIONS)
    assert found["domain (5.2)"][0].startswith("for each of 2 images the linf ball")
    assert "incomplete within 1 s" in found["complete or incomplete (6.2.1.2)"][0]
    assert "crown-ibp" in found["complete or incomplete (6.2.1.2)"][0]
    assert found["deterministic or not (6.2.1.3)"][0].startswith("deterministic")
    assert found["real or computer arithmetic (6.2.1.5)"][0].startswith("computer arithmetic")


@pytest.mark.slow
def test_the_arithmetic_is_that_of_the_settings(folder: Path) -> None:
    results = folder / "real.h5"
    made(results, "verify", "--eps", "1/255", "--budget", "1s", "--arithmetic", "real")
    found = answers(results)
    assert found["real or computer arithmetic (6.2.1.5)"][0].startswith("real arithmetic")
    assert "networks of ReLUs" in found["complete or incomplete (6.2.1.2)"][0]


def test_smoothing_answers_with_its_probability(smoothed: Path) -> None:
    found = answers(smoothed)
    assert found["domain (5.2)"] == ("for each of 2 images the l2 ball around it",)
    assert "probability at most 0.01 " in found["deterministic or not (6.2.1.3)"][0]
    assert found["glass box or closed box (6.2.1.4)"][0].startswith("closed box")


def test_attacks_are_no_formal_method(folder: Path) -> None:
    results = folder / "attacked.h5"
    made(results, "attack", "--profile", "quick", "--eps", "8/255")
    found = answers(results)
    assert found["formal method"][0].startswith("none was run")
    assert "upper limit" in found["adversarial examples, model evasion (Article 15(5))"][0]
    assert "masking: not checked" in found["adversarial examples, model evasion (Article 15(5))"][0]


def test_the_report_and_json_have_the_same_rows(proven: Path) -> None:
    page = write_report(proven, proven.with_suffix(".html")).read_text(encoding="utf-8")
    with ResultStore.read(proven) as store:
        printed = store_json(store, None)["standards"]
    rows = [row for table in printed for row in table["rows"]]
    assert {row[0]: tuple(row[1:]) for row in rows} == answers(proven)
    assert all(f">{row[0]}</td>" in page for row in rows)


def test_the_page_has_every_question() -> None:
    cells = [cell for row in table_rows(text_of("docs/standards.md")) for cell in row[:2]]
    clauses = [clause for text in QUESTIONS for clause in re.findall(r"[0-9.]{3,}", text)]
    assert len(clauses) == 6
    for clause in clauses:
        assert any(clause in cell for cell in cells), clause
