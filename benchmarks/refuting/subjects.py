"""The models that are examined: the bundled ones, and third-party models with their images."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
BUNDLED_IMAGES = "fashion-mnist-2000"
SETS = {
    "cifar10": "cifar10_test.npz",
    "mnist": "mnist_test.npz",
    "imagenet": "imagenet_foolbox20.npz",
    "fashion": "fashion-mnist",
}
ARRAYS = "vnncomp_images.npz"
"""Images without labels, one array for each set."""

LABELS_AS_INPUT = {"mnist_tf1_two_inputs.onnx": ("mnist", "add_2:0")}
"""Images and tensor of scores of a file whose declared output is an accuracy."""

KINDS = {
    "logits": "logits",
    "log-probabilities (LogSoftmax in graph)": "logits",
    "probabilities (softmax in graph)": "probabilities",
}
HALF = 3e-2
"""Rounding of the scores of a float16 model, relative."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A model with its images.

    Attributes:
        name: of the model, as in tables.
        model: ONNX file.
        data: what ``--data`` takes.
        preprocess: what ``--preprocess`` takes.
        scores_are: logits or probabilities; empty if they are rounded.
        output: tensor with the scores; None for the file's own output.
        skip: why it cannot be examined; empty if it can.
        tolerance: relative rounding error of the scores.
    """

    name: str
    model: Path
    data: str
    preprocess: dict[str, Any] = field(default_factory=dict)
    scores_are: str = "logits"
    output: str | None = None
    skip: str = ""
    tolerance: float = 1e-4

    @property
    def options(self) -> list[str]:
        """Options of every command on this model."""
        said = ["--model", str(self.model), "--data", self.data]
        if self.preprocess:
            said += ["--preprocess", json.dumps(self.preprocess)]
        if self.output:
            said += ["--output", self.output]
        return said


def subjects(zoo: Path | None, folder: Path) -> list[Subject]:
    """The bundled models, then those of the folder ``zoo``.

    Args:
        zoo: folder with ``zoo.json``, ``models`` and ``data``; None for the bundled models alone.
        folder: where images without labels are written as files of their own.
    """
    found = [bundled(path) for path in sorted(FIXTURES.glob("*.onnx"))]
    entries = json.loads((zoo / "zoo.json").read_text()) if zoo else []
    return [*found, *(_listed(one, zoo, folder) for one in entries if zoo)]


def bundled(path: Path) -> Subject:
    """A bundled model, whose metadata state its preprocessing."""
    model = onnx.load(str(path))
    stated = {one.key: one.value for one in model.metadata_props}
    said = json.loads(stated.get("robcert.preprocess", "{}"))
    said = {name: value for name, value in said.items() if value not in ([], None)}
    said.pop("input_shape", None)
    return Subject(path.stem, path, BUNDLED_IMAGES, said, scores_of(model))


def scores_of(model: onnx.ModelProto) -> str:
    """Whether the output of a bundled model holds logits or probabilities."""
    return "probabilities" if model.graph.node[-1].op_type == "Softmax" else "logits"


def _listed(entry: dict[str, Any], zoo: Path, folder: Path) -> Subject:
    name, path = Path(entry["file"]).stem, zoo / "models" / entry["file"]
    if entry["file"] in LABELS_AS_INPUT:
        data, output = LABELS_AS_INPUT[entry["file"]]
        return Subject(
            name, path, str(zoo / "data" / SETS[data]), {"layout": "flat"}, output=output
        )
    if entry["expect"] != "twin":
        why = "no images" if entry["expect"] == "inspect" else "refused, as it must be"
        return Subject(name, path, "", skip=why)
    half = any("FLOAT16" in one for one in entry["inputs"])
    return Subject(
        name,
        path,
        _data(entry["data"], zoo, folder),
        entry["preprocess"],
        KINDS.get(entry["output_kind"], ""),
        tolerance=HALF if half else 1e-4,
    )


def _data(name: str, zoo: Path, folder: Path) -> str:
    if name in SETS:
        return str(zoo / "data" / SETS[name])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npz"
    if not path.is_file():
        with np.load(zoo / "data" / ARRAYS) as arrays:
            np.savez(path, images=arrays[name])
    return str(path)
