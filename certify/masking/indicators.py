"""The indicators of the masking check: name, threshold with its reason, weight, meaning, advice."""

from __future__ import annotations

from .verdict import IndicatorText, Weight

GRADIENT_FLOOR = 1e-12
"""Gradient norms below this count as zero: in float32 they are at best rounding noise."""

LOSS_GAP = 0.10
"""Threshold for differences between attacks that follow gradients.

Honest, adversarially trained networks lose 2 to 8 % of their images between PGD on cross-entropy
and the multi-targeted margin attack (LLR, Table 2).
"""

GRADIENT_FREE_SHARE = 0.05
"""Threshold for images on which an attack without gradients, or a weaker attack, does better.

A few such images near the decision boundary can be chance; one in twenty cannot. Images whose
gradient is zero or useless count from the same share on: fewer of them cannot hide more.
"""

RESCALING_SHARE = 0.03
"""Threshold for images on which rescaled logits help.

The same attack on the same loss at another scale gained nothing on 736 images of honest networks
(the tuning collection of the validation set).
"""

RARE_SHARE = 0.01
"""Threshold for images that random noise alone breaks, which takes no search at all."""

# A share is flagged only if its lower confidence limit exceeds the threshold, so small samples are
# not flagged by chance.

CONFIDENCE = IndicatorText(
    "confidence",
    0.99,
    Weight.HINT,
    "Mean largest probability on the images; cross-entropy of saturated outputs is flat.",
    "No action by itself: unmasked models are confident too. See the vanishing gradients.",
)
CONFIDENCE_RANDOM = IndicatorText(
    "confidence_random",
    0.99,
    Weight.HINT,
    "Mean largest probability after random noise of size epsilon (SOAR, Table 5).",
    "Compare with the clean value: both near 1 hint at saturated outputs.",
)
CONFIDENCE_PGD1 = IndicatorText(
    "confidence_pgd1",
    0.99,
    Weight.HINT,
    "Mean largest probability after one gradient step from a random start (SOAR, Table 5).",
    "A value near 1, although the attack should confuse the model, hints at saturated outputs.",
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
    GRADIENT_FREE_SHARE,
    Weight.SUPPORTING,
    "Share of images with a zero gradient of the file's output, for which PGD on it fails.",
    "Attack the logits (as robcert does), or use straight-through gradients and search.",
)
VANISHING_CE = IndicatorText(
    "vanishing_gradient_ce",
    GRADIENT_FREE_SHARE,
    Weight.SUPPORTING,
    "Share of images with a zero cross-entropy gradient (logits), for which PGD on it fails.",
    "Use the logit margin as the loss, or rescale the logits.",
)
VANISHING_MARGIN = IndicatorText(
    "vanishing_gradient_margin",
    GRADIENT_FREE_SHARE,
    Weight.SUPPORTING,
    "Share of images with a zero gradient of the logit margin (norm below 1e-12).",
    "No other loss helps: use straight-through gradients, score search or transfer.",
)
STRONGER_FILE = IndicatorText(
    "hidden_by_the_file",
    LOSS_GAP,
    Weight.DECISIVE,
    "Share of images that survive PGD on the file's own output but not another attack.",
    "Use the corrected robust accuracy, not the naive one.",
)
STRONGER_CE = IndicatorText(
    "hidden_from_cross_entropy",
    LOSS_GAP,
    Weight.DECISIVE,
    "Share of images that survive PGD on cross-entropy of the logits but not another attack.",
    "Use margin losses; cross-entropy numbers of this model are too optimistic.",
)
SEARCH_WINS = IndicatorText(
    "search_beats_gradient",
    GRADIENT_FREE_SHARE,
    Weight.DECISIVE,
    "Share of images misclassified under score search but under no gradient attack.",
    "The gradient is misleading: run longer searches.",
)
LONG_WINS = IndicatorText(
    "all_searches_beat_gradient",
    GRADIENT_FREE_SHARE,
    Weight.DECISIVE,
    "Share of images misclassified under noise, search (the long one included) or transfer but "
    "under no gradient attack.",
    "The gradient is misleading: use the corrected robust accuracy, and run longer searches.",
)
INNER_WINS = IndicatorText(
    "inner_scores_beat_gradient",
    GRADIENT_FREE_SHARE,
    Weight.DECISIVE,
    "Share of images misclassified under PGD on scores inside the graph, not on the output.",
    "Layers before or after the network hide its gradient: attack the scores inside the graph.",
    required=False,
)
NOISE_WINS = IndicatorText(
    "noise_beats_gradient",
    RARE_SHARE,
    Weight.DECISIVE,
    "Share of images misclassified at random points of the ball but under no gradient attack.",
    "The gradient is worse than random points: use search.",
)
ONE_STEP = IndicatorText(
    "one_step_beats_many",
    GRADIENT_FREE_SHARE,
    Weight.SUPPORTING,
    "Share of images misclassified after one step but not after many steps on the same loss.",
    "The loss surface is jagged: use more restarts, smaller steps or other losses.",
)
UNBOUNDED = IndicatorText(
    "withstands_unbounded",
    GRADIENT_FREE_SHARE,
    Weight.SUPPORTING,
    "Share of images that survive PGD without a radius; on an unmasked model none does.",
    "The gradients carry no information: use search.",
)
ANSWERS_DIFFER = IndicatorText(
    "answers_differ",
    0.0,
    Weight.HINT,
    "Share of images with different outputs in two calls on the same input.",
    "No action by itself: attacks follow a mean gradient, and fresh draws judge their last image.",
)
NO_GRADIENT_NODES = IndicatorText(
    "nodes_without_gradient",
    0.0,
    Weight.HINT,
    "Number of rounding, quantising, comparing or random nodes in the graph.",
    "No action by itself: unmasked models have such nodes too.",
    required=False,
)
LABELS_WIN = IndicatorText(
    "labels_beat_gradient",
    GRADIENT_FREE_SHARE,
    Weight.DECISIVE,
    "Share of images misclassified under label-only search but under no gradient attack.",
    "Neither gradients nor scores help: run longer label-only searches, or transfer.",
)
TRANSFER_WINS = IndicatorText(
    "transfer_beats_gradient",
    GRADIENT_FREE_SHARE,
    Weight.DECISIVE,
    "Share of images misclassified under transfer from another model but no gradient attack.",
    "The model's own gradient is misleading: transfer attacks from other models.",
    required=False,
)
AVERAGING_WINS = IndicatorText(
    "averaging_beats_gradient",
    LOSS_GAP,
    Weight.DECISIVE,
    "Share of images misclassified under noise-averaged gradients but under no plain gradient.",
    "The gradient is shattered: average it over noise, or use search.",
    required=False,
)
HOPSKIPJUMP_WINS = IndicatorText(
    "hopskipjump_beats_gradient",
    GRADIENT_FREE_SHARE,
    Weight.DECISIVE,
    "Share of images misclassified under HopSkipJump (label-only) but under no gradient attack.",
    "Neither gradients nor scores help: run longer label-only searches, or transfer.",
    required=False,
)
TRANSFER_START_WINS = IndicatorText(
    "transfer_start_beats_gradient",
    GRADIENT_FREE_SHARE,
    Weight.DECISIVE,
    "Share of images misclassified under search from a transferred start but no gradient attack.",
    "The model's own gradient is misleading: start searches at transferred images.",
    required=False,
)
RESCALED_WINS = IndicatorText(
    "rescaling_helps",
    RESCALING_SHARE,
    Weight.SUPPORTING,
    "Share of images that survive PGD on cross-entropy unless the logits are rescaled.",
    "Cross-entropy is saturated or flat at this scale: use the margin, or rescale the logits.",
)
WIDER = IndicatorText(
    "larger_radius_fails",
    GRADIENT_FREE_SHARE,
    Weight.SUPPORTING,
    "Share of images misclassified under PGD within epsilon but not within twice epsilon.",
    "The larger ball contains the smaller one, so the attack fails for lack of a gradient.",
)
UNSTEADY = IndicatorText(
    "more_steps_fail",
    GRADIENT_FREE_SHARE,
    Weight.SUPPORTING,
    "Share of images misclassified at some step of PGD but not at the last.",
    "The loss surface is jagged: keep the best point, or average gradients over small noise.",
    required=False,
)
NOT_RISING = IndicatorText(
    "attack_does_not_climb",
    GRADIENT_FREE_SHARE,
    Weight.SUPPORTING,
    "Share of images whose margin loss is at no step of PGD larger than at its start.",
    "The gradient is no ascent direction: use straight-through gradients, search or transfer.",
    required=False,
)
STILL = IndicatorText(
    "attack_stands_still",
    GRADIENT_FREE_SHARE,
    Weight.SUPPORTING,
    "Share of images whose PGD never leaves its random start.",
    "The gradient is zero: use the margin, rescaled logits or search.",
)
NOT_A_NUMBER = IndicatorText(
    "gradient_not_a_number",
    GRADIENT_FREE_SHARE,
    Weight.SUPPORTING,
    "Share of images where a gradient of PGD contained NaN or infinity, so no step was taken.",
    "Find the operator that overflows; until then only searches are meaningful.",
)
NOT_LINEAR = IndicatorText(
    "bent_loss",
    0.5,
    Weight.HINT,
    "Share of images whose margin deviates from its tangent by more than the tangent changes.",
    "One step is unreliable: use many steps and restarts. Undefended models show this too.",
)
NOISY = IndicatorText(
    "perturbation_like_noise",
    0.75,
    Weight.HINT,
    "Mean energy share of the perturbation above 0.25 cycles per pixel; white noise has 0.80.",
    "Look at the images: structure indicates a meaningful gradient (LLR, Figure F2).",
    required=False,  # undefined for a constant perturbation
)
DISAGREES = IndicatorText(
    "twin_disagrees",
    0.02,
    Weight.SUPPORTING,
    "Share of images and noise inputs on which twin and runtime predict different classes.",
    "The twin, which gives the gradients, is not the file's function: see robcert inspect.",
    required=False,
)
OTHER_SLOPE = IndicatorText(
    "gradient_is_no_slope",
    0.2,
    Weight.SUPPORTING,
    "1 minus the correlation between the gradient and finite differences of the runtime.",
    "The gradient is valid only at the point itself: average it over noisy copies, or search.",
    required=False,
)
CROSSINGS = IndicatorText(
    "estimates_above_attacks",
    GRADIENT_FREE_SHARE,
    Weight.HINT,
    "Share of estimated radii in this file above the distance of an adversarial example.",
    "The estimate, or the gradient behind it, is wrong there: see the ledger.",
    required=False,
)
