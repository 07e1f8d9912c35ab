"""`robcert bounds`: radii from extreme-value estimates of L, omega and the curvature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.core import Norm
from robcert.certify.errors import InvalidParameterError, require_positive
from robcert.certify.local_linearity import finite_tangent
from robcert.certify.model import require_gradients
from robcert.certify.stats import Status
from robcert.certify.tables import pixel

from .clever import capped_radii, local_lipschitz
from .excess import largest_excesses
from .fits import fit_sample
from .radii import curvature_bound, l_bound, omega_bound
from .residuals import forget_decided, residuals_while_undecided
from .sample import finished_sample
from .schema import BOUNDS
from .settings import BoundsSettings, Region
from .summary import BoundsSummary, summarise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from robcert.certify.core import Batch
    from robcert.certify.local_linearity import Tangent
    from robcert.certify.session import Columns, Session

    from .fits import Fits

__all__ = ["BoundsSettings", "BoundsSummary", "analyse", "summarise"]


def analyse(
    session: Session,
    settings: BoundsSettings,
    *,
    refit: bool = False,
    errors_at: Sequence[float] = (),
) -> str:
    """Path of the table with the radii of each image of the session.

    L, omega and the curvature are sampled on images of the whole data set and fitted; the radii
    of the session's images follow from the fits. A run that its time budget interrupts resumes.

    Args:
        session: model, images, results file.
        settings: settings that the rows depend on.
        refit: repeat the fit with the sample in the file; never sample.
        errors_at: radii whose error by each bound the summary states beside those of the grid,
            pixel units; they change no row.

    Raises:
        TwinUnavailableError: the model has no twin.
        InvalidParameterError: the model has too few classes for the rank of the margin, or a radius
            of ``errors_at`` lies outside the grid of omega.
        StoreError: ``refit`` is set and the file has no complete sample of these settings.
    """
    require_gradients(session.classifier)
    settings.require_fit(session.classifier.num_classes)
    _require_in_grid(errors_at, settings)
    blocks = settings.blocks_of(session.images, session.seed)
    group = session.store.group(
        BOUNDS,
        prefix=settings.prefix,
        settings=settings,
        seed=session.seed,
        sizes={"epsilon": settings.points},
    )
    if errors_at:
        group.set_attributes(errors_at=sorted({*group.attribute("errors_at", []), *errors_at}))
    sample = finished_sample(session, group, settings, blocks, refit=refit)
    if sample is None:
        return group.path
    fits = fit_sample(group, sample, settings, blocks)
    rows = sample.indices
    images = sample.column("index", rows).tolist()
    sampled = {
        name: dict(zip(images, sample.column(name, rows), strict=True))
        for name in ("residual", "excess")
    }
    session.fill(group, "bounds", _Radii(session, settings, fits, sampled).columns)
    return group.path


def _require_in_grid(errors_at: Sequence[float], settings: BoundsSettings) -> None:
    """Raise where a radius is not positive, or above all radii that a bound can state."""
    most = settings.epsilons[-1]
    for radius in errors_at:
        require_positive("radius of an error", radius)
        if radius > most * (1 + 1e-9):
            message = f"ω is estimated up to {pixel(most)}, which is below {pixel(radius)}"
            raise InvalidParameterError(message, hint="pass an ε of at least half that radius")


@dataclass(frozen=True, slots=True)
class _Radii:
    """Radii of the images of a batch, from the fits.

    Attributes:
        session: model and seed.
        settings: settings that the rows depend on.
        fits: fits of L, omega, rho and the curvature.
        sampled: residuals and excesses ``(m,)`` of the sampled images, by column of the sample and
            index in the data set.
    """

    session: Session
    settings: BoundsSettings
    fits: Fits
    sampled: dict[str, dict[int, NDArray[np.float64]]]

    @property
    def valid(self) -> bool:
        """Whether gradients say anything: not if they vanish at every sampled image."""
        return self.fits.lipschitz.status is not Status.INVALID

    def columns(self, batch: Batch) -> Columns:
        """Columns of the batch."""
        settings, fits = self.settings, self.fits
        tangents = finite_tangent(self.session.classifier, batch.x, batch.y, settings.loss)
        loss = tangents.value.double().cpu().numpy()
        slope = Norm(settings.norm).dual.of(tangents.gradient).double().cpu().numpy()
        valid = self.valid
        columns: Columns = {"loss": loss, "gradient_norm": slope}
        columns |= self._population_bounds(loss, slope, valid=valid)
        columns |= self._own_bounds(tangents, batch, loss, slope)
        columns["curvature_bound"] = np.full(len(loss), np.nan)
        columns |= self._clever(tangents, batch, loss, valid=valid)
        curved = fits.curvature is not None and fits.curvature.status is not Status.INVALID
        if fits.curvature is not None and curved and fits.curvature.status.limits:
            columns["curvature_bound"] = curvature_bound(loss, slope, fits.curvature.upper)
        return columns

    def _population_bounds(
        self, loss: NDArray[np.float64], slope: NDArray[np.float64], *, valid: bool
    ) -> Columns:
        """L-, omega- and rho-bounds from upper limits (no suffix) and from point estimates."""
        settings = self.settings
        columns: Columns = {}
        for suffix, upper in (("", True), ("_point", False)):
            suprema = self.fits.suprema(upper=upper)
            radii = l_bound(loss, suprema.lipschitz)
            if settings.region == Region.BALL:
                radii = np.minimum(radii, settings.epsilons[-1])
            columns[f"l_bound{suffix}"] = radii if valid else np.zeros_like(loss)
            for name, flag, values in (
                ("omega_bound", "censored", suprema.omegas),
                ("rho_bound", "rho_censored", suprema.rhos),
            ):
                found, ends = omega_bound(loss, slope, epsilons=settings.epsilons, omegas=values)
                columns[f"{name}{suffix}"] = found if valid else np.zeros_like(loss)
                columns.setdefault(flag, _flag(ends & valid, found))
        return columns

    def _clever(
        self, tangents: Tangent, batch: Batch, loss: NDArray[np.float64], *, valid: bool
    ) -> Columns:
        """Radii from each image's own L in the largest ball of the grid; NaN without CLEVER."""
        settings = self.settings
        point, upper = np.full((2, len(loss)), np.nan)
        if settings.clever_blocks and valid:
            correct = np.flatnonzero(loss < 0)
            own = local_lipschitz(
                tangents.part(correct),
                batch.part(correct),
                norm=Norm(settings.norm),
                radius=settings.epsilons[-1],
                blocks=settings.clever_blocks,
                seed=self.session.seed,
            )
            point[loss >= 0] = upper[loss >= 0] = 0.0  # no gap, whatever L is
            point[correct] = [np.nan if fit is None else fit.point for fit in own]
            upper[correct] = [np.nan if fit is None else fit.upper for fit in own]
        columns: Columns = {}
        for name, ends in (("clever_score", point), ("clever_bound", upper)):
            radii, capped = capped_radii(loss, ends, radius=settings.epsilons[-1])
            columns |= {name: radii, f"{name}_capped": _flag(capped, radii)}
        return columns

    def _own_bounds(
        self,
        tangents: Tangent,
        batch: Batch,
        loss: NDArray[np.float64],
        slope: NDArray[np.float64],
    ) -> Columns:
        """Radii from each image's own residuals and excesses.

        Those of sampled images are taken from the sample; a search gives the same numbers.
        Residuals are NaN where the radius does not depend on them, excesses where misclassified.
        """
        settings, gap = self.settings, -loss
        residuals, excesses = (self._sampled(name, batch) for name in ("residual", "excess"))
        apart = np.flatnonzero(np.isnan(residuals[:, 0]) & (gap > 0))
        residuals = forget_decided(residuals, gap=gap, slope=slope, epsilons=settings.epsilons)
        excesses[gap <= 0] = np.nan
        if len(apart):
            residuals[apart], excesses[apart] = self._search(
                tangents.part(apart), batch.part(apart), gap[apart], slope[apart]
            )
        columns: Columns = {}
        for column, bound, own in (
            ("gamma_upper", "gamma", residuals),
            ("rho_own", "rho_own", excesses),
        ):
            radii, ends = omega_bound(loss, slope, epsilons=settings.epsilons, omegas=own)
            columns |= {
                column: own,
                f"{bound}_bound": radii * self.valid,
                f"{bound}_censored": (ends & self.valid).astype(np.int8),
            }
        return columns

    def _search(
        self,
        tangents: Tangent,
        batch: Batch,
        gap: NDArray[np.float64],
        slope: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Residuals and excesses ``(b, m)`` of images that are not in the sample."""
        settings, seed = self.settings, self.session.seed
        excesses = largest_excesses(tangents, batch, settings.excess_search(seed))
        residuals = residuals_while_undecided(
            tangents, batch, settings.search(seed), gap=gap, slope=slope, excesses=excesses
        )
        return residuals, excesses.found.double().cpu().numpy()

    def _sampled(self, name: str, batch: Batch) -> NDArray[np.float64]:
        """Values ``(b, m)`` of the column ``name`` of the sample; NaN for images not sampled."""
        known, nothing = self.sampled[name], np.full(self.settings.points, np.nan)
        rows = [known.get(int(index), nothing) for index in batch.index]
        return np.array(rows).reshape(len(batch), self.settings.points)


def _flag(raised: NDArray[np.bool_], radii: NDArray[np.float64]) -> NDArray[np.int8]:
    """1 where ``raised``, else 0; -1 where there is no radius."""
    return np.where(np.isnan(radii), -1, raised).astype(np.int8)
