"""An ONNX file laid open: the chosen input and output, and a graph that gives logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, helper

from robcert.certify.errors import ModelFileError, PreprocessingError
from robcert.certify.model import PreprocessOptions

from .graph.graph_edits import dequantised, dimensions, required_inputs, restricted, unrounded
from .graph.layout import InputLayout, layout_for_images, layout_without_images, shown
from .graph.model_file import ModelFile, all_tensors, read_model
from .outputs import Cut, asked_for, choose_output, logits_behind
from .runtime.sandbox import OutputFact, trial_outputs

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.model import Preprocessing

    from .graph.layout import Dimensions, ImageShape

_INPUT_TYPES = frozenset(
    {
        *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE),
        *(TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16),
        *(TensorProto.INT32, TensorProto.INT64),
    }
)

_QUANTISED = frozenset({"int8", "uint8"})

_INTEGER_RANGES = {"int8": (-128.0, 127.0)}
"""What black and white become where nobody says it; other integer types: 0 and 255."""

DATA_KEY = "robcert.data"
"""Metadata entry of an ONNX file: the data set that it was trained on."""


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """What was decided about a file.

    Attributes:
        file: the file and its hash.
        graph: restricted copy whose outputs are ``logits`` and, if another, ``declared``.
        input_name: the input that images go to.
        input_dims: its declared shape.
        layout: how images lie in it.
        preprocessing: how pixels become that input.
        declared: the chosen output.
        declared_shape: its shape on one image.
        logits: the tensor with the logits.
        cut: what stands between the two.
        data_name: data set named in the metadata.
        notes: decisions, one line each.
    """

    file: ModelFile
    graph: onnx.ModelProto
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

    @property
    def half_precision(self) -> bool:
        """Whether float16 tensors take part."""
        return _holds_half(self.graph) or self.preprocessing.dtype == "float16"

    @property
    def fixed_batch(self) -> int | None:
        """Images a call that the file declares; None if free."""
        if not self.layout.batched:
            return 1
        first = self.input_dims[0] if self.input_dims else ""
        return first if isinstance(first, int) else None


def open_model(
    path: Path,
    *,
    preprocess: PreprocessOptions,
    output: str | None,
    image_shape: ImageShape | None,
) -> OnnxModel:
    """The model in ``path``, tried in a child process first.

    Args:
        path: ONNX file.
        preprocess: what the user says of the input; goes before the file's own metadata.
        output: name of the output, which may be an inner tensor; None to find it.
        image_shape: (c, h, w) of the images that it is for; None if there are none.

    Raises:
        ModelFileError: the file is bad, unsafe or no image classifier.
        DataError: the images do not fit its input.
        PreprocessingError: the preprocessing contradicts the input.
    """
    facts = trial_outputs(path, image_shape=image_shape, output=output)
    file = read_model(path)
    declared = choose_output(
        path, file.model, facts, batch=_declared_batch(file.model), requested=output
    )
    cut = logits_behind(file.model, declared)
    graph = restricted(file.model, list(dict.fromkeys([cut.tensor, declared])))
    entry = _image_input(path, graph)
    metadata = {prop.key: prop.value for prop in file.model.metadata_props}
    options = preprocess.over(PreprocessOptions.from_metadata(metadata))
    dims: Dimensions = tuple(dimensions(entry)) or ("", "", "", "")
    if image_shape is None:
        layout = layout_without_images(entry.name, dims, options.layout)
    else:
        layout = layout_for_images(entry.name, dims, image_shape, options.layout)
    preprocessing, assumed = _preprocessing(entry, layout, options)
    decided = (*_output_notes(facts, declared, cut, output), *_input_notes(file.model, graph))
    return OnnxModel(
        file=file,
        graph=graph,
        input_name=entry.name,
        input_dims=dims,
        layout=layout,
        preprocessing=preprocessing,
        declared=declared,
        declared_shape=facts[declared].shape,
        logits=_logits(graph, cut, declared, facts[declared]),
        cut=cut,
        data_name=metadata.get(DATA_KEY, ""),
        notes=(*_checker_note(file.model), *decided, *layout.notes, *assumed),
    )


def _declared_batch(model: onnx.ModelProto) -> int:
    """First axis of the first input where it is fixed, else 1."""
    for entry in required_inputs(model):
        first = (dimensions(entry) or [""])[0]
        if isinstance(first, int):
            return first
    return 1


def _image_input(path: Path, graph: onnx.ModelProto) -> onnx.ValueInfoProto:
    """The one input that the chosen output depends on."""
    inputs = required_inputs(graph)
    if len(inputs) != 1:
        names = ", ".join(f"{i.name} {shown(dimensions(i))}" for i in inputs) or "none"
        message = (
            f"{path}: an image classifier has one input, its output "
            f"{graph.graph.output[-1].name!r} depends on {len(inputs)}: {names}"
        )
        hint = "choose an output that depends on the images alone (--output)" if inputs else ""
        raise ModelFileError(message, hint=hint)
    kind = inputs[0].type.tensor_type.elem_type
    if kind not in _INPUT_TYPES:
        name = TensorProto.DataType.Name(kind) if kind else "no tensor"
        message = f"{path}: input {inputs[0].name!r} is {name}, not an image"
        raise ModelFileError(message)
    return inputs[0]


def _holds_half(model: onnx.ModelProto) -> bool:
    return any(tensor.data_type == TensorProto.FLOAT16 for tensor in all_tensors(model))


def _logits(graph: onnx.ModelProto, cut: Cut, declared: str, fact: OutputFact) -> str:
    """Name of the float tensor with the logits, made the first output of ``graph``."""
    quantised = cut.quantised or (cut.tensor == declared and fact.dtype in _QUANTISED)
    logits = dequantised(graph, cut.tensor) if quantised else cut.tensor
    if cut.tensor != declared and _holds_half(graph):
        logits = unrounded(graph, logits)
    names = dict.fromkeys([logits, declared])
    del graph.graph.output[:]
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return logits


def _preprocessing(
    entry: onnx.ValueInfoProto, layout: InputLayout, options: PreprocessOptions
) -> tuple[Preprocessing, tuple[str, ...]]:
    """Preprocessing for the input, and what of it was assumed."""
    dtype = str(helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type))
    if options.dtype is not None and options.dtype != dtype:
        message = f"dtype {options.dtype} is said, but input {entry.name!r} is {dtype}"
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
        assumed.append(f"assumed: black is {low:g} and white is {high:g}")
    if options.mean is None and options.std is None:
        assumed.append("assumed: no normalisation is applied")
    completed = options.completed(layout=layout.layout, dtype=dtype, input_shape=layout.shape)
    return completed, tuple(assumed)


def _checker_note(model: onnx.ModelProto) -> tuple[str, ...]:
    """What onnx.checker objects to; the runtime is the judge, so it is only a note."""
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        reason = " ".join(str(error).split())[:150]
        return (f"onnx.checker rejects the file, the runtime runs it: {reason}",)
    except (ValueError, RuntimeError):  # too large to serialise, or a schema it does not know
        return ("onnx.checker cannot check the file, the runtime runs it",)
    return ()


def _output_notes(
    facts: dict[str, OutputFact], declared: str, cut: Cut, requested: str | None
) -> tuple[str, ...]:
    notes = []
    others = [name for name in facts if name != declared]
    if others:
        notes.append(f"class scores are output {declared!r}; not used: {', '.join(others)}")
    if requested is not None:
        notes.append(asked_for(declared))
    if cut.squashing == "sigmoid":
        notes.append(
            f"sigmoid {cut.node!r} is cut off: its inputs serve as logits, the class order is kept"
        )
    return tuple(notes)


def _input_notes(model: onnx.ModelProto, graph: onnx.ModelProto) -> tuple[str, ...]:
    kept = {entry.name for entry in graph.graph.input}
    dropped = [entry.name for entry in required_inputs(model) if entry.name not in kept]
    return (f"inputs left out, the scores do not need them: {', '.join(dropped)}",) * bool(dropped)
