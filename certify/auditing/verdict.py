"""The verdict on the numbers of a results file, in sentences.

Terminal, `--json`, `show`, the report and the Python API all read :func:`verdict_of`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from robcert.certify.attacks import AttackSummary, one_input_only
from robcert.certify.masking import MaskingSummary, MaskingVerdict
from robcert.certify.radius_bounds import BoundsSummary
from robcert.certify.smoothing import SmoothingSummary
from robcert.certify.store import ledger
from robcert.certify.tables import bound_name, decimal, in_precision, interval, percent, pixel
from robcert.certify.verification import VerificationSummary, between

from .clean import CleanSummary
from .doubts import doubts_of
from .headline import (
    Attacked,
    Context,
    Tone,
    certified_accuracy,
    criterion,
    headline,
)
from .registry import ANALYSES
from .summaries import audit_record, incomplete, labelled, latest, of_kind, results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robcert.certify.store import AnalysisGroup, Ledger, ResultStore

    from .registry import Summary
    from .summaries import Readings


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
class OtherNorm:
    """What a file holds about a norm that the headline is not about.

    Attributes:
        attack: the attack on most images.
        verification: the last certificates of the model itself; None without any.
    """

    attack: AttackSummary
    verification: VerificationSummary | None


@dataclass(frozen=True, slots=True)
class Findings:
    """The summaries that a verdict is based on; None for what was not computed.

    Attributes:
        attack_group: table of the attack.
        bounds_group: table of the bounds.
        smoothing_group: table of the smoothed classifier.
        verification_group: table of the certificates of the model itself.
        ledger: estimated and certified radii against attacked distances.
        verification: certificates of the model itself, in the norm of the attacks if there are any.
        quantised: whether the model has nodes with straight-through gradients.
        doubts: sentences on why the numbers may not mean what they seem to.
        labelled: whether the images have labels.
        input_step: one level of an integer input, pixel units; None for a floating-point input.
        incomplete: a sentence on what a time budget interrupted; empty if nothing.
        cut_off: names of the parts of an audit that a time budget interrupted.
        others: what the file holds about other norms than that of the headline.
    """

    clean: CleanSummary | None
    attack: AttackSummary | None
    bounds: BoundsSummary | None
    bounds_group: AnalysisGroup | None
    smoothing: SmoothingSummary | None
    masking: MaskingSummary | None
    ledger: Ledger
    verification: VerificationSummary | None = None
    quantised: bool = False
    doubts: tuple[str, ...] = ()
    labelled: bool = True
    input_step: float | None = None
    incomplete: str = ""
    cut_off: tuple[str, ...] = ()
    others: tuple[OtherNorm, ...] = ()
    attack_group: AnalysisGroup | None = None
    smoothing_group: AnalysisGroup | None = None
    verification_group: AnalysisGroup | None = None


def findings_of(store: ResultStore) -> Findings:
    """The summaries behind the verdict on ``store``.

    Those of the audit that ran last, with the clean accuracy; without an audit, the newest one of
    each analysis.
    """
    record, everything = audit_record(store), results(store)
    found = _of_audit(store, record) if record else everything
    bounds, bounds_group = latest(found, BoundsSummary)
    clean = latest(found, CleanSummary)[0]
    attack = _of_headline([one for one, _ in of_kind(found, AttackSummary)])
    smoothing, smoothing_group = latest(found, SmoothingSummary)
    proofs = _in_norm_of(attack, found)
    return Findings(
        clean=clean,
        attack=attack,
        bounds=bounds,
        bounds_group=bounds_group,
        smoothing=smoothing,
        masking=latest(found, MaskingSummary)[0],
        ledger=ledger(store),
        verification=proofs,
        quantised=bool(store.model.get("straight_through")),
        doubts=doubts_of(store, record.get("inspect") or {}, clean),
        labelled=labelled(store),
        input_step=store.input_step,
        incomplete=incomplete(record),
        cut_off=tuple(record.get("unfinished", ())),
        others=_other_norms(attack, everything),
        attack_group=_table_of(attack, found),
        smoothing_group=smoothing_group,
        verification_group=_table_of(proofs, found),
    )


def _table_of(summary: Summary | None, found: Readings) -> AnalysisGroup | None:
    """The table that ``summary`` of ``found`` was made from."""
    return next((one.group for one in found if one.summary is summary), None)


def _of_headline(found: Sequence[AttackSummary]) -> AttackSummary | None:
    """Of the attacks on most images in their norms, that on most images; then the most successful.

    Neither a later attack on a few images nor the order of the norms decides.
    """
    return max(_by_norm(found), key=lambda one: (one.n, -_kept(one)), default=None)


def _by_norm(found: Sequence[AttackSummary]) -> list[AttackSummary]:
    """The attack on most images in each norm, the last of equal ones."""
    norms = dict.fromkeys(one.norm for one in found)
    return [
        max((one for one in reversed(found) if one.norm == norm), key=lambda one: one.n)
        for norm in norms
    ]


def _kept(attack: AttackSummary) -> float:
    """Share of the correct images that survive at the radius of the headline; 1 if unknown."""
    attacked = Attacked.of(attack, None)
    return 1.0 if attacked is None or not attacked.kept.n else attacked.kept.value


def _other_norms(attack: AttackSummary | None, found: Readings) -> tuple[OtherNorm, ...]:
    """What ``found`` holds about other norms than that of ``attack``."""
    attacks = [one for one, _ in of_kind(found, AttackSummary)]
    return tuple(
        OtherNorm(one, _in_norm_of(one, found))
        for one in _by_norm(attacks)
        if attack is not None and one.norm != attack.norm
    )


def _in_norm_of(attack: AttackSummary | None, found: Readings) -> VerificationSummary | None:
    """The last certificates in the norm of ``attack``; without attacks, the last ones."""
    proofs = [one for one, _ in of_kind(found, VerificationSummary)]
    same = [one for one in proofs if attack is None or one.norm == attack.norm]
    return same[-1] if same else None


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

    Every doubt about what was measured is a sentence before the numbers, and no model is called
    robust, or not robust, while there is one.
    """
    attacked = Attacked.of(found.attack, found.masking, found.verification)
    state = None if found.masking is None else found.masking.verdict
    unfinished = bool({"attack", "masking"} & {*found.cut_off})
    single = () if attacked is None else one_input_only(found.input_step, [attacked.entry.epsilon])
    doubted = unfinished or bool(found.doubts) or bool(single)
    text, tone = headline(attacked, Context(state, found.labelled, doubted, found.masking))
    sentences = (
        *found.doubts,
        "" if found.labelled else _NO_LABELS,
        found.incomplete,
        _masking_sentence(found),
        _STRAIGHT_THROUGH if found.quantised else "",
        _attack_sentence(found, attacked),
        _proven_sentence(found.verification),
        *(_other_sentence(one, labelled=found.labelled) for one in found.others),
        *(f"Integer input: {line}." for line in single),
        _certified_sentence(found.smoothing),
        f"Ledger: {found.ledger.sentence}.",
    )
    return AuditVerdict(text, tone, tuple(sentence for sentence in sentences if sentence))


def cards(found: Findings) -> tuple[Card, ...]:
    """The headline number of each kind of claim in ``found``."""
    shown = (
        _clean_card(found),
        _attacked_card(found),
        _proven_card(found),
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


_NO_LABELS = (
    "No labels: every number refers to the model's own prediction (stability, not accuracy)."
)

_STRAIGHT_THROUGH = (
    "Gradients are straight-through where the model rounds: they are not those of the file's "
    "function, in which such gradients are 0."
)

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


def _attack_sentence(found: Findings, attacked: Attacked | None) -> str:
    if found.attack is None or attacked is None:
        return ""
    entry, clean = attacked.entry, percent(attacked.clean.value)
    text = f"Attacked: accuracy {clean} falls to"
    if not found.labelled:
        text = "Attacked: the share of images that keep their class is"
    text += f" {percent(entry.value)} at {attacked.ball}"
    median = found.attack.median_distance
    surpassed = entry.value <= 0.5 and median is not None and median > entry.epsilon
    if median and not surpassed:  # by attacks of the masking check, which record no distances
        changed = "are misclassified" if found.labelled else "get another class"
        text += f"; half {changed} within {decimal(median)}"
    return f"{text}. {criterion(attacked, labelled=found.labelled)}"


def _proven_sentence(proofs: VerificationSummary | None) -> str:
    bracket = None if proofs is None else proofs.headline
    if proofs is None or bracket is None:
        return ""
    return (
        f"Certified for the model itself: robust accuracy at ε = {pixel(bracket.epsilon)} "
        f"({proofs.norm}) on these {proofs.n} images is {between(bracket)}, "
        f"width {percent(bracket.width)}."
    )


def _other_sentence(other: OtherNorm, *, labelled: bool) -> str:
    """Attacked and certified share in another norm than that of the headline."""
    attacked = Attacked.of(other.attack, None, other.verification)
    if attacked is None:
        return ""
    what = "robust accuracy" if labelled else "the share of images that keep their class"
    share = f"at most {percent(attacked.entry.value)} (attacked)"
    if attacked.proven is not None:
        share += f" and at least {percent(attacked.proven)} (certified for the model itself)"
    return f"In {other.attack.norm}: {what} at {attacked.ball} is {share}, {other.attack.n} images."


def _proven_card(found: Findings) -> Card | None:
    proofs = found.verification
    bracket = None if proofs is None else proofs.headline
    if proofs is None or bracket is None:
        return None
    text = (
        f"of {proofs.n} images proven robust at ε = {pixel(bracket.epsilon)} ({proofs.norm}), the "
        f"model itself; robust accuracy is {between(bracket)}"
    )
    return Card("certified", percent(bracket.certified), text)


def _certified_sentence(smoothing: SmoothingSummary | None) -> str:
    entry = certified_accuracy(smoothing)
    if smoothing is None or entry is None:
        return ""
    model = f"the smoothed classifier{in_precision(smoothing.precision)}"
    return (
        f"Certified: for {model}, {percent(entry.value)} of images are certified to l2 radius "
        f"{decimal(entry.radius)}."
    )


def _clean_card(found: Findings) -> Card | None:
    if not found.labelled:
        return None
    accuracy = found.clean.clean_accuracy if found.clean else None
    if accuracy is None and found.attack is not None:
        accuracy = found.attack.clean_accuracy
    if accuracy is None or not accuracy.n:
        return None
    text = f"accuracy on {accuracy.n} unchanged images"
    return Card("measured", percent(accuracy.value), text)


def _attacked_card(found: Findings) -> Card | None:
    attacked = Attacked.of(found.attack, found.masking)
    if found.attack is None or attacked is None:
        return None
    entry = attacked.entry
    beyond = found.attack.elsewhere or entry not in found.attack.robust_accuracy
    more = ", masking check included" if beyond and found.masking is not None else ""
    what = "accuracy" if found.labelled else "share that keeps its class"
    text = (
        f"{interval(entry)}, {what} under attack{more}, at {attacked.ball}, "
        f"{found.attack.n} images; true robustness can only be lower"
    )
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
    entry = certified_accuracy(smoothing)
    if smoothing is None or entry is None:
        return None
    how = f"when smoothed{in_precision(smoothing.precision)}"
    text = f"of images certified to l2 radius {decimal(entry.radius)}, {how}"
    return Card("certified", percent(entry.value), text)
