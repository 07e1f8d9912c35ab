"""What a page of the report is made of, read by the parser of the standard library."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "img", "br", "link", "input"}


@dataclass
class Outline(HTMLParser):
    """Headings, identifiers, tables and visible text of a page."""

    headings: list[tuple[str, str]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    open_tags: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    unlabelled: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    @classmethod
    def of(cls, page: str) -> Outline:
        """The outline of ``page``; fails where tags do not match."""
        outline = cls()
        outline.feed(page)
        outline.close()
        assert outline.open_tags == []
        return outline

    @property
    def text(self) -> str:
        """Everything that a reader can see or hear, without styles."""
        return " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [str(given["id"])] if "id" in given else []
        links = [given.get("popovertarget"), (given.get("href") or "").removeprefix("#")]
        self.targets += [str(link) for link in links if link]
        if tag in {"h1", "h2", "h3"}:
            self.headings.append((tag, ""))
        if tag == "table":
            self.tables.append({"class": str(given.get("class")).split(), "columns": 0})
        if tag == "th":
            self.tables[-1]["columns"] += 1
        if tag == "td" and "stack" in self.tables[-1]["class"] and "data-label" not in given:
            self.unlabelled += 1
        if tag not in VOID and "/>" not in (self.get_starttag_text() or "")[-2:]:
            self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [str(value) for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        if "style" in self.open_tags:
            return
        self.texts.append(data)
        if set(self.open_tags) & {"h1", "h2", "h3"}:
            tag, text = self.headings[-1]
            self.headings[-1] = (tag, text + data)
