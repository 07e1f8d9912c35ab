"""The schema and its page."""

from __future__ import annotations

import numpy as np
from places import DOCS
from schema_page import schema_page

from robcert.certify.auditing.registry import SCHEMAS


def test_the_page_is_made_from_the_schema() -> None:
    page = DOCS / "schema.md"
    assert page.read_text(encoding="utf-8") == schema_page(), "run python docs/make.py"


def test_every_column_has_words_and_a_fill_that_looks_uncomputed() -> None:
    assert len({schema.name for schema in SCHEMAS}) == len(SCHEMAS)
    for schema in SCHEMAS:
        for column in schema.columns:
            assert np.dtype(column.dtype).type(column.fill) != 0, f"{schema.name}/{column.name}"
            assert column.doc
