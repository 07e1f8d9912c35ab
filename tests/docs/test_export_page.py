"""Every snippet of docs/export-a-model.md runs, and robcert reads the file that it writes."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from command_line import robcert
from docs_pages import blocks_of, text_of

if TYPE_CHECKING:
    from pathlib import Path

SECTIONS = {
    title: text
    for title, text in re.findall(
        r"^## (.+?)\n(.*?)(?=^## |\Z)", text_of("docs/export-a-model.md"), re.S | re.M
    )
    if blocks_of(text, "python")
}

NEEDED = {
    "PyTorch": ("torch",),
    "timm": ("timm",),
    "Hugging Face": ("transformers",),
    "Keras": ("keras",),
    "scikit-learn": ("sklearn", "skl2onnx"),
}
"""Modules that each snippet needs."""

PIXELS = {"scikit-learn": (8, 8, 1), "Keras": (28, 28, 1)}
"""Height, width and channels of the images; those of other models are in the file, as NCHW."""


def test_every_section_is_run() -> None:
    assert SECTIONS.keys() == NEEDED.keys()


def shape_of(model: Path, title: str) -> tuple[int, ...]:
    if title in PIXELS:
        return PIXELS[title]
    (image,) = onnx.load(model).graph.input
    channels, height, width = (axis.dim_value for axis in image.type.tensor_type.shape.dim[1:])
    return height, width, channels


@pytest.mark.slow
@pytest.mark.parametrize("title", NEEDED)
def test_the_snippet_and_the_command_of_a_section(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = [name for name in NEEDED[title] if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    (code,), (command,) = (blocks_of(SECTIONS[title], kind) for kind in ("python", "sh"))
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    shape = shape_of(tmp_path / "model.onnx", title)
    images = np.random.default_rng(1).integers(0, 256, (6, *shape), np.uint8)
    np.savez(tmp_path / "images.npz", images=images)  # without labels: most are not trained
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(command)
    ended = robcert(*arguments, "--json")
    assert program == "robcert"
    assert ended.status == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["summary"]["output"]["classes"] == (2 if title == "scikit-learn" else 10)
    assert found["model"]["twin_unavailable"] == "", "the page says that there are gradients"
