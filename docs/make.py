"""Write the pages of docs/ that are generated from the code."""

from __future__ import annotations

from pathlib import Path

from command_reference import reference
from items_page import items_page
from licences_page import licences_page
from schema_page import schema_page

if __name__ == "__main__":
    folder = Path(__file__).parent
    (folder / "cli.md").write_text(reference(), encoding="utf-8")
    (folder / "items.md").write_text(items_page(), encoding="utf-8")
    (folder / "licences.md").write_text(licences_page(), encoding="utf-8")
    (folder / "schema.md").write_text(schema_page(), encoding="utf-8")
