"""Every indicator of the masking check: its threshold and why, what it says, what to do next."""

from __future__ import annotations

from .verdict import IndicatorText, Weight

GONE = 1e-12
"""Gradients below this are counted as vanished: float32 resolves them to noise at best."""

# Thresholds. An honest, adversarially trained network loses 2 to 8 % of its images between PGD on
# cross-entropy and the multi-targeted margin attack (LLR, Table 2), so a tenth is where a gap
# stops being ordinary. Random points and score search follow no gradient at all: a few images
# where they alone succeed are chance at the decision boundary, a twentieth is not. The same attack
# on the same loss at another scale gained nothing on 736 images of honest networks (the first
# collection of the validation set), so three in a hundred tell. Where the gradient is exactly zero,
# no number or leads nowhere, one image in a hundred is already more than rounding does. Small
# samples do not flag by chance, for the lower confidence limit must pass the threshold.
GAP, CHANCE, SCALE, FEW = 0.10, 0.05, 0.03, 0.01

CONFIDENCE = IndicatorText(
    "confidence",
    0.99,
    Weight.HINT,
    "Mean largest probability on the images; outputs that saturate leave cross-entropy no slope.",
    "Nothing by itself: honest models are confident too. Look at the vanishing gradients.",
)
CONFIDENCE_RANDOM = IndicatorText(
    "confidence_random",
    0.99,
    Weight.HINT,
    "The same after random noise of size epsilon (SOAR, Table 5).",
    "Compare with the clean value: both near 1 hint at saturated outputs.",
)
CONFIDENCE_PGD1 = IndicatorText(
    "confidence_pgd1",
    0.99,
    Weight.HINT,
    "The same after one gradient step from a random start (SOAR, Table 5).",
    "Near 1 where the attack should confuse the model hints at saturated outputs.",
)
SATURATED = IndicatorText(
    "saturated_outputs",
    0.5,
    Weight.HINT,
    "Share of images whose largest probability is exactly 1 in float32.",
    "Attack the logits instead of the probabilities.",
)
VANISHING_FILE = IndicatorText(
    "vanishing_gradient_file",
    FEW,
    Weight.SUPPORTING,
    "Share of images whose true gradient of the file's output is zero, and PGD fails for that.",
    "Attack the logits (robcert does), or use straight-through gradients and search.",
)
VANISHING_CE = IndicatorText(
    "vanishing_gradient_ce",
    FEW,
    Weight.SUPPORTING,
    "Share of images whose true cross-entropy gradient (logits) is zero, and PGD fails for that.",
    "Use the logit margin as the loss, or rescale the logits.",
)
VANISHING_MARGIN = IndicatorText(
    "vanishing_gradient_margin",
    FEW,
    Weight.SUPPORTING,
    "Share of images where the true gradient of the logit margin is zero (below 1e-12).",
    "No loss helps: use straight-through gradients, score search or transfer.",
)
STRONGER_FILE = IndicatorText(
    "hidden_by_the_file",
    GAP,
    Weight.DECISIVE,
    "Share of images that withstand PGD on the file's own output but not another attack here.",
    "Trust the corrected robust accuracy, not the naive one.",
)
STRONGER_CE = IndicatorText(
    "hidden_from_cross_entropy",
    GAP,
    Weight.DECISIVE,
    "Share of images that withstand PGD on cross-entropy of the logits but not another attack.",
    "Use margin losses; cross-entropy numbers of this model are too optimistic.",
)
SEARCH_WINS = IndicatorText(
    "search_beats_gradient",
    CHANCE,
    Weight.DECISIVE,
    "Share of images that score search breaks and no gradient attack does.",
    "Run longer searches: the gradient misleads here.",
)
LONG_WINS = IndicatorText(
    "all_searches_beat_gradient",
    CHANCE,
    Weight.DECISIVE,
    "Share of images that noise, search or transfer breaks, long search of images in doubt "
    "included, and no gradient attack does.",
    "Gradients mislead here: trust the corrected robust accuracy, and search longer.",
)
INNER_WINS = IndicatorText(
    "inner_scores_beat_gradient",
    CHANCE,
    Weight.DECISIVE,
    "Share of images that PGD on scores inside the graph breaks and no gradient of its output.",
    "What stands before or behind the network hides its gradient: attack the network inside.",
    required=False,
)
NOISE_WINS = IndicatorText(
    "noise_beats_gradient",
    FEW,
    Weight.DECISIVE,
    "Share of images that random points of the ball break and no gradient attack does.",
    "The gradient is worse than chance here: use search.",
)
ONE_STEP = IndicatorText(
    "one_step_beats_many",
    CHANCE,
    Weight.SUPPORTING,
    "Share of images that one step breaks and many steps on the same loss do not.",
    "The loss surface is jagged: more restarts, smaller steps, other losses.",
)
UNBOUNDED = IndicatorText(
    "withstands_unbounded",
    FEW,
    Weight.SUPPORTING,
    "Share of images that PGD without a radius does not break; every honest model breaks.",
    "The attack's gradients carry no information: use search.",
)
ANSWERS_DIFFER = IndicatorText(
    "answers_differ",
    0.0,
    Weight.SUPPORTING,
    "Share of images that got two different outputs for the same input.",
    "Average the attack's gradients over draws.",
)
NO_GRADIENT_NODES = IndicatorText(
    "nodes_without_gradient",
    0.0,
    Weight.HINT,
    "Rounding, quantising, comparing or random nodes in the graph.",
    "Nothing by itself: the same layers can be honest.",
    required=False,
)
LABELS_WIN = IndicatorText(
    "labels_beat_gradient",
    CHANCE,
    Weight.DECISIVE,
    "Share of images that search by labels alone breaks and no gradient attack does.",
    "Neither gradients nor scores lead anywhere: run longer label searches, or transfer.",
)
TRANSFER_WINS = IndicatorText(
    "transfer_beats_gradient",
    CHANCE,
    Weight.DECISIVE,
    "Share of images that another model's adversarial image breaks and no gradient attack does.",
    "Attack through models whose gradients are honest: the own gradient misleads here.",
    required=False,
)
AVERAGING_WINS = IndicatorText(
    "averaging_beats_gradient",
    GAP,
    Weight.DECISIVE,
    "Share of images that the mean gradient of noisy copies breaks and no plain gradient does.",
    "The gradient is shattered: average it over noise, or use search.",
    required=False,
)
HOPSKIPJUMP_WINS = IndicatorText(
    "hopskipjump_beats_gradient",
    CHANCE,
    Weight.DECISIVE,
    "Share of images that HopSkipJump (labels only) breaks and no gradient attack does.",
    "Neither gradients nor scores lead anywhere: run longer label searches, or transfer.",
    required=False,
)
TRANSFER_START_WINS = IndicatorText(
    "transfer_start_beats_gradient",
    CHANCE,
    Weight.DECISIVE,
    "Share of images that search from another model's adversarial image breaks, no gradient does.",
    "Begin searches at adversarial images of other models: the own gradient misleads here.",
    required=False,
)
RESCALED_WINS = IndicatorText(
    "rescaling_helps",
    SCALE,
    Weight.SUPPORTING,
    "Share of images that withstand PGD on cross-entropy unless the logits are scaled first.",
    "Cross-entropy is saturated or flat at this scale: use the margin, or divide the logits.",
)
WIDER = IndicatorText(
    "larger_radius_fails",
    CHANCE,
    Weight.SUPPORTING,
    "Share of images that PGD breaks within epsilon and the same attack not within twice epsilon.",
    "A larger ball holds the smaller one: the attack is lost, not the adversarial image.",
)
UNSTEADY = IndicatorText(
    "more_steps_fail",
    CHANCE,
    Weight.SUPPORTING,
    "Share of images misclassified on the way of PGD but not at its end.",
    "The loss surface is jagged: keep the best point, average gradients over small noise.",
)
NOT_RISING = IndicatorText(
    "attack_does_not_climb",
    CHANCE,
    Weight.SUPPORTING,
    "Share of images whose margin nowhere on the way of PGD is better than at its start.",
    "The gradient does not point uphill: use straight-through gradients, search or transfer.",
)
STILL = IndicatorText(
    "attack_stands_still",
    FEW,
    Weight.SUPPORTING,
    "Share of images whose PGD never leaves its random start.",
    "There is no gradient to follow: use the margin, rescaled logits or search.",
)
NOT_A_NUMBER = IndicatorText(
    "gradient_not_a_number",
    FEW,
    Weight.SUPPORTING,
    "Share of images where a gradient of PGD held NaN or infinity, which moves no pixel.",
    "Find the operator that overflows; until then only search says anything.",
)
NOT_LINEAR = IndicatorText(
    "bent_loss",
    0.5,
    Weight.HINT,
    "Share of images whose margin leaves its tangent by more than the tangent falls in the ball.",
    "One step says little here; trust many steps and restarts. Undefended models show it too.",
)
NOISY = IndicatorText(
    "perturbation_like_noise",
    0.75,
    Weight.HINT,
    "Mean share of the perturbation's energy above a quarter cycle a pixel; white noise has 0.80.",
    "Look at the images: structure speaks for a gradient that means something (LLR, Figure F2).",
    required=False,  # a perturbation that is the same everywhere has no frequencies
)
DISAGREES = IndicatorText(
    "twin_disagrees",
    0.02,
    Weight.SUPPORTING,
    "Share of images, noise among them, where twin and runtime name different classes.",
    "The gradients are of another function than the file's: see robcert inspect.",
    required=False,
)
OTHER_SLOPE = IndicatorText(
    "gradient_is_no_slope",
    0.2,
    Weight.SUPPORTING,
    "1 minus the correlation of the gradient with the runtime's differences over small steps.",
    "The gradient holds at the point alone: average it over noisy copies, or search.",
    required=False,
)
CROSSINGS = IndicatorText(
    "estimates_above_attacks",
    CHANCE,
    Weight.HINT,
    "Share of estimated radii in this file above the distance of an adversarial image.",
    "The estimate is wrong there, or the gradient that it rests on: see the ledger.",
    required=False,
)
