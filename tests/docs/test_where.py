"""Every question of docs/where.md is answered by one file that holds the text to search for."""

from __future__ import annotations

import pytest
from docs_pages import ROOT, code_of, table_rows, text_of

ANSWERS = [row for row in table_rows(text_of("docs/where.md")) if row[0] != "where is …"]


def test_the_page_answers_at_least_twenty_questions() -> None:
    assert len({row[0] for row in ANSWERS}) == len(ANSWERS) >= 20


@pytest.mark.parametrize(("question", "file", "text"), ANSWERS, ids=lambda cell: cell[:40])
def test_the_file_holds_the_text(question: str, file: str, text: str) -> None:
    assert question.endswith("?")
    (path,), (wanted,) = code_of(file), code_of(text)
    assert wanted in (ROOT / path).read_text(encoding="utf-8")
