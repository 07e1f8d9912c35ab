"""Summaries with given numbers, for what reads them; fields that are not given hold nothing."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from robcert.certify.attacks.summary import AttackSummary, RobustAccuracy
from robcert.certify.auditing.verdict import Findings
from robcert.certify.local_linearity.summary import LinearitySummary, Refuted
from robcert.certify.masking.summary import MaskingSummary
from robcert.certify.radius_bounds.fits import FitSummary, OmegaSummary
from robcert.certify.radius_bounds.summary import BoundsSummary, RadiusSummary
from robcert.certify.stats.intervals import Proportion
from robcert.certify.store.ledger import Ledger

S = TypeVar("S")
NOTHING: dict[str, Any] = {"float": float("nan"), "int": 0, "str": "", "bool": False}
NO_IMAGES = Proportion(float("nan"), 0.0, 1.0, 0, 0.95)


def blank(kind: Any, **given: Any) -> Any:
    """An object of the dataclass ``kind`` in which only ``given`` says something."""
    filled = dict(given)
    for field in fields(kind):
        text = str(field.type)
        if field.name in given:
            continue
        if text in NOTHING:
            filled[field.name] = NOTHING[text]
        elif text.startswith("tuple"):
            filled[field.name] = ()
        elif text.startswith("dict"):
            filled[field.name] = {}
        else:
            filled[field.name] = NO_IMAGES if text == "Proportion" else None
    return kind(**filled)


def findings(**given: Any) -> Findings:
    found: Findings = blank(Findings, **{"ledger": Ledger(()), "labelled": True, **given})
    return found


def fit(status: str = "ok", **given: Any) -> FitSummary:
    found: FitSummary = blank(FitSummary, **{"status": status, "method": "gev", **given})
    return found


def omega(status: str = "ok") -> OmegaSummary:
    return OmegaSummary(8 / 255, fit(status), float("nan"))


def bounds(lipschitz: FitSummary | None = None, **given: Any) -> BoundsSummary:
    """Bounds in linf, ``radius`` by name."""
    radius = {
        name: blank(RadiusSummary, mean=mean) for name, mean in given.pop("radius", {}).items()
    }
    found: BoundsSummary = blank(
        BoundsSummary, norm="linf", lipschitz=lipschitz, radius=radius, **given
    )
    return found


def attack(**given: Any) -> AttackSummary:
    found: AttackSummary = blank(AttackSummary, norm="linf", **given)
    return found


def robust(epsilon: float, value: float) -> RobustAccuracy:
    return RobustAccuracy(epsilon, value, value - 0.01, value)


def masking(**given: Any) -> MaskingSummary:
    found: MaskingSummary = blank(MaskingSummary, **given)
    return found


def linearity(**given: Any) -> LinearitySummary:
    nothing = Refuted(0, 0, 0, 0)
    found: LinearitySummary = blank(LinearitySummary, **{"refuted": nothing, **given})
    return found
