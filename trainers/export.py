"""Export of a checkpoint as ONNX: logits, dynamic batch, preprocessing in the metadata."""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from robcert.certify.errors import TrainingError
from robcert.certify.model import PROVENANCE_KEY, Preprocessing
from robcert.certify.numerics import generator
from robcert.certify.whole_file import write_whole
from robcert.trainers.loop import (
    MODEL,
    checkpoint_file,
    load_network,
    read_description,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OPSET = 18
INPUT, LOGITS = "image", "logits"
PREPROCESS_KEY = "robcert.preprocess"
DATA_KEY = "robcert.data"
PARITY = 1e-4
"""Largest allowed difference between exported and original logits, relative to their scale."""


@dataclass(frozen=True, slots=True)
class OnnxMetadata:
    """Metadata of an exported model.

    Attributes:
        preprocessing: conversion of pixels to the network's input.
        data_name: data set that the model belongs to; empty for none.
        provenance: origin of the model, in JSON types.
    """

    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    data_name: str = ""
    provenance: Mapping[str, object] = field(default_factory=dict)

    def entries(self) -> dict[str, str]:
        """Keys and values in the ONNX file."""
        return {
            PREPROCESS_KEY: json.dumps(asdict(self.preprocessing), sort_keys=True),
            DATA_KEY: self.data_name,
            PROVENANCE_KEY: json.dumps(self.provenance, sort_keys=True),
        }


def export_checkpoint(path: Path, out: Path | None = None) -> Path:
    """Write the checkpoint or run folder ``path`` as ONNX and return the file.

    The graph is the network without preprocessing, which is described in the metadata.

    Args:
        path: checkpoint or run folder.
        out: file to write; None for ``model.onnx`` in the run folder.

    Raises:
        ModelFileError: the checkpoint cannot be read.
        TrainingError: torch cannot export the network, or the outputs of the exported file differ
            from those of the network.
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
        metadata=OnnxMetadata(
            spec.preprocessing, str(description.data.get("name", "")), provenance
        ),
    )
    write_whole(target, content)
    return target


def onnx_bytes(
    network: nn.Module,
    *,
    image_shape: tuple[int, ...],
    metadata: OnnxMetadata,
    output: str = LOGITS,
    deterministic: bool = True,
) -> bytes:
    """ONNX file of ``network``, whose outputs in ONNX Runtime are compared with the network's.

    Args:
        network: maps preprocessed input ``(b, c, h, w)`` to logits.
        image_shape: shape (c, h, w) of one input.
        metadata: metadata of the file.
        output: name of the output.
        deterministic: False for a network with random outputs, which are not compared.

    Raises:
        TrainingError: torch cannot export the network, or the file's outputs differ from its.
    """
    example = torch.rand((2, *image_shape), generator=generator(0, "export", 0))
    model = _exported(network.eval(), example, output)
    without_traces(model)
    model.producer_name, model.producer_version = "robcert", version("robcert")
    model.graph.name = "classifier"
    for key, value in metadata.entries().items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    if deterministic:
        _require_parity(content, network, image_shape)
    return content


def without_traces(model: onnx.ModelProto) -> None:
    """Remove texts about the source code that torch's exporter writes.

    It puts stack traces with file paths of this machine into node metadata and doc strings.
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
    """Model from torch's exporter."""
    noisy = logging.getLogger("torch.onnx")
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # the exporter itself calls deprecated parts of torch
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
    except Exception as error:  # the exporter runs the network's code and has errors of many kinds
        first = str(error).strip().partition("\n")[0]
        message = f"torch cannot export the network as ONNX: {type(error).__name__}: {first}"
        hint = "its checkpoint can be analysed all the same: --model RUN_FOLDER"
        raise TrainingError(message, hint=hint) from error
    finally:
        noisy.setLevel(level)
    if program is None:
        message = "torch's exporter returned no program"
        raise TrainingError(message)
    model: onnx.ModelProto = program.model_proto
    return model


def _require_parity(content: bytes, network: nn.Module, image_shape: tuple[int, ...]) -> None:
    """Raise if ONNX Runtime's outputs differ from the network's at batches of 1 and 5."""
    import onnxruntime  # takes a second to import; only exports need it

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
                f"the logits of the exported model differ from the network's by {difference:.2g} "
                f"of their scale; at most {PARITY:g} is allowed"
            )
            raise TrainingError(message, hint="report it with the versions of torch and onnx")
