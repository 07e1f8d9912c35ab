"""Preprocessing: from pixel space to the input that a model expects.

The user and the model's metadata may each state some parts of it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from robcert.certify.errors import PreprocessingError
from robcert.certify.json_text import parsed_json
from robcert.certify.numerics import saturated

Layout = Literal["NCHW", "NHWC", "flat"]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How x in [0, 1], ``(b, c, h, w)``, becomes the model's input.

    In this order: channel order, scaling to ``range``, ``(x - mean) / std`` in that range's units
    and the model's channel order, layout, reshape to ``input_shape``, rounding and saturation for
    integer types.

    Attributes:
        layout: axis order of the input; ``flat`` is one vector per image.
        flatten: order of the pixels in a flat input.
        range: values of black and white before mean and std are applied.
        channels: order of three colour channels.
        mean: subtracted; one number or one per channel; empty for none.
        std: divisor, likewise.
        dtype: element type of the input.
        input_shape: shape of one input without the batch axis; empty for that given by ``layout``.
    """

    layout: Layout = "NCHW"
    flatten: Literal["row-major", "column-major"] = "row-major"
    range: tuple[float, float] = (0.0, 1.0)
    channels: Literal["RGB", "BGR"] = "RGB"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    dtype: str = "float32"
    input_shape: tuple[int, ...] = ()

    def __call__(self, x: Tensor, *, rounded: bool = True) -> Tensor:
        """Model input of the pixels ``x (b, c, h, w)``; differentiable in ``x``.

        With ``rounded`` false, integer types are saturated only: the function before rounding.
        """
        x = self.scaled(x)
        if self.channels == "BGR":
            x = x.flip(1)
        if self.layout == "NHWC":
            x = x.permute(0, 2, 3, 1)
        elif self.layout == "flat":
            x = (x if self.flatten == "row-major" else x.transpose(2, 3)).flatten(1)
        if self.input_shape:
            x = x.reshape(x.shape[0], *self.input_shape)
        return self.as_type(x, rounded=rounded)

    @property
    def channel_constants(self) -> int:
        """Number of channels that mean and std distinguish, 1 if they distinguish none."""
        return max(1, len(self.mean), len(self.std))

    def scaled(self, x: Tensor) -> Tensor:
        """``x`` in ``range`` and normalised, its channels in their own order."""
        low, high = self.range
        if (low, high) != (0.0, 1.0):
            x = x * (high - low) + low
        if self.mean:
            x = x - self.constants(self.mean, x)
        return x / self.constants(self.std, x) if self.std else x

    def pixels(self, values: Tensor) -> Tensor:
        """Inverse of :meth:`scaled`."""
        low, high = self.range
        if self.std:
            values = values * self.constants(self.std, values)
        if self.mean:
            values = values + self.constants(self.mean, values)
        return (values - low) / (high - low)

    def as_type(self, x: Tensor, *, rounded: bool = True) -> Tensor:
        """``x`` rounded to the input type, still a float tensor; straight-through gradient."""
        kind = getattr(torch, self.dtype)
        if kind.is_floating_point:
            return x
        inside = saturated(x, torch.iinfo(kind).min, torch.iinfo(kind).max)
        return inside + (inside.round() - inside).detach() if rounded else inside

    def constants(self, values: tuple[float, ...], like: Tensor) -> Tensor:
        """Constants per channel, given in the model's order, in the order of the image."""
        ordered = values[::-1] if self.channels == "BGR" else values
        return like.new_tensor(ordered).view(1, -1, 1, 1)


METADATA_KEY = "robcert.preprocess"
"""Metadata entry of an ONNX file with the fields of :class:`Preprocessing` as JSON."""

_CHOICES = {
    "layout": ("NCHW", "NHWC", "flat"),
    "flatten": ("row-major", "column-major"),
    "channels": ("RGB", "BGR"),
    "dtype": (
        *("float32", "float16", "float64"),
        *("int8", "uint8", "int16", "uint16", "int32", "int64"),
    ),
}


@dataclass(frozen=True, slots=True)
class PreprocessOptions:
    """Stated parts of a :class:`Preprocessing`; None is "not stated"."""

    layout: Layout | None = None
    flatten: Literal["row-major", "column-major"] | None = None
    range: tuple[float, float] | None = None
    channels: Literal["RGB", "BGR"] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    dtype: str | None = None

    def __post_init__(self) -> None:
        _validate(self.stated(), "preprocessing")

    @property
    def empty(self) -> bool:
        """Whether nothing is stated."""
        return not self.stated()

    def stated(self) -> dict[str, Any]:
        """The stated parts by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def over(self, other: PreprocessOptions) -> PreprocessOptions:
        """These options, completed by ``other`` where they state nothing."""
        return PreprocessOptions(**{**other.stated(), **self.stated()})

    def completed(
        self, *, layout: Layout, dtype: str, input_shape: tuple[int, ...]
    ) -> Preprocessing:
        """Preprocessing for an input of that layout, type and shape; the rest are defaults."""
        stated = {"layout": layout, "dtype": dtype, **self.stated()}
        return Preprocessing(**stated, input_shape=input_shape)

    @classmethod
    def from_json(cls, text: str, *, source: str) -> PreprocessOptions:
        """Options from JSON text with the keys of this class.

        Raises:
            PreprocessingError: not JSON, an unknown key, or an invalid value; the message names
                ``source`` and the key.
        """
        try:
            stated = parsed_json(text)
        except ValueError as error:
            message = f"{source} is not JSON: {error}"
            raise PreprocessingError(message) from error
        known = {field.name for field in fields(cls)}
        if not isinstance(stated, dict):
            message = f"{source} must hold one JSON object, got {type(stated).__name__}"
            raise PreprocessingError(message)
        for key in stated:
            if key not in known:
                message = f"{source}: unknown key {key!r}"
                hint = f"keys are {', '.join(sorted(known))}"
                raise PreprocessingError(message, hint=hint)
        _validate(stated, source)
        values: dict[str, Any] = {
            key: tuple(map(float, value)) if isinstance(value, list) else value
            for key, value in stated.items()
        }
        return cls(**values)

    @classmethod
    def from_text(cls, text: str) -> PreprocessOptions:
        """Options in JSON text, which begins with a brace, or in the JSON file of that name.

        Raises:
            PreprocessingError: see :meth:`from_file` and :meth:`from_json`.
        """
        if text.lstrip().startswith("{"):
            return cls.from_json(text, source="the preprocessing")
        return cls.from_file(Path(text))

    @classmethod
    def from_file(cls, path: Path) -> PreprocessOptions:
        """Options in a JSON file.

        Raises:
            PreprocessingError: the file cannot be read, or see :meth:`from_json`.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            message = f"{path} cannot be read: {error}"
            raise PreprocessingError(message) from error
        return cls.from_json(text, source=str(path))

    @classmethod
    def from_metadata(cls, metadata: dict[str, str]) -> PreprocessOptions:
        """Options that robcert's export wrote into a model's metadata; empty if there are none.

        Raises:
            PreprocessingError: the entry exists and cannot be read.
        """
        text = metadata.get(METADATA_KEY)
        if text is None:
            return cls()
        source = f"the model's metadata entry {METADATA_KEY}"
        try:
            stated = parsed_json(text)
        except ValueError as error:
            message = f"{source} is not JSON: {error}"
            raise PreprocessingError(message) from error
        if isinstance(stated, dict):
            stated.pop("input_shape", None)  # taken from the file's own input
            stated = {key: value for key, value in stated.items() if value not in ([], None)}
        return cls.from_json(json.dumps(stated), source=source)


def _validate(stated: dict[str, Any], source: str) -> None:
    """Raise at the first value that violates its rule."""
    for key, value in stated.items():
        rule = _broken_rule(key, value)
        if rule:
            message = f"{source}: {key} must be {rule}, got {value!r}"
            raise PreprocessingError(message)


def _broken_rule(key: str, value: object) -> str:
    """The rule of ``key`` that ``value`` violates; empty if it violates none."""
    if key in _CHOICES:
        return "" if value in _CHOICES[key] else f"one of {', '.join(_CHOICES[key])}"
    numbers = list(value) if isinstance(value, list | tuple) else []
    finite = all(
        isinstance(x, int | float) and not isinstance(x, bool) and abs(x) <= sys.float_info.max
        for x in numbers
    )
    if key == "range":
        good = finite and len(numbers) == 2 and numbers[0] != numbers[1]
        return "" if good else "two different numbers, the values of black and of white"
    if not numbers or not finite:
        return "a list of numbers, one or one per channel"
    return "a list of positive numbers" if key == "std" and min(numbers) <= 0 else ""
