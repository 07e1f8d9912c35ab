"""The audited model in pixel space: the runtime that is shipped and its differentiable twin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from robcert.certify.errors import TwinUnavailableError
from robcert.certify.numerics import SameRows

from .preprocessing import Preprocessing

GRADIENT_BATCH_MULTIPLE, SMALLEST_GRADIENT_BATCH, LARGEST_GRADIENT_BATCH = 2, 16, 64
"""On a CPU torch's convolutions give rows other bits at odd batch sizes and below 16 images."""

STEPS = ("(Round)", "(Floor)", "(Ceil)", "(Sign)")
"""How the names of nodes end whose true gradient, zero, is part of the model."""

Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Parity:
    """How well the twin agrees with the runtime.

    Attributes:
        images: images and noise images that were compared.
        top1_agreement: share of them on which both name the same class.
        max_relative_logit_error: largest difference of a logit, divided by the median over images
            of the spread (max - min) of the runtime's logits.
        gradient_correlation: Pearson correlation of the twin's directional derivatives with central
            differences of the runtime; None where it is not defined (no slope anywhere).
    """

    images: int
    top1_agreement: float
    max_relative_logit_error: float
    gradient_correlation: float | None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of the model file; goes to ``/model`` of a results file."""

    file: str
    sha256: str
    kind: Literal["onnx", "checkpoint", "module"]
    producer: str = ""
    opset: int = 0
    input_name: str = ""
    input_shape: tuple[int | str, ...] = ()
    output_name: str = ""
    output_shape: tuple[int | str, ...] = ()
    logits_from: str = "logits"  # e.g. "input of Softmax node 'prob'", "log of the probabilities"
    runtime: str = ""
    data_name: str = ""  # data set named in the model's metadata
    preprocessing: str = ""  # how pixels become the input, as JSON; part of what is audited
    straight_through: tuple[str, ...] = ()
    hint_nodes: tuple[str, ...] = ()  # comparing, rounding, random, ... nodes: no useful gradient
    twin_unavailable: str = ""  # why there is no twin; empty if there is one
    parity: Parity | None = None  # None without a twin to compare, or one and the same module
    random: bool = False  # the same image gives other logits each time
    notes: tuple[str, ...] = ()  # what was decided and why, one line each


@dataclass(slots=True)
class Classifier:
    """Images in pixel space to logits, by the runtime or by its twin.

    Attributes:
        runtime: pixels ``(b, c, h, w)`` to logits ``(b, k)``, no gradient: what is shipped.
        twin: the same function in torch operations, with gradients (straight-through ones at
            quantised nodes); None if there is none.
        exact_twin: the twin with true gradients (zero at rounding, sign, ...); None if the twin
            has no straight-through node, for then the two are one.
        fixed_batch: 1 for a model whose batch axis cannot be freed, else None.
        declared: the file's own output ``(b, k)`` as it stands, by the runtime, where logits were
            found behind it (probabilities, ...); None where it is the logits.
        declared_twin: the same with a gradient, the true one unless only nodes of a number format
            have none; None if there is no twin or no ``declared``.
        doubted_twin: a twin that gives the runtime's logits, but whose gradient is not their slope
            over small differences; ``twin`` is None then, and the masking check asks why.
        inner: opens the twin up, see :mod:`robcert.certify.importer.twin.inside_scores`: pixels to
            scores inside the graph, with a gradient past what may hide it; None, or gives None,
            where there is nothing to open.
        with_preprocessing: the runtime's logits under another preprocessing, to see what would have
            been; None where that cannot be asked.
        one_by_one: whether the runtime is asked about one image at a time, whatever the batch.
        cores: processor cores that it may use.
        reopened: opens the runtime anew for calls from many threads at once, each call in one
            thread; None where the runtime does for that as it is.
        precision: numbers that the runtime computes in, where others were asked for than the
            file's own, which go by ``float32``.
        quantised: opens the model in int8, with ranges from the noisy images that it is given,
            likewise for calls from many threads; None where it cannot be had.
    """

    info: ModelInfo
    runtime: Logits
    twin: Logits | None
    num_classes: int
    image_shape: tuple[int, int, int]
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    exact_twin: Logits | None = None
    fixed_batch: int | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    declared: Logits | None = None
    declared_twin: Logits | None = None
    doubted_twin: Logits | None = None
    inner: Callable[[], Logits | None] | None = None
    with_preprocessing: Callable[[Preprocessing], Logits] | None = None
    one_by_one: bool = False
    cores: int = field(default_factory=torch.get_num_threads)
    reopened: Callable[[], Logits] | None = None
    precision: str = "float32"
    quantised: Callable[[Tensor], Logits] | None = None

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int,
        info: ModelInfo | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> Classifier:
        """Classifier whose runtime and twin are the torch module ``module`` (in eval mode)."""
        module.eval().requires_grad_(requires_grad=False)
        module.to(memory_format=torch.channels_last)  # convolutions take a third less time
        prepare = preprocessing or Preprocessing()

        def logits(x: Tensor, prepare: Preprocessing = prepare) -> Tensor:
            with SameRows():
                return module(prepare(x))

        return cls(
            info=info or ModelInfo(file=type(module).__name__, sha256="", kind="module"),
            runtime=torch.no_grad()(lambda x: _padded(logits, x)),
            twin=logits,
            num_classes=num_classes,
            image_shape=image_shape,
            preprocessing=prepare,
            with_preprocessing=lambda other: torch.no_grad()(lambda x: logits(x, other)),
        )

    @property
    def differentiable(self) -> bool:
        """Whether gradient analyses can run."""
        return self.twin is not None

    def logits(self, x: Tensor) -> Tensor:
        """Logits ``(b, k)`` of ``x (b, c, h, w)`` as the shipped model gives them; no gradient."""
        return self.runtime(x)

    @contextmanager
    def forward_only(self) -> Iterator[None]:
        """Keep torch to one thread while only the runtime is asked.

        Its thread pool beside ONNX Runtime's halves both (measured on two cores). Without effect
        where the runtime is torch itself.
        """
        with one_torch_thread() if self.info.kind == "onnx" else nullcontext():
            yield

    def many_calls(self) -> Logits:
        """The runtime for calls from many threads at once, each call in one thread.

        Cores that work on batches of their own do not wait for one another, as the threads inside
        an operator do. The scores are the same.
        """
        return self.runtime if self.reopened is None else self.reopened()

    def twin_logits(self, x: Tensor, *, straight_through: bool = True) -> Tensor:
        """Logits ``(b, k)`` of ``x (b, c, h, w)`` with a gradient with respect to ``x``.

        Rows do not depend on the batch they came in: it is padded to an even number, at least 16,
        and split at 64 on a CPU, or taken apart for a model of fixed batch 1.

        Args:
            x: pixels.
            straight_through: gradients at quantised nodes as if they were the identity; else the
                true ones (zero almost everywhere).

        Raises:
            TwinUnavailableError: the model has no twin.
        """
        twin = self.twin if straight_through or self.exact_twin is None else self.exact_twin
        if twin is None:
            message = f"{self.info.file} has no differentiable twin: {self.info.twin_unavailable}"
            raise TwinUnavailableError(message)
        if self.fixed_batch == 1:
            return torch.cat([twin(row[None]) for row in x])
        return _padded(twin, x)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Keep torch's operators to the thread that calls them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def rounds_by_itself(straight_through: Iterable[str]) -> bool:
    """Whether a node among those with a stand-in gradient, ``name (operator)``, rounds by itself.

    Those of a number format such as int8 (QuantizeLinear and the like) do not count: such models
    are made with the stand-in, and whoever attacks them uses it, so it is their gradient.
    """
    return any(name.endswith(STEPS) for name in straight_through)


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
    if not classifier.differentiable:
        reason = classifier.info.twin_unavailable
        message = f"{classifier.info.file} has no differentiable twin: {reason}"
        raise TwinUnavailableError(message)
