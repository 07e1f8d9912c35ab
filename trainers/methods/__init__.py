"""Training methods, one file each."""

from .adversarial import Adversarial
from .cure import Cure
from .free import Free
from .gaussian import Gaussian
from .gradient import Gradient, equivalent_weight
from .input_ascent import InputAscent, evaluation_mode, frozen_parameters, in_cube
from .jacobian import Jacobian
from .local_linearity import Llr
from .objective import Losses, Objective, Step
from .registry import METHODS, method_name
from .smoothadv import SmoothAdv
from .soar import Soar
from .standard import Standard
from .trades import Trades

__all__ = [
    "METHODS",
    "Adversarial",
    "Cure",
    "Free",
    "Gaussian",
    "Gradient",
    "InputAscent",
    "Jacobian",
    "Llr",
    "Losses",
    "Objective",
    "SmoothAdv",
    "Soar",
    "Standard",
    "Step",
    "Trades",
    "equivalent_weight",
    "evaluation_mode",
    "frozen_parameters",
    "in_cube",
    "method_name",
]
