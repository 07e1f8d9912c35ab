"""Everything that decides what a training run gives, and its JSON."""

from __future__ import annotations

import types
import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from enum import Enum
from typing import Any, Literal

from robcert.certify.core import Norm
from robcert.certify.errors import InvalidParameterError, require_at_least, require_positive
from robcert.trainers.data import Augmentation
from robcert.trainers.methods import METHODS, Objective, Standard, method_name
from robcert.trainers.networks import Architecture, Precision

from .schedule import Schedule


@dataclass(frozen=True, slots=True)
class Optimizer:
    """Stochastic gradient descent with momentum.

    Attributes:
        learning_rate: before the schedule's factor.
        weight_decay: factor of the squared l2 norm's gradient, as in torch.
        decay: whether it acts on all parameters or on weights of two or more axes alone.
        clip_norm: l2 norm that the whole gradient is clipped to; None for no clipping, which the
            papers' recipes need and small networks without batch norm do not survive.
    """

    learning_rate: float = 0.05
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    decay: Literal["all", "weights"] = "all"
    clip_norm: float | None = 1.0

    def __post_init__(self) -> None:
        require_positive("learning_rate", self.learning_rate)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is measured on the evaluation images while training goes on.

    Attributes:
        every: epochs between measurements of clean accuracy; the last epoch is always measured.
        images: how many, from the first on; None for all.
        attack_every: epochs between short attacks (sign steps on cross-entropy); 0 for none.
        attack_images: how many of the images are attacked.
        keep_every: epochs between checkpoints that are kept, the last one among them; 0 for none.
        norm: norm of the attack; if that and ``epsilon`` are None, the method's own, else linf.
        epsilon: radius of the attack, pixel units; None for the method's own, else the usual one.
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
        """With the norm and the radius of ``objective`` where it has them and none are given."""
        if self.norm is not None or self.epsilon is not None:
            return self
        norm = Norm(getattr(objective, "norm", Norm.LINF))
        return replace(self, norm=norm, epsilon=getattr(objective, "epsilon", None))


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """A training run up to chance and hardware.

    Attributes:
        objective: the method and its numbers.
        data: name or path of the training images.
        validation: whether the best epoch is chosen by training images that are held out, where
            the data has test images of its own; else by those.
        subset: how many of them, from the first on; None for all.
        normalize: whether the network sees (x - mean) / std with the training images' mean and
            standard deviation of each channel, rounded to four digits.
        precision: of the network's layers in training; losses and penalties are always in 32 bits.
        seed: of the weights, the order of the data and every draw.
        init_from: run folder or checkpoint that the weights start from; None for fresh ones.
    """

    objective: Objective = field(default_factory=Standard)
    architecture: Architecture = field(default_factory=Architecture)
    data: str = "fashion-mnist"
    validation: bool = True
    subset: int | None = None
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
        if self.subset is not None:
            require_at_least("subset", self.subset, 1)
        if self.precision != "32" and getattr(self.objective, "takes_differences", False):
            message = f"{self.method} divides differences of losses, which {self.precision} rounds"
            raise InvalidParameterError(message, hint="train it in 32 bits")

    @property
    def method(self) -> str:
        """Name of the method."""
        return method_name(self.objective)

    def to_json(self) -> dict[str, Any]:
        """Mapping of JSON types; ``from_json`` inverts it."""
        return {"method": self.method, **asdict(self)}

    @classmethod
    def from_json(cls, values: object) -> TrainConfig:
        """Configuration that ``to_json`` wrote; fields left out keep their defaults.

        Raises:
            InvalidParameterError: an unknown field, method or a value of the wrong type.
        """
        mapping = _mapping(values, "config")
        method = mapping.pop("method", "standard")
        if not isinstance(method, str) or method not in METHODS:
            message = f"config.method: there is no training method {method!r}"
            raise InvalidParameterError(message, hint=f"one of: {', '.join(METHODS)}")
        objective = decoded(METHODS[method], mapping.pop("objective", {}), "config.objective")
        config = decoded(cls, mapping, "config", ready={"objective": objective})
        return typing.cast("TrainConfig", config)


def decoded(
    kind: type[Any], values: object, where: str, *, ready: dict[str, Any] | None = None
) -> Any:
    """Instance of the dataclass ``kind`` from a JSON mapping.

    Args:
        kind: a dataclass whose fields are numbers, strings, booleans, enums, literals, tuples,
            optionals or such dataclasses.
        values: the mapping.
        where: path to the mapping, for messages.
        ready: fields that need no decoding.

    Raises:
        InvalidParameterError: unknown field or a value of the wrong type.
    """
    mapping = _mapping(values, where)
    hints = typing.get_type_hints(kind)
    arguments = dict(ready or {})
    known = {item.name for item in fields(kind) if item.init} - arguments.keys()
    for name, value in mapping.items():
        if name not in known:
            message = f"{where} has no field {name!r}"
            raise InvalidParameterError(message, hint=f"one of: {', '.join(sorted(known))}")
        arguments[name] = _value(hints[name], value, f"{where}.{name}")
    return kind(**arguments)


def _mapping(values: object, where: str) -> dict[str, Any]:
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        message = f"{where} must be a JSON object, got {type(values).__name__}"
        raise InvalidParameterError(message)
    return dict(values)


def _value(hint: Any, value: object, where: str) -> object:
    """``value`` as the type ``hint``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return _value(next(item for item in arguments if item is not type(None)), value, where)
    if is_dataclass(hint):
        return decoded(typing.cast("type[Any]", hint), value, where)
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


def _described(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(hint))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "one of " + ", ".join(repr(choice.value) for choice in hint)
    return f"of type {getattr(hint, '__name__', hint)}"
