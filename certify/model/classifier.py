"""The audited model in pixel space: the runtime that is shipped and its differentiable twin.

Everything here is a frozen value that is built once; :func:`dataclasses.replace` makes variants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from robcert.certify.errors import TwinUnavailableError
from robcert.certify.json_text import JsonText
from robcert.certify.numerics import SameRows
from robcert.certify.passes import count, is_counting
from robcert.certify.time_budget import require_time

from .grid import InputGrid
from .preprocessing import Preprocessing

if TYPE_CHECKING:
    from .training_record import TrainingRecord

GRADIENT_BATCH_MULTIPLE, SMALLEST_GRADIENT_BATCH, LARGEST_GRADIENT_BATCH = 2, 16, 64
"""On a CPU the last bits of a row depend on the batch size in torch's convolutions where that is
odd or below 16."""

Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Parity:
    """How well the twin agrees with the runtime.

    Attributes:
        images: number of real and noise images compared.
        top1_agreement: share of them on which twin and runtime predict the same class.
        max_relative_logit_error: largest difference of a logit, divided by the range (max - min) of
            the runtime's logits of that image, or by the median range over images if that is
            larger.
        gradient_correlation: Pearson correlation of the twin's directional derivatives with central
            differences of the runtime; None where it is undefined (all slopes are zero).
    """

    images: int
    top1_agreement: float
    max_relative_logit_error: float
    gradient_correlation: float | None


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A node of the model's graph, printed as ``name (Operator)``."""

    name: str
    operator: str

    def __str__(self) -> str:
        return f"{self.name} ({self.operator})"

    @property
    def described(self) -> str:
        """The node in a sentence."""
        return f"node {self.name!r} ({self.operator})"


@dataclass(frozen=True, slots=True)
class OverridableNode(GraphNode):
    """A node that reads a stored tensor in whose place a caller may give another.

    Runtimes do not count such tensors as constants where they replace a group of nodes.
    """


@dataclass(frozen=True, slots=True)
class StraightThroughNode(GraphNode):
    """A node whose true gradient is zero almost everywhere and which has a surrogate gradient.

    Attributes:
        number_format: whether it rounds to a number format such as int8 (QuantizeLinear and the
            like), in contrast to nodes that are steps of the model itself (Round, Sign, ...).
    """

    number_format: bool

    __str__ = GraphNode.__str__


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known about the model file; :meth:`stored` is ``/model`` of a results file.

    Attributes:
        file: name of the file.
        sha256: hash of its content.
        kind: what sort of model it is.
        producer: program that wrote the file.
        opset: version of the ONNX operator set.
        input_name: name of the input that takes the images.
        input_shape: its declared shape; free axes by name.
        output_name: name of the output with the class scores.
        output_shape: its shape.
        logits_from: where the logits are read, such as "input of Softmax node 'prob'".
        runtime: name and version of the runtime.
        data_name: data set named in the model's metadata.
        preprocessing: how pixels become the input, as JSON; part of what is audited.
        straight_through: nodes with surrogate gradients.
        hint_nodes: nodes without a useful gradient (comparisons, random draws, ...).
        twin_unavailable: why there is no twin; empty if there is one.
        parity: None without a twin, or if runtime and twin are the same module.
        random: whether the same image gives different logits each time.
        notes: decisions about the file and their reasons, one line each.
        assumed_preprocessing: whether neither the user nor the metadata stated all of the
            preprocessing; not stored, the notes say it.
        training: what its training measured at its end; None if unknown; not stored.
    """

    file: str
    sha256: str
    kind: Literal["onnx", "checkpoint", "module"]
    producer: str = ""
    opset: int = 0
    input_name: str = ""
    input_shape: tuple[int | str, ...] = ()
    output_name: str = ""
    output_shape: tuple[int | str, ...] = ()
    logits_from: str = "logits"
    runtime: str = ""
    data_name: str = ""
    preprocessing: str = ""
    straight_through: tuple[StraightThroughNode, ...] = ()
    hint_nodes: tuple[GraphNode, ...] = ()
    twin_unavailable: str = ""
    parity: Parity | None = None
    random: bool = False
    notes: tuple[str, ...] = ()
    assumed_preprocessing: bool = False
    training: TrainingRecord | None = None

    def barely_trained(self, num_classes: int) -> str:
        """A sentence if the training ended near chance; empty if not, or if that is unknown."""
        return "" if self.training is None else self.training.barely_trained(num_classes)

    def stored(self) -> dict[str, Any]:
        """Attributes of ``/model`` in a results file; nodes are stored as ``name (Operator)``."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        del values["assumed_preprocessing"], values["training"]
        values["parity"] = None if self.parity is None else asdict(self.parity)
        return {
            **values,
            "preprocessing": JsonText(self.preprocessing),
            "straight_through": tuple(map(str, self.straight_through)),
            "hint_nodes": tuple(map(str, self.hint_nodes)),
        }


@dataclass(frozen=True, slots=True)
class Runtime:
    """What is shipped: pixels to logits without a gradient.

    Attributes:
        logits: pixels ``(b, c, h, w)`` to logits ``(b, k)``.
        declared: the file's own output ``(b, k)``, unchanged, where the logits were found in front
            of it (a softmax, ...); None where that output is the logits.
        with_preprocessing: the logits under another preprocessing, to see whether it fits better;
            None where the preprocessing cannot be changed.
        one_by_one: whether the runtime processes one image at a time, whatever the batch.
        cores: number of processor cores that it may use.
        reopened: opens a second session whose calls use one thread each, for calls from many
            threads at once; None where ``logits`` serves for that as well.
        precision: number format of the computation; ``float32`` stands for the file's own.
        quantised: opens the model in int8, with activation ranges taken from the noisy images it
            is given, also for calls from many threads; None where int8 is not available.
        reorders: why ``declared`` may have another class than the logits in float32, in words: it
            rounds what is apart in them, or overflows. Empty if it cannot.
        rewritten: how what the runtime executes differs from the file, in words; an
            empty text if it does not. None where the file is executed as it stands, or that is not
            known.
    """

    logits: Logits
    declared: Logits | None = None
    with_preprocessing: Callable[[Preprocessing], Logits] | None = None
    one_by_one: bool = False
    cores: int = field(default_factory=torch.get_num_threads)
    reopened: Callable[[], Logits] | None = None
    precision: str = "float32"
    quantised: Callable[[Tensor], Logits] | None = None
    reorders: str = ""
    rewritten: Callable[[], str] | None = None


@dataclass(frozen=True, slots=True)
class ScoresInside:
    """Scores inside the graph that give the same classes as its output.

    Attributes:
        logits: pixels ``(b, c, h, w)`` to these scores ``(b, k)``.
        own_slopes: whether their gradient is the graph's own. Otherwise it bypasses layers before
            them that may hide it.
    """

    logits: Logits
    own_slopes: bool


@dataclass(frozen=True, slots=True)
class Twin:
    """The same function in torch operations, with gradients.

    Where the input is an integer, it is the function before the pixels are rounded.

    Attributes:
        logits: pixels ``(b, c, h, w)`` to logits ``(b, k)``; straight-through gradients at
            quantised nodes.
        exact: the same with true gradients (zero at rounding, sign, ...); None if the model has no
            straight-through node, for then both are one.
        declared: counterpart of :attr:`Runtime.declared`, with the true gradient unless all nodes
            without one round to a number format; None if there is no ``declared``.
        inside_scores: finds scores inside the graph, see
            :mod:`robcert.certify.importer.twin.inside_scores`. None, or a function that returns
            None, where the graph has no such scores, or nothing may hide their gradient.
        stages: finds tensors inside the graph with a usable slope, see
            :mod:`robcert.certify.importer.twin.stages`: functions of pixels to their entries
            ``(b, m)``, the last stage first. None where there is no graph.
        fixed_batch: 1 for a model whose batch axis cannot be freed, else None.
    """

    logits: Logits
    exact: Logits | None = None
    declared: Logits | None = None
    inside_scores: Callable[[], ScoresInside | None] | None = None
    stages: Callable[[], tuple[Logits, ...]] | None = None
    fixed_batch: int | None = None

    def __call__(self, x: Tensor, *, straight_through: bool = True) -> Tensor:
        """Logits ``(b, k)`` of ``x (b, c, h, w)``; see :meth:`Classifier.twin_logits`."""
        function = self.logits if straight_through or self.exact is None else self.exact
        if self.fixed_batch == 1:
            return torch.cat([function(row[None]) for row in x])
        return _padded(function, x)


@dataclass(frozen=True, slots=True)
class Classifier:
    """Images in pixel space to logits, by the runtime or by its twin.

    Attributes:
        info: what is known about the file.
        runtime: what is shipped.
        num_classes: k.
        image_shape: (c, h, w) of one image.
        twin: the differentiable twin; None if there is none.
        doubted_twin: a twin that reproduces the runtime's logits but whose gradient disagrees with
            finite differences of the runtime; ``twin`` is None then, and the masking check
            examines why.
        preprocessing: how pixels become the model's input.
        device: where images are expected.
    """

    info: ModelInfo
    runtime: Runtime
    num_classes: int
    image_shape: tuple[int, int, int]
    twin: Twin | None = None
    doubted_twin: Twin | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int,
        info: ModelInfo | None = None,
        preprocessing: Preprocessing | None = None,
        device: torch.device | str = "cpu",
    ) -> Classifier:
        """Classifier whose runtime and twin are the torch module ``module`` (in eval mode)."""
        module.eval().requires_grad_(requires_grad=False)
        module.to(memory_format=torch.channels_last)  # convolutions take a third less time
        prepare = preprocessing or Preprocessing()

        def logits(x: Tensor, prepare: Logits = prepare) -> Tensor:
            with SameRows():
                return module(prepare(x))

        return cls(
            info=info or ModelInfo(file=type(module).__name__, sha256="", kind="module"),
            runtime=Runtime(
                logits=torch.no_grad()(lambda x: _padded(logits, x)),
                with_preprocessing=lambda other: torch.no_grad()(lambda x: logits(x, other)),
            ),
            num_classes=num_classes,
            image_shape=image_shape,
            twin=Twin(partial(logits, prepare=partial(prepare, rounded=False))),
            preprocessing=prepare,
            device=torch.device(device),
        )

    @property
    def grid(self) -> InputGrid | None:
        """The images that an integer input can hold; None where it holds every image."""
        return InputGrid.of(self.preprocessing)

    @property
    def differentiable(self) -> bool:
        """Whether gradient analyses can run."""
        return self.twin is not None

    def logits(self, x: Tensor) -> Tensor:
        """Logits ``(b, k)`` of ``x (b, c, h, w)`` as the shipped model gives them; no gradient."""
        require_time()
        count(forward=len(x))
        return self.runtime.logits(x)

    @contextmanager
    def forward_only(self) -> Iterator[None]:
        """Limit torch to one thread while only the runtime computes.

        Torch's thread pool beside ONNX Runtime's halves the speed of both (measured on two cores).
        No effect where the runtime is torch itself.
        """
        with one_torch_thread() if self.info.kind == "onnx" else nullcontext():
            yield

    def many_calls(self) -> Logits:
        """The runtime for calls from many threads at once, each call in one thread.

        Cores that work on separate batches do not wait for one another, as the threads inside an
        operator do. The scores are the same.
        """
        reopened = self.runtime.reopened
        logits = self.runtime.logits if reopened is None else reopened()
        return _counted(logits) if is_counting() else logits

    def twin_logits(self, x: Tensor, *, straight_through: bool = True) -> Tensor:
        """Logits ``(b, k)`` of ``x (b, c, h, w)`` with a gradient with respect to ``x``.

        Rows do not depend on the rest of the batch: on a CPU it is padded to an even size of at
        least 16 and split at 64; a model of fixed batch 1 gets the images one at a time.

        Args:
            x: pixels.
            straight_through: differentiate quantised nodes as if they were the identity; otherwise
                use their true gradient (zero almost everywhere).

        Raises:
            TwinUnavailableError: the model has no twin.
        """
        if self.twin is None:
            raise TwinUnavailableError(_no_twin(self.info))
        require_time()
        found = self.twin(x, straight_through=straight_through)
        count(forward=len(x))
        if is_counting() and found.requires_grad:
            found.register_hook(lambda _: count(backward=len(x)))  # type: ignore[no-untyped-call]
        return found


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Limit torch's operators to the calling thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _counted(function: Logits) -> Logits:
    """``function``, which counts its passes."""

    def logits(x: Tensor) -> Tensor:
        count(forward=len(x))
        return function(x)

    return logits


def rounds_by_itself(nodes: Iterable[StraightThroughNode]) -> bool:
    """Whether one of the nodes is a step of the model itself (Round, Sign, ...).

    Nodes of a number format such as int8 (QuantizeLinear and the like) do not count: such models
    are trained and attacked with the straight-through gradient, so it counts as their gradient.
    """
    return any(not node.number_format for node in nodes)


def _padded(function: Logits, x: Tensor) -> Tensor:
    """``function(x)`` computed in batches of usual sizes, padded with copies of the first row."""
    if x.device.type == "cpu" and len(x) > LARGEST_GRADIENT_BATCH:
        parts = torch.split(x, LARGEST_GRADIENT_BATCH)
        return torch.cat([_padded(function, part) for part in parts])
    missing = max(-len(x) % GRADIENT_BATCH_MULTIPLE, SMALLEST_GRADIENT_BATCH - len(x))
    if missing == 0 or len(x) == 0:
        return function(x)
    padding = x[:1].detach().expand(missing, *x.shape[1:])
    return function(torch.cat([x, padding]))[: len(x)]


def require_gradients(classifier: Classifier) -> None:
    """Raise a TwinUnavailableError unless the model has a twin."""
    if classifier.twin is None:
        raise TwinUnavailableError(_no_twin(classifier.info))


def _no_twin(info: ModelInfo) -> str:
    return f"{info.file} has no differentiable twin: {info.twin_unavailable}"
