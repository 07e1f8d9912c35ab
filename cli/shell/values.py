"""Values of options as typed: fractions, lists of numbers, image positions, time spans."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeVar

from robcert.certify.core import Norm
from robcert.certify.errors import (
    MOST_SECONDS,
    InvalidParameterError,
    RobcertError,
    require_positive,
)
from robcert.certify.number_text import number

if TYPE_CHECKING:
    from collections.abc import Callable

    from robcert.certify.data import Shard

T = TypeVar("T")
_SPAN = re.compile(r"(\d{1,15}(?:\.\d+)?)\s*(s|m|h)?", re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
_SIZE = re.compile(r"(\d{1,15}(?:\.\d+)?)\s*(?:([KMGT])i?B?)?", re.IGNORECASE)
_RANGE = re.compile(r"(\d{1,15})(?:-(\d{1,15}))?")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_MOST_POSITIONS = 2**22
"""More images than a data set has of which each is worth to be named; their list takes memory."""

_BYTES = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def either(given: T | None, default: T) -> T:
    """``given``, or ``default`` if the option was not given.

    >>> either(None, 3), either(0, 3)
    (3, 0)
    """
    return default if given is None else given


def of_option(option: str, read: Callable[[str], T], text: str) -> T:
    """``read(text)``; an error begins with the name of the option.

    Raises:
        InvalidParameterError: ``text`` is not a value of the option.
    """
    try:
        return read(text)
    except RobcertError as error:
        message = f"{option}: {error}"
        raise InvalidParameterError(message, hint=error.hint) from error


def norm(text: str) -> Norm:
    """Norm by one of its common spellings; a ValueError for others, as Typer expects.

    >>> norm("L2"), norm("inf")
    (<Norm.L2: 'l2'>, <Norm.LINF: 'linf'>)
    """
    try:
        return Norm(text)
    except ValueError:
        message = f"{text!r} is not a norm; it is one of l1, l2, linf"
        raise ValueError(message) from None


def epsilon(text: str, norm: Norm | None = None) -> float:
    """Distance in pixel units of [0, 1]; if ``norm`` is given, one that is possible in it."""
    value = number(text)
    if norm is None:
        require_positive("epsilon", value)
    else:
        norm.require_epsilon(value)
    return value


def numbers(text: str) -> tuple[float, ...]:
    """Numbers separated by commas.

    >>> numbers("0.5, 1/4")
    (0.5, 0.25)
    """
    return tuple(number(part) for part in text.split(","))


def positions(text: str) -> tuple[int, ...]:
    """Image positions separated by commas; `a-b` is the range including both ends.

    >>> positions("0,5,7-9")
    (0, 5, 7, 8, 9)
    """
    found: list[int] = []
    count = 0
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            message = f"--indices takes positions such as 0,5,10-19, got {text!r}"
            raise InvalidParameterError(message)
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:  # an empty range would select all images
            message = f"--indices takes ranges from the smaller to the larger, got {part.strip()!r}"
            raise InvalidParameterError(message)
        count += last + 1 - first
        if count > _MOST_POSITIONS:
            message = f"--indices names more than {_MOST_POSITIONS} images"
            raise InvalidParameterError(message, hint="select by --limit or --every")
        found.extend(range(first, last + 1))
    return tuple(dict.fromkeys(found))


def seconds(text: str, option: str) -> float:
    """Time span such as `90s`, `10m`, `1.5h`; a bare number is seconds.

    >>> seconds("10m", "--time-budget")
    600.0
    """
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        message = f"{option} takes a time span such as 90s, 10m or 1.5h, got {text!r}"
        raise InvalidParameterError(message)
    span = float(match[1]) * _SECONDS[(match[2] or "s").lower()]
    if span > MOST_SECONDS:
        message = f"{option} must be at most {MOST_SECONDS:.0f} seconds, got {text!r}"
        raise InvalidParameterError(message)
    return span


def shard(text: str) -> Shard:
    """Part of the images written as `2/8`.

    >>> shard("2/8")
    Shard(number=2, of=8)
    """
    from robcert.certify.data import Shard

    match = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
    if match is None:
        message = f"--shard takes i/n such as 2/8, got {text!r}"
        raise InvalidParameterError(message)
    return Shard(int(match[1]), int(match[2]))


def positive_seconds(text: str | None, option: str, default: float) -> float:
    """Time span above 0 as of :func:`seconds`; ``default`` if the option was not given.

    >>> positive_seconds("2m", "--budget", 10.0), positive_seconds(None, "--budget", 10.0)
    (120.0, 10.0)
    """
    if text is None:
        return default
    value = seconds(text, option)
    if not value > 0:
        message = f"{option} must be above 0, got {text!r}"
        raise InvalidParameterError(message, hint=f"write {option} 10s, for instance")
    return value


def size(text: str) -> int:
    """Bytes written as `900M` or `1.5G`, in units of 1024; a bare number is bytes.

    >>> size("900M"), size("1.5 GiB")
    (943718400, 1610612736)
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        message = f"{text!r} is not a size of memory; write 900M or 8G"
        raise InvalidParameterError(message)
    return int(float(match[1]) * _BYTES[(match[2] or "").lower()])


def workers(text: str) -> int | Literal["auto"]:
    """Number of worker processes, or `auto`."""
    if text == "auto":
        return "auto"
    return _count(text, "--workers")


def resources(text: str) -> dict[str, float]:
    """What a Ray worker requests, written as `gpu=1` or `cpu=2,memory=4G`; memory is in bytes.

    >>> resources("gpu=0.5, memory=4G")
    {'gpu': 0.5, 'memory': 4294967296.0}
    """
    found: dict[str, float] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, amount = map(str.strip, part.partition("="))
        known = name and name not in found and (name == "memory" or _NUMBER.fullmatch(amount))
        if not known:
            message = f"--ray-resources names each resource once with a number, got {part!r}"
            raise InvalidParameterError(message, hint="write gpu=1 or cpu=2,memory=4G")
        found[name] = float(size(amount) if name == "memory" else amount)
    return found


def batch_size(text: str) -> int | None:
    """Images per step, or None for `auto`."""
    if text == "auto":
        return None
    return _count(text, "--batch-size")


def _count(text: str, option: str) -> int:
    """A whole number from 1 of at most nine digits."""
    if re.fullmatch(r"\d{1,9}", text) is None or int(text) < 1:
        message = f"{option} must be auto or a positive whole number, got {text}"
        raise InvalidParameterError(message)
    return int(text)
