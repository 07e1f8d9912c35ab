"""Texts of foreign files never reach the terminal, a log or the page as commands."""

from __future__ import annotations

import ast
import json
import unicodedata
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import model, node, saved
from places import ROOT

from robcert.certify.tables import visible
from robcert.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto

ATTACKS = {
    "title": "\x1b]0;owned\x07",
    "colour": "\x1b[31mred\x1b[0m",
    "return": "checked\rfailed",
    "c1": "\x9b2J",
    "bidi": "\u202egnp.elif\u202c",
    "hidden": "a\u200bb\ufeffc\U000e0041",
}


def unsafe(text: str) -> set[str]:
    """Characters that a terminal obeys, or that are not seen; the line end is none."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t"}


@given(st.text())
def test_visible_text_is_safe_and_says_the_same_as_json(text: str) -> None:
    shown = visible(text)
    assert not unsafe(shown) - set("\u200c\u200d")
    whole = json.dumps(text, ensure_ascii=False)
    assert json.loads(visible(whole)) == text


def test_ordinary_text_stays() -> None:
    for text in ("ε ≤ 8/255 – “robust”", "日本語", "می‌خواهم", "a\tb\nc", "é"):
        assert visible(text) == text


def hostile(mark: str) -> ModelProto:
    """A linear model with ``mark`` in every text that robcert may print."""
    made = model(
        [node("Flatten", "x", "flat"), node("MatMul", "flat w", "scores")],
        inputs={"x": ["b", 1, 4, 4]},
        outputs={"scores": ["b", 3]},
        weights={"w": np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)},
    )
    made.producer_name, made.producer_version = f"p{mark}", mark
    made.doc_string = made.graph.doc_string = mark
    made.graph.name = mark
    made.graph.input[0].name = made.graph.node[0].input[0] = f"x{mark}"
    made.graph.output[0].name = made.graph.node[1].output[0] = f"s{mark}"
    for one in made.graph.node:
        one.name = f"{one.op_type}{mark}"
    made.metadata_props.add(key=f"k{mark}", value=mark)
    return made


@pytest.mark.parametrize("attack", list(ATTACKS))
def test_no_text_of_a_model_commands_the_terminal(
    attack: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mark = ATTACKS[attack]
    path = saved(tmp_path, hostile(mark))
    pixels = np.random.default_rng(1).random((12, 4, 4, 1), np.float32)
    data = tmp_path / f"images{mark.replace('/', '')}.npz"
    np.savez(data, images=pixels, labels=np.arange(12) % 3)
    out = tmp_path / "r.h5"
    common = ["--model", str(path), "--data", str(data), "--allow-low-accuracy"]
    printed = ""
    for command in (
        ["inspect", *common],
        ["attack", *common, "--suite", "quick", "--out", str(out)],
        ["attack", *common, "--suite", "quick", "--out", str(out), "--json"],
        ["show", str(out)],
        ["attack", "--model", str(tmp_path / f"{mark}.onnx"), "--data", str(data)],
        ["attack", *common, "--attacks", mark],
        ["report", str(out)],
    ):
        run(command)
        said = capfd.readouterr()
        assert not unsafe(said.out), command
        assert not unsafe(said.err), command
        printed += said.out + said.err
    assert visible(mark) in printed
    page = out.with_suffix(".html").read_text(encoding="utf-8")
    assert not unsafe(page)


def test_every_line_is_printed_through_one_door() -> None:
    for path in sorted((ROOT / "cli").rglob("*.py")):
        if path.name == "echo.py":
            continue
        for one in ast.walk(ast.parse(path.read_text())):
            if isinstance(one, ast.Call):
                assert ast.unparse(one.func) not in ("typer.echo", "print", "typer.secho"), path
