"""What mkdocs does beside its plugins: pages from the root of the tree, and formulas."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File
from site_math import mathml

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "LICENSE": "licence.md",
    "SECURITY.md": "reporting.md",
}
"""Pages of the site by files at the root, which have other names than pages of ``docs/``."""

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of ``docs/`` and the pages from the root."""
    for name, page in OUTSIDE.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        heading = "# Licence\n\n" if name == "LICENSE" else ""
        files.append(File.generated(config, page, content=heading + text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """The text of a page with links as they are in the site."""
    for name, target in OUTSIDE.items():
        markdown = markdown.replace(f"](../{name})", f"]({target})")
    if page.file.src_uri in OUTSIDE.values():
        markdown = markdown.replace("](docs/", "](")
    return markdown


def on_page_content(html: str, **_: object) -> str:
    """The page with its formulas as MathML."""
    return _FORMULA.sub(lambda found: mathml(unescape(found[3]), display=found[2] == "["), html)
