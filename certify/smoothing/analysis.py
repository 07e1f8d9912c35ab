"""`robcert smoothing certify`: certified radii of the smoothed classifier."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.errors import DataError
from robcert.certify.failures import outcomes, require_progress
from robcert.certify.numerics import classes_of
from robcert.certify.session import Steps

from .forecast import forecast
from .precision import Precision, in_precision, require_same_function
from .procedures import ESTIMATION, Outcome, certification, label_certification
from .sampler import Finished, ImageTask, Sampler
from .schema import SMOOTHING
from .sequential import StopReason
from .settings import Mode, SmoothingSettings, certification_rule, schedule, two_stage_rule
from .summary import SmoothingSummary, summarise
from .undefined import note_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from robcert.certify.session import Columns, Pilot, Session
    from robcert.certify.store import AnalysisGroup
    from robcert.certify.workers import Part, Rows

    from .procedures import Procedure

__all__ = ["Mode", "SmoothingSettings", "SmoothingSummary", "analyse", "summarise"]

IMAGES_AHEAD = 64
"""Images that are read together."""

SECONDS_PER_WRITE = 0.5
"""Interval between writes; a kill loses at most this. One write per image would dominate."""


def analyse(session: Session, settings: SmoothingSettings, *, batch_size: int | None = None) -> str:
    """Path of the table with a certificate for each image of the session.

    Existing rows are kept. Images finish roughly in their order, and each is written when it
    finishes. At the session's deadline no new batch is started: unfinished images get no row (a
    later run restarts them with the same noise and ends as if it had not been interrupted), and
    what the analyses so far certify of them, which is equally valid, is stored in the attribute
    ``in_progress``.

    Args:
        session: model, images, results file.
        settings: settings that the rows depend on.
        batch_size: noisy images in one forward pass; changes speed only.

    Raises:
        DataError: label mode without labels.
        InvalidParameterError: the model cannot be computed in this precision.
    """
    session = in_precision(session, settings)
    group = _table(session, settings)
    if session.pilot is not None:
        _foresee(session, session.pilot, settings, batch_size)
        return group.path

    def sampler() -> Sampler:
        return Sampler(
            session.classifier,
            sigma=settings.sigma,
            seed=session.seed,
            batch_size=batch_size,
            deadline=session.deadline,
        )

    def rows(finished: Finished) -> Columns:
        x = session.pixels(finished.indices)
        clean = classes_of(session.classifier.logits(x)).cpu().numpy()
        return {**_rows(finished.outcomes, settings), "clean_prediction": clean}

    unfinished = run(session, group, sampler, _procedures(session, settings), rows)
    _note_progress(group, unfinished)
    note_reason(session, group, sigma=settings.sigma, stream=ESTIMATION)
    return group.path


def _table(session: Session, settings: SmoothingSettings) -> AnalysisGroup:
    """The table of these settings, new or resumed."""
    plain = session.classifier.runtime.precision == Precision.FLOAT32
    suffix = "" if plain else f"-{settings.precision}"
    group = session.store.group(
        SMOOTHING,
        prefix=f"sigma-{settings.sigma:g}-{settings.mode}{suffix}",
        settings=settings,
        seed=session.seed,
        sizes={"class": session.classifier.num_classes, "look": len(schedule(settings).analyses)},
    )
    group.set_attributes(
        stop_reasons={str(int(reason)): reason.name.lower() for reason in StopReason},
        pixels=int(np.prod(session.classifier.image_shape)),
        n_classes=session.classifier.num_classes,
    )
    if not plain:
        require_same_function(
            group, session.classifier, session.images, sigma=settings.sigma, seed=session.seed
        )
    return group


def _foresee(
    session: Session, pilot: Pilot, settings: SmoothingSettings, batch_size: int | None
) -> None:
    """Tell ``pilot`` the forecast: some images need a hundred times the draws of others."""
    found = forecast(session, settings, batch_size=batch_size)
    seconds = found.mean_samples / found.samples_per_second
    pilot.foresee(
        "smoothing",
        seconds=seconds,
        processor=seconds * found.busy,
        forward=found.mean_samples,
        spread=found.standard_error / found.mean_samples,
    )


def run(
    session: Session,
    group: AnalysisGroup,
    sampler: Callable[[], Sampler],
    procedure_of: Callable[[int], Procedure],
    rows_of: Callable[[Finished], Columns],
) -> dict[int, Outcome]:
    """Run a procedure on each image that ``group`` lacks, and write its row when it finishes.

    The table is marked complete unless time ran out. An image gets no row if the model fails on it
    or on one of its noisy copies; the attribute ``failed`` holds the error.

    Returns:
        Outcomes so far of the images that were not finished when time ran out, by index.
    """
    missing, total = group.missing(session.indices), len(session.indices)
    done, failed = total - len(missing), dict[int, Exception]()
    unfinished: dict[int, Outcome] = {}

    def write(indices: Rows, found: Columns | Exception | Outcome) -> None:
        nonlocal done
        if isinstance(found, Exception):
            failed[int(indices[0])] = found
        elif isinstance(found, Outcome):
            unfinished[int(indices[0])] = found
        else:
            group.append(indices, found)
            done += len(indices)
            session.progress("smoothing", done, total)

    def compute(some: Rows) -> Iterator[Part]:
        return _parts(session, some, sampler(), procedure_of, rows_of)

    session.progress("smoothing", done, total)
    if session.processes or session.pilot is not None:
        session.in_steps(missing, Steps("smoothing", compute, write, first=1))
    else:  # one queue: images that need few draws share batches with those that need many
        for part in compute(missing):
            write(*part)
    require_progress(failed, done=bool(done), requested=len(missing))
    reasons = {str(at): str(error) for at, error in failed.items()}
    known = {"failed": reasons} if failed or group.attribute("failed") else {}
    if done + len(failed) == total:
        group.finish(np.setdiff1d(session.indices, list(failed)), **known)
    else:
        group.set_attributes(**known)
    return unfinished


def _parts(
    session: Session,
    indices: Rows,
    sampler: Sampler,
    procedure_of: Callable[[int], Procedure],
    rows_of: Callable[[Finished], Columns],
) -> Iterator[Part]:
    """Columns of images as they finish; then errors, and outcomes so far of the unfinished ones."""
    tasks = (ImageTask(index, x, procedure_of(index)) for index, x in _images(session, indices))
    for chunk in in_chunks(sampler.run(tasks)):
        yield from _rows_of_chunk(chunk, rows_of)
    for index, error in sampler.failed.items():
        yield np.array([index]), error
    for index, outcome in sampler.unfinished.items():
        if outcome is not None:
            yield np.array([index]), outcome


def _rows_of_chunk(chunk: Finished, rows_of: Callable[[Finished], Columns]) -> Iterator[Part]:
    """Columns of the images of ``chunk``, or the errors of those that have none."""
    for at, found in outcomes(lambda at: rows_of(chunk.part(at)), np.arange(len(chunk.indices))):
        yield chunk.indices[at], found


def in_chunks(stream: Iterator[Finished]) -> Iterator[Finished]:
    """``stream`` grouped for writing: the images finished within SECONDS_PER_WRITE."""
    indices: list[NDArray[np.int64]] = []
    outcomes: list[Outcome] = []
    last = time.monotonic()
    for finished in stream:
        indices.append(finished.indices)
        outcomes += finished.outcomes
        if time.monotonic() - last >= SECONDS_PER_WRITE:
            yield Finished(np.concatenate(indices), outcomes)
            indices, outcomes, last = [], [], time.monotonic()
    if outcomes:
        yield Finished(np.concatenate(indices), outcomes)


def _images(session: Session, indices: NDArray[np.int64]) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(indices), IMAGES_AHEAD):
        some = indices[start : start + IMAGES_AHEAD]
        pixels = session.pixels(some)
        yield from zip(some.tolist(), pixels, strict=True)


def _procedures(session: Session, settings: SmoothingSettings) -> Callable[[int], Procedure]:
    if settings.mode is Mode.RADIUS:
        return lambda _: certification(
            lambda pilot: two_stage_rule(settings, pilot), n_select=settings.pilot
        )
    rule = certification_rule(settings)
    if not settings.label_mode:
        return lambda _: certification(lambda _: rule, n_select=settings.n0)
    labels = session.images.labels
    if labels is None:
        message = f"label mode needs labels, {session.images.name} has none"
        raise DataError(message)
    return lambda index: label_certification(rule, int(labels[index]))


def _rows(outcomes: list[Outcome], settings: SmoothingSettings) -> Columns:
    verdicts = [outcome.verdict for outcome in outcomes]
    counts = np.stack([outcome.path[-1] for outcome in outcomes])
    selected = np.array([outcome.selected for outcome in outcomes])
    path = np.full((len(outcomes), len(schedule(settings).analyses)), -1)
    for row, outcome in zip(path, outcomes, strict=True):
        row[: len(outcome.path)] = outcome.path[:, outcome.selected]
    return {
        "prediction": np.array([outcome.prediction for outcome in outcomes]),
        "selected": selected,
        "n_used": np.array([verdict.n_used for verdict in verdicts]),
        "top_count": counts[np.arange(len(outcomes)), selected],
        "counts": counts,
        "path": path,
        "p_lower": np.array([verdict.p_lower for verdict in verdicts]),
        "p_upper": np.array([verdict.p_upper for verdict in verdicts]),
        "radius": np.array([verdict.radius for verdict in verdicts]),
        "stop_reason": np.array([int(verdict.reason) for verdict in verdicts]),
    }


def _note_progress(group: AnalysisGroup, unfinished: dict[int, Outcome]) -> None:
    if unfinished or group.attribute("in_progress", []):
        group.set_attributes(
            in_progress=[
                {
                    "index": index,
                    "prediction": outcome.prediction,
                    "n_used": outcome.verdict.n_used,
                    "radius": outcome.verdict.radius,
                }
                for index, outcome in unfinished.items()
            ]
        )
