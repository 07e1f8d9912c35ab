"""The configuration of a training, from a preset, a file or the defaults, and the options."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from robcert.certify.errors import InvalidParameterError
from robcert.certify.number_text import number

from ..shell.values import either, numbers, of_option

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from robcert.trainers.methods import Objective
    from robcert.trainers.recipe import Optimizer, Schedule, TrainConfig

    from .train_options import TrainOptions

M = TypeVar("M", bound="Objective")


class OwnOptions(Protocol[M]):
    """The options of one method: a dataclass whose fields are None if not given."""

    def over(self, base: M) -> M:
        """``base`` with the options that were given."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is to be trained.

    Attributes:
        config: configuration of the run.
        pretraining: configuration of its pretraining, if a preset has one.
        notes: what the options changed although they do not name it, one line each.
    """

    config: TrainConfig
    pretraining: TrainConfig | None
    notes: tuple[str, ...]


def recipe_of(options: TrainOptions, method: type[M], own: OwnOptions[M]) -> Recipe:
    """The training that the options describe.

    The options override the preset, the config file or the defaults; --epochs stretches or shortens
    warm-ups and milestones in proportion, unless an option sets them. The shared options apply to
    the pretraining too.

    Args:
        options: the shared options.
        method: class of the training method.
        own: the method's own options.

    Raises:
        InvalidParameterError: the preset or file does not exist or is of another method, a value is
            not allowed, an option has no effect, or a warm-up is longer than the training.
    """
    from robcert.trainers.methods import method_name
    from robcert.trainers.recipe import preset

    base, source = _base(options, method)
    shared = _with_shared(base, options)
    objective = shared.objective
    if not isinstance(objective, method):
        message = f"{source} is of the method {base.method}, not {method_name(method())}"
        raise InvalidParameterError(message, hint=f"robcert train {base.method}")
    config = replace(shared, objective=own.over(objective))
    _require_radius(own, objective, config.objective)
    _require_effect(own, config.objective.unused)
    _require_effect(options, config.architecture.unused)
    config.require_reached()
    notes = [*_stretched(base, config)]
    first = None
    if options.preset is not None and preset(options.preset).pretraining:
        recipe = preset(preset(options.preset).pretraining).config
        first = _with_shared(recipe, options)
        notes += [f"pretraining: {line}" for line in _stretched(recipe, first)]
    return Recipe(config, first, tuple(notes))


def _base(options: TrainOptions, method: type[Objective]) -> tuple[TrainConfig, str]:
    """Configuration that the options change, and what it is called in messages."""
    from robcert.trainers.recipe import TrainConfig, preset

    if options.preset is not None and options.config is not None:
        message = "--preset and --config exclude each other"
        raise InvalidParameterError(message)
    if options.preset is not None:
        return preset(options.preset).config, f"the preset {options.preset}"
    if options.config is not None:
        return _read_config(options.config), str(options.config)
    return TrainConfig(objective=method()), "default"


def _require_effect(options: object, unused: Mapping[str, str]) -> None:
    """Raise if one of ``options`` was given that is among the ``unused`` settings."""
    given = {item.name for item in fields(options) if getattr(options, item.name) is not None}  # type: ignore[arg-type]
    for name in sorted(given & unused.keys()):
        message = f"--{name.replace('_', '-')} has no effect with {unused[name]}"
        raise InvalidParameterError(message, hint="leave out one of the two")


def _require_radius(own: object, base: Objective, changed: Objective) -> None:
    """Raise if ``own`` changes the norm of a radius and leaves the radius as it was."""
    from robcert.certify.tables import pixel

    epsilon = getattr(own, "epsilon", 0.0)
    norms = [str(getattr(method, "norm", "")) for method in (base, changed)]
    if epsilon is None and norms[0] != norms[1]:
        radius = pixel(getattr(base, "epsilon", 0.0))
        message = f"--norm {norms[1]} needs --epsilon: {radius} is a radius in {norms[0]}"
        raise InvalidParameterError(message, hint="usual radii: 8/255 in linf, 0.5 in l2")


def _stretched(base: TrainConfig, config: TrainConfig) -> Iterator[str]:
    """What the number of epochs changed in ``config``, a line each."""
    epochs = "1 epoch" if config.epochs == 1 else f"{config.epochs} epochs"
    length = f"in {epochs} instead of {base.epochs}"
    factor = config.epochs / base.epochs
    before, warmup = base.objective.warmup, config.objective.warmup
    if before != warmup == before * factor:
        yield f"{length}, the warm-up takes {warmup:.4g} instead of {before:.4g}"
    if config.schedule.kind != "steps":
        return
    old, new = base.schedule.milestones, config.schedule.milestones
    if old != new == base.schedule.stretched(factor).milestones:
        yield f"{length}, the learning rate falls at {_listed(new)} instead of {_listed(old)}"


def _listed(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{number:.4g}" for number in numbers)


def _with_shared(base: TrainConfig, options: TrainOptions) -> TrainConfig:
    """``base`` with the shared options that were given."""
    from robcert.trainers.networks import allow

    if options.arch is not None:
        allow(options.arch)
    base = _with_network_and_images(base, options)
    if options.epochs is not None:
        base = base.lasting(options.epochs)
    evaluation = base.evaluation
    return replace(
        base,
        batch_size=either(options.batch_size, base.batch_size),
        optimizer=_optimizer(base.optimizer, options),
        schedule=_schedule(base.schedule, options),
        evaluation=replace(
            evaluation,
            keep_every=either(options.keep_every, evaluation.keep_every),
            attack_every=either(options.attack_every, evaluation.attack_every),
        ),
        precision=either(options.precision, base.precision),
        seed=either(options.seed, base.seed),
        init_from=either(options.init_from, base.init_from),
    )


def _optimizer(base: Optimizer, options: TrainOptions) -> Optimizer:
    """``base`` with the options of gradient descent."""
    clip_norm = base.clip_norm
    if options.clip_norm is not None:
        clip_norm = (
            None
            if options.clip_norm == "none"
            else of_option("--clip-norm", number, options.clip_norm)
        )
    return replace(
        base,
        learning_rate=either(options.learning_rate, base.learning_rate),
        momentum=either(options.momentum, base.momentum),
        nesterov=either(options.nesterov, base.nesterov),
        weight_decay=either(options.weight_decay, base.weight_decay),
        decay=either(options.weight_decay_scope, base.decay),
        clip_norm=clip_norm,
    )


def _schedule(base: Schedule, options: TrainOptions) -> Schedule:
    """``base`` with the options of the learning rate over the epochs.

    Raises:
        InvalidParameterError: milestones or their factor are given for another schedule than steps.
    """
    kind = either(options.schedule, base.kind)
    if kind != "steps":
        unused = f"the schedule {kind}; write --schedule steps"
        _require_effect(options, {"milestones": unused, "decay": unused})
    milestones = base.milestones
    if options.milestones is not None:
        milestones = of_option("--milestones", numbers, options.milestones)
    decay = either(options.decay, base.decay)
    return replace(base, kind=kind, milestones=milestones, decay=decay)


def _with_network_and_images(base: TrainConfig, options: TrainOptions) -> TrainConfig:
    """``base`` with the options of the architecture, the images and their augmentation."""
    network, augmentation = base.architecture, base.augmentation
    return replace(
        base,
        architecture=replace(
            network,
            name=either(options.arch, network.name),
            activation=either(options.activation, network.activation),
            width=either(options.width, network.width),
            denoise=either(options.denoise, network.denoise),
        ),
        augmentation=replace(
            augmentation,
            crop=either(options.crop, augmentation.crop),
            flip=either(options.flip, augmentation.flip),
            cutout=either(options.cutout, augmentation.cutout),
        ),
        data=either(options.data, base.data),
        validation=either(options.validation, base.validation),
        subset=either(options.subset, base.subset),
        image_size=either(options.image_size, base.image_size),
    )


def _read_config(path: Path) -> TrainConfig:
    """Configuration in a config.json: the whole file or only its ``training``."""
    from robcert.certify.json_text import parsed_json
    from robcert.trainers.recipe import TrainConfig

    try:
        content = parsed_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        message = f"{path} is not JSON: {error}"
        raise InvalidParameterError(message) from error
    if isinstance(content, dict):
        content = content.get("training", content)
    return TrainConfig.from_json(content)
