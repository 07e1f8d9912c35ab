"""An ONNX file as a Classifier: what is shipped, run by ONNX Runtime."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from robcert.certify.errors import ModelFileError
from robcert.certify.model import Classifier, InputGrid, Logits, ModelInfo, Runtime
from robcert.certify.numerics import generator, machine_memory

from .executed.comparison import ImageInput
from .executed.process import ShippedFile, difference, executed_difference
from .graph.graph_edits import BATCH
from .onnx_model import OnnxModel, open_model
from .onnx_twin import TwinOutcome, TwinSource
from .outputs import Cut, are_sigmoids
from .runtime.batching import Batching, BatchTrial, decide_batching
from .runtime.limits import MEMORY, UNLIMITED_ROWS, most_rows
from .runtime.runtime import GraphRuntime
from .runtime.runtime_session import RuntimeSession, available_cores
from .runtime.worker_session import WORKERS, WorkerSession, WorkerSource
from .scores import ScoreRule, score_rule, squashed
from .twin.training_mode import listed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import onnx
    from onnxruntime import InferenceSession

    from robcert.certify.data import ImageSet
    from robcert.certify.model import Preprocessing

    from .load import LoadOptions

BATCHES = (2, 5)
"""Numbers of images in the batches with which a graph is asked whether it keeps them apart."""

PROBES = 8
"""Model inputs on which batches are compared with single images; half noise, half real."""

PARITY_IMAGES = 32
"""Real images on which twin and runtime are compared."""

PIXEL_MARGIN = 4
"""Batches of a model whose cost depends on the pixels are planned to take this part of the memory
that it may use."""

LEAST_LOGARITHM = -80.0
"""Logarithm of the smallest share that float32 keeps for sure; its smallest normal one is e^-87."""

PARITY_PIXELS = 600_000
"""Limit on the pixels of all real images for parity together (but at least four images)."""


@dataclass(frozen=True, slots=True)
class OnnxLoader:
    """Loads ONNX files.

    Attributes:
        options: what the user states about the file.
        device: where the twin computes, and the runtime if it can.
    """

    options: LoadOptions
    device: torch.device

    def load(self, path: Path, images: ImageSet | None) -> Classifier:
        """The classifier in ``path``; see :func:`robcert.certify.importer.load.load_classifier`."""
        model = open_model(path, self.options, None if images is None else images.shape)
        real = None if images is None else _spread_images(images)
        probes = model.preprocessing(_probes(real, model.layout.image))
        model = self._with_trusted_cut(model, probes)
        batching = self._batching(model, probes)
        raw = batching.runtime(probes, model.logits)
        rule = score_rule(raw, is_squashed=model.cut.squashing != "none")
        if not self.options.multiclass:
            _require_one_class(model, rule)
        if images is not None:
            images.require_fit(model.layout.image, rule.classes)
        runtime = self._shipped(model, batching, rule)
        has_declared = runtime.declared is not None
        limits = self.options.limits
        source = TwinSource(
            model, batching, rule, runtime.logits, has_declared, self.device, limits
        )
        outcome = source.build(real)
        return Classifier(
            info=_info(model, batching, rule, outcome),
            runtime=runtime,
            num_classes=rule.classes,
            image_shape=model.layout.image,
            twin=outcome.twin,
            doubted_twin=outcome.doubted,
            preprocessing=model.preprocessing,
            device=self.device,
        )

    def _shipped(self, model: OnnxModel, batching: Batching, rule: ScoreRule) -> Runtime:
        """The logits of ONNX Runtime, and the other ways of calling it."""

        def scores(output: str, by: ScoreRule, prepare: Preprocessing) -> Logits:
            return partial(_scores, batching.runtime, output, by, prepare)

        differs = model.logits != model.declared or rule.kind != "logits"
        unchanged = ScoreRule("logits", rule.classes)
        quantisable = self.device.type != "cuda" and model.cost.fixed
        return Runtime(
            logits=scores(model.logits, rule, model.preprocessing),
            declared=scores(model.declared, unchanged, model.preprocessing) if differs else None,
            with_preprocessing=partial(scores, model.logits, rule),
            one_by_one=batching.runtime.fixed_batch is not None,
            cores=self.options.threads or available_cores(),
            reopened=cache(partial(self._reopened, model, batching, rule)),
            quantised=partial(self._quantised, model, batching, rule) if quantisable else None,
            reorders=_reorders(model.cut, rule),
            rewritten=cache(partial(self._rewritten, model, batching)),
        )

    def _rewritten(self, model: OnnxModel, batching: Batching) -> str:
        """How what a session on the CPU executes differs from the graph that it is given."""
        source = self._source(model, batching.model, self.options.threads)
        layout, runtime = model.layout, batching.runtime
        batch = (runtime.fixed_batch or 1,) if layout.batched else ()
        shape = (*batch, *layout.shape)
        image = ImageInput(model.input_name, shape, runtime.dtype)
        file, declared = model.file.model, model.fixed_batch
        shipped = ShippedFile(
            file,
            model.declared,
            (*((declared or 1,) if layout.batched else ()), *layout.shape),
            batches=BATCHES if declared is None else (declared,) * (declared > 1),
        )
        own = model.declared in {entry.name for entry in file.graph.output}
        # where the cost depends on the pixels no process without limits may run the graph
        compared = difference if model.cost.fixed else executed_difference
        return compared(source, image, shipped if own else None)

    def _reopened(self, model: OnnxModel, batching: Batching, rule: ScoreRule) -> Logits:
        """The same scores by a session whose operators use the calling thread only."""
        runtime = batching.runtime
        if self.device.type != "cuda" and isinstance(runtime.session, RuntimeSession):
            runtime = replace(runtime, session=runtime.session.alone)
        return partial(_scores, runtime, model.logits, rule, model.preprocessing)

    def _quantised(
        self, model: OnnxModel, batching: Batching, rule: ScoreRule, noisy: Tensor
    ) -> Logits:
        """Scores in int8, with the ranges of ``noisy (b, c, h, w)``."""
        from .runtime.quantisation import (
            quantised,  # the quantiser is slow to import, and rarely needed
        )

        inputs = model.preprocessing(noisy)
        graph = quantised(batching.model, model.facts, batching.runtime, inputs)
        alone = self._runtime(model, graph, threads=1)
        runtime = replace(batching.runtime, session=alone.session)
        return partial(_scores, runtime, model.logits, rule, model.preprocessing)

    def _batching(self, model: OnnxModel, probes: Tensor) -> Batching:
        """Runtime for batches, or for one image at a time."""
        # Sums of float32 in another order differ by about 1e-6 of the scores.
        tolerance = 0.02 if model.half_precision else 1e-4
        trial = BatchTrial(
            output=model.logits,
            probes=probes,
            tolerance=0.25 if model.facts.discontinuous else tolerance,
            draws=model.facts.draws,
        )
        return decide_batching(
            model.graph,
            self._runtime(model, model.graph),
            trial,
            reopen=partial(self._runtime, model),
        )

    def _with_trusted_cut(self, model: OnnxModel, probes: Tensor) -> OnnxModel:
        """``model``; its softmax stays unless it reproduces the declared output from the logits."""
        if model.cut.squashing == "none" or model.cut.quantised:
            return model
        runtime = self._runtime(model, model.graph)
        single = replace(runtime, fixed_batch=runtime.fixed_batch or 1)
        declared = single(probes[:2], model.declared)
        expected = squashed(single(probes[:2], model.logits), model.cut.squashing)
        if not declared.is_floating_point():  # quantised probabilities: only their order is known
            declared = declared.float()
            top = expected.gather(1, declared.flatten(1).argmax(1, keepdim=True))
            trusted = bool((top >= expected.amax(1, keepdim=True) - 0.02).all())
        else:
            ours, shipped = expected.flatten(), declared.float().flatten()
            if model.cut.squashing == "log-softmax":  # of a share that underflows a file has log 0
                ours, shipped = (x.clamp_min(LEAST_LOGARITHM) for x in (ours, shipped))
            trusted = len(ours) == len(shipped) and torch.allclose(
                ours, shipped, atol=1e-2, equal_nan=True
            )
        if trusted:
            return model
        note = f"{model.cut.squashing} {model.cut.node!r} is not over the classes: it is kept"
        return replace(
            model, cut=Cut(model.declared), logits=model.declared, notes=(*model.notes, note)
        )

    def _runtime(
        self, model: OnnxModel, graph: onnx.ModelProto, threads: int | None = None
    ) -> GraphRuntime:
        """Session of a graph, with the batch size that the graph's input declares."""
        # The CUDA provider logs long errors where there is no GPU; torch knows.
        on_gpu = self.device.type == "cuda" and torch.cuda.is_available() and model.cost.fixed
        threads = self.options.threads if threads is None else threads
        path, limits = model.file.path, self.options.limits
        session: RuntimeSession | InferenceSession | WorkerSession
        if model.cost.fixed or not WORKERS:
            device = (self.device.index or 0) if on_gpu else None
            session = RuntimeSession(
                graph.SerializeToString, path=path, threads=threads, cuda_device=device
            )
        else:
            session = WorkerSession(self._source(model, graph, threads))
        entry = next(i for i in session.get_inputs() if i.name == model.input_name)
        first = entry.shape[0] if entry.shape else None  # an input may have no shape at all
        fixed = 1 if not model.layout.batched else first if isinstance(first, int) else None
        dtype = model.preprocessing.dtype
        return GraphRuntime(
            session,
            model.input_name,
            dtype,
            fixed,
            model.layout.batched,
            bound=on_gpu,
            limits=limits,
            most_rows=UNLIMITED_ROWS if on_gpu else self._most_rows(model),
        )

    def _source(self, model: OnnxModel, graph: onnx.ModelProto, threads: int) -> WorkerSource:
        """What a process of its own runs."""
        content, size = graph.SerializeToString(), model.file.size
        return WorkerSource(content, model.file.path, threads, size, self.options.limits)

    def _most_rows(self, model: OnnxModel) -> int:
        """Images of the largest batch that fits into memory beside those of the other cores.

        Where the cost depends on the pixels, other images may need more than that of the trial.
        """
        given = self.options.limits.memory
        memory = machine_memory() // 2 if given is None else given
        if not model.cost.fixed:
            memory = (given or MEMORY) // PIXEL_MARGIN
        return most_rows(memory // (self.options.threads or available_cores()), model.memory)


def _reorders(cut: Cut, rule: ScoreRule) -> str:
    """Why the file's own output may have another class than the logits; empty if it cannot."""
    if cut.squashing == "sigmoid" and rule.kind == "logits":
        return "it ends in a sigmoid of each score, and large ones all round to 1"
    return cut.reorders


def _require_one_class(model: OnnxModel, rule: ScoreRule) -> None:
    """Raise if the model may give an image several classes.

    Raises:
        ModelFileError: its scores are sigmoids of more than two classes.
    """
    if rule.classes > 2 and are_sigmoids(model.graph, model.declared):
        message = (
            f"{model.file.path}: output {model.declared!r} is a sigmoid over {rule.classes} "
            "classes, as of a model that gives an image any number of labels"
        )
        raise ModelFileError(message, hint="if each image has one class, pass --task multiclass")


def _spread_images(images: ImageSet) -> Tensor:
    """Some images, spread evenly over the data set."""
    pixels = int(np.prod(images.shape))
    count = min(PARITY_IMAGES, max(4, PARITY_PIXELS // pixels), len(images))
    return images.pixels(np.linspace(0, len(images) - 1, count).astype(np.int64))


def _probes(real: Tensor | None, shape: tuple[int, int, int]) -> Tensor:
    """Pixels ``(PROBES, c, h, w)`` for the comparison of batches with single images."""
    count = 0 if real is None else min(len(real), PROBES // 2)
    noise = torch.rand(PROBES - count, *shape, generator=generator(0, "probes", 0))
    return noise if real is None else torch.cat([real[:count], noise])


def _scores(
    runtime: GraphRuntime, output: str, rule: ScoreRule, prepare: Preprocessing, x: Tensor
) -> Tensor:
    """Scores ``(b, k)`` of pixels ``x (b, c, h, w)`` by the runtime."""
    with torch.no_grad():
        return rule(runtime(prepare(x), output))


def _info(model: OnnxModel, batching: Batching, rule: ScoreRule, outcome: TwinOutcome) -> ModelInfo:
    """What is known about the file."""
    proto = model.file.model
    provider = batching.runtime.session.get_providers()[0].removesuffix("ExecutionProvider")
    return ModelInfo(
        file=model.file.path.name,
        sha256=model.file.sha256,
        kind="onnx",
        producer=f"{proto.producer_name} {proto.producer_version}".strip(),
        opset=model.opset,
        input_name=model.input_name,
        input_shape=model.input_dims,
        output_name=model.declared,
        output_shape=_output_shape(model, batching),
        logits_from=_logits_from(model, rule),
        runtime=f"onnxruntime {onnxruntime.__version__} {provider}",
        data_name=model.data_name,
        preprocessing=json.dumps(asdict(model.preprocessing), sort_keys=True),
        straight_through=outcome.straight_through,
        hint_nodes=outcome.hint_nodes,
        twin_unavailable=outcome.unavailable,
        parity=outcome.parity,
        random=batching.random,
        notes=(*model.notes, *_notes(model, batching), *outcome.notes),
        assumed_preprocessing=model.assumed_preprocessing,
        training=model.training,
    )


def _logits_from(model: OnnxModel, rule: ScoreRule) -> str:
    return {
        "logits": model.cut.describe(),
        "probabilities": "log of the probabilities",
        "probability": "log-odds of the one probability",
        "score": f"one score against 0 ({model.cut.describe()})",
    }[rule.kind]


def _notes(model: OnnxModel, batching: Batching) -> Iterator[str]:
    yield batching.note
    if (grid := InputGrid.of(model.preprocessing)) is not None:
        yield grid.note()
    if model.facts.normalised_by_batch:
        yield (
            "BatchNormalization left in training mode, scores may depend on the batch and on "
            f"earlier calls: {listed(model.facts.normalised_by_batch)}"
        )
    if not model.cost.fixed:
        yield f"{model.cost.reason}: the runtime has a process of its own, limited in memory"
    if batching.random:
        yield "random: the same image gives different logits each time"


def _output_shape(model: OnnxModel, batching: Batching) -> tuple[int | str, ...]:
    """Shape of the output; a free batch axis has the name of the input's."""
    shape = model.declared_shape
    free = batching.runtime.fixed_batch is None and model.fixed_batch is None
    if free and shape[:1] == (1,):
        return (model.input_dims[0] or BATCH, *shape[1:])
    return shape
