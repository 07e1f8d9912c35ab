"""Commands of the pages, and folders in which they can run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np
import onnx
from docs_pages import blocks_of, text_of
from onnx import TensorProto, helper
from photographs import write_photographs
from places import DOCS, FIXTURES
from vnnlib_files import old_style

if TYPE_CHECKING:
    from pathlib import Path

GENERATED = {"cli.md", "changelog.md"}

PAGES = sorted(
    [
        "README.md",
        *(f"docs/{page.name}" for page in DOCS.glob("*.md") if page.name not in GENERATED),
    ]
)

SHIM = """#!/bin/sh
"{python}" -m robcert.cli.main "$@"
status=$?
echo "$status robcert $*" >> "{log}"
exit $status
"""


def lines_of(page: str) -> list[str]:
    """Lines of the shell blocks of ``page``, continued ones joined."""
    blocks = "\n".join(blocks_of(text_of(page), "sh"))
    joined = re.sub(r"\\\n\s*", "", blocks).splitlines()
    return [line for line in joined if line.strip() and not line.startswith("#")]


def robcert_commands(page: str, *, text: bool = True) -> list[list[str]]:
    """Arguments of every robcert command in the shell blocks of ``page``, and in its ``text``."""
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.S | re.M) if text else ""
    inline = [" ".join(code.split()) for code in re.findall(r"`(robcert [^`]+)`", prose)]
    commands = (shlex.split(line, comments=True) for line in [*lines_of(page), *inline])
    return [_before_redirection(words[1:]) for words in commands if words[:1] == ["robcert"]]


def _before_redirection(arguments: list[str]) -> list[str]:
    return list(takewhile(lambda word: word not in (">", "|"), arguments))


@dataclass(frozen=True, slots=True)
class Ran:
    """A command of a page that was run: its exit status and its text."""

    status: int
    command: str


def run_page(lines: list[str], folder: Path) -> tuple[list[Ran], str]:
    """Run ``lines`` in one shell in ``folder``; what the program was called with, and stderr."""
    programs = folder / "bin"
    log = folder / "commands.log"
    programs.mkdir()
    for name, script in (
        ("robcert", SHIM.format(python=sys.executable, log=log)),
        ("python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'),
    ):
        (programs / name).write_text(script, encoding="utf-8")
        (programs / name).chmod(0o755)
    ended = subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        cwd=folder,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    ran = [line.split(" ", 1) for line in log.read_text(encoding="utf-8").splitlines()]
    return [Ran(int(status), command) for status, command in ran], ended.stderr


def furnish(folder: Path, images: int) -> None:
    """Put every file that a page names into ``folder``: models, images, a property, a network."""
    for name, bundled in (("model", "honest"), ("new", "masked"), ("gaussian", "gaussian")):
        shutil.copy(FIXTURES / f"fashion-{bundled}.onnx", folder / f"{name}.onnx")
    with np.load(FIXTURES / "fashion-mnist-2000.npz") as all_images:
        chosen = {name: all_images[name][:images] for name in ("images", "labels")}
    np.savez(folder / "images.npz", **chosen)
    onnx.save(_channels_last(), folder / "keras.onnx")
    (folder / "preprocess.json").write_text('{"mean": [0.286], "std": [0.353]}', encoding="utf-8")
    write_photographs(folder / "photos" / "train", 60)
    write_photographs(folder / "photos" / "val", 10)
    claim = old_style([(0.0, 0.001)] * 784, 10, "(>= Y_0 100000.0)")
    for name in ("claim.vnnlib", "property.vnnlib"):
        (folder / name).write_text(claim, encoding="utf-8")
    (folder / "mynets.py").write_text(
        "import torch\n\n\ndef make(image_shape, num_classes):\n"
        "    size = image_shape[0] * image_shape[1] * image_shape[2]\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(size, num_classes))\n",
        encoding="utf-8",
    )


def _channels_last() -> onnx.ModelProto:
    """The classes of the bundled images by one affine map of pixels from 0 to 255, as NHWC.

    Each score is the inner product with the mean image of its class, less half its square.
    """
    with np.load(FIXTURES / "fashion-mnist-2000.npz") as data:
        images, labels = data["images"].reshape(2000, -1) / 255, data["labels"]
    means = np.stack([images[labels == label].mean(axis=0) for label in range(10)])
    weights = helper.make_tensor(
        "weights", TensorProto.FLOAT, (784, 10), (means.T / 255).astype(np.float32).ravel()
    )
    offsets = helper.make_tensor(
        "offsets", TensorProto.FLOAT, (10,), (-(means**2).sum(axis=1) / 2).astype(np.float32)
    )
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "offsets"], ["scores"]),
        ],
        "nearest mean",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ("batch", 28, 28, 1))],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ("batch", 10))],
        [weights, offsets],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
