"""Claims of Finlay & Oberman 2019 (input gradient regularisation)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from .claim import Claim, Finding
from .networks import (
    ADVERSARIAL,
    EXACT,
    MEAN_LOSS,
    MIDDLE,
    PENALISED,
    STANDARD,
    STEPPED,
    WEIGHTS,
)
from .timing import step_ratios

if TYPE_CHECKING:
    from .laboratory import Laboratory

PAPER = "Finlay & Oberman 2019"
BOUNDED = (PENALISED[MIDDLE], ADVERSARIAL)
"""Networks whose bounds are compared with attacks."""
SIGMAS = (0.12, 0.25, 0.5)
FEW = 30
"""Blocks of a fit that has few."""
AGREEMENT = 0.5
STABLE = 0.2


def _steps(lab: Laboratory) -> Finding:
    found = {h: lab.accuracy(name)["strong"] for h, name in STEPPED.items()}
    found[0.01] = lab.accuracy(PENALISED[MIDDLE])["strong"]
    ends = max(found[min(found)], found[max(found)])
    numbers = {f"h = {h:g}": found[h] for h in sorted(found)}
    return Finding(found[0.1] - ends, numbers)


def _schemes(lab: Laboratory) -> Finding:
    networks = {"difference": PENALISED[MIDDLE], "exact": EXACT, "mean loss": MEAN_LOSS}
    numbers: dict[str, float] = {}
    for scheme, network in networks.items():
        found = lab.accuracy(network)
        numbers |= {f"{scheme}, {what}": found[what] for what in ("clean", "strong")}
    return Finding(numbers["difference, strong"] - numbers["exact, strong"], numbers)


def _cost(lab: Laboratory) -> Finding:
    ratios = step_ratios(lab.seed)
    difference, exact = ratios["difference"], ratios["exact"]
    gap = min(math.log(exact / difference), math.log(ratios["ADV-7"] / difference / 2))
    return Finding(gap, ratios)


def _smaller(lab: Laboratory) -> Finding:
    order = (STANDARD, *(PENALISED[weight] for weight in WEIGHTS))
    numbers: dict[str, float] = {}
    slopes, moduli = [], []
    for weight, network in zip((0.0, *WEIGHTS), order, strict=True):
        found, _ = lab.bounds(network)
        if found.gradient_norm is None:
            message = "the sample of gradients was not finished"
            raise RuntimeError(message)
        slopes.append(found.gradient_norm.mean)
        moduli.append(found.omega[len(found.omega) // 2].fit.max)
        numbers |= {f"λ = {weight:g}, ‖∇ℓ‖": slopes[-1], f"λ = {weight:g}, ω": moduli[-1]}
    ranks = [float(stats.spearmanr(range(len(order)), of).statistic) for of in (slopes, moduli)]
    numbers |= {"rank correlation, ‖∇ℓ‖": ranks[0], "rank correlation, ω": ranks[1]}
    return Finding(-max(ranks), numbers)


def _closer(lab: Laboratory) -> Finding:
    numbers: dict[str, float] = {}
    gaps = []
    for network in BOUNDED:
        _, rows = lab.bounds(network)
        by_l, by_omega = (
            float(np.mean(rows[name])) for name in ("l_bound_point", "omega_bound_point")
        )
        attacked = float(np.mean(lab.distances(network)))
        numbers |= {
            f"{network}, L-bound": by_l,
            f"{network}, ω-bound": by_omega,
            f"{network}, attacked": attacked,
        }
        gaps += [by_omega - by_l, attacked - by_omega]
    return Finding(min(gaps), numbers)


def _violated(lab: Laboratory) -> Finding:
    numbers = {}
    for network in BOUNDED:
        _, rows = lab.bounds(network)
        above = rows["omega_bound_point"] > lab.distances(network)
        numbers[network] = float(np.mean(above))
    return Finding(max(numbers.values()), numbers)


def _agreement(lab: Laboratory) -> Finding:
    numbers: dict[str, float] = {}
    for network in BOUNDED:
        _, rows = lab.bounds(network)
        for sigma in SIGMAS:
            certified = lab.smoothed(network, sigma)
            found = stats.spearmanr(rows["omega_bound_point"], certified).statistic
            numbers[f"{network}, σ = {sigma:g}"] = float(np.nan_to_num(found))
    return Finding(min(numbers.values()) - AGREEMENT, numbers)


def _stable(lab: Laboratory) -> Finding:
    numbers = {}
    for blocks in (FEW, lab.size.blocks):
        fit = lab.bounds(STANDARD, blocks=blocks)[0].lipschitz
        if fit is None:
            message = "the sample of gradients was not finished"
            raise RuntimeError(message)
        numbers[f"{blocks} blocks, width"] = (fit.upper - fit.point) / fit.point
    return Finding(STABLE - numbers[f"{FEW} blocks, width"], numbers)


CLAIMS = (
    Claim(
        name="C4",
        statement="The step h has an optimum inside: much smaller and much larger ones are worse.",
        source=f"{PAPER}, Table B4",
        gap="robust accuracy with h = 0.1, minus the better one of the smallest and largest h",
        caveat=(
            "Differences are in 32 bits, as in the paper; whether the loss at small h is "
            "cancellation would take a training in 64 bits, which robcert does not have."
        ),
        measure=_steps,
    ),
    Claim(
        name="C5",
        statement="Finite differences of the gradient give more robustness than its exact norm.",
        source=f"{PAPER}, Tables 1 and 2",
        gap="robust accuracy of the finite difference, minus that of the exact penalty",
        caveat=(
            "Both have the same λ, and the exact norm is that of each image. 'Mean loss' is the "
            "penalty on the gradient of a batch's mean loss, which divides λ by the square of the "
            "batch: what the paper's row may have been (E-IGR-9)."
        ),
        measure=_schemes,
    ),
    Claim(
        name="C6",
        statement=(
            "A step with the finite difference costs less than one with the exact penalty, and at "
            "most half of one of adversarial training with seven steps."
        ),
        source=f"{PAPER}, section 4",
        gap="the smaller one of log(exact / difference) and log(ADV-7 / 2 / difference)",
        caveat="Processor time of one thread; a GPU has other ratios.",
        measure=_cost,
    ),
    Claim(
        name="C7",
        statement="A larger λ makes gradients and the modulus of continuity smaller.",
        source=f"{PAPER}, Table B3",
        gap="minus the larger rank correlation of λ with the mean gradient norm and with ω(0.5)",
        caveat="Five values of λ, so that a rank correlation of -1 is the only clear answer.",
        measure=_smaller,
    ),
    Claim(
        name="C8",
        statement="The ω-bound lies between the L-bound and the distance of attacks, on average.",
        source=f"{PAPER}, Table 2",
        gap="the smallest of ω-bound minus L-bound, and attacked distance minus ω-bound",
        caveat=(
            "Both bounds are the paper's: estimates from the largest values sampled. They prove "
            "nothing."
        ),
        measure=_closer,
    ),
    Claim(
        name="C9",
        statement="On some images an attack refutes the ω-bound.",
        source=f"{PAPER}, section 5",
        gap="largest share of images that are attacked within their ω-bound",
        caveat=(
            "A share of 0 on these images does not exclude a refuted bound on others, or by a "
            "stronger attack."
        ),
        measure=_violated,
    ),
    Claim(
        name="C17",
        statement="The radii of randomized smoothing agree with the ω-bound.",
        source=f"{PAPER}, Tables B5 and B6",
        gap=f"smallest rank correlation over images, minus {AGREEMENT:g}",
        caveat="They are about two classifiers: the smoothed one, and the network itself.",
        measure=_agreement,
    ),
    Claim(
        name="C18",
        statement="Few blocks of images suffice for a stable extreme-value fit of L.",
        source=f"{PAPER}, appendix",
        gap=f"{STABLE:g} minus (upper limit - point) / point of L with {FEW} blocks",
        caveat="The limit is that of the fit, for images like the sampled ones.",
        measure=_stable,
    ),
)
