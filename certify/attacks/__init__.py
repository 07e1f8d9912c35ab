"""Attacks on the model itself: the nearest adversarial image, random changes, transfer."""

from .analysis import analyse, default_epsilons
from .black_box.hopskipjump import NORMS, hopskipjump
from .black_box.label_only import label_search
from .black_box.noise import noise_search
from .black_box.square import SquareConfig, square
from .black_box.transfer import require_same_task, require_source, transfer
from .black_box.transfer_start import TransferStartConfig, transfer_start
from .catalogue import CATALOGUE
from .corruption import Change, CorruptionSettings, CorruptionSummary
from .corruption import analyse as analyse_corruption
from .corruption import summarise as summarise_corruption
from .figures import attack_curve, charts, per_attack_curves, save_accuracy, transfer_curves
from .gradient.pgd import PgdConfig, default_rule, fgsm, pgd, unbounded
from .gradient.targeted import multi_targeted
from .schema import ATTACK, CORRUPTION, EVIDENCE, TRANSFER
from .search.state import Found, verified
from .settings import NO_CLASS_IS, SEARCH, AttackSettings
from .suites import Suite, attacks_of, without_radius
from .summary import (
    OTHER_ANALYSES,
    AttackSummary,
    RobustAccuracy,
    distance_limit,
    distances_per_attack,
    one_input_only,
    share_at,
    summarise,
    survives,
)
from .tables import corruption_tables, tables, transfer_tables
from .transfer_analysis import TransferSettings, TransferSummary
from .transfer_analysis import analyse as analyse_transfer
from .transfer_analysis import summarise as summarise_transfer

__all__ = [
    "ATTACK",
    "CATALOGUE",
    "CORRUPTION",
    "EVIDENCE",
    "NORMS",
    "NO_CLASS_IS",
    "OTHER_ANALYSES",
    "SEARCH",
    "TRANSFER",
    "AttackSettings",
    "AttackSummary",
    "Change",
    "CorruptionSettings",
    "CorruptionSummary",
    "Found",
    "PgdConfig",
    "RobustAccuracy",
    "SquareConfig",
    "Suite",
    "TransferSettings",
    "TransferStartConfig",
    "TransferSummary",
    "analyse",
    "analyse_corruption",
    "analyse_transfer",
    "attack_curve",
    "attacks_of",
    "charts",
    "corruption_tables",
    "default_epsilons",
    "default_rule",
    "distance_limit",
    "distances_per_attack",
    "fgsm",
    "hopskipjump",
    "label_search",
    "multi_targeted",
    "noise_search",
    "one_input_only",
    "per_attack_curves",
    "pgd",
    "require_same_task",
    "require_source",
    "save_accuracy",
    "share_at",
    "square",
    "summarise",
    "summarise_corruption",
    "summarise_transfer",
    "survives",
    "tables",
    "transfer",
    "transfer_curves",
    "transfer_start",
    "transfer_tables",
    "unbounded",
    "verified",
    "without_radius",
]
