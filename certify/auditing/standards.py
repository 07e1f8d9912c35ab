"""What a results file answers of questions that standards and law ask, as tables.

The questions are those of ISO/IEC 24029-2:2023 about formal methods, and of Regulation (EU)
2024/1689 about robustness; docs/standards.md has the sources. Nothing here states conformity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.smoothing import SmoothingSummary
from robcert.certify.tables import Table, decimal, interval, percent, pixel, share_text
from robcert.certify.verification import Arithmetic, Method, VerificationSummary

from .headline import attacked_accuracy, certified_accuracy
from .summaries import latest, results
from .verdict import Findings, findings_of

if TYPE_CHECKING:
    from robcert.certify.store import ResultStore

FORMAL = "ISO/IEC 24029-2: questions about formal methods"

EVIDENCE = "Regulation (EU) 2024/1689: evidence of robustness"

QUESTIONS = (
    "domain (5.2)",
    "property: stability (5.3)",
    "result",
    "complete or incomplete (6.2.1.2)",
    "deterministic or not (6.2.1.3)",
    "glass box or closed box (6.2.1.4)",
    "real or computer arithmetic (6.2.1.5)",
)
"""Questions with the clauses that ask them."""

NO_CLAIM = (
    "Clause numbers are those of the edition of 2023. Attacks, estimates and the masking check are "
    "tests, not formal methods: an adversarial image refutes the property, and none proves it."
)

NO_CONFORMITY = (
    "Whether an accuracy is appropriate, and whether requirements are met, is not for robcert to "
    "say."
)


def standards_tables(store: ResultStore) -> tuple[Table, ...]:
    """Tables of questions and answers from the results alone."""
    found = results(store)
    verification, _ = latest(found, VerificationSummary)
    smoothing, group = latest(found, SmoothingSummary)
    columns: dict[str, tuple[str, ...]] = {}
    if verification is not None and verification.n:
        columns["the model itself"] = _of_model(verification, levels=store.input_step is not None)
    if smoothing is not None and group is not None and smoothing.n:
        columns["its smoothed classifier"] = _of_smoothed(smoothing, float(group.settings["alpha"]))
    formal = Table(
        FORMAL,
        "certified" if columns else "",
        ("question", *columns) if columns else ("question", "answer"),
        tuple(zip(QUESTIONS, *columns.values(), strict=True))
        if columns
        else (
            (
                "formal method",
                "none was run: robcert verify and robcert smoothing certify are some",
            ),
        ),
        NO_CLAIM,
    )
    changed = any(reading.analysis.name == "corruption" for reading in found)
    return formal, _evidence(findings_of(store), store, random_changes=changed)


def _of_model(found: VerificationSummary, *, levels: bool) -> tuple[str, ...]:
    at = found.headline
    assert at is not None  # there are images
    whole = Method(found.method) in (Method.AUTO, Method.BRANCH)
    completeness = (
        "given enough time, networks of ReLUs get an answer except where rounding decides"
        if whole
        else f"the method {found.method} leaves open what its bounds do not decide"
    )
    return (
        f"for each of {found.n} images the {found.norm} ball around it, pixels in [0, 1]"
        + (" on the levels of the input" if levels else ""),
        "no input of the ball has another class than the image's "
        + ("label" if found.reference == "label" else "prediction"),
        f"at {pixel(at.epsilon)}: proven for {percent(at.certified)}, refuted by an adversarial "
        f"image or the image itself for {percent(1 - at.attacked)}, open for {percent(at.width)} "
        "of the images",
        f"sound; incomplete within {decimal(found.budget)} s per image: {completeness}",
        "deterministic: no error probability; which images are decided may depend on the time",
        "glass box: weights and operations of the file",
        "computer arithmetic: every evaluation in float32, in whatever order sums are taken"
        if found.arithmetic == Arithmetic.FLOAT32
        else "real arithmetic for the stored weights: the rounding of a runtime is not covered",
    )


def _of_smoothed(found: SmoothingSummary, alpha: float) -> tuple[str, ...]:
    at = certified_accuracy(found)
    result = "no radius was certified" if at is None else (
        f"at l2 radius {decimal(at.radius)}: certified for {share_text(at)}"
    )  # fmt: skip
    return (
        f"for each of {found.n} images the l2 ball around it",
        f"the majority vote under Gaussian noise of σ = {decimal(found.sigma)} keeps its class",
        result,
        "incomplete: an image without a certificate is not refuted",
        "non-deterministic: each certificate is wrong with probability at most "
        f"{decimal(alpha)} over the draws",
        "closed box: the model's answers alone",
        "real arithmetic: the rounding of noise and of image plus noise is not covered",
    )


def _evidence(found: Findings, store: ResultStore, *, random_changes: bool) -> Table:
    data = store.data
    rows = (
        ("accuracy (Article 15(1), (3))", _accuracy(found)),
        (
            "errors, faults, inconsistencies (Article 15(4))",
            "random rotation, shift or noise only: table corruption"
            if random_changes
            else "nothing in this file: robcert corruption covers rotation, shift and noise only",
        ),
        ("adversarial examples, model evasion (Article 15(5))", _robustness(found)),
        ("poisoning, confidentiality attacks (Article 15(5))", "nothing: out of scope"),
        (
            "test data and metrics (Annex IV, 2(g))",
            f"{len(store.indices)} of {data['size']} images of {data['name']}, SHA-256 "
            f"{str(data['sha256'])[:8]}; claims, units and settings are in the results file",
        ),
        (
            "dated and signed test reports (Annex IV, 2(g))",
            "dated, and reproducible by the commands of the report; signing is left to you",
        ),
        (
            "performance for groups of persons (Annex IV, 3)",
            "nothing: one file is about one set of images, so audit each group's images",
        ),
    )
    return Table(EVIDENCE, "", ("what is asked about", "what this file has"), rows, NO_CONFORMITY)


def _accuracy(found: Findings) -> str:
    clean = None if found.clean is None else found.clean.clean_accuracy
    return "not measured: no labels" if clean is None else f"{share_text(clean)}, measured"


def _robustness(found: Findings) -> str:
    """Attacked and certified accuracy, and the masking check that the former rests on."""
    parts = []
    entry = attacked_accuracy(found.attack, found.masking)
    if found.attack is not None and entry is not None:
        parts.append(
            f"{percent(entry.value)} {interval(entry)} at {pixel(entry.epsilon)} "
            f"({found.attack.norm}) are still classified correctly under attack, an upper limit"
        )
    at = None if found.verification is None else found.verification.headline
    if found.verification is not None and at is not None:
        parts.append(
            f"{percent(at.certified)} at {pixel(at.epsilon)} ({found.verification.norm}) are "
            "proven, a lower limit"
        )
    if not parts:
        return "nothing in this file: run robcert attack or verify"
    checked = "not checked" if found.masking is None else str(found.masking.verdict)
    return "; ".join([*parts, f"gradient masking: {checked}"])
