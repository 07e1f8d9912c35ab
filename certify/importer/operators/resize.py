"""Resampling: Resize, Upsample, and sampling at a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from robcert.certify.errors import ModelFileError, UnsupportedOperatorError
from robcert.certify.model import is_recording
from robcert.certify.numerics import batch_invariant as rows

from .common import axes_within, checked_size, floats, ints
from .operator_table import operator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .common import Ints

Numbers = Tensor | tuple[float, ...] | float | None

GRID_MODES = {"linear": "bilinear", "cubic": "bicubic"}


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis to resample.

    Attributes:
        length: entries now.
        target: entries afterwards.
        scale: factor that coordinates are computed with.
        start: first end of the region of interest, as a share of the axis.
        end: its last end.
    """

    length: int
    target: int
    scale: float
    start: float = 0.0
    end: float = 1.0


@dataclass(frozen=True, slots=True)
class Sampling:
    """How values between entries are found; attribute names are ONNX's."""

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest_mode: str = "round_prefer_floor"
    cubic_coeff_a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False


def source_coordinates(axis: Axis, rule: str) -> Tensor:
    """Where in the input each output entry lies ``(target,)``."""
    i = torch.arange(axis.target, dtype=torch.float64)
    found: Tensor = _coordinates(axis, rule, i, axis.scale)
    return found


def _coordinates(axis: Axis, rule: str, i: Any, scale: Any) -> Any:
    """:func:`source_coordinates` of the output entries ``i``, an array of numbers, in its type."""
    n, m = axis.length, axis.target
    half_pixel = (i + 0.5) / scale - 0.5
    rules: dict[str, Callable[[], Any]] = {
        "half_pixel": lambda: half_pixel,
        "half_pixel_symmetric": lambda: n / 2 * (1 - m / (scale * n)) + (i + 0.5) / scale - 0.5,
        "pytorch_half_pixel": lambda: half_pixel if m > 1 else i * 0,
        "align_corners": lambda: i * (n - 1) / (m - 1) if m > 1 else i * 0,
        "asymmetric": lambda: i / scale,
        "tf_half_pixel_for_nn": lambda: (i + 0.5) / scale,
        "tf_crop_and_resize": lambda: _in_region(axis, i),
    }
    if rule not in rules:
        message = f"Resize has no coordinate transformation {rule!r}"
        raise ModelFileError(message)
    return rules[rule]()


def _in_region(axis: Axis, i: Any) -> Any:
    last = axis.length - 1
    if axis.target == 1:
        return i * 0 + 0.5 * (axis.start + axis.end) * last
    return axis.start * last + i * (axis.end - axis.start) * last / (axis.target - 1)


DOUBT = 4e-7
"""Relative distance from the middle between two entries, where runtimes differ in which they copy.
ONNX Runtime's own places are off by more than one rounding in float32."""


def _nearest(axis: Axis, sampling: Sampling) -> Tensor:
    """The entry that each output entry copies ``(target,)``, by places in float32.

    Raises:
        UnsupportedOperatorError: rounding decides which one, and the network is recorded for a
            proof.
    """
    rules: dict[str, Callable[[Any], Any]] = {
        "simple": np.ceil if axis.scale < 1 else np.floor,  # the runtime's before version 11
        "round_prefer_floor": lambda v: np.ceil(v - 0.5),
        "round_prefer_ceil": lambda v: np.floor(v + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    if sampling.nearest_mode not in rules:
        message = f"Resize has no nearest mode {sampling.nearest_mode!r}"
        raise ModelFileError(message)
    i, last = np.arange(axis.target), axis.length - 1

    def chosen(places: Any) -> Any:
        entries = rules[sampling.nearest_mode](places.astype(np.float64))
        return entries.clip(0, last).astype(np.int64)

    rule, single = sampling.coordinates, np.float32(axis.scale)
    found = chosen(_coordinates(axis, rule, i.astype(np.float32), single))
    exact = _coordinates(axis, rule, i.astype(np.float64), axis.scale)
    doubt = DOUBT * (1 + np.abs(exact))
    # no rounding moves whole numbers and halves that come of a scale that float32 has
    scaled = rule != "align_corners" and axis.scale != float(single)
    fixed = (2 * exact == np.round(2 * exact)) & ((i == 0) | (not scaled))
    safe = np.where(fixed, chosen(exact) == found, chosen(exact - doubt) == chosen(exact + doubt))
    whole = any(float(s).is_integer() for s in (axis.scale, 1 / axis.scale if axis.scale else 0))
    others = rule == "half_pixel_symmetric" or axis.length == axis.target
    if is_recording() and not (bool(safe.all()) and (whole or not others)):
        message = "which entries it copies depends on rounding, so it has no linear bounds"
        raise UnsupportedOperatorError(message)
    return torch.from_numpy(found)


def _kernel(t: Tensor, mode: str, a: float) -> Tensor:
    """Weight at distance t: a triangle, or the cubic kernel of Keys (1981) with coefficient a."""
    t = t.abs()
    if mode == "linear":
        return (1 - t).clamp_min(0)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return torch.where(t <= 1, near, torch.where(t < 2, far, torch.zeros_like(t)))


def weights(axis: Axis, sampling: Sampling) -> Tensor:
    """Matrix ``(target, length)`` that resamples one axis; entries beyond the ends repeat them."""
    x = source_coordinates(axis, sampling.coordinates)
    stretch = min(axis.scale, 1.0) if sampling.antialias else 1.0
    reach = math.ceil((1 if sampling.mode == "linear" else 2) / stretch)
    checked_size([axis.target, 2 * reach])
    place = torch.floor(x).unsqueeze(1) + torch.arange(1 - reach, reach + 1)
    weight = _kernel((place - x.unsqueeze(1)) * stretch, sampling.mode, sampling.cubic_coeff_a)
    if sampling.exclude_outside:
        weight = torch.where((place >= 0) & (place < axis.length), weight, 0.0)
    weight = weight / weight.sum(1, keepdim=True)
    matrix = torch.zeros(checked_size([axis.target, axis.length]), dtype=torch.float64)
    return matrix.scatter_add(1, place.clamp(0, axis.length - 1).to(torch.int64), weight)


def _resampled(x: Tensor, position: int, axis: Axis, sampling: Sampling) -> Tensor:
    """``x`` with one axis resampled."""
    if sampling.mode == "nearest":
        return x.index_select(position, _nearest(axis, sampling).to(x.device))
    if sampling.mode not in {"linear", "cubic"}:
        message = f"Resize has no mode {sampling.mode!r}"
        raise ModelFileError(message)
    kind = x.dtype if x.is_floating_point() else torch.float32
    matrix = weights(axis, sampling).to(x.device, kind)
    product = rows.matmul(x.to(kind).movedim(position, -1), matrix.t())
    return product.movedim(-1, position).to(x.dtype)


def _outside(x: Tensor, axes: dict[int, Axis]) -> Tensor:
    """Where an output entry lies outside the input, broadcastable to the output."""
    outside = torch.zeros([1] * x.ndim, dtype=torch.bool)
    for position, axis in axes.items():
        place = source_coordinates(axis, "tf_crop_and_resize")
        beyond = (place < 0) | (place > axis.length - 1)
        outside = outside | beyond.reshape(-1, *[1] * (x.ndim - 1 - position))
    return outside.to(x.device)


def _resize(x: Tensor, axes: dict[int, Axis], sampling: Sampling, extrapolation: float) -> Tensor:
    checked_size([axes[i].target if i in axes else n for i, n in enumerate(x.shape)])
    y = x
    region = sampling.coordinates == "tf_crop_and_resize"
    for position, axis in axes.items():
        if axis.length != axis.target or axis.scale != 1.0 or region:
            y = _resampled(y, position, axis, sampling)
    if region:
        y = torch.where(_outside(y, axes), torch.full_like(y, extrapolation), y)
    return y


def _by_scales(x: Tensor, scales: Sequence[float], chosen: Sequence[int]) -> dict[int, Axis]:
    def target(length: int, scale: float) -> int:  # runtimes multiply in float32
        return math.floor(np.float32(length) * np.float32(scale))

    return {
        i: Axis(x.shape[i], target(x.shape[i], s), s) for i, s in zip(chosen, scales, strict=True)
    }


def _by_sizes(
    x: Tensor, sizes: Sequence[int], chosen: Sequence[int], policy: str
) -> dict[int, Axis]:
    ratios = [size / x.shape[i] for i, size in zip(chosen, sizes, strict=True)]
    if policy == "stretch":
        pairs = zip(chosen, sizes, ratios, strict=True)
        return {i: Axis(x.shape[i], size, ratio) for i, size, ratio in pairs}
    ratio = min(ratios) if policy == "not_larger" else max(ratios)
    return {i: Axis(x.shape[i], math.floor(x.shape[i] * ratio + 0.5), ratio) for i in chosen}


def _with_region(axes: dict[int, Axis], roi: Sequence[float]) -> dict[int, Axis]:
    """``axes`` with the region of interest: all starts, then all ends."""
    n = len(roi) // 2
    numbered = enumerate(axes.items())
    return {i: Axis(a.length, a.target, a.scale, roi[k], roi[n + k]) for k, (i, a) in numbered}


@operator("Resize", since=11, host=("roi", "scales", "sizes"))
def resize(
    x: Tensor,
    roi: Numbers = None,
    scales: Numbers = None,
    sizes: Ints = None,
    *,
    antialias: int = 0,
    axes: Sequence[int] = (),
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    """``x`` resampled to ``sizes`` or by ``scales``, axis by axis."""
    chosen = axes_within(axes, x.ndim) or tuple(range(x.ndim))
    factors, targets = floats(scales), ints(sizes)
    if factors:
        plan = _by_scales(x, factors, chosen)
    else:
        plan = _by_sizes(x, targets, chosen, keep_aspect_ratio_policy)
    if coordinate_transformation_mode == "tf_crop_and_resize":
        plan = _with_region(plan, floats(roi))
    sampling = Sampling(
        mode,
        coordinate_transformation_mode,
        nearest_mode,
        cubic_coeff_a,
        bool(exclude_outside),
        bool(antialias),
    )
    return _resize(x, plan, sampling, extrapolation_value)


@operator("Upsample", since=7)
def upsample_by_attribute(x: Tensor, *, scales: Sequence[float], mode: str = "nearest") -> Tensor:
    """``x`` with each axis enlarged."""
    plan = _by_scales(x, tuple(scales), range(x.ndim))
    kind = "linear" if mode == "bilinear" else mode
    return _resize(x, plan, Sampling(kind, "asymmetric", "simple"), 0.0)


@operator("Upsample", since=9, host=("scales",))
@operator("Resize", since=10, host=("scales",))
def upsample(x: Tensor, scales: Numbers, *, mode: str = "nearest") -> Tensor:
    """``x`` with each axis enlarged or (Resize) reduced."""
    return upsample_by_attribute(x, scales=floats(scales), mode=mode)


@operator("GridSample", since=16)
def grid_sample(
    x: Tensor,
    grid: Tensor,
    *,
    align_corners: int = 0,
    mode: str = "linear",
    padding_mode: str = "zeros",
) -> Tensor:
    """``x`` at the points of a grid in [-1, 1]."""
    kind = GRID_MODES.get(mode, mode)
    return functional.grid_sample(x, grid, kind, padding_mode, bool(align_corners))


@operator("AffineGrid", since=20, host=("size",))
def affine_grid(theta: Tensor, size: Ints, *, align_corners: int = 0) -> Tensor:
    """Points of an image of the given size after an affine map."""
    shape = checked_size(ints(size))
    return functional.affine_grid(theta, list(shape), align_corners=bool(align_corners))
