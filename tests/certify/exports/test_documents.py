"""Tables and rows of a results file as Markdown, LaTeX, CSV and Parquet."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from attacked_files import attacked
from command_line import robcert
from places import ROOT

from robcert.certify.exports.contents import CaptionedTable, captioned_tables, plain_captions
from robcert.certify.exports.latex import LETTERS, latex_tables
from robcert.certify.exports.latex import escaped as latex_escaped
from robcert.certify.exports.markdown import escaped as markdown_escaped
from robcert.certify.exports.markdown import markdown_tables
from robcert.certify.exports.rows import row_columns
from robcert.certify.store.store import ResultStore
from robcert.certify.tables.wording import Table

if TYPE_CHECKING:
    from pathlib import Path

    from attacked_files import Attacked

FOREIGN = "a_b & 5 % | <b> $x$ `#` {y} \\z ~ ^ [1] -- é\x1b\nnext"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Attacked:
    """Attacks in two norms, so that the name attack stands for two tables."""
    folder = tmp_path_factory.mktemp("attacked")
    attacked(folder, "--eps", "8/255", "--round-8-bit")
    return attacked(folder, "--norm", "l2", "--eps", "0.5")


def linf(made: Attacked) -> str:
    with ResultStore.read(made.results) as store:
        return next(
            group.path.strip("/")
            for group in store.existing("attack")
            if group.settings["norm"] == "linf"
        )


def test_a_caption_states_claim_norm_radius_images_and_interval(made: Attacked) -> None:
    with ResultStore.read(made.results) as store:
        captions = [one.caption for one in captioned_tables(store, "attack/linf")]
    first = captions[0]
    assert "Claim: attacked (adversarial examples were found" in first
    assert "Norm linf; ε = 8/255; n = 6 images; 95 % intervals." in first
    assert all("Claim: " in caption and "n = 6 images" in caption for caption in captions)
    assert any("95 %" not in caption for caption in captions)  # a table of counts has none


def test_labels_of_all_tables_differ_and_the_ledger_is_the_last(made: Attacked) -> None:
    with ResultStore.read(made.results) as store:
        tables = list(captioned_tables(store, None))
    labels = [one.label for one in tables]
    assert len(set(labels)) == len(labels) > 4
    assert labels[-1] == "ledger-1"


def test_latex_is_ascii_and_every_row_has_the_cells_of_the_head(made: Attacked) -> None:
    with ResultStore.read(made.results) as store:
        tables = list(captioned_tables(store, None))
        text = latex_tables(tables)
    assert text.isascii()
    assert text.count("\\begin{table}") == text.count("\\end{table}") == len(tables)
    assert text.count("\\toprule") == text.count("\\midrule") == text.count("\\bottomrule")
    bodies = re.findall(r"\\begin\{tabular\}\{([^\n]*)\}\n(.*?)\\end\{tabular\}\}", text, re.DOTALL)
    for columns, body in bodies:
        width = len(re.findall(r"[lr]|p\{[^}]*\}", columns.replace("\\linewidth", "")))
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert rows
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {width}


def cells(line: str) -> list[str]:
    return re.split(r"(?<!\\)\|", line)[1:-1]


def test_markdown_rows_have_the_cells_of_the_head(made: Attacked) -> None:
    with ResultStore.read(made.results) as store:
        text = markdown_tables(captioned_tables(store, None))
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(blocks) > 4
    for block in blocks:
        assert len({len(cells(line)) for line in block.splitlines()}) == 1


def test_no_text_of_a_file_is_markup() -> None:
    table = Table(FOREIGN, "attacked", ("head", "n"), ((FOREIGN, "-1.5"),), FOREIGN)
    made = list(plain_captions([table]))
    marked, typeset = markdown_tables(made), latex_tables(made)
    assert "\x1b" not in marked + typeset
    row = next(line for line in marked.splitlines() if line.startswith(r"| a\_b"))
    assert [cell.strip() for cell in cells(row)] == [markdown_escaped(FOREIGN), "-1.5"]
    for letter in "`*_[]<>|#~$":
        unescaped = re.sub(r"\\.", "", markdown_escaped(FOREIGN))
        assert letter not in unescaped
    plain = re.sub(r"\\[a-z]+\{\}|\\[^a-z]|\{[\[\]]\}|-\{\}-", "", latex_escaped(FOREIGN))
    assert not set(plain) & set("&%$#_{}~^\\<>|")
    assert "U+00E9" in typeset
    assert "& $-$1.5" in typeset


def test_every_letter_that_tables_use_has_a_spelling_in_latex() -> None:
    found = {
        letter
        for path in sorted((ROOT / "certify").glob("*/*.py"))
        if path.stem.endswith(("tables", "table", "wording", "ledger"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for letter in node.value
        if not letter.isascii()
    }
    assert "ε" in found
    assert found <= set(LETTERS)


def test_csv_of_a_group_has_the_values_of_the_file(made: Attacked) -> None:
    ended = robcert("show", made.results, "--group", "attack/linf", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(ended.stdout)))
    with ResultStore.read(made.results) as store:
        distance = store.at(linf(made)).column("distance", np.arange(6))
    assert [float(row["distance"]) for row in rows] == distance.tolist()
    assert [int(row["label"]) for row in rows] == made.labels.tolist()


def test_a_file_of_rows_is_what_show_prints(made: Attacked, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    group = ("--group", "attack/l2")
    ended = robcert("report", made.results, "--format", "csv", *group, "--out", out)
    assert (ended.status, ended.stdout) == (0, f"{out}\n")
    assert out.read_text() == robcert("show", made.results, *group, "--format", "csv").stdout
    tables = tmp_path / "tables.tex"
    robcert("report", made.results, "--format", "latex", "--out", tables)
    printed = robcert("show", made.results, "--format", "latex").stdout
    assert tables.read_text().rstrip() == printed.rstrip()


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_rows_of_two_groups_are_refused_and_both_named(made: Attacked, form: str) -> None:
    ended = robcert("report", made.results, "--format", form, "--group", "attack")
    assert ended.status == 2
    assert "2 tables of attack" in ended.stderr
    assert ended.stderr.count("attack/l") == 2


def test_a_group_that_the_file_lacks_is_refused(made: Attacked) -> None:
    for command in ("show", "report"):
        ended = robcert(command, made.results, "--format", "markdown", "--group", "bounds")
        assert ended.status == 2
        assert "has no analysis bounds" in ended.stderr
    page = robcert("report", made.results, "--group", "attack")
    assert page.status == 2
    assert "no effect" in page.stderr


def test_the_name_of_an_analysis_selects_its_tables(made: Attacked) -> None:
    both = robcert("show", made.results, "--group", "attack", "--format", "json").stdout
    assert [one["analysis"] for one in json.loads(both)["groups"]] == ["attack", "attack"]
    shown = robcert("show", made.results, "--group", "attack").stdout
    assert shown.count("robust accuracy under attack") == 2
    assert "clean accuracy" not in shown


def test_default_names_tell_format_and_group(made: Attacked) -> None:
    first = robcert("report", made.results, "--format", "csv", "--group", "attack/linf").stdout
    assert first.strip() == str(made.results.with_name(f"r-{linf(made).replace('/', '-')}.csv"))
    tables = robcert("report", made.results, "--format", "markdown").stdout
    assert tables.strip() == str(made.results.with_name("r.md"))


@pytest.mark.parametrize("form", ["html", "markdown", "latex"])
def test_no_document_replaces_a_results_file(made: Attacked, tmp_path: Path, form: str) -> None:
    own, other = tmp_path / "own.h5", tmp_path / "other.h5"
    for copy in (own, other):
        shutil.copyfile(made.results, copy)
    for target in (own, other):
        ended = robcert("report", own, "--format", form, "--out", target)
        assert ended.status == 2
        assert str(target) in ended.stderr
        assert ended.stderr.count("error:") == 1
        assert target.read_bytes() == made.results.read_bytes()


@pytest.mark.parametrize(("form", "ending"), [("html", ".html"), ("markdown", ".md")])
def test_results_that_are_named_like_a_document_stay(
    made: Attacked, tmp_path: Path, form: str, ending: str
) -> None:
    results = tmp_path / f"r{ending}"
    shutil.copyfile(made.results, results)
    ended = robcert("report", results, "--format", form)
    assert ended.stdout.strip() == f"{results}{ending}"
    assert results.read_bytes() == made.results.read_bytes()


def test_comparisons_are_tables_too(made: Attacked) -> None:
    pair = (made.results, made.results)
    text = robcert("compare", *pair, "--format", "markdown").stdout
    assert text.startswith("**")
    assert "| --- |" in text
    assert robcert("compare", *pair, "--format", "latex").stdout.isascii()


def test_without_pyarrow_one_line_says_what_to_do(
    made: Attacked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    out = tmp_path / "rows.parquet"
    group = ("--group", "attack/linf", "--out", out)
    ended = robcert("report", made.results, "--format", "parquet", *group)
    assert ended.status == 2
    assert ended.stderr.startswith("error: Parquet files need pyarrow")
    assert "robcert[parquet]" in ended.stderr
    assert not out.exists()


def test_parquet_has_the_rows_and_tells_claim_and_unit(made: Attacked, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "rows.parquet"
    group = ("--group", "attack/linf", "--out", out)
    assert robcert("report", made.results, "--format", "parquet", *group).status == 0
    table = parquet.read_table(out)
    with ResultStore.read(made.results) as store:
        columns = row_columns(store, store.at(linf(made)))
    assert table.column_names == [column.name for column in columns]
    for column in columns:
        np.testing.assert_array_equal(table[column.name].to_numpy(), column.values)
        metadata = table.schema.field(column.name).metadata
        assert metadata[b"claim"].decode() == column.claim
    assert table.schema.field("distance").metadata[b"unit"] == b"pixel"
    origin = json.loads(table.schema.metadata[b"robcert"])
    assert origin["group"] == linf(made)
    assert len(origin["model"]["sha256"]) == 64


def test_no_cell_is_taken_for_an_option_of_the_row_before_it() -> None:
    rows = (("*", "1"), ("[2pt]", "1"), ("-x", "--"))
    text = latex_tables(plain_captions([Table("t", "", ("a", "b"), rows)]))
    after = [line.split("&")[0].strip() for line in text.splitlines() if line.endswith(r"\\")]
    assert after == ["a", "{*}", "{[}2pt{]}", "-x"]
    assert "-{}-" in text


def test_a_long_cell_wraps() -> None:
    row = ("name", "x" * 60, "1")
    table = CaptionedTable(Table("t", "", ("a", "b", "c"), (row,)), "caption", "t")
    assert "{lp{0.3\\linewidth}r}" in latex_tables([table])


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_takes_the_tables_and_none_is_wider_than_its_line(tmp_path: Path) -> None:
    header = (FOREIGN, *(f"a long head of column {place}" for place in range(7)))
    rows = (tuple("".join(LETTERS)[:8]), ("*", "[2pt]", "-1", "several words " * 5, *"abcd"))
    table = Table("t", "", header, rows, FOREIGN)
    (tmp_path / "tables.tex").write_text(latex_tables([CaptionedTable(table, FOREIGN, FOREIGN)]))
    packages = "\\usepackage{booktabs,graphicx}"
    document = f"\\documentclass{{article}}{packages}\\begin{{document}}\\input{{tables}}"
    (tmp_path / "all.tex").write_text(f"{document}\\end{{document}}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    wide = [line for line in done.stdout.splitlines() if line.startswith("Overfull \\hbox")]
    assert not wide
