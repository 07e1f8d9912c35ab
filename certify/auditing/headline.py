"""The headline of a verdict, and the numbers in it, which `--fail-under` tests too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Literal

from robcert.certify.masking import MaskingVerdict
from robcert.certify.stats import Proportion, proportion
from robcert.certify.tables import percent, pixel, share_text

if TYPE_CHECKING:
    from robcert.certify.attacks import AttackSummary, RobustAccuracy
    from robcert.certify.masking import MaskingSummary
    from robcert.certify.smoothing import CertifiedAccuracy, SmoothingSummary
    from robcert.certify.verification import VerificationSummary

Tone = Literal["good", "warn", "bad", "none"]

ROBUST_SHARE = 0.5
"""A model is called robust if it keeps more than this share of its correct images under attack."""

SAME_RADIUS = 1e-9
"""Radii that differ by no more, in pixel units, are one radius written in two ways."""


def attacked_accuracy(
    attack: AttackSummary | None, check: MaskingSummary | None, epsilon: float | None = None
) -> RobustAccuracy | None:
    """Robust accuracy at ``epsilon``, or at the radius of the headline; None if there is none.

    The headline's radius is the default one of the attack, or the last one that is known. If the
    accuracy is smaller under the attacks of the masking check on the same images, it is theirs.
    """
    if attack is None:
        return None
    known = [entry for entry in attack.robust_accuracy if entry.value == entry.value]  # not NaN
    wanted = attack.headline_epsilon if epsilon is None else epsilon
    chosen = [entry for entry in known if abs(entry.epsilon - wanted) <= SAME_RADIUS]
    if not chosen and epsilon is None:
        chosen = known
    if not chosen:
        return None
    return with_check(chosen[-1], attack, check)


def with_check(
    entry: RobustAccuracy, attack: AttackSummary, check: MaskingSummary | None
) -> RobustAccuracy:
    """``entry`` of ``attack``, or that of the masking check on the same images if it is smaller."""
    if check is None or (check.norm, check.corrected.n) != (attack.norm, attack.n):
        return entry
    same = abs(check.epsilon - entry.epsilon) <= SAME_RADIUS
    if not same or not check.corrected.value < entry.value:
        return entry
    best = check.corrected
    return replace(entry, value=best.value, lower=best.lower, upper=best.upper)


def certified_accuracy(
    smoothing: SmoothingSummary | None, radius: float | None = None
) -> CertifiedAccuracy | None:
    """Certified accuracy at ``radius``, or at the smallest positive radius of the curve."""
    entries = [] if smoothing is None else list(smoothing.certified_accuracy)
    if radius is not None:
        near = [entry for entry in entries if abs(entry.radius - radius) <= SAME_RADIUS]
        return near[-1] if near else None
    positive = [entry for entry in entries if entry.radius > 0]
    return min(positive, key=lambda entry: entry.radius, default=None)


class Judgement(Enum):
    """What the interval of the kept share says about a model."""

    ROBUST = "robust"
    UNDECIDED = "undecided"
    NOT_ROBUST = "not robust"


@dataclass(frozen=True, slots=True)
class Attacked:
    """The robust accuracy of a headline beside the clean accuracy of the same images.

    Attributes:
        entry: robust accuracy with its radius.
        norm: norm of the radius.
        clean: share of the images that are classified correctly without attack.
        kept: share of those that are classified correctly under attack too.
        proven: certified share of the same images at the same radius; None if it is not known.
    """

    entry: RobustAccuracy
    norm: str
    clean: Proportion
    kept: Proportion
    proven: float | None = None

    @classmethod
    def of(
        cls,
        attack: AttackSummary | None,
        check: MaskingSummary | None,
        proofs: VerificationSummary | None = None,
    ) -> Attacked | None:
        """The numbers at the headline's radius; None without attacks."""
        entry = attacked_accuracy(attack, check)
        if attack is None or entry is None:
            return None
        correct = round(attack.clean_accuracy.value * attack.n)
        robust = min(round(entry.value * attack.n), correct)
        kept = proportion(robust, correct)
        proven = _proven(proofs, attack, entry.epsilon)
        return cls(entry, attack.norm, attack.clean_accuracy, kept, proven)

    @property
    def judgement(self) -> Judgement:
        """Whether the interval of the kept share is on one side of `ROBUST_SHARE`."""
        if self.kept.lower > ROBUST_SHARE:
            return Judgement.ROBUST
        return Judgement.NOT_ROBUST if self.kept.upper < ROBUST_SHARE else Judgement.UNDECIDED

    @property
    def ball(self) -> str:
        """Radius and norm in words."""
        return f"ε = {pixel(self.entry.epsilon)} ({self.norm})"


def _proven(
    proofs: VerificationSummary | None, attack: AttackSummary, epsilon: float
) -> float | None:
    """Certified share at ``epsilon`` of the images of ``attack``; None if it is not known."""
    if proofs is None or (proofs.norm, proofs.n) != (attack.norm, attack.n):
        return None
    bracket = proofs.at(epsilon, SAME_RADIUS)
    return None if bracket is None else bracket.certified


@dataclass(frozen=True, slots=True)
class Context:
    """What decides how much of a headline can be believed.

    Attributes:
        masking: verdict of the masking check; None if it did not run.
        labelled: whether the images have labels.
        doubted: whether there is a reason to doubt what was measured.
        check: the masking check whose attacks stand in where no other was run.
    """

    masking: MaskingVerdict | None
    labelled: bool
    doubted: bool
    check: MaskingSummary | None = None


def headline(attacked: Attacked | None, context: Context) -> tuple[str, Tone]:
    """One sentence without a full stop, and its tone.

    The tone follows the interval: good only where a model is called robust, bad only where its
    interval excludes that. Masked gradients come first: they make the other numbers meaningless.
    """
    if context.masking is MaskingVerdict.MASKED:
        text = "This model masks its gradients: its apparent robustness cannot be trusted"
        more = "" if attacked is None else f"; {_numbers(attacked, context)} at {attacked.ball}"
        return f"{text}{more}", "bad"
    if attacked is None and context.check is not None and context.check.corrected.n:
        return f"Robustness not established {_of_check(context.check, context)}", "warn"
    if attacked is None:
        return "No attack in this file: robustness was not tested", "none"
    said, tone = _judged(attacked.judgement, context)
    return f"{said} at {attacked.ball}: {_numbers(attacked, context)}", tone


def _judged(judgement: Judgement, context: Context) -> tuple[str, Tone]:
    word, noun = ("robust", "robustness") if context.labelled else ("stable", "stability")
    if context.doubted:
        return f"{noun.capitalize()} not established", "warn"
    if judgement is Judgement.NOT_ROBUST:
        return f"Not {word}", "bad"
    if judgement is Judgement.UNDECIDED:
        return f"{noun.capitalize()} undecided", "warn"
    if context.masking is MaskingVerdict.CLEAR:
        return word.capitalize(), "good" if context.labelled else "warn"
    why = {
        None: "gradients not checked",
        MaskingVerdict.SUSPECT: "gradients suspect",
    }.get(context.masking, "gradients unknown")
    return f"{noun.capitalize()} not established ({why})", "warn"


def _numbers(attacked: Attacked, context: Context) -> str:
    share = f"{share_text(attacked.entry)} of {attacked.clean.n} images"
    if context.masking in {MaskingVerdict.MASKED, MaskingVerdict.SUSPECT}:
        share = f"at most {share}"  # better attacks may well exist
    proven = "" if attacked.proven is None else f", {percent(attacked.proven)} provably"
    if not context.labelled:
        return f"{share} keep their class under attack{proven} (no labels, so no accuracy)"
    clean = percent(attacked.clean.value)
    return f"{share} are classified correctly under attack{proven}, {clean} without attack"


def _of_check(check: MaskingSummary, context: Context) -> str:
    """Robust accuracy by the masking check alone."""
    keep = "are classified correctly" if context.labelled else "keep their class"
    return (
        f"at ε = {pixel(check.epsilon)} ({check.norm}): at most {share_text(check.corrected)} of "
        f"{check.corrected.n} images {keep} under the attacks of the masking check"
    )


def criterion(attacked: Attacked, *, labelled: bool) -> str:
    """A sentence on when a model is called robust, and the interval that decides it."""
    word, kept = "robust", "the share of correctly classified images that stay so"
    if not labelled:
        word, kept = "stable", "the share of images that keep their class"
    return (
        f"A model is called {word} here if {kept} under attack is above {100 * ROBUST_SHARE:.0f} "
        f"% with its whole 95 % interval: it is {share_text(attacked.kept)} of {attacked.kept.n}."
    )
