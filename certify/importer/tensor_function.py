"""An ONNX file as a function of one tensor of any shape, in the file's own inputs and outputs.

Nothing is assumed about images, classes or preprocessing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from robcert.certify.errors import ModelFileError, TwinUnavailableError

from .executed.comparison import ImageInput
from .executed.process import ShippedFile, difference
from .graph.facts import GraphFacts, dimensions
from .graph.graph_edits import restricted
from .graph.layout import shown
from .graph.model_file import read_model
from .graph.pixel_cost import PixelCost
from .outputs import inside_hint
from .runtime.limits import RunLimits
from .runtime.runtime_session import describe_failure, open_session
from .runtime.sandbox import try_model
from .runtime.watch import watched
from .runtime.worker_session import WorkerSource
from .twin.training_mode import listed
from .twin.twin import build_twin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx
    import onnxruntime

    from .runtime.sandbox import OutputFact
    from .twin.twin import TwinModule

_DEFAULTS = RunLimits()


@dataclass(frozen=True, slots=True)
class TensorFunction:
    """A network with one float32 input tensor and one float32 output tensor.

    Attributes:
        path: the file.
        sha256: hash of the file.
        input_name: the input.
        output_name: the output.
        input_shape: shape of one input, without the batch axis if it has one.
        outputs: number of elements of the output on one input.
        session: ONNX Runtime on the file's graph.
        module: the same graph in torch.
        batched: whether the graph's input has a batch axis, which is free or 1.
        limits: time of a call.
        rewritten: how what the runtime executes differs from the file, in words; an
            empty text if it does not.
    """

    path: Path
    sha256: str
    input_name: str
    output_name: str
    input_shape: tuple[int, ...]
    outputs: int
    session: onnxruntime.InferenceSession
    module: TwinModule
    batched: bool
    limits: RunLimits = _DEFAULTS
    rewritten: Callable[[], str] | None = None

    @property
    def inputs(self) -> int:
        """Number of elements of one input."""
        return math.prod(self.input_shape)

    def runtime(self, x: Tensor) -> Tensor:
        """Outputs ``(b, n)`` of ``x (b, *input_shape)`` by ONNX Runtime, one input at a time.

        Raises:
            ModelFileError: the runtime fails on an input.
            TimeLimitError: it takes too long.
        """
        return torch.stack([self._run(row) for row in x])

    def twin(self, x: Tensor) -> Tensor:
        """The same by torch, with a gradient."""
        call = partial(self.module, straight_through=False)
        if self.batched and self.module.batch_free:
            return call(x).reshape(len(x), -1)
        rows = torch.split(x, 1) if self.batched else x.unbind()
        return torch.stack([call(row).flatten() for row in rows])

    def _run(self, row: Tensor) -> Tensor:
        """Outputs ``(n,)`` of one input."""
        array = row.detach().cpu().numpy().astype(np.float32)[None if self.batched else ...]
        with watched(1, self.limits) as options:
            try:
                (raw,) = self.session.run([self.output_name], {self.input_name: array}, options)
            except Exception as error:  # onnxruntime's classes share no base but Exception
                if options.terminate:
                    raise
                message = f"the runtime fails on an input: {describe_failure(error)}"
                raise ModelFileError(message) from error
        return torch.from_numpy(np.asarray(raw, np.float32).reshape(-1))


def load_tensor_function(
    path: Path,
    *,
    output: str | None = None,
    elements: int | None = None,
    limits: RunLimits = _DEFAULTS,
) -> TensorFunction:
    """The network in an ONNX file, tried in a child process first.

    Args:
        path: ONNX file.
        output: name of the output, which may be a tensor inside the graph; None for the only one
            that is a float32 tensor of ``elements``, as beside a class label.
        elements: number of elements that the output should have; None if any will do.
        limits: time of a call and memory that the file may use.

    Raises:
        ModelFileError: the file is bad or unsafe, or has not one float32 input of known shape and
            one float32 output.
        UnsupportedOperatorError: an operator cannot be rebuilt in torch.
        TwinUnavailableError: its output is random, or its cost depends on the values of the input.
    """
    facts = try_model(path, output=output, limits=limits).outputs
    file = read_model(path)
    name = _requested(path, facts, output) if output else _output(path, file.model, facts, elements)
    graph = restricted(file.model, [name])
    cost = PixelCost.of(graph)
    if not cost.fixed:
        message = f"{path}: {cost.reason.replace('pixels determine', 'input determines')}"
        raise TwinUnavailableError(message, hint="a property needs a network of fixed cost")
    entry = _input(path, GraphFacts.of(graph))
    shape, batched = _shape(path, entry)
    content = graph.SerializeToString()
    session = open_session(content, path=path, threads=1)
    whole = (1, *shape) if batched else shape
    own = name in {entry.name for entry in file.model.graph.output}
    shipped = ShippedFile(file.model, name, whole) if own else None
    module = build_twin(graph, outputs=[name], image_shape=shape if batched else None)
    if module.random_nodes or module.training_nodes:
        names = listed([node.name for node in (*module.random_nodes, *module.training_nodes)])
        message = f"{path}: nodes are random or left in training mode: {names}"
        raise TwinUnavailableError(message)
    return TensorFunction(
        path,
        file.sha256,
        entry.name,
        name,
        shape,
        math.prod(facts[name].shape),
        session,
        module,
        batched,
        limits,
        cache(
            partial(
                difference,
                WorkerSource(content, path, 1, file.size, limits),
                ImageInput(entry.name, whole, "float32"),
                shipped,
            )
        ),
    )


def _requested(path: Path, facts: dict[str, OutputFact], name: str) -> str:
    """The output that was requested, which must be a float32 tensor."""
    if name not in facts or facts[name].dtype != "float32":
        kind = facts[name].dtype if name in facts else "missing"
        message = f"{path}: output {name!r} is {kind}; a property needs a float32 tensor"
        raise ModelFileError(message)
    return name


def _output(
    path: Path, model: onnx.ModelProto, facts: dict[str, OutputFact], elements: int | None
) -> str:
    """The output that a property is about: the only one, or the only float32 one that fits."""
    if len(facts) == 1:
        return _requested(path, facts, next(iter(facts)))
    tensors = {name: math.prod(f.shape) for name, f in facts.items() if f.dtype == "float32"}
    fitting = [name for name, size in tensors.items() if elements in (None, size)]
    if len(fitting) == 1:
        return fitting[0]
    listed_outputs = ", ".join(
        f"{name} ({fact.dtype} {shown(fact.shape)})" for name, fact in facts.items()
    )
    wanted = "" if elements is None else f" of {elements} elements"
    several = "several float32 tensors" if fitting else "no float32 tensor"
    message = f"{path}: {several}{wanted} among its outputs {listed_outputs}"
    hint = f"choose one: --output {fitting[0]}" if fitting else inside_hint(model, facts, None)
    raise ModelFileError(message, hint=hint)


def _input(path: Path, facts: GraphFacts) -> onnx.ValueInfoProto:
    """The one float32 input that the output depends on."""
    if len(facts.inputs) != 1:
        names = ", ".join(f"{i.name} {shown(dimensions(i))}" for i in facts.inputs) or "none"
        message = f"{path}: a property needs a model with one input, found: {names}"
        raise ModelFileError(message)
    (entry,) = facts.inputs
    kind = entry.type.tensor_type.elem_type
    if kind != TensorProto.FLOAT:
        name = TensorProto.DataType.Name(kind) if kind else "no tensor"
        message = f"{path}: input {entry.name!r} is {name}; a property needs a float32 tensor"
        raise ModelFileError(message)
    return entry


def _shape(path: Path, entry: onnx.ValueInfoProto) -> tuple[tuple[int, ...], bool]:
    """Shape of one input, and whether the graph's input has a batch axis before it."""
    sizes = dimensions(entry)
    batched = len(sizes) > 1 and not (isinstance(sizes[0], int) and sizes[0] > 1)
    own = sizes[1:] if batched else sizes
    shape = tuple(size for size in own if isinstance(size, int))
    if not own or len(shape) != len(own):
        message = f"{path}: the shape of input {entry.name!r} is not fixed: {shown(sizes)}"
        raise ModelFileError(message, hint="export the model with a fixed shape, or a free batch")
    return shape, batched
