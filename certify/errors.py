"""Errors a user can act on, and the checks that raise them."""

from __future__ import annotations

import math

from .visible import visible_line


class RobcertError(Exception):
    """What went wrong in one line; ``hint`` says what to do about it.

    Texts of foreign files in both are visible text, also where a traceback prints them.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(visible_line(message))
        self.hint = visible_line(hint)


class InvalidParameterError(RobcertError):
    """A parameter has an invalid value."""


class ConfigurationError(RobcertError):
    """A configuration file cannot be read, or has a key or value that cannot be used."""


class ModelFileError(RobcertError):
    """A model file cannot be read, is unsafe, or is not an image classifier."""


class AmbiguousOutputError(ModelFileError):
    """Several outputs could be the class scores; ``choices`` names them."""

    def __init__(self, message: str, *, choices: tuple[str, ...], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.choices = choices


class NoClassError(ModelFileError):
    """The scores of an image name no class because they are NaN."""


class TimeLimitError(RobcertError):
    """A call of the model took longer than its time limit."""


class WorkerError(RobcertError):
    """Worker processes died or hung too often."""


class UnsupportedOperatorError(RobcertError):
    """No twin: an operator of the graph is not in the importer's table."""


class TwinUnavailableError(RobcertError):
    """An analysis needs gradients and the model has no usable twin."""


class UnverifiableError(RobcertError):
    """No statement about the model itself can be proved, whatever the method."""


class ContradictionError(RobcertError):
    """An adversarial image lies within a certified radius: a fault of robcert."""


class PreprocessingError(RobcertError):
    """The preprocessing is unknown or contradicts the model."""


class DataError(RobcertError):
    """Images or labels cannot be read or do not fit the model."""


class PropertyFileError(RobcertError):
    """A property cannot be read, is beyond what is supported, or does not fit the model."""


class ProofError(RobcertError):
    """A proof file was changed, is damaged, or cannot be checked."""


class StoreError(RobcertError):
    """A results file cannot be read, written or resumed."""


class OutputError(RobcertError):
    """A file of output cannot be written."""


class TrainingError(RobcertError):
    """A training run cannot start, resume or continue."""


class DivergedError(TrainingError):
    """A loss or a logit of a training is not a finite number."""


def require_open_unit(name: str, value: float) -> None:
    """Raise unless ``value`` lies in (0, 1)."""
    if not 0 < value < 1:
        message = f"{name} must lie in the open interval (0, 1), got {value}"
        raise InvalidParameterError(message)


def require_positive(name: str, value: float) -> None:
    """Raise unless ``value`` is finite and above 0."""
    if not (value > 0 and math.isfinite(value)):
        message = f"{name} must be a positive finite number, got {value}"
        raise InvalidParameterError(message)


MOST_SECONDS = 1e9
"""Thirty years; clocks of the system refuse a thousand times as much."""


def require_not_negative(**values: float | None) -> None:
    """Raise unless every number is finite and at least 0, where it is given."""
    for name, value in values.items():
        if value is not None and not 0 <= value < math.inf:
            message = f"{name} must be a finite number, at least 0, got {value}"
            raise InvalidParameterError(message)


def require_seconds(name: str, value: float) -> None:
    """Raise unless ``value`` is a time above 0 that can be waited for."""
    require_positive(name, value)
    if value > MOST_SECONDS:
        message = f"{name} must be at most {MOST_SECONDS:.0f} seconds, got {value}"
        raise InvalidParameterError(message)


MOST_THREADS = 1024
"""More than a processor has; each takes memory before it computes anything."""


def require_threads(threads: int) -> None:
    """Raise unless so many threads can be started."""
    require_between("threads", threads, 1, MOST_THREADS)


def require_between(name: str, value: int, least: int, most: int) -> None:
    """Raise unless ``value`` is at least ``least`` and at most ``most``."""
    require_at_least(name, value, least)
    if value > most:
        message = f"{name} must be at most {most}, got {value}"
        raise InvalidParameterError(message)


def require_at_least(name: str, value: int, least: int) -> None:
    """Raise unless ``value`` is at least ``least``."""
    if value < least:
        message = f"{name} must be at least {least}, got {value}"
        raise InvalidParameterError(message)
