"""Section 1, whether the numbers can be trusted: one line per check, then the warnings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robcert.certify.auditing import labelled
from robcert.certify.masking import MaskingVerdict
from robcert.certify.tables import decimal, percent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from robcert.certify.auditing import Findings, Readings
    from robcert.certify.store import Ledger, ResultStore


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the numbers.

    Attributes:
        name: what was checked.
        term: entry of the glossary that explains it; empty for none.
        tone: good, warn, bad or quiet.
        state: outcome in a word or two.
        text: outcome in a sentence.
    """

    name: str
    term: str
    tone: str
    state: str
    text: str


def checks(store: ResultStore, found: Readings, said: Findings) -> tuple[Check, ...]:
    """The checks of the results in ``store``, in the order of the page."""
    return (
        _gradients(said),
        _ledger(said.ledger),
        _twin(store.model),
        _input(said),
        _complete(store, found),
    )


def _gradients(said: Findings) -> Check:
    name, term = "Gradients", "masking"
    if said.masking is None:
        text = "Run robcert masking-check into the same results file."
        return Check(name, term, "quiet", "not checked", text)
    state = said.masking.verdict
    tone = {MaskingVerdict.CLEAR: "good", MaskingVerdict.MASKED: "bad"}.get(state, "warn")
    reason = said.masking.reason
    text = {
        MaskingVerdict.CLEAR: "No test found masking, so attacks by gradients are meaningful.",
        MaskingVerdict.MASKED: "Attacks by gradients fail although adversarial images are near.",
    }.get(state, f"{reason[:1].upper()}{reason[1:]}")
    return Check(name, term, tone, str(state), text)


def _ledger(ledger: Ledger) -> Check:
    sentence = f"{ledger.sentence[:1].upper()}{ledger.sentence[1:]}."
    tone, state = "good", "no violation"
    if ledger.contradictions:
        tone, state = "bad", "contradiction"
    elif ledger.count:
        tone, state = "warn", "1 violation" if ledger.count == 1 else f"{ledger.count} violations"
    elif not ledger.compared:
        tone, state = "quiet", "nothing to compare"
    return Check("Ledger", "ledger", tone, state, sentence)


def _twin(model: Mapping[str, Any]) -> Check:
    name, term = "Model file and its twin", "twin"
    if model.get("twin_unavailable"):
        return Check(name, term, "warn", "no twin", f"No gradients: {model['twin_unavailable']}.")
    parity = model.get("parity") or {}
    if not isinstance(parity, dict) or parity.get("top1_agreement") is None:
        return Check(name, term, "quiet", "not compared", "The file is run as it is.")
    agreement = float(parity["top1_agreement"])
    text = (
        f"Same class on {percent(agreement)} of {parity.get('images')} images, relative error of "
        f"logits at most {decimal(parity.get('max_relative_logit_error'), 2)}"
    )
    if parity.get("gradient_correlation") is not None:
        text += f", correlation of gradients {decimal(parity['gradient_correlation'])}"
    tone, state = ("good", "agree") if agreement == 1 else ("warn", "differ")
    return Check(name, term, tone, state, f"{text}.")


def _input(said: Findings) -> Check:
    if said.doubts:
        return Check("Input of the model", "", "warn", "doubtful", " ".join(said.doubts))
    text = "Nothing contradicts the preprocessing; a slightly wrong scale would not be noticed."
    return Check("Input of the model", "", "good", "no doubt", text)


def _complete(store: ResultStore, found: Readings) -> Check:
    name = "Completeness"
    cut = [one for one in found if not one.group.complete]
    if not cut:
        images = len(store.indices)
        return Check(name, "", "good", "complete", f"Every analysis has finished {images} images.")
    parts = (
        f"{one.group.path.strip('/')}: {len(one.group.indices)} of {len(store.indices)} images"
        for one in cut
    )
    return Check(name, "", "warn", "incomplete", f"{'; '.join(parts)}.")


def warnings(store: ResultStore, found: Readings) -> tuple[str, ...]:
    """Limitations of the numbers, one line each."""
    lines = []
    if not labelled(store):
        lines.append(
            "The images carry no labels: margins, attacks and bounds refer to the model's own "
            "prediction (stability, not accuracy)."
        )
    for reading in found:
        lines += [f"{reading.analysis.title}: {line}" for line in reading.warnings]
    return tuple(dict.fromkeys(lines))
