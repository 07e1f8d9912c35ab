"""Tables of local linearity and of the bounds, in the papers' form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robcert.certify.local_linearity import _linearity
from robcert.certify.tables import DASH, Table, bound_name, decimal, margin_name, percent, pixel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robcert.certify.tables import Summary

BOUNDS = ("l_bound", "omega_bound", "gamma_bound", "curvature_bound", "clever_bound")
"""Radii in the order of the columns."""

MOST_OFFENDERS = 20


def _bounds(summary: Summary) -> Iterator[Table]:
    yield _extremes(summary)
    yield from _regularity(summary)
    yield from _radii(summary)
    yield from _errors(summary)
    yield from _offenders(summary)


def _extremes(summary: Summary) -> Table:
    lipschitz = {"name": "L", **(summary.get("lipschitz") or {})}
    omegas = [{"name": f"ω({pixel(o['epsilon'])})", **o} for o in summary.get("omega") or ()]
    curvature = summary.get("curvature")
    curved = [{"name": "curvature", **curvature}] if curvature else []
    rows = tuple(
        (
            entry["name"],
            *(decimal(entry.get(key)) for key in ("max", "point", "upper", "shape")),
            f"{entry.get('blocks', DASH)} × {entry.get('block_size', DASH)}",
            decimal(entry.get("gof_p"), 2),
            fit_state(entry),
        )
        for entry in (lipschitz, *omegas, *curved)
    )
    header = ("", "largest seen", "point", "upper limit", "shape", "blocks", "fit p", "status")
    note = " ".join(filter(None, (str(lipschitz.get("wilks") or ""), _quantile_note(lipschitz))))
    title = f"extreme-value estimates ({_what(summary)})"
    return Table(title, "estimated", header, rows, note)


def fit_state(fit: Summary) -> str:
    """Whether a fit came about, and what to know before using it: "ok" or "heavy tail"."""
    flags = [str(flag).partition(":")[0] for flag in fit.get("flags") or ()]
    status = str(fit.get("status", DASH))
    return ", ".join(flags) if status == "ok" and flags else status


def _what(summary: Summary) -> str:
    """Norm and margin that a summary is about."""
    return f"{summary.get('norm')}, {margin_name(summary)}"


def _quantile_note(fit: Summary) -> str:
    """What the point estimate of a fit is."""
    if fit.get("status") != "ok":
        return ""
    if fit.get("method") == "reverse-weibull":
        return "Point: the end of the law that was fitted."
    share = float(fit["exceedance"])
    return (
        f"Point: the largest of a block exceeds it with probability {share:g}, one image with "
        f"about {share / int(fit['block_size']):.1g}."
    )


def _regularity(summary: Summary) -> Iterator[Table]:
    """Gradient norms and residuals over the sampled images (IGR, Table B.3)."""
    slopes = summary.get("gradient_norm") or {}
    if not slopes:
        return
    rows = [("gradient norm", decimal(slopes.get("mean")), decimal(slopes.get("max")))]
    rows += [
        (f"residual within {pixel(omega['epsilon'])}", decimal(mean), decimal(omega.get("max")))
        for omega, mean in zip(
            summary.get("omega") or (), summary.get("residual") or (), strict=False
        )
    ]
    title = f"regularity of the {margin_name(summary)} ({summary.get('norm')})"
    note = "Over the sampled images; gradients are measured, residuals found by search."
    yield Table(title, "estimated", ("", "mean", "largest"), tuple(rows), note)


def _radii(summary: Summary) -> Iterator[Table]:
    radius = {
        name: entry
        for name, entry in (summary.get("radius") or {}).items()
        if isinstance(entry, dict)
    }
    rows = [_distance_row(bound_name(name), "estimated", entry) for name, entry in radius.items()]
    attacked = summary.get("attacked") or {}
    if not rows:
        return
    note = f"{summary.get('statement') or ''} Misclassified images count 0; the last column is "
    note = f"{note}without them.".strip()
    if censored := summary.get("censored"):
        ended = ", ".join(f"{bound_name(name)} {percent(at)}" for name, at in censored.items())
        note += f" Ended at the largest ε that was searched, and may be larger: {ended}."
    if attacked.get("n"):
        rows.append(_distance_row("nearest adversarial image", "attacked", attacked))
        note += _attacked_note(summary)
    if "gamma_bound" in radius:
        note += " γ-bound: the image's own residuals in place of ω, with no upper limit."
    header = ("radius or distance", "claim", "mean", "median", "mean of those right")
    yield Table(f"radii ({_what(summary)})", "", header, tuple(rows), note)


def _distance_row(name: str, claim: str, entry: Summary) -> tuple[str, ...]:
    return (name, claim, *(decimal(entry.get(key)) for key in ("mean", "median", "mean_correct")))


def _attacked_note(summary: Summary) -> str:
    attacked = summary["attacked"]
    note = f" Attacked: {attacked['n']} of {summary.get('n')} images."
    if attacked.get("not_found"):
        note += f" {attacked['not_found']} of them were not broken, which leaves no mean."
    return note


def _errors(summary: Summary) -> Iterator[Table]:
    entries = summary.get("error_at") or ()
    shown = [
        name
        for name in (*BOUNDS, "attacked")
        if any(entry.get(name) is not None for entry in entries)
    ]
    rows = tuple(
        (pixel(entry["epsilon"]), *(percent(entry.get(name)) for name in shown))
        for entry in entries
    )
    if not rows:
        return
    attacked = "attacked" in shown
    header = ("ε", *(n if n == "attacked" else f"by {bound_name(n)}" for n in shown))
    rank = summary.get("top_k") or 1
    title = f"error at ε: images whose radius is below ({_what(summary)})"
    if rank > 1:
        title += f"; right where y is among the first {rank}"
    note = "The attacked error can only be too low, an estimated one should not be." * attacked
    yield Table(title, "" if attacked else "estimated", header, rows, note)


def _offenders(summary: Summary) -> Iterator[Table]:
    entries: list[dict[str, Any]] = list(summary.get("offenders") or ())
    rows = tuple(
        (
            str(entry["index"]),
            bound_name(entry["bound"]),
            decimal(entry["radius"]),
            decimal(entry["distance"]),
        )
        for entry in entries[:MOST_OFFENDERS]
    )
    if rows:
        more = len(entries) - len(rows)
        note = f"{more} more in --json." if more else ""
        header = ("image", "bound", "estimated radius", "attacked distance")
        title = f"violations ({_what(summary)}): here the estimate is wrong"
        yield Table(title, "", header, rows, note)


TABLES: dict[str, Callable[[Summary], Iterator[Table]]] = {
    "linearity": _linearity,
    "bounds": _bounds,
}
