"""The example of docs/regression.md runs as it stands; its closed forms are asserted in it."""

from __future__ import annotations

import re
import runpy
from typing import TYPE_CHECKING

from docs_pages import text_of

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_regression_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", text_of("docs/regression.md"), re.S | re.M)
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    runpy.run_path(str(tmp_path / "example.py"))
    assert re.fullmatch(r"plain 7\.\d\d, by hand 7\.73; ridge 0\.0\d\d\n", capsys.readouterr().out)
