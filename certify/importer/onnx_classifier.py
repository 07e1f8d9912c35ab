"""An ONNX file as a Classifier: runtime, twin, and how well the two agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

from ..classifier import Classifier, Logits, ModelInfo
from ..errors import ModelFileError, UnsupportedOperatorError
from ..preprocessing import Preprocessing
from ..sampling import generator
from .batching import Batching, decide_batching, discontinuous
from .graph import opset_versions
from .onnx_model import OnnxModel, open_model
from .parity import Tolerance, measure_parity
from .runtime import Runtime
from .runtime_session import open_session
from .scores import ScoreRule, score_rule
from .twin import Twin, build_twin

if TYPE_CHECKING:
    from pathlib import Path

    from ..image_set import ImageSet
    from ..preprocess_options import PreprocessOptions

PROBES = 8
"""Model inputs on which batches are compared with single images; half noise, half real."""

PARITY_IMAGES = 32
"""Real images on which twin and runtime are compared."""

PARITY_PIXELS = 600_000
"""Real images for parity hold at most so many pixels together (but are at least four)."""


@dataclass(frozen=True, slots=True)
class OnnxLoader:
    """How an ONNX file is loaded.

    Attributes:
        preprocess: what the user says of the preprocessing.
        output: name of the output; None to find it.
        device: where the twin computes, and the runtime if it can.
        threads: of the runtime; 0 for one a core.
    """

    preprocess: PreprocessOptions
    output: str | None
    device: torch.device
    threads: int

    def load(self, path: Path, images: ImageSet | None) -> Classifier:
        """The classifier in ``path``; see :func:`robcert.certify.models.load_classifier`."""
        shape = None if images is None else images.shape
        model = open_model(path, preprocess=self.preprocess, output=self.output, image_shape=shape)
        return _Assembly(self, model, images).classifier()

    def session(self, path: Path, graph: onnx.ModelProto) -> onnxruntime.InferenceSession:
        """Session on the device asked for."""
        # The CUDA provider complains at length where there is no GPU; torch knows.
        on_gpu = self.device.type == "cuda" and torch.cuda.is_available()
        return open_session(
            graph.SerializeToString(),
            path=path,
            threads=self.threads,
            cuda_device=(self.device.index or 0) if on_gpu else None,
        )


@dataclass(frozen=True, slots=True)
class _Assembly:
    """The parts of one classifier, put together."""

    loader: OnnxLoader
    model: OnnxModel
    images: ImageSet | None

    def classifier(self) -> Classifier:
        """The finished classifier."""
        model = self.model
        runtime = self._runtime(model.graph)
        real = self._real_images()
        probes = model.preprocessing(self._probes(real))
        batching = decide_batching(
            model.graph,
            runtime,
            output=model.logits,
            probes=probes,
            tolerance=self._batch_tolerance(),
            reopen=self._runtime,
        )
        rule = score_rule(
            batching.runtime(probes, model.logits), squashed=model.cut.squashing != "none"
        )
        if self.images is not None:
            self.images.require_fit(model.layout.image, rule.classes)
        classifier = Classifier(
            info=self._info(batching, rule),
            runtime=partial(
                _runtime_logits, batching.runtime, model.logits, rule, model.preprocessing
            ),
            twin=None,
            num_classes=rule.classes,
            image_shape=model.layout.image,
            preprocessing=model.preprocessing,
            device=self.loader.device,
            with_preprocessing=lambda other: partial(
                _runtime_logits, batching.runtime, model.logits, rule, other
            ),
        )
        if model.logits != model.declared or rule.kind != "logits":
            plain = ScoreRule("logits", rule.classes)
            classifier.declared = partial(
                _runtime_logits, batching.runtime, model.declared, plain, model.preprocessing
            )
        return self._with_twin(classifier, batching, rule, real)

    def _runtime(self, graph: onnx.ModelProto) -> Runtime:
        """Runtime of a graph; its batch is what the graph's input declares."""
        model = self.model
        session = self.loader.session(model.file.path, graph)
        entry = next(i for i in session.get_inputs() if i.name == model.input_name)
        first = entry.shape[0] if model.layout.batched and entry.shape else 1
        fixed = first if isinstance(first, int) else None
        return Runtime(
            session,
            model.input_name,
            model.preprocessing.dtype,
            fixed_batch=fixed,
            batched=model.layout.batched,
        )

    def _real_images(self) -> Tensor | None:
        """Images spread evenly over the data set."""
        if self.images is None:
            return None
        pixels = int(np.prod(self.images.shape))
        count = min(PARITY_IMAGES, max(4, PARITY_PIXELS // pixels), len(self.images))
        chosen = np.linspace(0, len(self.images) - 1, count).astype(np.int64)
        return self.images.pixels(chosen)

    def _probes(self, real: Tensor | None) -> Tensor:
        """Pixels ``(PROBES, c, h, w)`` on which batching is tried."""
        shape = self.model.layout.image
        count = 0 if real is None else min(len(real), PROBES // 2)
        noise = torch.rand(PROBES - count, *shape, generator=generator(0, "probes", 0))
        return noise if real is None else torch.cat([real[:count], noise])

    def _batch_tolerance(self) -> float:
        """Difference that batches may make; float32 sums differ by about 1e-6."""
        if discontinuous(self.model.graph):
            return 0.25
        return 0.02 if self.model.half_precision else 1e-4

    def _info(self, batching: Batching, rule: ScoreRule) -> ModelInfo:
        """What is known before the twin."""
        model, proto = self.model, self.model.file.model
        source = model.cut.describe()
        if rule.kind != "logits":
            source = {
                "probabilities": "log of the probabilities",
                "probability": "log-odds of the one probability",
                "score": "the one score against 0",
            }[rule.kind]
        provider = batching.runtime.session.get_providers()[0].removesuffix("ExecutionProvider")
        notes = [*model.notes, batching.note]
        if batching.random:
            notes.append("random: the same image gives other logits each time")
        return ModelInfo(
            file=model.file.path.name,
            sha256=model.file.sha256,
            kind="onnx",
            producer=f"{proto.producer_name} {proto.producer_version}".strip(),
            opset=opset_versions(proto).get("", 0),
            input_name=model.input_name,
            input_shape=model.input_dims,
            output_name=model.declared,
            output_shape=model.declared_shape,
            logits_from=source,
            runtime=f"onnxruntime {onnxruntime.__version__} {provider}",
            data_name=model.data_name,
            random=batching.random,
            notes=tuple(notes),
        )

    def _with_twin(
        self, classifier: Classifier, batching: Batching, rule: ScoreRule, real: Tensor | None
    ) -> Classifier:
        """The classifier with its twin, or with the reason why it has none."""
        model = self.model
        try:
            twin = self._twin(batching, model.logits)
        except (UnsupportedOperatorError, ModelFileError) as error:
            classifier.info = replace(classifier.info, twin_unavailable=str(error))
            return classifier
        prepare = model.preprocessing
        call = partial(_twin_logits, twin, batching.runtime, rule, prepare)
        classifier.twin = partial(call, straight_through=True)
        if twin.straight_through:
            classifier.exact_twin = partial(call, straight_through=False)
        if twin.batching == "single":
            classifier.fixed_batch = 1
        classifier.info = replace(classifier.info, straight_through=twin.straight_through)
        self._judge(classifier, twin, batching, real)
        if classifier.twin is not None and classifier.declared is not None:
            classifier.declared_twin = self._declared_twin(batching, rule)
        return classifier

    def _twin(self, batching: Batching, output: str) -> Twin:
        model = self.model
        shape = model.layout.shape if model.layout.batched else model.layout.shape[1:]
        twin = build_twin(batching.model, outputs=[output], image_shape=shape)
        return twin.to(self.loader.device)

    def _declared_twin(self, batching: Batching, rule: ScoreRule) -> Logits:
        """Twin of the declared output."""
        twin = self._twin(batching, self.model.declared)
        plain = ScoreRule("logits", rule.classes)
        prepare = self.model.preprocessing
        return partial(_twin_logits, twin, batching.runtime, plain, prepare, straight_through=True)

    def _judge(
        self, classifier: Classifier, twin: Twin, batching: Batching, real: Tensor | None
    ) -> None:
        """Measure parity; beyond tolerance the twin goes."""
        half = self.model.half_precision
        stepped = bool(twin.straight_through) or discontinuous(batching.model)
        integer_input = "int" in self.model.preprocessing.dtype
        tolerance = Tolerance.of(
            half_precision=half,
            discontinuous=stepped,
            smooth_gradient=not (stepped or integer_input),
        )
        parity = measure_parity(classifier, real, step_scale=10.0 if half else 1.0)
        reason = "" if batching.random else tolerance.broken_by(parity)
        classifier.info = replace(classifier.info, parity=parity, twin_unavailable=reason)
        if reason:
            classifier.twin = classifier.exact_twin = None


def _runtime_logits(
    runtime: Runtime, output: str, rule: ScoreRule, prepare: Preprocessing, x: Tensor
) -> Tensor:
    """Logits ``(b, k)`` of pixels by the runtime."""
    with torch.no_grad():
        return rule(runtime(prepare(x), output))


def _twin_logits(
    twin: Twin,
    runtime: Runtime,
    rule: ScoreRule,
    prepare: Preprocessing,
    x: Tensor,
    *,
    straight_through: bool,
) -> Tensor:
    """Logits ``(b, k)`` of pixels by the twin."""
    inputs = prepare(x)
    if not runtime.batched:
        rows = [twin(row, straight_through=straight_through).reshape(1, -1) for row in inputs]
        return rule(torch.cat(rows))
    if twin.batching == "single" and len(inputs) > 1:
        rows = [twin(row, straight_through=straight_through) for row in inputs.split(1)]
        return rule(torch.cat(rows))
    return rule(twin(inputs, straight_through=straight_through))


LogitsOf = Callable[[Preprocessing], Logits]
