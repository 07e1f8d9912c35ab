"""Training methods by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .adversarial import Adversarial
from .cure import Cure
from .free import Free
from .gaussian import Gaussian
from .gradient import Gradient
from .jacobian import Jacobian
from .local_linearity import Llr
from .smoothadv import SmoothAdv
from .soar import Soar
from .standard import Standard
from .trades import Trades

if TYPE_CHECKING:
    from .objective import Objective

METHODS: dict[str, type[Objective]] = {
    "standard": Standard,
    "adversarial": Adversarial,
    "free": Free,
    "trades": Trades,
    "cure": Cure,
    "llr": Llr,
    "gradient": Gradient,
    "jacobian": Jacobian,
    "soar": Soar,
    "gaussian": Gaussian,
    "smoothadv": SmoothAdv,
}
"""Name of each method on the command line and its class, whose fields are the options."""


def method_name(objective: Objective) -> str:
    """Name of the method of ``objective``; the class name for a method not in ``METHODS``."""
    names = (name for name, kind in METHODS.items() if type(objective) is kind)
    return next(names, type(objective).__name__)
