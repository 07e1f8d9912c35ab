"""Claims of Qin et al. 2019 (LLR)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .claim import Claim, Finding
from .networks import FIXED, LLR, RANDOM, RATIOS, WITH_MU

if TYPE_CHECKING:
    from .laboratory import Laboratory

PAPER = "Qin et al. 2019"
FACTOR = 5.0
"""How much larger γ must be after training with one step than with eight."""


def _few_steps(lab: Laboratory) -> Finding:
    fixed = {f"γ, {steps} steps": lab.gamma(name) for steps, name in FIXED.items()}
    random = {f"γ, {steps} steps, random start": lab.gamma(name) for steps, name in RANDOM.items()}
    ratio = fixed["γ, 1 steps"] / fixed["γ, 8 steps"]
    return Finding(ratio - FACTOR, {"ratio": ratio, **fixed, **random})


def _hiding(lab: Laboratory) -> Finding:
    of = {
        "ADV-1": FIXED[1],
        "ADV-2": FIXED[2],
        "ADV-1, random start": RANDOM[1],
        "ADV-2, random start": RANDOM[2],
        "LLR-1": LLR[1],
        "LLR-2": LLR[2],
    }
    found = {name: lab.accuracy(network)["strong"] for name, network in of.items()}
    return Finding(found["LLR-2"] - found["ADV-2"], found)


def _drop(lab: Laboratory) -> Finding:
    llr, adversarial = lab.accuracy(WITH_MU[0.75]), lab.accuracy(RANDOM[8])
    drops = [found["one step"] - found["strong"] for found in (llr, adversarial)]
    numbers = {
        "LLR, clean": llr["clean"],
        "LLR, FGSM-20": llr["one step"],
        "LLR, strong": llr["strong"],
        "ADV-8, clean": adversarial["clean"],
        "ADV-8, FGSM-20": adversarial["one step"],
        "ADV-8, strong": adversarial["strong"],
    }
    return Finding(drops[1] - drops[0], numbers)


def _linear_term(lab: Laboratory) -> Finding:
    networks = {ratio: WITH_MU.get(ratio, LLR[2]) for ratio in RATIOS}
    found = {ratio: lab.accuracy(network) for ratio, network in networks.items()}
    numbers = {
        f"μ/λ = {ratio:g}, {what}": one[what]
        for ratio, one in found.items()
        for what in ("clean", "strong")
    }
    return Finding(found[0.75]["strong"] - found[0.0]["strong"], numbers)


CLAIMS = (
    Claim(
        name="C1",
        statement="Adversarial training with one or two steps leaves γ far above that of eight.",
        source=f"{PAPER}, Figure 2",
        gap=f"γ after one step, divided by γ after eight, minus {FACTOR:g}",
        caveat=(
            "The paper trains Wide ResNets for long; a network of eight channels may lack the "
            "capacity to hide its gradients."
        ),
        measure=_few_steps,
    ),
    Claim(
        name="C2",
        statement="Training with two steps of LLR is robust where two steps of ADV are not.",
        source=f"{PAPER}, supplement, Table F4",
        gap="robust accuracy of LLR-2 with μ = 0, minus that of ADV-2",
        caveat="As for C1: where ADV-2 does not hide its gradients there is nothing to repair.",
        measure=_hiding,
    ),
    Claim(
        name="C3",
        statement="From a weak attack to a strong one, LLR loses less accuracy than ADV.",
        source=f"{PAPER}, Figure 3",
        gap="accuracy that ADV-8 loses from FGSM-20 to the strong attacks, minus that of LLR",
        caveat="Clean accuracies are stated; they are not matched by tuning.",
        measure=_drop,
    ),
    Claim(
        name="C16",
        statement="The linear term of LLR adds some robustness.",
        source=f"{PAPER}, supplement, Table F3",
        gap="robust accuracy with μ/λ = 0.75, minus that with μ = 0",
        caveat="The same λ for all ratios; a λ tuned for each could give another order.",
        measure=_linear_term,
    ),
)
