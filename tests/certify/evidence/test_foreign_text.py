"""Names and texts of strangers in documents: they are shown, and are nothing but text."""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ET

import yaml  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from robcert.certify.evidence.checks import DOUBT, Check, Outcome
from robcert.certify.evidence.junit import junit_bytes
from robcert.certify.evidence.sarif import Artifact, sarif_log
from robcert.certify.evidence.yaml_text import yaml_text
from robcert.certify.exports.markdown import escaped
from robcert.certify.tables.csv_line import csv_line
from robcert.certify.visible import visible, visible_line

MARKUP = st.text(st.sampled_from("-+=.)1 #&;:/w<>[]()!|*_`~\\\"'{}ab\n\t\0\uffff"))
HOSTILE = st.one_of(st.text(), MARKUP, st.sampled_from(("&#8238;x", "1. x", "- x", "&lt;b&gt;")))


@given(HOSTILE)
def test_text_in_markdown_is_one_paragraph_that_says_it(text: str) -> None:
    shown = visible_line(text).strip()
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(escaped(text))
    assert [one.type for one in tokens] == ["paragraph_open", "inline", "paragraph_close"][
        : 3 * bool(shown)
    ]
    if shown:
        parts = tokens[1].children or []
        assert {one.type for one in parts} <= {"text", "text_special"}
        assert "".join(one.content for one in parts) == shown


def test_addresses_in_markdown_are_no_links() -> None:
    for text in ("https://x.example", "see HTTP://x", "www.x.example", "WWW.x"):
        assert not re.search(r"(?<!\\)://|www\.", escaped(text).lower())


@given(HOSTILE)
def test_no_text_begins_a_formula_whichever_character_ends_a_cell(text: str) -> None:
    line = csv_line(["x", text])
    (cells,), (others,) = csv.reader([line]), csv.reader([line], delimiter=";")
    assert len(cells) == 2
    for cell in (*cells, *others):
        assert not cell.strip().startswith(("=", "+", "-", "@"))


@given(HOSTILE)
def test_xml_and_yaml_with_any_text_are_read_again(text: str) -> None:
    checks = [Check(DOUBT, "", outcome, text) for outcome in Outcome]
    suite = ET.fromstring(junit_bytes(checks, "suite", {"model": text}))
    failure = suite.find(".//failure")
    assert failure is not None
    assert (failure.get("message") or "") == visible_line(text)
    assert yaml.safe_load(yaml_text({"a": [text], "b": text})) == {
        "a": [visible_line(text)],
        "b": visible_line(text),
    }


def test_names_in_sarif_are_neither_links_nor_placeholders() -> None:
    named = Check(DOUBT, "", Outcome.WARNED, "[a](http://x) {0}")
    log = sarif_log([named], Artifact("m.onnx", "0" * 64), "audit")
    said = log["runs"][0]["results"][0]["message"]["text"]
    assert "](" not in said
    assert "{{0}}" in said


def test_no_text_is_a_command_to_a_ci_server() -> None:
    commands = (
        "##vso[task.setvariable variable=A]b",
        "###[error]x",
        "##teamcity[message]",
        "::error file=a::b",
        ":::Set-Output name=a::b",
        "a\n  ::stop-commands::x",
    )
    for text in commands:
        for shown in (visible(text), visible_line(text), visible(json.dumps(text))):
            assert "##vso[" not in shown
            assert "##[" not in shown
            assert "##teamcity[" not in shown
            assert "::error" not in shown
            assert "::set-output" not in shown.lower()
            assert "::stop" not in shown
        assert json.loads(visible(json.dumps(text))) == text
    for ordinary in ("aten::add", "## Heading", "#1", "a::b", "li::marker"):
        assert visible_line(ordinary) == ordinary
