"""`robcert bounds`: radii from extreme-value estimates of L and omega."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bounds import l_bound, largest_residuals, omega_bound, vanishing_share
from ..core import Kind, Norm
from ..errors import StoreError
from ..extremes import ExtremeValueFit, Method, Status, fit_extremes
from ..gradient_norm import largest_gradient_norm
from ..linearity import tangent
from ..schema import BOUNDS, BOUNDS_SAMPLE
from .bounds_settings import BoundsSettings, Margin, Region
from .bounds_summary import BoundsSummary, summarise
from .linearity import require_gradients

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..classifier import Classifier
    from ..core import Batch
    from ..session import Rows, Session
    from ..store_group import AnalysisGroup

__all__ = ["BoundsSettings", "BoundsSummary", "analyse", "summarise"]

SAMPLE = "bounds-sample"
"""Place of the sampled rows, under the table of the radii."""


def analyse(session: Session, settings: BoundsSettings, *, refit: bool = False) -> str:
    """Path of the table with each image's radii.

    L and omega are sampled on images of the whole data set (kept if they are in the file already,
    also from a run that differs in the fit alone), fitted, and then applied to the session's
    images. A run that its time budget cuts off continues where it was.

    Args:
        session: model, images, results file.
        settings: everything that changes a row.
        refit: fit again from a sample that is in the file; never sample.

    Raises:
        TwinUnavailableError: the model has no twin.
        StoreError: ``refit`` and the file has no finished sample of these settings.
    """
    require_gradients(session.classifier)
    blocks = settings.blocks_of(session.images, session.seed)
    group = session.store.group(
        BOUNDS,
        prefix=f"{settings.norm}-{settings.epsilon:.4g}-{settings.margin}",
        settings=settings,
        seed=session.seed,
    )
    sample = _sample_table(session, group, settings, blocks)
    if not sample.complete:
        _reuse(session, sample, settings, refit=refit)
    if not sample.complete and not _fill_sample(session, sample, settings, blocks):
        return group.path
    fits = _fit(group, sample, settings, blocks, session.seed)
    session.fill(group, "bounds", lambda batch: _rows(session.classifier, batch, settings, fits))
    return group.path


def _sample_table(
    session: Session, group: AnalysisGroup, settings: BoundsSettings, blocks: NDArray[np.int64]
) -> AnalysisGroup:
    return session.store.group(
        BOUNDS_SAMPLE,
        prefix="",
        settings=settings.sampling,
        seed=session.seed,
        sizes={"epsilon": settings.points},
        n_rows=blocks.size,
        under=group.path,
    )


def _reuse(
    session: Session, sample: AnalysisGroup, settings: BoundsSettings, *, refit: bool
) -> None:
    """Copy the finished sample of a run that differs in the fit alone, if there is one."""
    rows = np.arange(len(sample.computed()))
    for other in session.store.existing(SAMPLE):
        same = other.settings == sample.settings and other.seed == sample.seed
        if same and other.complete and other.path != sample.path:
            sample.append(rows, {name: other.column(name, rows) for name in sample.columns})
            sample.finish(rows)
            return
    if refit:
        message = "there is nothing to fit again: the file has no finished sample of these settings"
        hint = "run the same command without --refit; norm, epsilon, margin and blocks must agree"
        raise StoreError(message, hint=hint)


def _fill_sample(
    session: Session,
    sample: AnalysisGroup,
    settings: BoundsSettings,
    blocks: NDArray[np.int64],
) -> bool:
    """Compute the sampled rows that are missing; whether all of them are there now."""
    rows = np.arange(blocks.size)
    images, block = blocks.ravel(), np.repeat(np.arange(len(blocks)), blocks.shape[1])
    missing = sample.missing(rows)
    for start in range(0, len(missing), session.batch_size):
        session.progress("sampling L and omega", blocks.size - len(missing) + start, blocks.size)
        if session.out_of_time:
            return False
        part = missing[start : start + session.batch_size]
        found = _sampled(session.classifier, session.batch(images[part]), settings, session.seed)
        sample.append(part, {"index": images[part], "block": block[part], **found})
    session.progress("sampling L and omega", blocks.size, blocks.size)
    sample.finish(rows)
    return True


def _sampled(classifier: Classifier, batch: Batch, settings: BoundsSettings, seed: int) -> Rows:
    """Gradient norms and largest residuals of one batch of sampled images."""
    norm = Norm(settings.norm)
    plane = tangent(classifier, batch.x, batch.y, Margin(settings.margin).loss)
    search = {"steps": settings.steps, "restarts": settings.restarts, "seed": seed}
    residuals = largest_residuals(plane, batch, norm=norm, epsilons=settings.epsilons, **search)
    slopes = norm.dual.of(plane.gradient)
    steepest = slopes
    if settings.region == Region.BALL:
        radius = settings.epsilons[-1]
        steepest = largest_gradient_norm(plane, batch, norm=norm, radius=radius, **search)
    columns = {
        "gradient_norm": slopes,
        "largest_gradient_norm": steepest,
        "residual": residuals.found,
        "residual_random": residuals.random,
        "floor": residuals.floor,
    }
    return {name: values.detach().cpu().numpy() for name, values in columns.items()}


def _fit(
    group: AnalysisGroup,
    sample: AnalysisGroup,
    settings: BoundsSettings,
    blocks: NDArray[np.int64],
    seed: int,
) -> tuple[ExtremeValueFit, ...]:
    """Fits of L and of omega at each epsilon, stored with their block maxima."""
    slopes = sample.column("gradient_norm")
    vanishing = vanishing_share(slopes)
    floor = float(np.median(sample.column("floor")))
    values = np.column_stack([sample.column("largest_gradient_norm"), sample.column("residual")])
    maxima = values.reshape(*blocks.shape, -1).max(1)
    fits = []
    for position, column in enumerate(maxima.T):
        fit = fit_extremes(
            column,
            block_size=blocks.shape[1],
            method=Method(settings.evt),
            exceedance=settings.exceedance,
            level=settings.level,
            seed=seed,
            resolution=floor if position else 0.0,
        )
        fits.append(_judged(fit, vanishing))
    names = ["lipschitz", *(f"omega/{epsilon:.6g}" for epsilon in settings.epsilons)]
    for name, column in zip(names, maxima.T, strict=True):
        if f"{name}/block_maxima" not in group:
            doc = "largest value of each block of sampled images"
            group.save_array(f"{name}/block_maxima", column, kind=Kind.ESTIMATED, doc=doc)
    group.set_attributes(
        fits=[asdict(fit) for fit in fits],
        epsilons=list(settings.epsilons),
        vanishing_share=vanishing,
        sampled_gradients={"mean": float(slopes.mean()), "max": float(slopes.max())},
        omega_random=sample.column("residual_random").max(0).tolist(),
        gradient_passes=settings.gradient_passes(blocks.size, 0),
    )
    return tuple(fits)


def _judged(fit: ExtremeValueFit, vanishing: float) -> ExtremeValueFit:
    """``fit`` with what vanishing gradients say about it."""
    if vanishing == 1:
        flags = (*fit.flags, "the gradient vanishes at every sampled image")
        return replace(fit, status=Status.INVALID, flags=flags)
    if vanishing > 0.01:
        return replace(fit, flags=(*fit.flags, "possible gradient masking"))
    return fit


def _rows(
    classifier: Classifier,
    batch: Batch,
    settings: BoundsSettings,
    fits: tuple[ExtremeValueFit, ...],
) -> Rows:
    """Radii of one batch."""
    plane = tangent(classifier, batch.x, batch.y, Margin(settings.margin).loss)
    loss = plane.value.double().cpu().numpy()
    slopes = Norm(settings.norm).dual.of(plane.gradient).double().cpu().numpy()
    rows: dict[str, Any] = {"loss": loss, "gradient_norm": slopes}
    valid = fits[0].status is not Status.INVALID
    largest = settings.epsilons[-1]
    for suffix, values in (
        ("", [fit.upper for fit in fits]),
        ("_point", [fit.point for fit in fits]),
    ):
        lipschitz = l_bound(loss, values[0])
        if settings.region == Region.BALL:
            lipschitz = np.minimum(lipschitz, largest)
        omega, ends = omega_bound(
            loss, slopes, epsilons=settings.epsilons, omegas=np.array(values[1:])
        )
        rows[f"l_bound{suffix}"] = lipschitz * valid
        rows[f"omega_bound{suffix}"] = omega * valid
        rows.setdefault("censored", (ends & valid).astype(np.int8))
    return rows
