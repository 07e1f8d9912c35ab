"""Terms of the page, each explained in a sentence or two, in a tool-tip and at the end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """A term of the page.

    Attributes:
        key: its name in the template and in anchors.
        name: how the page writes it.
        text: what it means.
    """

    key: str
    name: str
    text: str


GLOSSARY: tuple[Term, ...] = (
    Term(
        "certified",
        "certified ▲",
        "Proven. Of the model itself (verify): by bounds, without probability. Of the smoothed "
        "classifier: with probability at least 1 − α over robcert's own random draws, and not for "
        "the model without noise.",
    ),
    Term(
        "estimated",
        "estimated ◆",
        "From a sample or a search, without guarantee: γ, L, ω, ρ and the radii derived from them.",
    ),
    Term(
        "attacked",
        "attacked ▼",
        "An adversarial image was found at that distance and re-checked in the model's runtime. "
        "Stronger attacks may find more, so the true robust accuracy can only be lower than shown.",
    ),
    Term("measured", "measured ●", "A plain fact about these images."),
    Term(
        "interval",
        "95 % interval",
        "Where the share may lie for all images of this kind, given these images. Of 100 such "
        "intervals about 95 hold the true share.",
    ),
    Term(
        "adversarial",
        "adversarial image",
        "An image with a small change that makes the model give it a wrong class.",
    ),
    Term(
        "epsilon",
        "ε, radius, distance",
        "Size of a change of the image: the largest change of a pixel (linf), the Euclidean length "
        "(l2) or the sum of absolute changes (l1). Pixels range from 0 to 1.",
    ),
    Term(
        "masking",
        "gradient masking",
        "A model masks its gradients when gradient attacks fail for lack of a usable gradient "
        "although adversarial images are near. It then looks robust and is not.",
    ),
    Term(
        "ledger",
        "ledger",
        "Compares every estimated and certified radius with the distance of adversarial images. A "
        "violation shows that an estimate is wrong.",
    ),
    Term(
        "twin",
        "twin",
        "The same graph rebuilt in torch to obtain gradients. Its agreement with the model file "
        "(parity) is measured.",
    ),
    Term(
        "smoothed",
        "smoothed classifier",
        "The majority vote of the model over images with Gaussian noise of standard deviation σ: "
        "another classifier than the model.",
    ),
    Term(
        "gamma",
        "γ(ε, x)",
        "Local linearity: the largest deviation of the loss from its tangent plane within ε of the "
        "image. If γ is large, gradients say little about the neighbourhood.",
    ),
    Term(
        "lipschitz",
        "L, ω(ε), ρ(ε)",
        "Largest gradient norm of the margin; largest excess of the margin loss over its tangent, "
        "and over its steepest tangent, at distance ε. All are extrapolated from block maxima.",
    ),
    Term(
        "bounds",
        "L-, ω- and ρ-bound",
        "The smallest distance at which the margin can reach zero, provided that L, ω or ρ is "
        "right.",
    ),
    Term(
        "paired",
        "paired difference",
        "Second model minus first over the same images, image by image. It shows smaller "
        "differences than two separate intervals do.",
    ),
)
