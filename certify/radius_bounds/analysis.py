"""`robcert bounds`: radii from extreme-value estimates of L, omega and the curvature."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.core import Kind, Norm
from robcert.certify.errors import DataError
from robcert.certify.local_linearity import tangent
from robcert.certify.model import require_gradients
from robcert.certify.stats import ExtremeValueFit, Method, Status, fit_extremes

from .clever import local_lipschitz
from .curvature import KINKED, kinked_share
from .radii import curvature_bound, l_bound, omega_bound, vanishing_share
from .residuals import forget_decided, residuals_while_undecided
from .sample import finished_sample
from .schema import BOUNDS
from .settings import BoundsSettings, Region
from .summary import BoundsSummary, summarise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robcert.certify.core import Batch
    from robcert.certify.local_linearity import Tangent
    from robcert.certify.session import Columns, Session
    from robcert.certify.store import AnalysisGroup

__all__ = ["BoundsSettings", "BoundsSummary", "analyse", "summarise"]


@dataclass(frozen=True, slots=True)
class Fits:
    """What the sample says of the suprema: fits of L, of each omega, and of the curvature."""

    lipschitz: ExtremeValueFit
    omegas: tuple[ExtremeValueFit, ...]
    curvature: ExtremeValueFit | None

    def values(self, name: str) -> tuple[float, NDArray[np.float64]]:
        """L and all omegas by the attribute ``name``: "upper" or "point"."""
        return getattr(self.lipschitz, name), np.array([getattr(fit, name) for fit in self.omegas])


def analyse(session: Session, settings: BoundsSettings, *, refit: bool = False) -> str:
    """Path of the table with each image's radii.

    L, omega and the curvature are sampled on images of the whole data set, fitted, and then
    applied to the session's images. A run that its time budget cuts off continues where it was.

    Args:
        session: model, images, results file.
        settings: everything that changes a row.
        refit: fit again from a sample that is in the file; never sample.

    Raises:
        TwinUnavailableError: the model has no twin.
        InvalidParameterError: the model has too few classes for the rank of the margin.
        StoreError: ``refit`` and the file has no finished sample of these settings.
    """
    require_gradients(session.classifier)
    settings.require_fit(session.classifier.num_classes)
    blocks = settings.blocks_of(session.images, session.seed)
    group = session.store.group(
        BOUNDS,
        prefix=settings.prefix,
        settings=settings,
        seed=session.seed,
        sizes={"epsilon": settings.points},
    )
    sample = finished_sample(session, group, settings, blocks, refit=refit)
    if sample is None:
        return group.path
    fits = _fit(group, sample, settings, blocks, session.seed)
    rows = sample.indices
    residuals = sample.column("residual", rows)
    known = dict(zip(sample.column("index", rows).tolist(), residuals, strict=True))
    session.fill(group, "bounds", lambda batch: _rows(session, batch, settings, fits, known))
    return group.path


def _fit(
    group: AnalysisGroup,
    sample: AnalysisGroup,
    settings: BoundsSettings,
    blocks: NDArray[np.int64],
    seed: int,
) -> Fits:
    """Fits of L, of omega at each epsilon and of the curvature, stored with their block maxima."""
    rows, size = sample.indices, blocks.shape[1]
    slopes, floors = sample.column("gradient_norm", rows), sample.column("floor", rows)
    vanishing = vanishing_share(slopes)
    names = ["lipschitz", *(f"omega/{epsilon:.6g}" for epsilon in settings.epsilons)]
    values = [
        sample.column("largest_gradient_norm", rows),
        *sample.column("residual", rows).T,
    ]
    if settings.curved:
        names.append("curvature")
        values.append(sample.column("curvature", rows))
    fits = []
    for name, column in zip(names, values, strict=True):
        maxima = _blocks(column, size).max(1)
        fit = fit_extremes(
            maxima,
            block_size=size,
            method=Method(settings.evt),
            exceedance=settings.exceedance,
            level=settings.level,
            seed=seed,
            resolution=float(np.median(floors)) if name.startswith("omega") else 0.0,
        )
        fits.append(_judged(fit, vanishing))
        if f"{name}/block_maxima" not in group:
            doc = "largest value of each block of sampled images"
            group.save_array(f"{name}/block_maxima", maxima, kind=Kind.ESTIMATED, doc=doc)
    curvature = _smooth(fits.pop(), sample, settings) if settings.curved else None
    group.set_attributes(
        fits=[asdict(fit) for fit in fits],
        curvature_fit=asdict(curvature) if curvature else None,
        epsilons=list(settings.epsilons),
        vanishing_share=vanishing,
        sampled_gradients={"mean": float(slopes.mean()), "max": float(slopes.max())},
        sampled_residuals=sample.column("residual", rows).mean(0).tolist(),
        omega_random=sample.column("residual_random", rows).max(0).tolist(),
        sampling_failed=sample.attribute("failed", {}),
        gradient_passes=settings.gradient_passes(blocks.size, 0),
    )
    return Fits(fits[0], tuple(fits[1:]), curvature)


def _blocks(column: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Sampled values in blocks ``(n, size)``; where images are left out the later ones move up."""
    if len(column) < size:
        message = f"the model fails on so many sampled images that {len(column)} are left"
        raise DataError(message)
    return column[: len(column) // size * size].reshape(-1, size)


def _judged(fit: ExtremeValueFit, vanishing: float) -> ExtremeValueFit:
    """``fit`` with what vanishing gradients say about it."""
    if vanishing == 1:
        flags = (*fit.flags, "the gradient vanishes at every sampled image")
        return replace(fit, status=Status.INVALID, flags=flags)
    if vanishing > 0.01:
        return replace(fit, flags=(*fit.flags, "possible gradient masking"))
    return fit


def _smooth(
    fit: ExtremeValueFit, sample: AnalysisGroup, settings: BoundsSettings
) -> ExtremeValueFit:
    """The fit of the curvature with what the residuals say about it."""
    rows = sample.indices
    residual, floor = sample.column("residual", rows), sample.column("floor", rows)
    share = kinked_share(
        sample.column("curvature", rows), residual[:, 0], floor, epsilon=settings.epsilons[0]
    )
    if share > KINKED:
        flag = f"the loss bends where it has no curvature, at {share:.0%} of the sampled images"
        return replace(fit, status=Status.INVALID, flags=(*fit.flags, flag))
    limit = 0.5 * fit.upper * np.square(settings.epsilons)
    over = (residual - floor[:, None] > limit).any(0)
    if over.any():
        first = settings.epsilons[int(over.argmax())]
        flag = f"a residual found within {first:.4g} exceeds ½ C ε²"
        return replace(fit, flags=(*fit.flags, flag))
    return fit


def _rows(
    session: Session,
    batch: Batch,
    settings: BoundsSettings,
    fits: Fits,
    known: dict[int, NDArray[np.float64]],
) -> Columns:
    """Radii of one batch."""
    plane = tangent(session.classifier, batch.x, batch.y, settings.loss)
    loss = plane.value.double().cpu().numpy()
    slopes = Norm(settings.norm).dual.of(plane.gradient).double().cpu().numpy()
    largest = settings.epsilons[-1]
    valid = fits.lipschitz.status is not Status.INVALID
    rows: dict[str, Any] = {"loss": loss, "gradient_norm": slopes}
    for suffix, name in (("", "upper"), ("_point", "point")):
        lipschitz, omegas = fits.values(name)
        radii = l_bound(loss, lipschitz)
        if settings.region == Region.BALL:
            radii = np.minimum(radii, largest)
        omega, ends = omega_bound(loss, slopes, epsilons=settings.epsilons, omegas=omegas)
        rows[f"l_bound{suffix}"] = radii * valid
        rows[f"omega_bound{suffix}"] = omega * valid
        rows.setdefault("censored", (ends & valid).astype(np.int8))
    own = _own_residuals(plane, batch, settings, session.seed, known, -loss, slopes)
    gamma, ends = omega_bound(loss, slopes, epsilons=settings.epsilons, omegas=own)
    rows |= {
        "gamma_upper": own,
        "gamma_bound": gamma * valid,
        "gamma_censored": (ends & valid).astype(np.int8),
        "curvature_bound": np.full(len(loss), np.nan),
    }
    rows["clever_bound"] = np.full(len(loss), np.nan)
    if settings.clever_blocks:
        rows["clever_bound"] = _clever(plane, batch, settings, session.seed, loss) * valid
    if fits.curvature is not None and fits.curvature.status is not Status.INVALID:
        rows["curvature_bound"] = curvature_bound(loss, slopes, fits.curvature.upper)
    return rows


def _clever(
    plane: Tangent,
    batch: Batch,
    settings: BoundsSettings,
    seed: int,
    loss: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Radii by each image's own L in the ball of the largest epsilon, and no larger than it."""
    radii = np.zeros(len(loss))
    right = np.flatnonzero(loss < 0)
    own = local_lipschitz(
        plane.part(right),
        batch.part(right),
        norm=Norm(settings.norm),
        radius=settings.epsilons[-1],
        blocks=settings.clever_blocks,
        seed=seed,
    )
    for row, fit in zip(right, own, strict=True):
        radii[row] = l_bound(loss[row : row + 1], fit.upper)[0]
    return np.minimum(radii, settings.epsilons[-1])


def _own_residuals(
    plane: Tangent,
    batch: Batch,
    settings: BoundsSettings,
    seed: int,
    known: dict[int, NDArray[np.float64]],
    gap: NDArray[np.float64],
    slope: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Each image's residuals as far as its radius needs them, ``(b, m)``.

    Sampled images have theirs already, others search; the numbers are the same.
    """
    own = np.full((len(batch), settings.points), np.nan)
    there = np.array([int(index) in known for index in batch.index], dtype=bool)
    if there.any():
        own[there] = np.stack([known[int(index)] for index in batch.index[there]])
    own = forget_decided(own, gap=gap, slope=slope, epsilons=settings.epsilons)
    apart = np.flatnonzero(~there)
    if len(apart):
        rows, part = plane.part(apart), batch.part(apart)
        own[apart] = residuals_while_undecided(
            rows, part, settings.search(seed), gap=gap[apart], slope=slope[apart]
        )
    return own
