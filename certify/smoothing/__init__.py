"""The smoothed classifier: certificates, predictions, and attacks on it."""

from .analysis import analyse
from .attack import SmoothingAttackSettings, SmoothingAttackSummary
from .attack import analyse as analyse_attack
from .attack import summarise as summarise_attack
from .certificate import standard_radius
from .figures import charts
from .forecast import forecast
from .precision import Precision, in_precision
from .prediction import PredictionSettings, PredictionSummary
from .prediction import analyse as analyse_prediction
from .prediction import summarise as summarise_prediction
from .procedures import certification
from .sampler import ImageTask, Sampler
from .schema import SMOOTHING, SMOOTHING_ATTACK, SMOOTHING_PREDICTION
from .settings import Mode, SmoothingSettings, attainable_radii, certification_rule
from .summary import CertifiedAccuracy, SmoothingSummary, certified_radii, combined, summarise
from .tables import attack_tables, prediction_tables, tables

__all__ = [
    "SMOOTHING",
    "SMOOTHING_ATTACK",
    "SMOOTHING_PREDICTION",
    "CertifiedAccuracy",
    "ImageTask",
    "Mode",
    "Precision",
    "PredictionSettings",
    "PredictionSummary",
    "Sampler",
    "SmoothingAttackSettings",
    "SmoothingAttackSummary",
    "SmoothingSettings",
    "SmoothingSummary",
    "analyse",
    "analyse_attack",
    "analyse_prediction",
    "attack_tables",
    "attainable_radii",
    "certification",
    "certification_rule",
    "certified_radii",
    "charts",
    "combined",
    "forecast",
    "in_precision",
    "prediction_tables",
    "standard_radius",
    "summarise",
    "summarise_attack",
    "summarise_prediction",
    "tables",
]
