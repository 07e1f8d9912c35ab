"""What `robcert attack` runs: the suite, transfer from other models, random changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robcert.certify.errors import InvalidParameterError

from .shell import values
from .shell.run import given
from .shell.session import epsilons, note
from .shell.sources import load_sources

if TYPE_CHECKING:
    from robcert.certify.attacks import AttackSettings, CorruptionSettings, TransferSettings

    from .shell.options import AnalysisOptions
    from .shell.session import CommandContext


@dataclass(frozen=True, slots=True)
class Others:
    """What the options beside the suite said, as typed; None where they were not given."""

    source: list[Path] | None
    source_attack: str | None
    spatial: list[str] | None
    gaussian: list[str] | None
    draws: int | None
    clip_noise: bool

    @property
    def wanted(self) -> bool:
        """Whether there is anything to do beside the suite."""
        return bool(self.source or self.spatial or self.gaussian)

    def require_use(self) -> None:
        """Raise if an option has nothing to say something about."""
        needs = (
            ("--source-attack", self.source_attack, "--source", self.source),
            ("--draws", self.draws, "--spatial or --gaussian", self.spatial or self.gaussian),
            ("--clip-noise", self.clip_noise, "--gaussian", self.gaussian),
        )
        for option, said, other, there in needs:
            if said and not there:
                message = f"{option} has no effect without {other}"
                raise InvalidParameterError(message)


@dataclass(frozen=True, slots=True)
class Parts:
    """Settings of each part; None or empty for a part that does not run.

    Attributes:
        suite: the attacks by name.
        radii: where the summary of the suite gives robust accuracy; empty for its default grid.
        transfer: from the models in ``sources``.
        sources: their files.
        changes: random rotations and shifts, Gaussian noise.
    """

    suite: AttackSettings | None
    radii: tuple[float, ...]
    transfer: TransferSettings | None
    sources: tuple[Path, ...]
    changes: tuple[CorruptionSettings, ...]


def parts_of(
    options: AnalysisOptions,
    suite: dict[str, Any],
    others: Others,
    *,
    fixed_radius: bool,
    suite_wanted: bool,
) -> Parts:
    """Settings of everything that was asked for; the suite runs unless only others were.

    Args:
        options: the shared options.
        suite: settings of the suite that were given.
        others: what was said beside.
        fixed_radius: attacks at a radius search at each --eps.
        suite_wanted: whether its numbers are needed whatever was said of it.

    Raises:
        InvalidParameterError: a value makes no sense, or has no effect.
    """
    from robcert.certify.auditing import settings_of
    from robcert.certify.core import Norm

    others.require_use()
    norm, radii, chosen = Norm(options.norm), epsilons(options), options.profile
    attack, transfer = None, None
    if suite or fixed_radius or suite_wanted or not others.wanted:
        held = given(radii=radii if fixed_radius else None)
        attack = settings_of("attack", chosen, norm=norm, **suite, **held)
    if others.source:
        how = given(recipe=others.source_attack)
        transfer = settings_of("transfer", chosen, norm=norm, radii=radii, **how)
    return Parts(
        suite=attack,
        radii=radii if options.eps or fixed_radius else (),
        transfer=transfer,
        sources=tuple(others.source or ()),
        changes=_changes(others),
    )


def fill(context: CommandContext, parts: Parts) -> list[tuple[str, str, str]]:
    """Run the parts: for each its name in the summary, its analysis, the path of its group."""
    from robcert.certify.attacks import (
        analyse,
        analyse_corruption,
        analyse_transfer,
        require_source,
    )

    session, done = context.session, []
    sources = load_sources(context, parts.sources)
    for source in sources:
        require_source(source, session.classifier)  # before anything is written
    if parts.suite is not None:
        _say_who_ignores_radii(context, parts.suite)
        path = analyse(session, parts.suite, epsilons=parts.radii)
        done.append(("", "attack", path))
    if parts.transfer is not None:
        path = analyse_transfer(session, parts.transfer, sources)
        done.append(("transfer", "transfer", path))
    for change in parts.changes:
        path = analyse_corruption(session, change)
        done.append((str(change.change), "corruption", path))
    return done


def _say_who_ignores_radii(context: CommandContext, settings: AttackSettings) -> None:
    from robcert.certify.attacks import attacks_of, without_radius

    if not settings.radii:
        return
    differentiable = context.session.classifier.differentiable
    names = attacks_of(
        settings.suite, settings.attacks, settings.norm, differentiable=differentiable
    )
    if free := without_radius(names):
        verb = "searches" if len(free) == 1 else "search"
        line = f"{', '.join(free)} {verb} for the smallest distance whatever the radius"
        note(context.options, line)


def require_plot(plot: Path | None, parts: Parts) -> None:
    """Raise if the picture has no ending of one, or there is nothing to draw."""
    from robcert.certify.tables import require_picture

    if plot is None:
        return
    require_picture(plot)
    if parts.suite is None and parts.transfer is None:
        message = "--plot draws accuracy against distance, which random changes have not"
        raise InvalidParameterError(message, hint="add --suite or --source")


def draw(context: CommandContext, plot: Path, done: list[tuple[str, str, str]]) -> None:
    """Accuracy against distance of the suite and of the sources, as the picture ``plot``."""
    from robcert.certify.attacks import attack_curve, save_accuracy, transfer_curves
    from robcert.certify.auditing import summary_of

    store, curves = context.session.store, []
    for _, analysis, path in done:
        if not len(store.at(path).indices):
            continue  # the time budget left nothing to draw
        if analysis == "attack":
            curves.append(attack_curve(store.at(path)))
        elif analysis == "transfer":
            curves += transfer_curves(summary_of(store, analysis, path))
    if curves:
        count = len(context.session.indices)
        title = f"{store.model['file']} on {count} images of {store.data['name']}"
        save_accuracy(plot, curves, norm=context.options.norm, title=title)
        note(context.options, f"picture: {plot}")


def _changes(others: Others) -> tuple[CorruptionSettings, ...]:
    from robcert.certify.attacks import Change, CorruptionSettings

    draws, found = given(draws=others.draws), []
    if others.spatial:
        motions = tuple(_motion(text) for text in others.spatial)
        found.append(CorruptionSettings(Change.SPATIAL, motions, **draws))
    if others.gaussian:
        sizes = tuple((values.number(text),) for text in others.gaussian)
        found.append(CorruptionSettings(Change.GAUSSIAN, sizes, clip=others.clip_noise, **draws))
    return tuple(found)


def _motion(text: str) -> tuple[float, float]:
    found = values.numbers(text)
    if len(found) != 2:
        message = f"--spatial takes DEGREES,SHIFT, got {text!r}"
        hint = "30,0.1 turns by up to 30 degrees and shifts by up to a tenth of the side"
        raise InvalidParameterError(message, hint=hint)
    return found[0], found[1]
