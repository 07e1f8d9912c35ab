"""The verdict on the numbers of a results file, in sentences.

Terminal, `--json`, `show`, the report and the Python API all read :func:`verdict_of`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from robcert.certify.attacks import AttackSummary, RobustAccuracy
from robcert.certify.masking import MaskingSummary, MaskingVerdict
from robcert.certify.radius_bounds import BoundsSummary
from robcert.certify.smoothing import CertifiedAccuracy, SmoothingSummary
from robcert.certify.store import ledger
from robcert.certify.tables import bound_name, decimal, in_precision, percent, pixel

from .clean import CleanSummary
from .registry import ANALYSES
from .summaries import audit_record, incomplete, latest, results

if TYPE_CHECKING:
    from robcert.certify.stats import Proportion
    from robcert.certify.store import AnalysisGroup, Ledger, ResultStore

    from .summaries import Readings

Tone = Literal["good", "warn", "bad", "none"]


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """Verdict on a model.

    Attributes:
        headline: one sentence without a full stop.
        tone: good, warn, bad or none; selects the colour.
        sentences: one sentence per kind of evidence.
    """

    headline: str
    tone: Tone
    sentences: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return {**asdict(self), "sentences": list(self.sentences)}


@dataclass(frozen=True, slots=True)
class Card:
    """One headline number with the kind of its claim."""

    claim: str
    value: str
    text: str


@dataclass(frozen=True, slots=True)
class Findings:
    """The summaries that a verdict is based on; None for what was not computed.

    Attributes:
        bounds_group: table of the bounds.
        ledger: estimated radii against attacked distances.
        quantised: whether the model has nodes with straight-through gradients.
        incomplete: a sentence on what a time budget interrupted; empty if nothing.
    """

    clean: CleanSummary | None
    attack: AttackSummary | None
    bounds: BoundsSummary | None
    bounds_group: AnalysisGroup | None
    smoothing: SmoothingSummary | None
    masking: MaskingSummary | None
    ledger: Ledger
    quantised: bool = False
    incomplete: str = ""


def findings_of(store: ResultStore) -> Findings:
    """The summaries behind the verdict on ``store``.

    Those of the audit that ran last, with the clean accuracy; without an audit, the newest one of
    each analysis.
    """
    record = audit_record(store)
    found = _of_audit(store, record) if record else results(store)
    bounds, bounds_group = latest(found, BoundsSummary)
    return Findings(
        clean=latest(found, CleanSummary)[0],
        attack=latest(found, AttackSummary)[0],
        bounds=bounds,
        bounds_group=bounds_group,
        smoothing=latest(found, SmoothingSummary)[0],
        masking=latest(found, MaskingSummary)[0],
        ledger=ledger(store),
        quantised=bool(store.model.get("straight_through")),
        incomplete=incomplete(record),
    )


def _of_audit(store: ResultStore, record: dict[str, Any]) -> Readings:
    keys: dict[str, str] = {"clean": "clean", **record["keys"]}
    return tuple(
        row.read(store, keys[row.name])
        for row in ANALYSES
        if row.name in keys and len(store.at(keys[row.name]).indices)
    )


def verdict_of(store: ResultStore) -> AuditVerdict:
    """Verdict on ``store``, see :func:`findings_of`."""
    return verdict(findings_of(store))


def verdict(found: Findings) -> AuditVerdict:
    """Verdict of ``found``.

    The headline depends on the masking verdict first, because masking makes the other numbers
    meaningless; then on the accuracy under attack.
    """
    attacked = _headline_attack(found)
    headline, tone = _headline(found.masking, attacked)
    sentences = (
        found.incomplete,
        _masking_sentence(found),
        _attack_sentence(found.attack, attacked),
        _certified_sentence(found.smoothing),
        f"Ledger: {found.ledger.sentence}.",
    )
    return AuditVerdict(headline, tone, tuple(sentence for sentence in sentences if sentence))


def cards(found: Findings) -> tuple[Card, ...]:
    """The headline number of each kind of claim in ``found``."""
    shown = (
        _clean_card(found),
        _attacked_card(found),
        _estimated_card(found),
        _certified_card(found.smoothing),
    )
    return tuple(card for card in shown if card is not None)


def contradictions(found: Ledger, bounds: str) -> dict[str, tuple[int, int]]:
    """Violations in the group ``bounds``: ``(count, compared)`` by column of radii.

    Where several attacks are compared, those of the attack that contradicts most images.
    """
    worst: dict[str, tuple[int, int]] = {}
    for comparison in found.comparisons:
        group, column = comparison.estimate.rsplit(":", 1)
        if group == bounds and comparison.count:
            counts = (comparison.count, comparison.compared)
            worst[column] = max(counts, worst.get(column, counts))
    return worst


_MASKING_SENTENCE = {
    MaskingVerdict.CLEAR: "Gradients: clear. No test found masking, so the gradient-based numbers "
    "can be used.",
    MaskingVerdict.SUSPECT: "Gradients: suspect. They are masked in part; the attacked accuracies "
    "are probably too high.",
    MaskingVerdict.MASKED: "Gradients: masked. Gradient attacks fail for lack of a usable gradient "
    "although adversarial examples are near; numbers based on gradients are not meaningful.",
    MaskingVerdict.UNKNOWN: "Gradients: unknown. A required test of the masking check could not be "
    "computed.",
}


def _masking_sentence(found: Findings) -> str:
    if found.masking is None:
        return "Gradients: not checked for masking."
    if found.masking.verdict is not MaskingVerdict.MASKED or found.masking.hidden_in != "file":
        return _MASKING_SENTENCE[found.masking.verdict]
    why = ", because the model is quantised" if found.quantised else ""
    return (
        f"Gradients: masked by the file's own output{why}. Attacks on that output find too few "
        "adversarial examples; robcert's own attacks, on the logits and straight-through where the "
        "model rounds, succeed."
    )


def _headline_attack(found: Findings) -> RobustAccuracy | None:
    """The robust accuracy in the headline: at the default epsilon, else at the last one.

    If it is smaller under the attacks of the masking check on the same images, theirs.
    """
    attack = found.attack
    if attack is None:
        return None
    known = [entry for entry in attack.robust_accuracy if entry.value == entry.value]  # not NaN
    chosen = [entry for entry in known if entry.epsilon == attack.headline_epsilon]
    if not known:
        return None
    entry, check = (chosen or known)[-1], found.masking
    if check is None or not check.corrected.n:
        return entry
    comparable = (attack.norm, entry.epsilon, attack.n) == (
        check.norm,
        check.epsilon,
        check.corrected.n,
    )
    return _at(entry, check.corrected) if comparable else entry


def _at(entry: RobustAccuracy, check: Proportion) -> RobustAccuracy:
    """The smaller of both accuracies."""
    if not check.value < entry.value:
        return entry
    return replace(entry, value=check.value, lower=check.lower, upper=check.upper)


def _headline(masking: MaskingSummary | None, attacked: RobustAccuracy | None) -> tuple[str, Tone]:
    state = None if masking is None else masking.verdict
    if state is MaskingVerdict.MASKED:
        return "This model masks its gradients: its apparent robustness cannot be trusted", "bad"
    if attacked is None:
        return "No attack in this file: robustness was not tested", "none"
    doubt = ", and its gradients are suspect" if state is MaskingVerdict.SUSPECT else ""
    share, where = percent(attacked.value), pixel(attacked.epsilon)
    kept = f"{share} of images are still classified correctly under attack at ε = {where}{doubt}"
    if attacked.value < 0.1:
        return f"Not robust: {kept}", "bad"
    return kept, "good" if attacked.value > 0.5 and not doubt else "warn"


def _attack_sentence(attack: AttackSummary | None, entry: RobustAccuracy | None) -> str:
    if attack is None or entry is None:
        return ""
    text = f"Attacked: accuracy {percent(attack.clean_accuracy.value)} falls to "
    text += f"{percent(entry.value)} at ε = {pixel(entry.epsilon)} ({attack.norm})"
    median = attack.median_distance
    surpassed = entry.value <= 0.5 and median is not None and median > entry.epsilon
    if not median or surpassed:  # by attacks of the masking check, which record no distances
        return f"{text}."
    return f"{text}; half are misclassified within {decimal(median)}."


def _certified_sentence(smoothing: SmoothingSummary | None) -> str:
    entry = _certified_entry(smoothing)
    if smoothing is None or entry is None:
        return ""
    model = f"the smoothed classifier{in_precision(smoothing.precision)}"
    return (
        f"Certified: for {model}, {percent(entry.value)} of images are certified to l2 radius "
        f"{decimal(entry.radius)}."
    )


def _certified_entry(smoothing: SmoothingSummary | None) -> CertifiedAccuracy | None:
    """The smallest positive radius of the curve."""
    entries = [] if smoothing is None else [e for e in smoothing.certified_accuracy if e.radius > 0]
    return min(entries, key=lambda entry: entry.radius, default=None)


def _clean_card(found: Findings) -> Card | None:
    accuracy = found.clean.clean_accuracy if found.clean else None
    if accuracy is None and found.attack is not None:
        accuracy = found.attack.clean_accuracy
    if accuracy is None or not accuracy.n:
        return None
    text = f"accuracy on {accuracy.n} unchanged images"
    return Card("measured", percent(accuracy.value), text)


def _attacked_card(found: Findings) -> Card | None:
    entry = _headline_attack(found)
    if found.attack is None or entry is None:
        return None
    where = f"ε = {pixel(entry.epsilon)} ({found.attack.norm})"
    more = "" if entry in found.attack.robust_accuracy else ", masking check included"
    text = f"accuracy under attack{more}, at {where}; true robustness can only be lower"
    return Card("attacked", percent(entry.value), text)


def _estimated_card(found: Findings) -> Card | None:
    """The mean radius by the rho-bound, with contradictions and fit status.

    In files without one, the larger of the means by L- and omega-bound.
    """
    bounds, group = found.bounds, found.bounds_group
    if bounds is None or group is None:
        return None
    means = {
        name: bounds.radius[name].mean
        for name in ("rho_bound", "l_bound", "omega_bound")
        if name in bounds.radius and bounds.radius[name].mean == bounds.radius[name].mean
    }
    if not means:
        return None
    best = "rho_bound" if "rho_bound" in means else max(means, key=lambda name: means[name])
    text = f"mean radius by the {bound_name(best)} ({bounds.norm}), pixel units"
    contradicted = contradictions(found.ledger, group.path)
    if best in contradicted:
        count, compared = contradicted[best]
        text += f"; contradicted for {count} of {compared} images"
    return Card("estimated", decimal(means[best], 3), text + _doubt(bounds, best))


def _doubt(bounds: BoundsSummary, name: str) -> str:
    """Status of the fits behind the bound ``name``, if it is not ok."""
    fits = [("ω", entry.fit) for entry in bounds.omega]
    if name == "rho_bound":
        fits = [("ρ", entry.fit) for entry in bounds.rho]
    if name == "l_bound":
        fits = [("L", bounds.lipschitz)] if bounds.lipschitz else []
    doubtful = [f"{what}: status {fit.status}" for what, fit in fits if fit.status != "ok"]
    return "".join(f"; {line}" for line in dict.fromkeys(doubtful))


def _certified_card(smoothing: SmoothingSummary | None) -> Card | None:
    entry = _certified_entry(smoothing)
    if smoothing is None or entry is None:
        return None
    how = f"when smoothed{in_precision(smoothing.precision)}"
    text = f"of images certified to l2 radius {decimal(entry.radius)}, {how}"
    return Card("certified", percent(entry.value), text)
