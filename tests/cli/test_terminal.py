"""Texts of foreign files never reach the terminal, a log or the page as commands."""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import model, node, saved
from places import ROOT
from proved_nets import sealed
from safetensors.torch import save_file

from robcert.certify.proof_check import HEADER_BYTES, proof_file
from robcert.certify.visible import visible, visible_line
from robcert.cli.main import run
from robcert.trainers.loop.checkpoint import Description
from robcert.trainers.networks import Architecture, NetworkSpec
from robcert.trainers.recipe import TrainConfig

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


@given(st.text())
def test_a_line_stays_one_line(text: str) -> None:
    assert not unsafe(visible_line(text)) - set("\u200c\u200d")
    assert not set("\n\t") & set(visible_line(text))


MARK = "".join(mark for name, mark in ATTACKS.items() if name != "return") + "a\rb\nerror: c"
"""All of them, and a second line that poses as robcert's; file names cannot hold a slash."""

ON_TERMINAL = """
import json, sys, warnings
from robcert.cli.main import run
for command in json.loads(sys.stdin.readline()):
    print("==>", flush=True)
    run(command)
"""


def on_terminal(commands: list[list[str]], folder: Path) -> str:
    """What the commands print on a terminal of 200 columns that knows colours."""
    import fcntl
    import os
    import pty
    import struct
    import subprocess
    import sys
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    child = subprocess.Popen(
        [sys.executable, "-c", ON_TERMINAL],
        stdin=subprocess.PIPE,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "200"},
    )
    os.close(theirs)
    assert child.stdin is not None
    child.stdin.write(json.dumps(commands).encode() + b"\n")
    child.stdin.close()
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the last writer has closed it
            break
        if not part:
            break
        said += part
    os.close(ours)
    assert child.wait() == 0
    return said.decode()


def named_by_strangers(folder: Path) -> list[list[str]]:
    """Commands that print every kind of text that files of a stranger can hold."""
    from PIL import Image

    good = saved(folder, hostile(MARK))
    op = hostile("")
    op.graph.node[1].op_type = f"Mat{MARK}"
    attribute = hostile("")
    attribute.graph.node[0].attribute.add(name=f"axis{MARK}", type=2, i=1)
    domain = hostile("")
    domain.graph.node[0].domain = f"d{MARK}"
    outside = hostile("")
    weights = outside.graph.initializer[0]
    weights.name = outside.graph.node[1].input[1] = f"w{MARK}"
    weights.ClearField("raw_data")
    weights.data_location = 1
    weights.external_data.add(key="location", value=f"../{MARK}")
    entry = hostile("")
    entry.metadata_props.add(key="robcert.preprocess", value=json.dumps({MARK: 1}))
    images = np.random.default_rng(1).integers(0, 256, (12, 4, 4), np.uint8)
    np.savez(folder / f"{MARK}.npz", images=images, labels=np.arange(12) % 3)
    np.savez(folder / "members.npz", **{MARK: images})  # type: ignore[arg-type]
    classes = folder / f"set{MARK}"
    for number, image in enumerate(images):
        place = classes / f"{MARK}{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{MARK}{number}.png")
    flat = folder / "flat"
    flat.mkdir()
    Image.fromarray(images[0]).save(flat / f"{MARK}.png")
    (flat / "labels.csv").write_text(f"{MARK},1\n", newline="")
    spec = NetworkSpec(Architecture("linear"), (1, 4, 4), 3)
    checkpoint = Description(spec, TrainConfig(), {}, {}, {})
    header = {"robcert": json.dumps(checkpoint.to_json() | {"format_version": MARK})}
    save_file({"weight": torch.zeros(1)}, folder / "c.safetensors", metadata=header)
    with h5py.File(folder / "p.h5", "w", userblock_size=HEADER_BYTES) as proof:
        proof.attrs.update(dict.fromkeys(proof_file.STRINGS, MARK))
        proof.attrs.update(format=proof_file.FORMAT, format_version=proof_file.FORMAT_VERSION)
        proof.attrs["arithmetic"] = "real"
    sealed(folder / "p.h5")
    named = ["--data", str(folder / f"{MARK}.npz")]
    data = [*named, "--allow-low-accuracy"]
    quick = ["attack", "--suite", "quick", "--model", str(good)]
    return [
        ["inspect", "--model", str(good), *named],
        *(
            ["inspect", "--model", str(saved(folder, one, f"{at}{MARK}.onnx")), *named]
            for at, one in enumerate((op, attribute, domain, outside, entry))
        ),
        [*quick, *data, "--out", "r.h5"],
        [*quick, "--data", str(classes), "--allow-low-accuracy", "--out", f"{MARK}.h5"],
        [*quick, "--data", str(folder / "members.npz")],
        [*quick, "--data", str(flat)],
        ["inspect", "--model", str(folder / "c.safetensors"), *named],
        ["check-proof", str(folder / "p.h5"), "--model", str(good)],
        [*quick, "--output", MARK],
        [*quick, "--norm", MARK],
        [*quick, "--debug", "--data", MARK],
        ["show", "r.h5"],
        ["show", f"{MARK}.h5", "--json"],
        ["compare", "r.h5", f"{MARK}.h5", "--picture", "c.svg"],
        ["report", f"{MARK}.h5", "--out", "r.html"],
    ]


def test_no_text_of_a_stranger_reaches_a_terminal_as_it_is(tmp_path: Path) -> None:
    said = on_terminal(named_by_strangers(tmp_path), tmp_path)
    parts = said.split("==>\r\n")[1:]
    assert len(parts) == 19
    naming = [part for part in parts if "1b]0;owned" in part.replace("\r\n", "")]
    assert len(naming) == 17  # an attack and a report name no text of a file
    for part in parts:
        for mark in (ATTACKS[name] for name in ("title", "colour", "c1", "bidi", "hidden")):
            assert mark not in part, part
        assert "a\rb" not in part
        assert "\nerror: c" not in part
        assert "(this is a bug in robcert)" not in part, part
    left = re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", said)  # colours and bars of robcert itself
    assert not unsafe(left) - {"\r"}
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert not unsafe(page)
    assert "\\u001b]0;owned" in page
