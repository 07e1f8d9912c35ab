"""Tables of the bounds, in the form of the papers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from robcert.certify.tables import DASH, Table, bound_name, decimal, margin_name, percent, pixel

from .summary import CLEVER, RADII

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .fits import FitSummary
    from .summary import BoundsSummary, ErrorAt

MOST_OFFENDERS = 20


def tables(summaries: Sequence[BoundsSummary]) -> Iterator[Table]:
    """Tables of fits, gradients and residuals, radii, errors by radius, refuted estimates."""
    for summary in summaries:
        yield _extremes(summary)
        yield from _regularity(summary)
        yield from _radii(summary)
        yield from _errors(summary)
        yield from _offenders(summary)


def _extremes(summary: BoundsSummary) -> Table:
    lipschitz = summary.lipschitz
    rows = [
        _fit("L", lipschitz) if lipschitz else ("L", *(DASH,) * 4, f"{DASH} × {DASH}", DASH, DASH)
    ]
    rows += [_fit(f"ω({pixel(one.epsilon)})", one.fit) for one in summary.omega]
    rows += [_fit(f"ρ({pixel(one.epsilon)})", one.fit) for one in summary.rho]
    if summary.curvature:
        rows.append(_fit("curvature", summary.curvature))
    header = ("", "largest seen", "point", "upper limit", "shape", "blocks", "fit p", "status")
    notes = (lipschitz.wilks, _quantile_note(lipschitz)) if lipschitz else ()
    title = f"extreme-value estimates ({_what(summary)})"
    return Table(title, "estimated", header, tuple(rows), " ".join(filter(None, notes)))


def _fit(name: str, fit: FitSummary) -> tuple[str, ...]:
    return (
        name,
        *(decimal(number) for number in (fit.max, fit.point, fit.upper, fit.shape)),
        f"{fit.blocks} × {fit.block_size}",
        decimal(fit.gof_p, 2),
        fit_state(fit),
    )


def fit_state(fit: FitSummary) -> str:
    """Status of a fit and its flags: "ok", or for instance "heavy tail"."""
    flags = [flag.partition(":")[0] for flag in fit.flags]
    state = ", ".join(flags) if fit.status == "ok" and flags else fit.status
    if fit.refuted_point > fit.refuted:
        state = f"{state}; point refuted at {fit.refuted_point} images"
    return f"{state}; refuted at {fit.refuted} images" if fit.refuted else state


def _what(summary: BoundsSummary) -> str:
    """Norm and margin of a summary."""
    return f"{summary.norm}, {margin_name(summary.margin)}"


def _quantile_note(fit: FitSummary) -> str:
    """What the point estimate of a fit is."""
    if fit.status != "ok":
        return ""
    if fit.method == "reverse-weibull":
        return "Point: the endpoint of the fitted distribution."
    return (
        f"Point: the largest value of a block exceeds it with probability {fit.exceedance:g}, that "
        f"of one image with about {fit.exceedance / fit.block_size:.1g}."
    )


def _regularity(summary: BoundsSummary) -> Iterator[Table]:
    """Gradient norms and residuals over the sampled images (IGR, Table B.3)."""
    slopes = summary.gradient_norm
    if slopes is None:
        return
    rows = [("gradient norm", decimal(slopes.mean), decimal(slopes.max))]
    rows += [
        (f"residual within {pixel(omega.epsilon)}", decimal(mean), decimal(omega.fit.max))
        for omega, mean in zip(summary.omega, summary.residual, strict=False)
    ]
    title = f"regularity of the {margin_name(summary.margin)} ({summary.norm})"
    note = "Over the sampled images; gradients are measured, residuals found by search."
    if summary.margin == "prob" and slopes.max > 0:
        note += (
            f" The steepest of them alone makes ω so large that no ω-bound can exceed "
            f"3 / largest gradient norm = {decimal(3 / slopes.max)}."
        )
    yield Table(title, "estimated", ("", "mean", "largest"), tuple(rows), note)


def _radii(summary: BoundsSummary) -> Iterator[Table]:
    known = summary.attacked.n > 0
    rows = [
        (*_distance(bound_name(n), "estimated", one), str(one.refuted) if known else DASH)
        for n, one in summary.radius.items()
    ]
    if not rows:
        return
    note = f"{summary.statement} Misclassified images count as 0, except in the mean of "
    note += "correct images."
    if summary.censored:
        ended = ", ".join(
            f"{bound_name(name)} {percent(at)}" for name, at in summary.censored.items()
        )
        note += f" Radii limited by the largest ε that was searched, which may be larger: {ended}."
    if summary.attacked.n:
        nearest = _distance("nearest adversarial example", "attacked", summary.attacked)
        rows.append((*nearest, DASH))
        note += (
            " Refuted: images whose radius exceeds the distance of an adversarial image; there the "
            "γ-bound and the ρ-bound of own ρ are lowered to what that image shows."
        )
        note += _attacked_note(summary)
    note += _capped_note(summary) + _absent_note(summary)
    if "gamma_bound" in summary.radius:
        note += " γ-bound: the image's own residuals in place of ω, with no upper limit."
    if "rho_own_bound" in summary.radius:
        note += (
            " ρ-bound: ρ, the largest rise of the loss beyond the steepest tangent, in place of "
            "ω; with the image's own ρ it has no upper limit."
        )
    header = ("radius or distance", "claim", "mean", "median", "mean of correct images", "refuted")
    yield Table(f"radii ({_what(summary)})", "", header, tuple(rows), note)


def _capped_note(summary: BoundsSummary) -> str:
    """How many values of CLEVER are its ball's radius, and that they are no radii."""
    found = [(bound_name(n), one) for n, one in summary.radius.items() if one.capped]
    if not found:
        return ""
    counts = ", ".join(f"{name} {one.capped} of {one.capped + one.n}" for name, one in found)
    return (
        f" Images whose value reaches the radius of CLEVER's ball, which is no estimate: {counts}; "
        "they are left out here and count as wrong in the errors."
    )


def _absent_note(summary: BoundsSummary) -> str:
    """How many images have no CLEVER, and why."""
    found = [
        f"{bound_name(name)} {one.absent}"
        for name, one in summary.radius.items()
        if one.absent and name in CLEVER
    ]
    if not found:
        return ""
    return (
        " Images without an estimate, because their largest gradients repeat, as those of small "
        f"piecewise linear networks do, or are no numbers: {', '.join(found)}; they are left out "
        "here and count as wrong in the errors."
    )


class _Distances(Protocol):
    """Mean and median over all images, and the mean over those classified correctly."""

    @property
    def mean(self) -> float: ...

    @property
    def median(self) -> float: ...

    @property
    def mean_correct(self) -> float: ...


def _distance(name: str, claim: str, entry: _Distances) -> tuple[str, ...]:
    return (name, claim, *map(decimal, (entry.mean, entry.median, entry.mean_correct)))


def _attacked_note(summary: BoundsSummary) -> str:
    attacked = summary.attacked
    note = f" Attacked: {attacked.n} of {summary.n} images."
    if attacked.not_found:
        note += f" For {attacked.not_found} of them no adversarial image was found, so there is no "
        note += "mean."
    return note


def _errors(summary: BoundsSummary) -> Iterator[Table]:
    entries = [(one.epsilon, _by_column(one)) for one in summary.error_at]
    shown = [n for n in (*RADII, "attacked") if any(e[n] is not None for _, e in entries)]
    rows = tuple((pixel(eps), *(percent(entry[name]) for name in shown)) for eps, entry in entries)
    if not rows:
        return
    attacked = "attacked" in shown
    header = ("ε", *(n if n == "attacked" else f"by {bound_name(n)}" for n in shown))
    title = f"error at ε: images whose radius is below ({_what(summary)})"
    if summary.top_k > 1:
        title += f"; correct if y is among the top {summary.top_k} classes"
    notes = ["The attacked error can only be too low, an estimated one should not be."] * attacked
    if {"omega_bound", "rho_bound"} & {*shown}:
        notes.append("A finer grid of ω and ρ (--points) gives larger radii and smaller errors.")
    yield Table(title, "" if attacked else "estimated", header, rows, " ".join(notes))


def _by_column(error: ErrorAt) -> dict[str, float | None]:
    return {
        "rho_bound": error.rho_bound,
        "l_bound": error.l_bound,
        "omega_bound": error.omega_bound,
        "gamma_bound": error.gamma_bound,
        "rho_own_bound": error.rho_own_bound,
        "curvature_bound": error.curvature_bound,
        "clever_score": error.clever_score,
        "clever_bound": error.clever_bound,
        "attacked": error.attacked,
    }


def _offenders(summary: BoundsSummary) -> Iterator[Table]:
    rows = tuple(
        (str(one.index), bound_name(one.bound), decimal(one.radius), decimal(one.distance))
        for one in summary.offenders[:MOST_OFFENDERS]
    )
    if rows:
        more = len(summary.offenders) - len(rows)
        note = f"{more} more in --json." if more else ""
        header = ("image", "bound", "estimated radius", "attacked distance")
        title = f"violations ({_what(summary)}): images where the estimate is wrong"
        yield Table(title, "", header, rows, note)
