"""The models and analyses of a reproduction, with the commands that do the same."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from robcert.trainers.recipe import preset

from .request import MODELS
from .scale import Shrunk, shrunk_training

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from robcert.trainers.methods import Objective
    from robcert.trainers.recipe import TrainConfig

    from .analyses import Analysis
    from .item import Model, Value
    from .request import Evaluated, ReproductionRequest

WATCHED = 500
"""Least number of images that a training measures its accuracy on."""

OF_NETWORK = {"arch": "name", "activation": "activation", "width": "width"}
"""Options of `robcert train` that describe the network, and their fields in ``Architecture``."""

RESULTS, NUMBERS = "results", "numbers"
"""Folders of the results files, and of what they say."""


@dataclass(frozen=True, slots=True)
class ModelRun:
    """One training and its analyses.

    Attributes:
        model: the model of the item.
        seed: seed of this training among those of the item, from 0.
        config: the training.
        run: its run folder.
        results: results file of the analyses.
        analyses: what is computed, shrunk.
        sources: run folders of the models that a transfer takes.
    """

    model: Model
    seed: int
    config: TrainConfig
    run: Path
    results: Path
    analyses: tuple[Analysis, ...]
    sources: tuple[Path, ...]

    @property
    def name(self) -> str:
        """The model and its seed in words."""
        return f"{self.model.name}, seed {self.seed}"


def paper_config(model: Model) -> TrainConfig:
    """The training of ``model`` in the size of the paper."""
    config = preset(model.preset).config
    network: dict[str, Value] = {}
    method: dict[str, Value] = {}
    for name, value in model.options:
        if name in OF_NETWORK:
            network[OF_NETWORK[name]] = value
        else:
            method[name] = value
    return replace(
        config,
        architecture=replace(config.architecture, **network),  # type: ignore[arg-type]
        objective=replace(config.objective, **method),  # type: ignore[type-var]
    )


def jobs(request: ReproductionRequest) -> list[ModelRun]:
    """Every training with its analyses, seed after seed, in the order of the item."""
    return [
        _job(request, model, seed) for seed in range(request.seeds) for model in request.item.models
    ]


def _job(request: ReproductionRequest, model: Model, seed: int) -> ModelRun:
    item = request.item
    config = request.scale.training(paper_config(model), item.training)
    start = str(run_folder(request, item.model(model.start), seed)) if model.start else None
    evaluation = replace(
        config.evaluation,
        images=max(request.images, WATCHED),
        attack_every=0,
        keep_every=item.keep_every,
    )
    analyses = tuple(one.scaled(request.scale) for one in item.analyses_of(model))
    names = dict.fromkeys(name for one in analyses for name in getattr(one, "of", ()))
    return ModelRun(
        model=model,
        seed=seed,
        config=replace(
            config,
            data=request.source,
            seed=seed + model.apart,
            init_from=start,
            evaluation=evaluation,
        ),
        run=run_folder(request, model, seed),
        results=request.out / RESULTS / f"{_slug(model.name)}-seed{seed}.h5",
        analyses=analyses,
        sources=tuple(run_folder(request, item.model(name), seed) for name in names),
    )


def run_folder(request: ReproductionRequest, model: Model, seed: int) -> Path:
    """Run folder of the training of ``model`` with ``seed``."""
    return request.out / MODELS / f"{_slug(model.name)}-seed{seed}"


def numbers_file(request: ReproductionRequest, job: ModelRun) -> Path:
    """File of what the analyses of ``job`` said."""
    return request.out / NUMBERS / f"{_slug(job.model.name)}-seed{job.seed}.json"


def _slug(name: str) -> str:
    """``name`` as the name of a file.

    >>> _slug("LLR (4, 0.5), WRN-28-8"), _slug("squared ℓ1 norm, λ = 1")
    ('llr-4-0.5-wrn-28-8', 'squared-l1-norm-lambda-1')
    """
    plain = name.lower().replace("ℓ", "l").replace("λ", "lambda ").replace("γ", "gamma ")
    plain = plain.replace("ε", "epsilon ").replace("σ", "sigma ")
    return re.sub(r"[^a-z0-9.]+", "-", plain).strip("-")


def shrunk(request: ReproductionRequest, evaluated: int, training: int) -> list[Shrunk]:
    """Everything that is smaller than in the paper.

    Args:
        request: the reproduction.
        evaluated: number of evaluated images.
        training: number of training images that there are.
    """
    found: dict[Shrunk, None] = {}
    item = request.item
    if evaluated != item.images:
        found[Shrunk("evaluated images", "all models", str(item.images), str(evaluated))] = None
    for model in item.models:
        paper = paper_config(model)
        ours = request.scale.training(paper, item.training)
        counts = (item.training, training)
        found |= dict.fromkeys(shrunk_training(model.name, paper, ours, counts))
        for one in item.analyses_of(model):
            found |= dict.fromkeys(one.shrunk(one.scaled(request.scale)))
    return _together(list(found), len(item.models))


def _together(found: list[Shrunk], models: int) -> list[Shrunk]:
    """Equal changes of several models as one."""
    where: dict[tuple[str, str, str], list[str]] = {}
    for one in found:
        where.setdefault((one.quantity, one.paper, one.ours), []).append(one.where)
    return [
        Shrunk(quantity, "all models" if len(of) == models > 1 else ", ".join(of), paper, ours)
        for (quantity, paper, ours), of in where.items()
    ]


def train_command(request: ReproductionRequest, job: ModelRun) -> str:
    """The command that trains the model of ``job``."""
    paper, ours = paper_config(job.model), job.config
    words = ["robcert", "train", ours.method, "--preset", job.model.preset]
    for name, value in job.model.options:
        words += [f"--{name.replace('_', '-')}", _text(value)]
    words += ["--data", ours.data, *_root(request)]
    if ours.subset is not None:
        words += ["--subset", str(ours.subset)]
    if ours.epochs != paper.epochs:
        words += ["--epochs", str(ours.epochs)]
    if ours.batch_size != paper.batch_size:
        words += ["--batch-size", str(ours.batch_size)]
    if ours.architecture.width != paper.architecture.width:
        words += ["--width", str(ours.architecture.width)]
    if ours.init_from is not None:
        words += ["--init-from", ours.init_from]
    if ours.evaluation.keep_every:
        words += ["--keep-every", str(ours.evaluation.keep_every)]
    words += ["--attack-every", "0", "--seed", str(ours.seed), "--out", str(job.run)]
    return shlex.join(words)


def analysis_commands(
    request: ReproductionRequest, job: ModelRun, images: Evaluated
) -> Iterator[str]:
    """The commands of the analyses of ``job``."""
    for one in job.analyses:
        words = ["robcert", *one.command, "--model", str(job.run), *images.words, *_root(request)]
        words += [*one.words(job.sources), "--seed", str(job.seed), "--allow-low-accuracy"]
        yield shlex.join([*words, "--out", str(job.results)])


def _root(request: ReproductionRequest) -> tuple[str, ...]:
    return () if request.data_root is None else ("--data-root", str(request.data_root))


def _text(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def passes(request: ReproductionRequest) -> float:
    """Rough number of passes over one image, of all trainings and analyses."""
    return sum(
        training_passes(request, job) + analysis_passes(request, job) for job in jobs(request)
    )


def training_passes(request: ReproductionRequest, job: ModelRun) -> float:
    """Rough passes of the training of ``job``: epochs times images times those of its method."""
    images = job.config.subset or request.item.training
    return job.config.epochs * images * method_passes(job.config.objective)


def analysis_passes(request: ReproductionRequest, job: ModelRun) -> float:
    """Rough passes of the analyses of ``job``."""
    return request.images * sum(one.passes for one in job.analyses)


def method_passes(objective: Objective) -> float:
    """Rough passes per image and step: those of the inner steps, and those of the loss."""
    outer = 3.0 if objective.differentiates_twice else 1.0
    return outer + float(getattr(objective, "steps", 0))
