"""The sample behind the fits of L, omega and the curvature: a table below that of the radii."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.core import Norm
from robcert.certify.errors import StoreError
from robcert.certify.failures import outcomes, require_progress
from robcert.certify.local_linearity import finite_tangent
from robcert.certify.session import Steps

from .curvature import largest_curvature
from .excess import largest_excesses
from .gradient_norm import GradientNormSearch, largest_gradient_norm
from .residuals import largest_residuals
from .schema import BOUNDS_SAMPLE
from .settings import Region

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from robcert.certify.core import Batch
    from robcert.certify.model import Classifier
    from robcert.certify.session import Columns, Session
    from robcert.certify.store import AnalysisGroup
    from robcert.certify.workers import Part, Rows

    from .settings import BoundsSettings


def finished_sample(
    session: Session,
    group: AnalysisGroup,
    settings: BoundsSettings,
    blocks: NDArray[np.int64],
    *,
    refit: bool,
) -> AnalysisGroup | None:
    """The sampled rows; None if the time budget ended before they were complete.

    Existing rows are kept, also those of a run that differs only in the fit.

    Args:
        session: model, images, results file.
        group: table of the radii.
        settings: settings that the rows depend on.
        blocks: the sampled images ``(blocks, size)``.
        refit: use an existing sample only.

    Raises:
        StoreError: ``refit`` is set and the file has no complete sample of these settings.
    """
    sample = session.store.sample_group(
        group,
        BOUNDS_SAMPLE,
        settings=settings.sampling,
        sizes={"epsilon": settings.points},
        n_rows=blocks.size,
    )
    if not sample.complete:
        _reuse(session, sample, refit=refit)
    if sample.complete or _fill(session, sample, settings, blocks):
        return sample
    return None


def _reuse(session: Session, sample: AnalysisGroup, *, refit: bool) -> None:
    """Copy the complete sample of a run that differs only in the fit, if there is one."""
    for other in session.store.existing(BOUNDS_SAMPLE.name):
        same = other.settings == sample.settings and other.seed == sample.seed
        if same and other.complete and other.path != sample.path:
            rows = other.indices
            sample.append(rows, {name: other.column(name, rows) for name in sample.columns})
            sample.finish(rows, failed=other.attribute("failed", {}))
            return
    if refit:
        message = "cannot repeat the fit: the file has no complete sample of these settings"
        hint = "run once without refit; norm, epsilon, margin and blocks must agree"
        raise StoreError(message, hint=hint)


def _fill(
    session: Session,
    sample: AnalysisGroup,
    settings: BoundsSettings,
    blocks: NDArray[np.int64],
) -> bool:
    """Compute the missing sampled rows; whether all of them are complete now.

    An image on which the model fails gets no row; the attribute ``failed`` holds the error.
    """
    rows = np.arange(blocks.size)
    images, block = blocks.ravel(), np.repeat(np.arange(len(blocks)), blocks.shape[1])
    missing, failed = sample.missing(rows), dict[int, Exception]()

    def columns(some: Rows) -> Columns:
        return _rows(session.classifier, session.batch(images[some]), settings, session.seed)

    def compute(part: Rows) -> Iterator[Part]:
        return outcomes(columns, part)

    def tell() -> None:
        session.progress("sampling L and omega", int(sample.computed().sum()), blocks.size)

    def write(some: Rows, found: Columns | Exception) -> None:
        if isinstance(found, Exception):
            failed[int(some[0])] = found
            require_progress(failed, done=bool(sample.computed().any()), requested=len(missing))
            return
        sample.append(some, {"index": images[some], "block": block[some], **found})
        tell()

    tell()
    task = "sampling L and omega"
    steps = Steps(task, compute, write, whole=True, images=lambda some: images[some])
    if not session.in_steps(missing, steps):
        return False
    reasons = {str(images[row]): str(error) for row, error in sorted(failed.items())}
    sample.finish(np.setdiff1d(rows, list(failed)), **({"failed": reasons} if failed else {}))
    return True


def _rows(classifier: Classifier, batch: Batch, settings: BoundsSettings, seed: int) -> Columns:
    """Gradient norms, largest residuals and curvatures of one batch of sampled images."""
    norm = Norm(settings.norm)
    tangents = finite_tangent(classifier, batch.x, batch.y, settings.loss)
    excesses = largest_excesses(tangents, batch, settings.excess_search(seed))
    residuals = largest_residuals(tangents, batch, settings.search(seed), excesses)
    slopes = norm.dual.of(tangents.gradient)
    steepest, curvature = slopes, slopes.new_full((len(batch),), float("nan"))
    if settings.region == Region.BALL:
        steepest = largest_gradient_norm(
            tangents,
            batch,
            GradientNormSearch(
                norm, settings.epsilons[-1], settings.steps, settings.restarts, seed
            ),
        )
    if settings.curved:
        curvature = largest_curvature(tangents, batch, steps=settings.curvature_steps, seed=seed)
    columns = {
        "gradient_norm": slopes,
        "largest_gradient_norm": steepest,
        "residual": residuals.found,
        "residual_random": residuals.random,
        "excess": excesses.found,
        "floor": residuals.floor,
        "curvature": curvature,
    }
    return {name: values.detach().cpu().numpy() for name, values in columns.items()}
