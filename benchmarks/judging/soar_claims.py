"""Claims of Ma, Faghri & Farahmand 2020 (SOAR)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.attacks import Change

from .claim import Claim, Finding
from .networks import ADVERSARIAL, SOARS, SOFT, SOURCE, STANDARD, UNWEIGHTED

if TYPE_CHECKING:
    from .laboratory import Laboratory

PAPER = "Ma et al. 2020"
MEAN_WITHIN = 0.1
L2_RADIUS = 1.0
TURNS = ((10.0, 0.05), (30.0, 0.1))
NOISE = ((0.05,), (0.1,), (0.15,))


def _starts(lab: Laboratory) -> Finding:
    numbers: dict[str, float] = {}
    gaps = []
    for start, network in SOARS.items():
        white, black = lab.accuracy(network)["weak"], lab.transferred(network, SOURCE)
        numbers |= {
            f"{start}, PGD20": white,
            f"{start}, transferred": black,
            f"{start}, confidence": lab.confidence(network),
        }
        gaps.append(black - white if start == "pgd1" else white - black)
    return Finding(min(gaps), numbers)


def _masked(lab: Laboratory) -> Finding:
    numbers: dict[str, float] = {}
    for name, network in (("SOAR", SOARS["pgd1"]), ("ADV-8", ADVERSARIAL)):
        found = lab.accuracy(network)
        numbers |= {f"{name}, {what}": found[what] for what in ("clean", "weak", "strong")}
        numbers[f"{name}, drop"] = found["weak"] - found["strong"]
    return Finding(numbers["ADV-8, drop"] - numbers["SOAR, drop"], numbers)


def _penalty(lab: Laboratory) -> Finding:
    numbers: dict[str, float] = {}
    for name, network in (("λ = 0.5", SOARS["pgd1"]), ("λ = 0", UNWEIGHTED)):
        found = lab.accuracy(network)
        numbers |= {f"{name}, {what}": found[what] for what in ("clean", "strong")}
    return Finding(numbers["λ = 0.5, strong"] - numbers["λ = 0, strong"], numbers)


def _direction(lab: Laboratory) -> Finding:
    found = lab.taylor(STANDARD)
    difference = abs(found.penalty_one / found.penalty_all - 1)
    numbers = {
        "one direction": found.penalty_one,
        "100 directions": found.penalty_all,
        "variation over directions": found.penalty_variation,
    }
    return Finding(MEAN_WITHIN - difference, numbers)


def _differences(lab: Laboratory) -> Finding:
    numbers: dict[str, float] = {}
    gaps = []
    for name in (STANDARD, SOFT):
        found = lab.taylor(name)
        error = {one.step: one.taylor for one in found.steps}[0.03]
        numbers |= {f"{name}, exact": found.exact, f"{name}, h = 0.03": error}
        gaps.append(found.exact - error)
    return Finding(min(gaps), numbers)


def _other_changes(lab: Laboratory) -> Finding:
    numbers: dict[str, float] = {}
    gaps = []
    for what in ("l2", "rotation", "noise"):
        found = {}
        for name, network in (("SOAR", SOARS["pgd1"]), ("ADV-8", ADVERSARIAL)):
            if what == "l2":
                found[name] = lab.l2_accuracy(network, L2_RADIUS)
            elif what == "rotation":
                found[name] = lab.changed(network, Change.SPATIAL, TURNS)
            else:
                found[name] = lab.changed(network, Change.GAUSSIAN, NOISE)
        numbers |= {f"{name}, {what}": value for name, value in found.items()}
        gaps.append(found["SOAR"] - found["ADV-8"])
    return Finding(min(gaps), numbers)


CLAIMS = (
    Claim(
        name="C10",
        statement=(
            "SOAR from the image or a random point hides its gradients (transferred attacks are "
            "stronger than its own); from one step of an attack it does not."
        ),
        source=f"{PAPER}, Tables 4 and 5",
        gap=(
            "the smallest of: accuracy under PGD20 minus under transfer, for both starts; the "
            "opposite difference for the start by an attack"
        ),
        caveat="The paper's networks reach a confidence near 1, after a much longer training.",
        measure=_starts,
    ),
    Claim(
        name="C11",
        statement="The robustness of SOAR is no masking.",
        source=f"{PAPER}, Table 3",
        gap="accuracy that ADV-8 loses from PGD20 to the strong attacks, minus that of SOAR",
        caveat=(
            "The paper's evidence is transfer alone; its own table has FGSM 47.8 % and PGD20 "
            "32.8 % where ADV-7 has 42.4 % and 36.0 %."
        ),
        measure=_masked,
    ),
    Claim(
        name="C12",
        statement="The gain of SOAR is due to its penalty, not to the step of an attack in it.",
        source=f"{PAPER}, Table 1",
        gap="robust accuracy with λ = 0.5, minus that with λ = 0",
        caveat="Both start from the same network and take the same steps.",
        measure=_penalty,
    ),
    Claim(
        name="C13",
        statement="One random direction estimates SOAR's regulariser well.",
        source=f"{PAPER}, Figure 2",
        gap=f"{MEAN_WITHIN:g} minus the relative difference of the means with 1 and 100 directions",
        caveat=(
            "This is the mean over images. For a single image the variation over directions says "
            "how far one direction is from the mean."
        ),
        measure=_direction,
    ),
    Claim(
        name="C14",
        statement="With h = 0.03 the Taylor curve by differences is closer than the exact one.",
        source=f"{PAPER}, Figures 1 and 4",
        gap="error with the exact curvature, minus that with h = 0.03; the smaller of two networks",
        caveat="Test images of standard networks, along the gradient; the paper has 100 images.",
        measure=_differences,
    ),
    Claim(
        name="C15",
        statement="SOAR is at least as robust as ADV to l2 attacks, rotations and noise.",
        source=f"{PAPER}, Tables 2, 6 and 7",
        gap="the smallest of three accuracies of SOAR minus that of ADV-8",
        caveat="ADV-8 is trained in linf at 0.1, which shrinks its clean accuracy.",
        measure=_other_changes,
    ),
)
