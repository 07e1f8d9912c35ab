"""What a certificate of smoothing promises, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..precision import Precision
from .smoothing_settings import schedule

if TYPE_CHECKING:
    from .smoothing_settings import SmoothingSettings


def guarantee(settings: SmoothingSettings) -> str:
    """What the certificates promise, in one sentence."""
    together = settings.family > 1
    whom = f"For all {settings.family} images together" if together else "For each image separately"
    looks = schedule(settings).looks
    stop = (
        f", whichever of the {len(looks)} declared looks ended the draws" if len(looks) > 1 else ""
    )
    model, itself = "the model", "the model itself"
    if settings.precision is not Precision.FLOAT32:
        model = f"the model computed in {settings.precision}, which is another function,"
        itself = f"the model itself, nor for the model in {Precision.FLOAT32}"
    return (
        f"{whom}, with probability at least {1 - settings.alpha:g} over the noise that robcert "
        f"drew{stop}, the class given is the one that the smoothed classifier ({model} under "
        f"unclipped Gaussian noise of σ = {settings.sigma:g} in pixel units) returns at every "
        "input closer to the image than the given l2 radius; this holds in real arithmetic, for "
        f"the smoothed classifier and not for {itself}."
    )
