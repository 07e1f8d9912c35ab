"""`robcert audit` on several models: their processes, the table, the page, the exit status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from robcert.certify.errors import InvalidParameterError, OutputError, require_open_unit

from .shell.echo import echo, echo_json
from .shell.invocation import command_line, remember_saved
from .shell.progress import TerminalProgress
from .shell.render import print_tables, print_warning
from .shell.session import note, request_of, tell_configured

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robcert.certify.auditing import AuditSettings, SessionRequest
    from robcert.certify.fleet import (
        AuditOrder,
        FleetModel,
        FleetSummary,
        MemberOutcome,
        RaceFacts,
    )
    from robcert.certify.gates import AnyGate

    from .shell.options import AnalysisOptions


def audit_fleet(
    options: AnalysisOptions,
    paths: Sequence[Path],
    settings: AuditSettings,
    gates: Sequence[AnyGate],
    alpha: float | None = None,
) -> None:
    """Audit the models that ``paths`` name, and print and write the comparison.

    Args:
        options: the shared options; ``out`` is the folder of the results files.
        paths: as typed.
        settings: settings of every audit.
        gates: what the numbers of each model must reach.
        alpha: largest probability with which a race stops the best model; None for no race.

    Raises:
        RobcertError: an option, or the images, cannot be used for any of the models.
        Exit: a model failed, or a gate did not pass.
    """
    from robcert.certify.fleet import AuditOrder, fleet_models, summarise

    request = _request(options)
    if alpha is not None:
        _require_race(options, alpha)
    models = fleet_models(paths)
    images = _images(request)
    tell_configured(options)
    order = AuditOrder(request, settings, tuple(gates), command_line(), _begin(options))
    if alpha is None or images is None:
        outcomes, race = _outcomes(options, order, models), None
    else:
        outcomes, race = _raced(options, order, models, images, alpha)
    found = summarise(outcomes, gated=bool(gates), race=race)
    page = found.write_page(request.folder)
    if options.as_json:
        _print_json(order, found, page)
    else:
        print_tables([found.table()])
        echo(f"results: {request.folder}")
        if page is not None:
            echo(f"report:  {page}")
    _tell_failures(found)
    if found.exit_status:
        raise typer.Exit(found.exit_status)


def _request(options: AnalysisOptions) -> SessionRequest:
    """What the sessions of all models have in common.

    Raises:
        RobcertError: an option has no valid value, or is not for several models.
    """
    from robcert.certify.auditing import RESULTS_FOLDER

    folder = options.out or RESULTS_FOLDER
    if folder.suffix == ".h5" or folder.is_file():
        message = f"--out names the folder of the results of several models, got {folder}"
        raise InvalidParameterError(message, hint="name a folder, such as --out results")
    if options.ray is not None:
        message = "--ray computes the images of one model, and there are several"
        raise InvalidParameterError(
            message, hint="audit them one after the other, or use --workers"
        )
    for option in ("junit", "sarif", "markdown"):
        if getattr(options, option) is not None:
            message = f"--{option} is about one model, and there are several"
            hint = "robcert evidence writes files on the checks of one results file"
            raise InvalidParameterError(message, hint=hint)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"the folder {folder} cannot be made: {error.strerror}"
        raise OutputError(message, hint="check the path and its permissions") from error
    return replace(request_of(replace(options, out=None)), folder=folder)


def _require_race(options: AnalysisOptions, alpha: float) -> None:
    """Raise where models cannot race.

    Raises:
        InvalidParameterError: an option is missing, contradicts a race, or has no valid value.
    """
    require_open_unit("--race-alpha", alpha)
    for option in ("shard", "time_budget"):
        if getattr(options, option) is not None:
            message = f"--{option.replace('_', '-')} and --race contradict each other"
            hint = "a race decides itself which images a model gets: omit one of them"
            raise InvalidParameterError(message, hint=hint)
    if options.data is None:
        message = "--race needs --data: all models must get the same images"
        raise InvalidParameterError(message, hint="pass --data")


def _images(request: SessionRequest) -> NDArray[np.int64] | None:
    """The images to report on, by index; None where each model names its own set.

    Raises:
        RobcertError: they cannot be loaded, or the selection leaves none.
    """
    from robcert.certify.data import load_images, select

    if not isinstance(request.data, str | Path):
        return None
    images = load_images(request.data, root=request.data_root)
    return select(len(images), limit=request.limit, every=request.every, indices=request.indices)


def _begin(options: AnalysisOptions) -> tuple[partial[None], ...]:
    """What each process does first."""
    from robcert.trainers.networks import allow

    return () if options.arch is None else (partial(allow, options.arch),)


def _outcomes(
    options: AnalysisOptions, order: AuditOrder, models: Sequence[FleetModel]
) -> list[MemberOutcome]:
    """The outcomes of ``models``, in their order; told as they come."""
    from robcert.certify.fleet import audit_models

    found: dict[int, MemberOutcome] = {}
    folder = order.request.folder
    with TerminalProgress(quiet=options.quiet) as progress:
        progress("models", 0, len(models))
        try:
            for place, outcome in audit_models(order, models, debug=options.debug):
                found[place] = outcome
                progress("models", len(found), len(models))
                _tell(options, outcome, f"{len(found)} of {len(models)}")
        finally:
            remember_saved(any(folder.glob("*.h5")))
    return [found[place] for place in range(len(models))]


def _raced(
    options: AnalysisOptions,
    order: AuditOrder,
    models: Sequence[FleetModel],
    images: NDArray[np.int64],
    alpha: float,
) -> tuple[list[MemberOutcome], RaceFacts]:
    """The outcomes of a race of ``models``, in their order; told as they come."""
    from robcert.certify.fleet import FleetRace

    told: set[int] = set()
    folder = order.request.folder
    with TerminalProgress(quiet=options.quiet) as progress:

        def tell(place: int, outcome: MemberOutcome) -> None:
            told.add(place)
            progress("models", len(told), len(models))
            _tell(options, outcome, f"{len(told)} of {len(models)}")

        def on_round(count: int, left: int) -> None:
            note(options, f"race: {left} of {len(models)} models, {count} images")

        race = FleetRace(order, models, images, alpha, tell, on_round, options.debug)
        try:
            return race.run()
        finally:
            remember_saved(any(folder.glob("*.h5")))


def _tell(options: AnalysisOptions, outcome: MemberOutcome, count: str) -> None:
    """Say how the audit of one model ended."""
    name = outcome.model.name
    for line in outcome.warnings:
        print_warning(f"{name}: {line}")
    verdict = outcome.verdict or {}
    said = outcome.reason or verdict.get("headline", outcome.state)
    note(options, f"{count}: {name}: {said} ({outcome.seconds:.0f} s)")


def _tell_failures(found: FleetSummary) -> None:
    """Say on stderr which models failed, and which gates did not pass."""
    from robcert.certify.fleet import State

    for one in found.outcomes:
        if one.state is State.FAILED:
            hint = f" ({one.hint})" if one.hint else ""
            echo(f"failed: {one.model.name}: {one.reason}{hint}", err=True)
        for line in one.failures:
            echo(f"failed: {one.model.name}: {line}", err=True)


def _print_json(order: AuditOrder, found: FleetSummary, page: Path | None) -> None:
    """Print the fleet as one JSON object."""
    from robcert.certify.store import plain

    content = {
        "command": "audit",
        "robcert_version": version("robcert"),
        "settings": {
            "seed": order.request.seed,
            "norm": order.request.norm,
            "audit": plain(asdict(order.settings)),
        },
        **found.to_json(),
        "folder": str(order.request.folder),
        "report": None if page is None else str(page),
    }
    echo_json(plain(content))
