"""The smoothed classifier: certificates, predictions, and attacks on it."""

from .certificate import standard_radius
from .forecast import forecast
from .precision import Precision
from .procedures import certification
from .sampler import Job, Sampler
from .schema import SMOOTHING, SMOOTHING_ATTACK, SMOOTHING_PREDICTION
from .settings import Mode, SmoothingSettings, attainable_radii, certification_rule
from .tables import _prediction, _smoothing, _smoothing_attack

__all__ = [
    "SMOOTHING",
    "SMOOTHING_ATTACK",
    "SMOOTHING_PREDICTION",
    "Job",
    "Mode",
    "Precision",
    "Sampler",
    "SmoothingSettings",
    "_prediction",
    "_smoothing",
    "_smoothing_attack",
    "attainable_radii",
    "certification",
    "certification_rule",
    "forecast",
    "standard_radius",
]
