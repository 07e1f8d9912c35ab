"""Comparison with the published schemas in tests/support/schemas."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft4Validator, Draft7Validator, FormatChecker
from places import ROOT

FOLDER = ROOT / "tests" / "support" / "schemas"


def violations(content: Any, schema: str) -> list[str]:
    """Places at which ``content`` violates the schema in the file ``schema``, and how."""
    stated = json.loads((FOLDER / schema).read_text(encoding="utf-8"))
    kind = Draft4Validator if "draft-04" in stated["$schema"] else Draft7Validator
    kind.check_schema(stated)
    found = kind(stated, format_checker=FormatChecker()).iter_errors(content)
    return [f"{'/'.join(map(str, one.absolute_path))}: {one.message[:200]}" for one in found]
