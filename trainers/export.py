"""A checkpoint as an ONNX file: logits, a free batch, and in the metadata what the pixels need."""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from robcert.certify.errors import TrainingError
from robcert.certify.numerics import generator
from robcert.trainers.loop import (
    MODEL,
    checkpoint_file,
    load_network,
    read_description,
    write_whole,
)

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.model import Preprocessing

OPSET = 18
INPUT, LOGITS = "image", "logits"
PREPROCESS_KEY = "robcert.preprocess"
DATA_KEY = "robcert.data"
PROVENANCE_KEY = "robcert.provenance"
PARITY = 1e-4
"""Largest difference of the logits, relative to their scale, that an export may show."""


def export_checkpoint(path: Path, out: Path | None = None) -> Path:
    """Write the checkpoint or run folder ``path`` as ONNX and return the file.

    The graph is the network alone: pixels are prepared outside, as ``robcert.preprocess`` says.

    Args:
        path: checkpoint or run folder.
        out: file to write; by default ``model.onnx`` in the run folder.

    Raises:
        ModelFileError: the checkpoint cannot be read.
        TrainingError: the exported file does not compute what the network computes.
    """
    target = out or checkpoint_file(path).with_name(MODEL)
    description = read_description(path)
    network = load_network(path)
    spec = description.network
    provenance = {
        "robcert": description.versions.get("robcert", ""),
        "method": description.training.method,
        "objective": asdict(description.training.objective),  # type: ignore[call-overload]
        "architecture": asdict(spec.architecture),
        "epochs": description.training.epochs,
        "seed": description.training.seed,
        "data": description.data,
        "state": description.state,
    }
    content = onnx_bytes(
        network.network,
        image_shape=spec.image_shape,
        preprocessing=spec.preprocessing,
        data_name=str(description.data.get("name", "")),
        provenance=provenance,
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, content)
    return target


def onnx_bytes(
    network: nn.Module,
    *,
    image_shape: tuple[int, ...],
    preprocessing: Preprocessing,
    data_name: str,
    provenance: dict[str, Any],
    output: str = LOGITS,
    repeats_itself: bool = True,
) -> bytes:
    """ONNX file of ``network``, checked against it in ONNX Runtime.

    Args:
        network: prepared input ``(b, c, h, w)`` to logits, in evaluation mode.
        image_shape: shape (c, h, w) of one input.
        preprocessing: what turns pixels into that input; goes to the metadata.
        data_name: data set that the model belongs to; goes to the metadata.
        provenance: what made the model; goes to the metadata.
        output: name of the output.
        repeats_itself: False for a network that draws at random, whose file cannot be compared.

    Raises:
        TrainingError: the file's outputs differ from the network's.
    """
    example = torch.rand((2, *image_shape), generator=generator(0, "export", 0))
    model = _exported(network.eval(), example, output)
    without_traces(model)
    model.producer_name, model.producer_version = "robcert", version("robcert")
    model.graph.name = "classifier"
    for key, value in (
        (PREPROCESS_KEY, json.dumps(asdict(preprocessing), sort_keys=True)),
        (DATA_KEY, data_name),
        (PROVENANCE_KEY, json.dumps(provenance, sort_keys=True)),
    ):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    if repeats_itself:
        _require_parity(content, network, image_shape)
    return content


def without_traces(model: onnx.ModelProto) -> None:
    """Drop what the exporter wrote about the source code: file names, lines, module paths.

    torch puts stack traces with paths of the machine into node metadata and doc strings.
    """
    model.ClearField("doc_string")
    model.ClearField("metadata_props")
    graph = model.graph
    for owner in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        owner.ClearField("doc_string")
        owner.ClearField("metadata_props")
    graph.ClearField("value_info")
    for function in model.functions:
        for owner in (function, *function.node):
            owner.ClearField("doc_string")
            owner.ClearField("metadata_props")


def _exported(network: nn.Module, example: Tensor, output: str) -> onnx.ModelProto:
    """The graph as torch's exporter writes it."""
    noisy = logging.getLogger("torch.onnx")
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # the exporter calls deprecated parts of torch itself
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[output],
                opset_version=OPSET,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=False,
                verbose=False,
            )
    finally:
        noisy.setLevel(level)
    if program is None:
        message = "torch's exporter returned no program"
        raise TrainingError(message)
    model: onnx.ModelProto = program.model_proto
    return model


def _require_parity(content: bytes, network: nn.Module, image_shape: tuple[int, ...]) -> None:
    """Raise unless ONNX Runtime gives the network's outputs at batches of 1 and 5."""
    import onnxruntime  # a second to import, and only exports need it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        x = torch.randn((batch, *image_shape), generator=generator(0, "export", 1, batch))
        with torch.inference_mode():
            expected = network(x).numpy()
        (got,) = session.run(None, {INPUT: x.numpy()})
        scale = float(np.abs(expected).max()) or 1.0
        difference = float(np.abs(got - expected).max()) / scale
        if not difference <= PARITY:
            message = (
                f"the exported model differs from the network by {difference:.2g} of its logits"
            )
            raise TrainingError(message, hint="report it with the versions of torch and onnx")
