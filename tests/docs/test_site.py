"""The site builds without a warning, and no page of it loads anything from another host."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from places import DOCS, ROOT
from site_hooks import OUTSIDE
from site_math import FormulaError, mathml

if TYPE_CHECKING:
    from pathlib import Path

LOADING = {"stylesheet", "icon", "preconnect", "dns-prefetch", "preload", "modulepreload"}
"""Relations of ``<link>`` for which a browser opens a connection."""


class Assets(HTMLParser):
    """Addresses that a browser loads for a page, and the page's content security policy."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.policy = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "meta" and given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        self.loaded += [
            given[name] for name in ("src", "srcset", "data", "poster") if name in given
        ]
        if tag == "link" and LOADING & set(given.get("rel", "").split()):
            self.loaded.append(given["href"])
        if tag == "form":
            self.loaded.append(given.get("action", ""))


def build(tree: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=tree,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT, folder)
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    pages = sorted(site.glob("**/*.html"))
    assert {page.stem for page in DOCS.glob("*.md")} <= {page.stem for page in pages}
    for page in pages:
        assets = Assets(page.read_text(encoding="utf-8"))
        assert len(assets.loaded) > 3
        outside = [one for one in assets.loaded if re.match(r"(?:[a-z]+:)?//", one)]
        assert outside == [], page.name
        sources = assets.policy.split()
        assert sources[0] == "default-src"
        assert not any("." in one or one in ("*", "https:", "http:") for one in sources)


def test_no_style_loads_anything_from_another_host(site: Path) -> None:
    styles = sorted(site.glob("**/*.css"))
    assert styles
    for style in styles:
        assert not re.search(
            r"(?:url\(\s*[\"']?|@import\s+[\"'])(?:https?:)?//", style.read_text(encoding="utf-8")
        ), style.name


def test_an_asset_of_another_host_is_found() -> None:
    page = '<img src="//a.example/x.png"><link rel="preconnect" href="https://b.example">'
    assert Assets(page).loaded == ["//a.example/x.png", "https://b.example"]


def test_the_search_works_without_a_network(site: Path) -> None:
    """Its index is a script, and pages from a disk have the stand-in for a worker."""
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert "Clopper" in index
    page = (site / "index.html").read_text(encoding="utf-8")
    assert 'src="assets/iframe-worker.js"' in page
    assert (site / "assets" / "iframe-worker.js").is_file()


def test_pages_from_the_root_are_in_the_site(site: Path) -> None:
    for name, target in OUTSIDE.items():
        page = (site / target).with_suffix(".html").read_text(encoding="utf-8")
        line = next(
            line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if line.strip()
        )
        assert line.removeprefix("# ") in page
    assert 'href="reporting.html"' in (site / "security.html").read_text(encoding="utf-8")


def test_formulas_are_mathml(site: Path) -> None:
    page = (site / "theory.html").read_text(encoding="utf-8")
    assert page.count("<math") > 40
    assert '<math display="block">' in page
    assert "arithmatex" not in page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("[there](missing-page.md)", "missing-page.md"),
        ("[there](theory.md#no-such-heading)", "no-such-heading"),
        (r"$\unknown$", "unknown"),
    ],
)
def test_a_fault_in_a_page_fails_the_build(added: str, said: str, tmp_path: Path) -> None:
    for name in ("mkdocs.yml", *OUTSIDE):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    page = tmp_path / "docs" / "start.md"
    page.write_text(page.read_text(encoding="utf-8") + f"\n{added}\n", encoding="utf-8")
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode != 0
    assert said in built.stderr


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        ("x'", "<msup><mi>x</mi><mo>′</mo></msup>"),
        ("x_1^{2}", "<msubsup><mi>x</mi><mn>1</mn><mrow><mn>2</mn></mrow></msubsup>"),
        (r"\frac12", "<mfrac><mn>1</mn><mn>2</mn></mfrac>"),
        (r"\frac\sigma{10}", "<mfrac><mi>σ</mi><mrow><mn>10</mn></mrow></mfrac>"),
        (r"\sqrt d", "<msqrt><mi>d</mi></msqrt>"),
        (r"\text{a < b}", "<mtext>a &lt; b</mtext>"),
        ("a<1.5", "<mi>a</mi><mo>&lt;</mo><mn>1.5</mn>"),
        (r"\bar w", "<mover><mi>w</mi><mo>¯</mo></mover>"),
        (r"\sup_x", '<munder><mo movablelimits="true">sup</mo><mi>x</mi></munder>'),
        (r"\left| x \right|", "<mrow><mo>|</mo><mrow><mi>x</mi></mrow><mo>|</mo></mrow>"),
    ],
)  # fmt: skip
def test_a_formula_as_mathml(tex: str, expected: str) -> None:
    assert mathml(tex) == f"<math><mrow>{expected}</mrow></math>"


def test_a_matrix_has_its_rows_and_cells() -> None:
    found = mathml(r"\begin{pmatrix} a & b \\ c & 1\end{pmatrix}", display=True)
    assert found.count("<mtr>") == 2
    assert found.count("<mtd>") == 4
    assert found.startswith('<math display="block">')


@pytest.mark.parametrize("tex", [r"\unknown", "{x", "x}", r"\frac1", "x_", r"\left( x", "a & b"])
def test_notation_that_is_not_known_is_an_error(tex: str) -> None:
    with pytest.raises(FormulaError):
        mathml(tex)
