"""Write the pages of docs/ that are made from the code."""

from __future__ import annotations

from pathlib import Path

from robcert.cli.reference import reference

if __name__ == "__main__":
    (Path(__file__).parent / "cli.md").write_text(reference(), encoding="utf-8")
