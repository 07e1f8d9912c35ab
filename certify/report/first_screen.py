"""The first screen: verdict, picture, three facts, what was assumed, what is doubtful."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robcert.certify.auditing import Card, cards, verdict
from robcert.certify.core import Kind
from robcert.certify.masking import MaskingVerdict
from robcert.certify.tables import pixel

from .main_picture import MainPicture, main_picture
from .plain_words import ball_in_words, preprocessing_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robcert.certify.auditing import Findings, Readings
    from robcert.certify.store import ResultStore

FACTS = 3
ORDER = ("measured", "attacked", "certified", "estimated")
"""Claims of the facts, the most important first."""

WIDE_INTERVAL = 0.1
"""An interval of the accuracy under attack that is wider is a doubt."""

NO_DOUBT = "No doubt was found: gradients are usable and no estimate or certificate is refuted."


@dataclass(frozen=True, slots=True)
class FirstScreen:
    """Content of the first screen.

    Attributes:
        headline: the verdict in one sentence.
        tone: good, warn, bad or none; chooses the colour.
        ball: what the radius of the verdict means; empty without one.
        picture: accuracy against distance; None where no table has distances.
        facts: the three main numbers.
        assumed: what the numbers rest on, one sentence each.
        doubtful: reasons to doubt them.
        sentences: the verdict in detail, one sentence per kind of evidence.
    """

    headline: str
    tone: str
    ball: str
    picture: MainPicture | None
    facts: tuple[Card, ...]
    assumed: tuple[str, ...]
    doubtful: tuple[str, ...]
    sentences: tuple[str, ...]


def first_screen(store: ResultStore, found: Readings, said: Findings) -> FirstScreen:
    """The first screen of the report of ``store``.

    Args:
        store: the results file.
        found: summaries of its tables.
        said: those behind the verdict.
    """
    judged = verdict(said)
    facts = sorted(cards(said), key=lambda card: ORDER.index(card.claim))[:FACTS]
    return FirstScreen(
        headline=f"{judged.headline}.",
        tone=judged.tone,
        ball=_ball(said),
        picture=main_picture(store, found, said),
        facts=tuple(facts),
        assumed=tuple(_assumed(store, said)),
        doubtful=tuple(_doubtful(found, said)) or (NO_DOUBT,),
        sentences=judged.sentences,
    )


def _ball(said: Findings) -> str:
    if said.attack is None:
        return ""
    norm, epsilon = said.attack.norm, said.attack.headline_epsilon
    return f"ε = {pixel(epsilon)} ({norm}): {ball_in_words(norm, epsilon)}."


def _assumed(store: ResultStore, said: Findings) -> Iterator[str]:
    """What the numbers rest on; the preprocessing first, which no number can verify."""
    facts = preprocessing_in_words(store.model.get("preprocessing") or {})
    yield (
        f"Preprocessing: {facts}. Accuracy cannot verify it, and a wrong "
        "scale changes every distance."
    )
    count, data = len(store.indices), store.data
    yield f"Images: {count} of {data['size']} of {data['name']} stand for all images of their kind."
    if said.attack is not None and said.attack_group is not None:
        named = said.attack_group.settings.get("attacks") or ()
        which = f"suite “{said.attack.suite}”, of which stronger suites may find more"
        if named:
            which = f"the attacks {', '.join(named)} alone, of which suites may find more"
        yield f"Attacker: knows the model; {which}."


def _doubtful(found: Readings, said: Findings) -> Iterator[str]:
    """Reasons to doubt the numbers, the most serious first."""
    yield from said.doubts
    if said.ledger.contradictions:
        yield "An adversarial image lies within a proven radius: this is a fault of robcert."
    if not said.labelled:
        yield "No labels: every number is about the model's own predictions, not about accuracy."
    if said.incomplete:
        yield said.incomplete
    unfinished = [one for one in found if not one.group.complete]
    if unfinished and not said.incomplete:
        names = dict.fromkeys(one.analysis.title for one in unfinished)
        yield f"Incomplete: {', '.join(names)} did not finish all images."
    yield from _about_gradients(said)
    crossed = {one.kind for one in said.ledger.comparisons if one.count and not one.proven}
    if Kind.ESTIMATED in crossed:
        yield "Estimates: adversarial images refute some of them; section 1 says which."
    if Kind.CERTIFIED in crossed:
        yield "Smoothing: attacks on the smoothed classifier lie within certified radii."
    yield from _about_numbers(said)


def _about_gradients(said: Findings) -> Iterator[str]:
    state = None if said.masking is None else said.masking.verdict
    if state is None:
        yield "Gradients were not checked for masking, which could hide adversarial images."
    elif state is MaskingVerdict.MASKED:
        yield "Gradients are masked: numbers from gradient attacks are too good."
    elif state is not MaskingVerdict.CLEAR:
        yield f"Gradients are {state}: attacks may have missed adversarial images."
    if said.quantised:
        yield "The model rounds inside; its gradients are stand-ins (straight-through)."


def _about_numbers(said: Findings) -> Iterator[str]:
    entry = None
    if said.attack is not None:
        at = said.attack.headline_epsilon
        near = (one for one in said.attack.robust_accuracy if abs(one.epsilon - at) < 1e-9)
        entry = next(near, None)
    if said.attack is None or entry is None:
        return
    width = entry.upper - entry.lower
    if width > WIDE_INTERVAL:
        yield (
            f"Few images: with {said.attack.n} the interval of the accuracy under attack is "
            f"{100 * width:.0f} points wide."
        )
