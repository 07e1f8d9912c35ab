"""Configuration of a training run: everything that determines its result, and its JSON."""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from robcert.certify.core import Norm
from robcert.certify.errors import InvalidParameterError, require_at_least, require_positive
from robcert.trainers.data import Augmentation
from robcert.trainers.methods import METHODS, Objective, Standard, method_name
from robcert.trainers.networks import Architecture, Precision

from .schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Optimizer:
    """Stochastic gradient descent with momentum.

    Attributes:
        learning_rate: learning rate before the factor of the schedule.
        momentum: factor of the previous step.
        nesterov: whether the momentum is Nesterov's.
        weight_decay: factor of the parameters that is added to their gradient, as in torch.
        decay: whether weight decay acts on ``all`` parameters or only on ``weights`` with at least
            two axes.
        clip_norm: largest l2 norm of the whole gradient; None for no clipping. The papers' recipes
            do not clip; small networks without batch norm diverge without it.
    """

    learning_rate: float = 0.05
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    decay: Literal["all", "weights"] = "all"
    clip_norm: float | None = 1.0

    def __post_init__(self) -> None:
        require_positive("learning_rate", self.learning_rate)
        if not 0 <= self.momentum < 1:
            message = f"momentum must lie in [0, 1), got {self.momentum:g}"
            raise InvalidParameterError(message)
        if self.nesterov and not self.momentum:
            message = "Nesterov's momentum needs a momentum above 0"
            raise InvalidParameterError(message)
        if not self.weight_decay >= 0:
            message = f"weight decay must be 0 or more, got {self.weight_decay:g}"
            raise InvalidParameterError(message)
        if self.clip_norm is not None:
            require_positive("clip_norm", self.clip_norm)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Measurements on the evaluation images during training.

    Attributes:
        every: epochs between measurements of clean accuracy; the last epoch is always measured.
        images: number of evaluation images, counted from the first; None for all.
        attack_every: epochs between short attacks (ascent on the cross-entropy); 0 for none.
        attack_images: number of attacked images, counted from the first.
        attack_steps: gradient steps of the attack.
        keep_every: epochs between checkpoints that are kept, always including the initial and the
            last weights; 0 for none.
        norm: norm of the attack; None for that of the method if ``epsilon`` is None, else linf.
        epsilon: radius of the attack, pixel units; None for that of the method if ``norm`` is None
            and the method has one, else the usual radius of the norm.
    """

    every: int = 1
    images: int | None = None
    attack_every: int = 5
    attack_images: int = 512
    attack_steps: int = 10
    keep_every: int = 0
    norm: Norm | None = None
    epsilon: float | None = None

    def __post_init__(self) -> None:
        require_at_least("evaluation every", self.every, 1)
        require_at_least("attack_every", self.attack_every, 0)
        require_at_least("keep_every", self.keep_every, 0)

    def against(self, objective: Objective) -> Evaluation:
        """These settings with norm and radius of ``objective``, unless one of them is set."""
        if self.norm is not None or self.epsilon is not None:
            return self
        return replace(self, norm=Norm(objective.norm), epsilon=objective.epsilon)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that determines the result of a training run on given hardware.

    Attributes:
        objective: the training method with its options.
        architecture: the network without its weights.
        data: name or path of the training images.
        validation: whether the best epoch is chosen on held-out training images, for data that has
            separate test images; else it is chosen on the test images.
        subset: number of training images, counted from the first; None for all.
        image_size: side of the squares that are cut out of photographs: at random places and
            scales in training, from the centre in evaluation; 0 if all images have one size.
        epochs: passes over the data.
        batch_size: images per optimiser step.
        optimizer: stochastic gradient descent and its options.
        schedule: learning rate over the epochs.
        augmentation: random changes of the training images.
        evaluation: measurements during training.
        normalize: whether the network's input is (x - mean) / std, with the mean and standard
            deviation of each channel of the training images, rounded to four digits.
        precision: number format of the network's layers in training; losses and penalties are
            always computed in 32 bits.
        seed: seed of the initial weights, the order of the data and all random numbers.
        init_from: run folder or checkpoint with the initial weights; None for random weights.
    """

    objective: Objective = field(default_factory=Standard)
    architecture: Architecture = field(default_factory=Architecture)
    data: str = "fashion-mnist"
    validation: bool = True
    subset: int | None = None
    image_size: int = 0
    epochs: int = 15
    batch_size: int = 128
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    augmentation: Augmentation = field(default_factory=Augmentation)
    evaluation: Evaluation = field(default_factory=Evaluation)
    normalize: bool = True
    precision: Precision = "32"
    seed: int = 0
    init_from: str | None = None

    def __post_init__(self) -> None:
        require_at_least("epochs", self.epochs, 1)
        require_at_least("batch_size", self.batch_size, 1)
        require_at_least("image_size", self.image_size, 0)
        if self.subset is not None:
            require_at_least("subset", self.subset, 1)
        if self.precision != "32" and self.objective.takes_differences:
            message = (
                f"{self.method} divides small differences of losses, which {self.precision} "
                "rounds away"
            )
            raise InvalidParameterError(message, hint="use precision 32")

    @property
    def method(self) -> str:
        """Name of the method."""
        return method_name(self.objective)

    def lasting(self, epochs: int) -> TrainConfig:
        """The same recipe in ``epochs`` epochs: warm-ups and milestones change in proportion."""
        require_at_least("epochs", epochs, 1)
        factor = epochs / self.epochs
        if factor == 1:
            return self
        return replace(
            self,
            epochs=epochs,
            objective=self.objective.stretched(factor),
            schedule=self.schedule.stretched(factor),
        )

    def require_reached(self) -> None:
        """Raise unless the training goes beyond its warm-up and all its milestones.

        This is no condition on the values themselves, so that every saved run can be read.

        Raises:
            InvalidParameterError: the method would never run at full strength, or the learning
                rate would not fall where the schedule says, or the warm-up is negative.
        """
        warmup = self.objective.warmup
        if not warmup >= 0:
            message = f"the warm-up must take 0 epochs or more, got {warmup}"
            raise InvalidParameterError(message)
        if warmup and not warmup < self.epochs:
            message = (
                f"the warm-up of {warmup:g} epochs is not shorter than the training of "
                f"{self.epochs}: {self.method} would never run at full strength"
            )
            raise InvalidParameterError(message, hint="shorten the warm-up or train for longer")
        late = [at for at in self.schedule.milestones if not at < self.epochs]
        if self.schedule.kind == "steps" and late:
            message = (
                f"the learning rate is to fall at epoch {late[0]:g}, but the training has only "
                f"{self.epochs}"
            )
            raise InvalidParameterError(message, hint="change the milestones or train for longer")

    def to_json(self) -> dict[str, Any]:
        """Mapping of JSON types, the inverse of ``from_json``."""
        return {"method": self.method, **asdict(self)}

    @classmethod
    def from_json(cls, values: object) -> TrainConfig:
        """Configuration from the mapping of ``to_json``; missing fields have their defaults.

        Raises:
            InvalidParameterError: a method or field is unknown, or a value has the wrong type.
        """
        mapping = _mapping(values, "config")
        method = mapping.pop("method", "standard")
        if not isinstance(method, str) or method not in METHODS:
            message = f"config.method: there is no training method {method!r}"
            raise InvalidParameterError(message, hint=f"one of: {', '.join(METHODS)}")
        objective = decoded(METHODS[method], mapping.pop("objective", {}), "config.objective")
        return decoded(cls, mapping, "config", ready={"objective": objective})


def decoded(
    kind: type[T], values: object, where: str, *, ready: Mapping[str, object] | None = None
) -> T:
    """Instance of the dataclass ``kind`` from a JSON mapping.

    Args:
        kind: a dataclass whose fields are numbers, strings, booleans, enums, literals, tuples,
            optionals or such dataclasses.
        values: the JSON mapping.
        where: path of the mapping in the file, for error messages.
        ready: values of fields that are not in the mapping.

    Raises:
        InvalidParameterError: a field is unknown or missing, or a value has the wrong type.
    """
    mapping = _mapping(values, where)
    hints = typing.get_type_hints(kind)
    arguments = dict(ready or {})
    known = {item.name for item in fields(kind) if item.init}  # type: ignore[arg-type]
    known -= arguments.keys()
    for name, value in mapping.items():
        if name not in known:
            message = f"{where} has no field {name!r}"
            raise InvalidParameterError(message, hint=f"one of: {', '.join(sorted(known))}")
        arguments[name] = _value(hints[name], value, f"{where}.{name}")
    for item in fields(kind):  # type: ignore[arg-type]
        needed = item.init and item.default is MISSING and item.default_factory is MISSING
        if needed and item.name not in arguments:
            message = f"{where} lacks the field {item.name!r}"
            raise InvalidParameterError(message)
    return kind(**arguments)


def _mapping(values: object, where: str) -> dict[str, Any]:
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        message = f"{where} must be a JSON object, got {type(values).__name__}"
        raise InvalidParameterError(message)
    return dict(values)


def _value(hint: object, value: object, where: str) -> object:
    """``value`` converted to the type ``hint``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return _value(next(item for item in arguments if item is not type(None)), value, where)
    if isinstance(hint, type) and is_dataclass(hint):
        return decoded(hint, value, where)
    if origin is tuple and isinstance(value, list | tuple):
        item = arguments[0]
        return tuple(_value(item, entry, where) for entry in value)
    if origin is Literal and value in arguments:
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    if isinstance(hint, type) and issubclass(hint, str) and isinstance(value, str):
        return _member(hint, value, where)
    message = f"{where}: {value!r} is not {_described(hint)}"
    raise InvalidParameterError(message)


def _member(kind: type[str], value: str, where: str) -> str:
    try:
        return kind(value)
    except ValueError as error:
        message = f"{where}: {value!r} is not {_described(kind)}"
        raise InvalidParameterError(message) from error


def _described(hint: object) -> str:
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(hint))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "one of " + ", ".join(repr(choice.value) for choice in hint)
    return f"of type {getattr(hint, '__name__', hint)}"
