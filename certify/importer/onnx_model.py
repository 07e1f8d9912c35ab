"""An ONNX file analysed: the chosen input and output, and a graph that gives logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, helper

from robcert.certify.errors import ModelFileError, PreprocessingError
from robcert.certify.model import PROVENANCE_KEY, PreprocessOptions, TrainingRecord

from .graph.facts import GraphFacts, dimensions
from .graph.graph_edits import dequantised, restricted, unrounded
from .graph.layout import InputLayout, layout_for_images, layout_without_images, shown
from .graph.model_file import ModelFile, read_model
from .graph.pixel_cost import PixelCost
from .outputs import Cut, choose_output, inside_hint, logits_behind
from .runtime.sandbox import OutputFact, try_model
from .twin.training_mode import listed

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.model import Preprocessing

    from .graph.layout import Dimensions, ImageShape
    from .load import LoadOptions

_INPUT_TYPES = frozenset(
    {
        *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE),
        *(TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16),
        *(TensorProto.INT32, TensorProto.INT64),
    }
)

_QUANTISED = frozenset({"int8", "uint8"})

_INTEGER_RANGES = {"int8": (-128.0, 127.0)}
"""Default range of pixel values per input type; other integer types: 0 and 255."""

DATA_KEY = "robcert.data"
"""Metadata entry of an ONNX file: the data set it was trained on."""


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """The decisions about a file.

    Attributes:
        file: the file and its hash.
        opset: version of the ONNX operator set that the file declares.
        graph: restricted copy whose outputs are ``logits`` and, if different, ``declared``.
        facts: what is known about ``graph``; also true of the copies made of it later.
        cost: where the cost of ``graph`` may depend on the pixels.
        memory: bytes that a call on one black image takes; 0 where unknown.
        seconds: time of that call.
        input_name: the input that takes the images.
        input_dims: its declared shape.
        layout: how images are arranged in it.
        preprocessing: how pixels become that input.
        declared: the chosen output.
        declared_shape: its shape on one image.
        logits: the tensor with the logits.
        cut: what lies between the two.
        data_name: data set named in the metadata.
        notes: decisions, one line each.
        assumed_preprocessing: whether a part of the preprocessing was assumed.
        training: what its training measured, according to the metadata.
    """

    file: ModelFile
    opset: int
    graph: onnx.ModelProto
    facts: GraphFacts
    cost: PixelCost
    memory: int
    seconds: float
    input_name: str
    input_dims: Dimensions
    layout: InputLayout
    preprocessing: Preprocessing
    declared: str
    declared_shape: tuple[int, ...]
    logits: str
    cut: Cut
    data_name: str
    notes: tuple[str, ...]
    assumed_preprocessing: bool = False
    training: TrainingRecord | None = None

    @property
    def half_precision(self) -> bool:
        """Whether the input or a stored tensor is float16."""
        return self.facts.half_precision or self.preprocessing.dtype == "float16"

    @property
    def fixed_batch(self) -> int | None:
        """Batch size that the file declares; None if free."""
        if not self.layout.batched:
            return 1
        first = self.input_dims[0] if self.input_dims else ""
        return first if isinstance(first, int) else None


def open_model(path: Path, options: LoadOptions, image_shape: ImageShape | None) -> OnnxModel:
    """The model in ``path``, tried in a child process first.

    Args:
        path: ONNX file.
        options: what the user states about it.
        image_shape: (c, h, w) of the images that it will be given; None if there are none.

    Raises:
        ModelFileError: the file is bad, unsafe or not an image classifier.
        DataError: the images do not fit its input.
        PreprocessingError: the preprocessing contradicts the input.
    """
    trial = try_model(
        path,
        image_shape=image_shape,
        layout=options.preprocess.layout,
        output=options.output,
        limits=options.limits,
    )
    outputs = trial.outputs
    file = read_model(path)
    whole = GraphFacts.of(file.model)
    declared = choose_output(
        path,
        file.model,
        outputs,
        whole,
        requested=options.output,
        first=options.first_output,
    )
    cut = logits_behind(file.model, declared)
    graph = restricted(file.model, list(dict.fromkeys([cut.tensor, declared])))
    facts = GraphFacts.of(graph)
    inside = inside_hint(file.model, outputs, options.output)
    entry = _image_input(path, facts, declared, inside)
    metadata = {prop.key: prop.value for prop in file.model.metadata_props}
    stated = options.preprocess.over(PreprocessOptions.from_metadata(metadata))
    dims: Dimensions = tuple(dimensions(entry)) or ("", "", "", "")
    if image_shape is None:
        layout = layout_without_images(entry.name, dims, stated.layout)
    else:
        layout = layout_for_images(entry.name, dims, image_shape, stated.layout)
    preprocessing, assumed = _preprocessing(entry, layout, stated)
    decided = (*_output_notes(outputs, declared, cut, options), *_input_notes(whole, facts))
    return OnnxModel(
        file=file,
        opset=whole.opset,
        graph=graph,
        facts=facts,
        cost=PixelCost.of(graph),
        memory=trial.memory,
        seconds=trial.seconds,
        input_name=entry.name,
        input_dims=dims,
        layout=layout,
        preprocessing=preprocessing,
        declared=declared,
        declared_shape=outputs[declared].shape,
        logits=_logits(graph, facts, cut, declared, outputs[declared]),
        cut=cut,
        data_name=metadata.get(DATA_KEY, ""),
        notes=(*_checker_note(file.model), *decided, *layout.notes, *assumed),
        assumed_preprocessing=bool(assumed),
        training=TrainingRecord.of_metadata(metadata.get(PROVENANCE_KEY, "")),
    )


def _image_input(path: Path, facts: GraphFacts, declared: str, inside: str) -> onnx.ValueInfoProto:
    """The one input that the chosen output depends on; ``inside`` is the hint if there are more."""
    inputs = facts.inputs
    if len(inputs) != 1:
        names = ", ".join(f"{i.name} {shown(dimensions(i))}" for i in inputs) or "none"
        message = (
            f"{path}: an image classifier has one input, its output {declared!r} depends on "
            f"{len(inputs)}: {names}"
        )
        alone = "choose an output that depends on the images alone: --output NAME"
        raise ModelFileError(message, hint=(inside or alone) if inputs else "")
    kind = inputs[0].type.tensor_type.elem_type
    if kind not in _INPUT_TYPES:
        name = TensorProto.DataType.Name(kind) if kind else "no tensor"
        message = f"{path}: input {inputs[0].name!r} has element type {name}, not that of an image"
        raise ModelFileError(message)
    return inputs[0]


def _logits(
    graph: onnx.ModelProto, facts: GraphFacts, cut: Cut, declared: str, output: OutputFact
) -> str:
    """Name of the float tensor with the logits, made the first output of ``graph``."""
    quantised = cut.quantised or (cut.tensor == declared and output.dtype in _QUANTISED)
    logits = dequantised(graph, cut.tensor) if quantised else cut.tensor
    if cut.tensor != declared and facts.half_precision:
        logits = unrounded(graph, logits)
    names = dict.fromkeys([logits, declared])
    del graph.graph.output[:]
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return logits


def _preprocessing(
    entry: onnx.ValueInfoProto, layout: InputLayout, options: PreprocessOptions
) -> tuple[Preprocessing, tuple[str, ...]]:
    """Preprocessing for the input, and notes on the parts that were assumed."""
    dtype = str(helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type))
    if options.dtype is not None and options.dtype != dtype:
        message = (
            f"the preprocessing states dtype {options.dtype}, but input {entry.name!r} is {dtype}"
        )
        raise PreprocessingError(message)
    for key, values in (("mean", options.mean), ("std", options.std)):
        if values is not None and len(values) not in (1, layout.image[0]):
            message = (
                f"{key} has {len(values)} numbers, but the images have {layout.image[0]} channels"
            )
            raise PreprocessingError(message)
    assumed = []
    if options.range is None:
        black_and_white = _INTEGER_RANGES.get(dtype, (0.0, 1.0) if "float" in dtype else (0, 255))
        options = PreprocessOptions(range=black_and_white).over(options)
        low, high = black_and_white
        assumed.append(f"assumed: pixel values range from {low:g} (black) to {high:g} (white)")
    if options.mean is None and options.std is None:
        assumed.append("assumed: no normalisation is applied")
    completed = options.completed(layout=layout.layout, dtype=dtype, input_shape=layout.shape)
    return completed, tuple(assumed)


def _checker_note(model: onnx.ModelProto) -> tuple[str, ...]:
    """Objections of onnx.checker; only a note, because the runtime decides."""
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        reason = " ".join(str(error).split())[:150]
        return (f"onnx.checker rejects the file, but the runtime runs it: {reason}",)
    except (ValueError, RuntimeError):  # too large to serialise, or a schema it does not know
        return ("onnx.checker cannot check the file, but the runtime runs it",)
    return ()


def _output_notes(
    outputs: dict[str, OutputFact], declared: str, cut: Cut, options: LoadOptions
) -> tuple[str, ...]:
    notes = []
    others = [name for name in outputs if name != declared]
    if options.first_output:
        notes.append(f"output {declared!r} is the first that could be the class scores")
    if others:
        notes.append(f"class scores are output {declared!r}; not used: {', '.join(others)}")
    if options.output is not None:
        notes.append(f"output {declared!r} was chosen by the user")
    if cut.squashing == "sigmoid":
        notes.append(
            f"sigmoid {cut.node!r} is removed: its inputs serve as logits, which have the order of "
            "the classes before rounding"
        )
    return tuple(notes)


def _input_notes(whole: GraphFacts, used: GraphFacts) -> tuple[str, ...]:
    kept = {entry.name for entry in used.inputs}
    dropped = [entry.name for entry in whole.inputs if entry.name not in kept]
    return (f"inputs not used, the scores do not depend on them: {listed(dropped)}",) * bool(
        dropped
    )
