"""The tests that `robcert attack` runs: the suite, and transfer from other models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from robcert.certify.errors import InvalidParameterError

from .shell.session import epsilons, note
from .shell.values import either

if TYPE_CHECKING:
    from robcert.certify.attacks import AttackSettings, CorruptionSettings, TransferSettings

    from .corruption import Corruption
    from .shell.options import AnalysisOptions
    from .shell.session import CommandContext

Done = tuple[str, str, tuple[str]]
"""A test that ran: its name in the summary, its analysis, the path of its group."""


@dataclass(frozen=True, slots=True)
class SuiteOptions:
    """Options of the suite as typed; None or False if not given."""

    suite: Literal["quick", "standard", "thorough"] | None
    attacks: list[str] | None
    restarts: int | None
    no_early_stopping: bool
    save_images: bool
    round_8_bit: bool
    fixed_radius: bool
    per_attack: bool

    @property
    def any_given(self) -> bool:
        """Whether any of them was given."""
        kept = (self.save_images, self.round_8_bit, self.per_attack)
        flags = (self.no_early_stopping, self.fixed_radius, *kept)
        return bool(self.suite or self.attacks or self.restarts is not None or any(flags))

    def settings(self, options: AnalysisOptions) -> AttackSettings:
        """Settings of the suite."""
        from robcert.certify.attacks import AttackSettings, Suite

        base = AttackSettings.of_profile(options.profile)
        return replace(
            base,
            norm=options.norm,
            suite=Suite(either(self.suite, base.suite)),
            attacks=tuple(self.attacks or base.attacks),
            restarts=either(self.restarts, base.restarts),
            save_images=self.save_images or base.save_images,
            epsilons=epsilons(options) if self.fixed_radius else base.epsilons,
            early_stopping=base.early_stopping and not self.no_early_stopping,
            round_8_bit=self.round_8_bit or base.round_8_bit,
            per_attack=self.per_attack or base.per_attack,
        )


@dataclass(frozen=True, slots=True)
class ExtraTests:
    """Options of the tests that are not in the suite, as typed; None if not given."""

    source: list[Path] | None
    source_attack: Literal["pgd", "pgd-ce", "soar-pgd7", "soar-pgd20", "soar-l2-pgd100"] | None
    corruption: Corruption

    @property
    def wanted(self) -> bool:
        """Whether any of them runs."""
        return bool(self.source) or self.corruption.wanted

    def transfer(self, options: AnalysisOptions) -> TransferSettings | None:
        """Settings of the transfer from other models, None without sources.

        Raises:
            InvalidParameterError: there is an attack on the sources but no source.
        """
        from robcert.certify.attacks import TransferSettings

        if not self.source:
            if self.source_attack:
                message = "--source-attack has no effect without --source"
                raise InvalidParameterError(message)
            return None
        base = TransferSettings.of_profile(options.profile)
        recipe = either(self.source_attack, base.recipe)
        return replace(base, norm=options.norm, epsilons=epsilons(options), recipe=recipe)


@dataclass(frozen=True, slots=True)
class AttackPlan:
    """Settings of each test; None or empty for one that does not run.

    Attributes:
        suite: the attacks by name.
        epsilons: radii of robust accuracy in the summary of the suite; empty for its default grid.
        transfer: transfer from the models in ``sources``.
        sources: files of the source models.
        corruptions: random rotations and shifts, Gaussian noise.
    """

    suite: AttackSettings | None
    epsilons: tuple[float, ...]
    transfer: TransferSettings | None
    sources: tuple[Path, ...]
    corruptions: tuple[CorruptionSettings, ...]


def plan_attack(
    options: AnalysisOptions, suite: SuiteOptions, extra: ExtraTests, *, suite_wanted: bool
) -> AttackPlan:
    """Settings of all requested tests; the suite runs unless only others were requested.

    Args:
        options: the shared options.
        suite: options of the suite.
        extra: options of other tests.
        suite_wanted: whether the suite runs even if none of its options was given.

    Raises:
        InvalidParameterError: a value is not valid, or has no effect.
    """
    corruptions, transfer = extra.corruption.settings(), extra.transfer(options)
    runs = suite.any_given or suite_wanted or not extra.wanted
    return AttackPlan(
        suite=suite.settings(options) if runs else None,
        epsilons=epsilons(options) if options.eps or suite.fixed_radius else (),
        transfer=transfer,
        sources=tuple(extra.source or ()),
        corruptions=corruptions,
    )


def run_plan(context: CommandContext, plan: AttackPlan) -> list[Done]:
    """Run the tests; per test the name in the summary, its analysis, the path of its group."""
    from robcert.certify.attacks import (
        analyse,
        analyse_corruption,
        analyse_transfer,
        require_source,
    )
    from robcert.certify.auditing import load_sources

    session = context.session
    done: list[Done] = []
    sources = load_sources(context.session_context.request, plan.sources, session)
    for source in sources:
        require_source(source, session.classifier)  # before anything is written
    if plan.suite is not None:
        _note_attacks_without_radius(context, plan.suite)
        path = analyse(session, plan.suite, epsilons=plan.epsilons)
        done.append(("", "attack", (path,)))
    if plan.transfer is not None:
        path = analyse_transfer(session, plan.transfer, sources)
        done.append(("transfer", "transfer", (path,)))
    for settings in plan.corruptions:
        path = analyse_corruption(session, settings)
        done.append((str(settings.change), "corruption", (path,)))
    return done


def _note_attacks_without_radius(context: CommandContext, settings: AttackSettings) -> None:
    from robcert.certify.attacks import attacks_of, without_radius

    if not settings.epsilons:
        return
    differentiable = context.session.classifier.differentiable
    names = attacks_of(
        settings.suite, settings.attacks, settings.norm, differentiable=differentiable
    )
    if free := without_radius(names):
        verb = "searches" if len(free) == 1 else "search"
        line = f"{', '.join(free)} {verb} for the smallest distance; the radius has no effect"
        note(context.options, line)


def require_plot(plot: Path | None, plan: AttackPlan) -> None:
    """Raise if the figure's format is unknown, or there is nothing to draw."""
    from robcert.certify.tables import require_picture

    if plot is None:
        return
    require_picture(plot)
    if plan.suite is None and plan.transfer is None:
        message = "--plot draws accuracy against distance, and random changes have no distance"
        raise InvalidParameterError(message, hint="add --suite or --source")


def draw_accuracy(context: CommandContext, plot: Path, done: list[Done]) -> None:
    """Draw accuracy against distance, for the suite and the sources, into the file ``plot``."""
    from robcert.certify.attacks import (
        attack_curve,
        per_attack_curves,
        save_accuracy,
        summarise_transfer,
        transfer_curves,
    )

    store, curves = context.session.store, []
    for _, analysis, (path,) in done:
        if not len(store.at(path).indices):
            continue  # the time budget left nothing to draw
        if analysis == "attack":
            curves += [attack_curve(store.at(path)), *per_attack_curves(store.at(path))]
        elif analysis == "transfer":
            curves += transfer_curves(summarise_transfer(store, path))
    if curves:
        count = len(context.session.indices)
        title = f"{store.model['file']} on {count} images of {store.data['name']}"
        save_accuracy(plot, curves, norm=context.options.norm, title=title)
        note(context.options, f"picture: {plot}")
