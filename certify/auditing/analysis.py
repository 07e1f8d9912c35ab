"""All analyses of one model into one results file; what cannot be had is named, never left out."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from robcert.certify import attacks, local_linearity, masking, radius_bounds, smoothing
from robcert.certify.attacks import AttackSettings
from robcert.certify.errors import InvalidParameterError, TwinUnavailableError
from robcert.certify.local_linearity import LinearitySettings
from robcert.certify.masking import MaskingSettings
from robcert.certify.radius_bounds import BoundsSettings
from robcert.certify.smoothing import SmoothingSettings
from robcert.certify.store import ledger

from . import clean
from .inspection import inspect_classifier
from .schema import AUDIT
from .summaries import combined, incomplete, summary_of
from .verdict import Verdict, verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from robcert.certify.core import Norm, Profile
    from robcert.certify.session import Session
    from robcert.certify.store import ResultStore

PARTS = ("inspect", "linearity", "bounds", "attack", "smoothing", "masking")
"""What an audit consists of, in the order of its summary."""


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """Settings of every part, and the radii of the curve of robust accuracy."""

    linearity: LinearitySettings
    bounds: BoundsSettings
    attack: AttackSettings
    smoothing: SmoothingSettings
    masking: MaskingSettings
    epsilons: tuple[float, ...] = ()
    parts: tuple[str, ...] = PARTS

    @classmethod
    def of_profile(
        cls,
        profile: Profile,
        *,
        norm: Norm,
        epsilon: float,
        epsilons: tuple[float, ...] = (),
        parts: tuple[str, ...] = PARTS,
    ) -> AuditSettings:
        """Settings of a profile.

        Args:
            profile: quick, standard or thorough.
            norm: of every part but smoothing, which is about l2.
            epsilon: radius of the parts that have one.
            epsilons: radii of the curve of robust accuracy; empty for the attack's own.
            parts: those to run.
        """
        return cls(
            linearity=replace(LinearitySettings.of_profile(profile), norm=norm, epsilon=epsilon),
            bounds=replace(BoundsSettings.of_profile(profile), norm=norm, epsilon=epsilon),
            attack=replace(AttackSettings.of_profile(profile), norm=norm, save_images=True),
            smoothing=SmoothingSettings.of_profile(profile),
            masking=replace(MaskingSettings.of_profile(profile), norm=norm, epsilon=epsilon),
            epsilons=epsilons,
            parts=parts,
        )


@dataclass(frozen=True, slots=True)
class AuditSummary:
    """Summaries of the parts and what they come to together.

    Attributes:
        parts: summary of each part as JSON; ``{"not_available": reason}`` for one that could not
            be computed.
        verdict: what they say together.
    """

    parts: dict[str, dict[str, Any]]
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """The parts by name, and the verdict."""
        return {**self.parts, "verdict": self.verdict.to_json()}


def selected(only: tuple[str, ...], skip: tuple[str, ...]) -> tuple[str, ...]:
    """The parts to run.

    Raises:
        InvalidParameterError: a name is no part, or nothing is left.
    """
    for name in (*only, *skip):
        if name not in PARTS:
            message = f"there is no part {name!r} of an audit"
            raise InvalidParameterError(message, hint=f"parts: {', '.join(PARTS)}")
    parts = tuple(part for part in PARTS if (not only or part in only) and part not in skip)
    if not parts:
        message = "nothing is left to audit"
        raise InvalidParameterError(message, hint="name fewer parts in --skip")
    return parts


def analyse(session: Session, settings: AuditSettings, *, command: str = "") -> str:
    """Run the parts that ``settings`` name; path of the group that records what was done.

    A part that needs gradients of a model without a twin, or that a time budget leaves no time
    for, is recorded as not available with the reason; the others run all the same.

    Args:
        session: model, images, results file.
        settings: of every part.
        command: the command line, recorded so that the report can print it.
    """
    clean.analyse(session)
    facts = inspect_classifier(session.classifier, session.images).to_json()
    group = session.store.group(AUDIT, prefix="audit", settings=settings, seed=session.seed)
    keys: dict[str, str] = {}
    reasons = {part: "left out by --only or --skip" for part in PARTS if part not in settings.parts}
    unfinished: dict[str, str] = {}
    seconds: dict[str, float] = dict(group.attribute("record", {}).get("seconds", {}))
    for part in (part for part in _ORDER if part in settings.parts):
        if session.out_of_time:
            reasons[part] = "the time budget was used up before it began"
            unfinished[part] = "not begun"
            continue
        started = time.monotonic()
        try:
            keys[part] = _RUN[part](session, settings)
        except TwinUnavailableError as error:
            reasons[part] = str(error)
            continue
        seconds[part] = seconds.get(part, 0.0) + time.monotonic() - started
        if left := len(session.store.at(keys[part]).missing(session.indices)):
            total = len(session.indices)
            unfinished[part] = f"{total - left} of {total} images"
    record = {
        "keys": keys,
        "not_available": reasons,
        "unfinished": unfinished,
        "seconds": seconds,
        "command": command,
        "inspect": facts,
    }
    group.set_attributes(record=record)
    return group.path


def summarise(store: ResultStore, path: str) -> AuditSummary:
    """Summary of the audit recorded at ``path``, from the file alone."""
    record = store.at(path).attribute("record", {})
    parts: dict[str, dict[str, Any]] = {}
    for part in PARTS:
        if part == "inspect" and part not in record["not_available"]:
            parts[part] = record["inspect"]
        elif part in record["keys"]:
            parts[part] = combined(part, [summary_of(store, part, record["keys"][part])])
        else:
            parts[part] = {"not_available": record["not_available"].get(part, "it did not finish")}
    there = {name: part for name, part in parts.items() if "not_available" not in part}
    if len(store.at("clean").indices):
        there["clean"] = summary_of(store, "clean", "clean")
    found = verdict(
        there,
        ledger(store),
        quantised=bool(store.model.get("straight_through")),
        incomplete=incomplete(record),
    )
    return AuditSummary(parts, found)


def audit_warnings(store: ResultStore, path: str) -> tuple[str, ...]:
    """What the reader of the audit at ``path`` must know, of every part, each line once."""
    parts = summarise(store, path).parts.values()
    lines = [str(line) for part in parts for line in part.get("warnings") or ()]
    cut_off = incomplete(store.at(path).attribute("record", {}))
    return tuple(dict.fromkeys([*lines, *([cut_off] if cut_off else [])]))


_ORDER = ("attack", "linearity", "bounds", "smoothing", "masking")
_RUN: dict[str, Callable[[Session, AuditSettings], str]] = {
    "attack": lambda session, settings: attacks.analyse(
        session, settings.attack, epsilons=settings.epsilons
    ),
    "linearity": lambda session, settings: local_linearity.analyse(session, settings.linearity),
    "bounds": lambda session, settings: radius_bounds.analyse(session, settings.bounds),
    "smoothing": lambda session, settings: smoothing.analyse(session, settings.smoothing),
    "masking": lambda session, settings: masking.analyse(session, settings.masking),
}
