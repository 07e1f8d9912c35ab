"""The verdict of an audit: what the numbers together say, in sentences a reader can repeat."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from robcert.certify.tables import Summary, bound_name, decimal, in_precision, percent, pixel

Tone = Literal["good", "warn", "bad", "none"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the audit comes to.

    Attributes:
        headline: one clause.
        tone: how alarming it is.
        sentences: one per kind of evidence.
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


def verdict(
    summaries: dict[str, Summary],
    ledger: dict[str, Any],
    *,
    quantised: bool = False,
    incomplete: str = "",
) -> Verdict:
    """Verdict of what a results file says.

    The headline goes by the masking verdict first, for it decides whether the other numbers can
    be read at all; then by the accuracy that attacks leave.

    Args:
        summaries: the latest of each analysis, by its name.
        ledger: estimated radii against attacked distances.
        quantised: whether the model has nodes that only straight-through gradients pass.
        incomplete: a sentence on what was cut off.
    """
    masking = _masking(summaries)
    attacked = _headline_attack(summaries)
    headline, tone = _headline(masking, attacked)
    sentences = [incomplete, _masking_sentence(summaries, masking, quantised=quantised)]
    sentences += [_attack_sentence(summaries.get("attack"), attacked)]
    sentences += [_certified_sentence(summaries.get("smoothing"))]
    sentences += [f"Ledger: {ledger['sentence']}." if ledger.get("sentence") else ""]
    return Verdict(headline, tone, tuple(sentence for sentence in sentences if sentence))


def cards(
    summaries: dict[str, Summary], contradicted: dict[str, tuple[int, int]] | None = None
) -> tuple[Card, ...]:
    """The headline number of each kind of claim that ``summaries`` hold.

    ``contradicted`` is what :func:`contradictions` found for the bounds among them.
    """
    found = [
        _clean_card(summaries),
        _attacked_card(summaries),
        _estimated_card(summaries.get("bounds"), contradicted or {}),
        _certified_card(summaries.get("smoothing")),
    ]
    return tuple(card for card in found if card is not None)


def contradictions(ledger: dict[str, Any], bounds: str) -> dict[str, tuple[int, int]]:
    """Crossings of the group ``bounds``: ``(count, compared)`` by column of radii.

    Where several attacks are compared, those of the attack that contradicts most images.
    """
    worst: dict[str, tuple[int, int]] = {}
    for entry in ledger.get("comparisons") or ():
        group, column = str(entry["estimate"]).rsplit(":", 1)
        if group == bounds and entry["count"]:
            found = (int(entry["count"]), int(entry["compared"]))
            worst[column] = max(found, worst.get(column, found))
    return worst


def _masking(summaries: dict[str, Summary]) -> str:
    return str((summaries.get("masking") or {}).get("verdict", "not checked"))


_MASKING_SENTENCE = {
    "clear": "Gradients: clear. No test found them hidden, so the numbers can be read as they are.",
    "suspect": "Gradients: suspect. Something hides them in part; read the attacked numbers as too "
    "optimistic.",
    "masked": "Gradients: masked. Gradient attacks fail for lack of a usable gradient while "
    "adversarial images are near; numbers that rest on gradients mean little.",
    "unknown": "Gradients: unknown. A required test of the masking check could not be computed.",
    "not checked": "Gradients: not checked for masking.",
}


def _masking_sentence(summaries: dict[str, Summary], masking: str, *, quantised: bool) -> str:
    hidden_in = (summaries.get("masking") or {}).get("hidden_in")
    if masking != "masked" or hidden_in != "file":
        return _MASKING_SENTENCE[masking]
    why = ", because the model is quantised" if quantised else ""
    return (
        f"Gradients: masked by the file's own output{why}. Attacks on it as it stands find too "
        "little; robcert's own, on its logits and straight-through where it rounds, get through."
    )


def _headline_attack(summaries: dict[str, Summary]) -> Summary | None:
    """The entry of robust accuracy that the headline quotes: the default epsilon, else the last.

    Where the attacks of the masking check left less on the same images, theirs.
    """
    attack = summaries.get("attack") or {}
    entries = [e for e in attack.get("robust_accuracy") or [] if e.get("value") is not None]
    chosen = [entry for entry in entries if entry["epsilon"] == attack.get("headline_epsilon")]
    found: Summary | None = (chosen or entries or [None])[-1]
    masking = summaries.get("masking") or {}
    check = masking.get("corrected_robust_accuracy") or {}
    if found is None or check.get("value") is None:
        return found
    question = (attack.get("norm"), found["epsilon"], attack.get("n"))
    comparable = question == (masking.get("norm"), masking.get("epsilon"), check.get("n"))
    return {**found, **check} if comparable and check["value"] < found["value"] else found


def _headline(masking: str, attacked: Summary | None) -> tuple[str, Tone]:
    if masking == "masked":
        return "This model hides its gradients: its apparent robustness cannot be trusted", "bad"
    if attacked is None:
        return "No attack in this file: robustness was not tested", "none"
    share, where = float(attacked["value"]), pixel(attacked["epsilon"])
    doubt = {"suspect": ", and its gradients are suspect", "unknown": ""}.get(masking, "")
    if share < 0.1:
        return f"Not robust: {percent(share)} accuracy is left at ε = {where}{doubt}", "bad"
    held = f"{percent(share)} accuracy withstands the attacks at ε = {where}{doubt}"
    return held, "good" if share > 0.5 and not doubt else "warn"


def _attack_sentence(attack: Summary | None, entry: Summary | None) -> str:
    if attack is None or entry is None:
        return ""
    clean = (attack.get("clean_accuracy") or {}).get("value")
    norm = f" ({attack['norm']})" if attack.get("norm") else ""
    text = f"Attacked: accuracy {percent(clean)} falls to {percent(entry['value'])} "
    text += f"at ε = {pixel(entry['epsilon'])}{norm}"
    median = attack.get("median_distance")
    return text + (f"; half of the images fall within {decimal(median)}." if median else ".")


def _certified_sentence(smoothing: Summary | None) -> str:
    entry = _certified_entry(smoothing)
    if entry is None:
        return ""
    text = f"Certified: {percent(entry['value'])} of the images within l2 radius "
    of = f"the smoothed classifier{in_precision(smoothing or {})}"
    return text + f"{decimal(entry['radius'])}, of {of}."


def _certified_entry(smoothing: Summary | None) -> Summary | None:
    """The smallest positive radius of the curve."""
    entries = [e for e in (smoothing or {}).get("certified_accuracy") or [] if e["radius"] > 0]
    return min(entries, key=lambda entry: float(entry["radius"]), default=None)


def _clean_card(summaries: dict[str, Summary]) -> Card | None:
    for name in ("clean", "attack"):
        accuracy = (summaries.get(name) or {}).get("clean_accuracy") or {}
        if accuracy.get("value") is not None:
            text = f"accuracy on {accuracy.get('n', 'the')} unchanged images"
            return Card("measured", percent(accuracy["value"]), text)
    return None


def _attacked_card(summaries: dict[str, Summary]) -> Card | None:
    attack, entry = summaries.get("attack"), _headline_attack(summaries)
    if attack is None or entry is None:
        return None
    norm = f" ({attack['norm']})" if attack.get("norm") else ""
    text = f"accuracy left by attacks at ε = {pixel(entry['epsilon'])}{norm}; it can only be lower"
    return Card("attacked", percent(entry["value"]), text)


def _estimated_card(
    bounds: Summary | None, contradicted: dict[str, tuple[int, int]]
) -> Card | None:
    """The larger of the two mean radii that rest on upper limits, and what speaks against it."""
    radii = (bounds or {}).get("radius") or {}
    means = {name: (radii.get(name) or {}).get("mean") for name in ("l_bound", "omega_bound")}
    known = {name: float(mean) for name, mean in means.items() if mean is not None}
    if bounds is None or not known:
        return None
    best = max(known, key=lambda name: known[name])
    text = f"mean radius by the {bound_name(best)} ({bounds.get('norm')}), pixel units"
    if best in contradicted:
        count, compared = contradicted[best]
        text += f"; contradicted for {count} of {compared} images"
    text += _doubt(bounds, best)
    return Card("estimated", decimal(known[best], 3), text)


def _doubt(bounds: Summary, name: str) -> str:
    """Status of the estimates that the bound ``name`` rests on, where it is not ok."""
    fits = [("L", bounds.get("lipschitz") or {})]
    if name == "omega_bound":
        fits = [("ω", fit) for fit in bounds.get("omega") or ()]
    odd = [f"{what}: status {s}" for what, fit in fits if (s := fit.get("status", "ok")) != "ok"]
    return "".join(f"; {line}" for line in dict.fromkeys(odd))


def _certified_card(smoothing: Summary | None) -> Card | None:
    entry = _certified_entry(smoothing)
    if entry is None:
        return None
    how = f"when smoothed{in_precision(smoothing or {})}"
    text = f"of images certified within l2 radius {decimal(entry['radius'])}, {how}"
    return Card("certified", percent(entry["value"]), text)
