"""Paired comparisons that stay valid however often they are made."""

from __future__ import annotations

import math

import numpy as np
from scipy import special


def sign_test_log_e_value(wins: int, losses: int) -> float:
    r"""Logarithm of an e-value against: of two models, the first succeeds as often as the second.

    Only images count on which exactly one succeeds: ``wins`` of the second model, ``losses`` of it.
    If images are independent draws and the first model succeeds at least as often, each is a win
    with probability at most 1/2, whatever the earlier ones were. So a gambler whose capital is
    multiplied by :math:`2q` at a win and :math:`2(1 - q)` at a loss, :math:`q > 1/2`, does not gain
    on average. The value is the mean capital over uniform q:

    .. math:: E = 2 \int_{1/2}^1 (2q)^w (2(1 - q))^l \, dq
              = 2^{w + l + 1} B(w + 1, l + 1) \, P[\mathrm{Beta}(w + 1, l + 1) > 1/2]

    It is a nonnegative supermartingale that starts at 1, and by Ville's inequality it ever reaches
    :math:`1/\alpha` with probability at most :math:`\alpha`, so one may test after every image and
    stop when one likes (Ville 1939; Robbins 1970, Annals of Mathematical Statistics 41, 1397-1409;
    Ramdas, Grünwald, Vovk & Shafer 2023, Statistical Science 38, 576-601, arXiv:2210.01948).

    >>> round(sign_test_log_e_value(0, 0), 9), round(math.exp(sign_test_log_e_value(1, 0)), 9)
    (0.0, 1.5)
    """
    above = special.betainc(losses + 1.0, wins + 1.0, 0.5)
    if above == 0.0:  # below the smallest float: far more losses than wins
        return -math.inf
    counts = (wins + losses + 1) * math.log(2.0)
    return float(counts + special.betaln(wins + 1.0, losses + 1.0) + np.log(above))
