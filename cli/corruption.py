"""`robcert corruption`: accuracy under random changes of given strength."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from robcert.certify.errors import InvalidParameterError
from robcert.certify.number_text import number

from .shell import values
from .shell.options import AnalysisOptions, ModelAndData, Run, SelectionOptions, analysis_options
from .shell.run import report_parts
from .shell.session import command_context

if TYPE_CHECKING:
    from robcert.certify.attacks import CorruptionSettings


@dataclass(frozen=True, slots=True)
class Corruption:
    """Random changes as typed; None or False if not given."""

    spatial: list[str] | None
    gaussian: list[str] | None
    draws: int | None
    clip: bool

    @property
    def wanted(self) -> bool:
        """Whether any change was given."""
        return bool(self.spatial or self.gaussian)

    @property
    def typed(self) -> str:
        """The changes as they are typed."""
        parts = [f"--spatial {text}" for text in self.spatial or ()]
        parts += [f"--gaussian {text}" for text in self.gaussian or ()]
        parts += [] if self.draws is None else [f"--draws {self.draws}"]
        return " ".join([*parts, *(["--clip"] if self.clip else [])])

    def settings(self) -> tuple[CorruptionSettings, ...]:
        """Settings of each kind of change.

        Raises:
            InvalidParameterError: a value is not valid, or has no effect.
        """
        from robcert.certify.attacks import Change, CorruptionSettings

        if self.draws is not None and not self.wanted:
            message = "--draws has no effect without --spatial or --gaussian"
            raise InvalidParameterError(message)
        if self.clip and not self.gaussian:
            message = "clipping has no effect without --gaussian"
            raise InvalidParameterError(message)
        base, found = CorruptionSettings(), []
        if self.spatial:
            motions = tuple(_motion(text) for text in self.spatial)
            found.append(replace(base, change=Change.SPATIAL, strengths=motions))
        if self.gaussian:
            sizes = tuple((values.of_option("--gaussian", number, text),) for text in self.gaussian)
            clip = self.clip or base.clip
            found.append(replace(base, change=Change.GAUSSIAN, strengths=sizes, clip=clip))
        return tuple(replace(one, draws=values.either(self.draws, base.draws)) for one in found)


@analysis_options(*ModelAndData, SelectionOptions, *Run)
def corruption(
    options: AnalysisOptions,
    *,
    spatial: Annotated[
        list[str] | None,
        typer.Option(
            "--spatial",
            help="DEGREES,SHIFT: random rotation by at most DEGREES and shift by at most the share "
            "SHIFT of the side, such as 30,0.1; may be repeated.",
        ),
    ] = None,
    gaussian: Annotated[
        list[str] | None,
        typer.Option(
            "--gaussian",
            help="Gaussian noise of this standard deviation in pixel units of [0, 1]; may be "
            "repeated.",
        ),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option("--draws", help="Random draws per image and strength.", show_default="10"),
    ] = None,
    clip: Annotated[bool, typer.Option("--clip", help="Clip the noisy pixels to [0, 1].")] = False,
) -> None:
    """Accuracy under random rotation and shift, and under Gaussian noise.

    Prints measured accuracy, on one random draw per image, and attacked accuracy, where an image
    counts only if it is classified correctly in all of its draws.

    Example: robcert corruption --model model.onnx --data images.npz --spatial 30,0.1 --gaussian 0.1
    """
    from robcert.certify.attacks import analyse_corruption

    runs = Corruption(spatial, gaussian, draws, clip).settings()
    if not runs:
        message = "robcert corruption needs a random change"
        raise InvalidParameterError(message, hint="--spatial 30,0.1 or --gaussian 0.1")
    with command_context(options) as context:
        paths = [analyse_corruption(context.session, settings) for settings in runs]
        parts = [
            (str(settings.change), "corruption", (path,))
            for settings, path in zip(runs, paths, strict=True)
        ]
        report_parts(context, "corruption", parts)


def _motion(text: str) -> tuple[float, float]:
    found = values.of_option("--spatial", values.numbers, text)
    if len(found) != 2:
        message = f"--spatial takes DEGREES,SHIFT, got {text!r}"
        hint = "30,0.1 rotates by at most 30 degrees and shifts by at most a tenth of the side"
        raise InvalidParameterError(message, hint=hint)
    return found[0], found[1]
