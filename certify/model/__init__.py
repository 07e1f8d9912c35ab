"""The audited model in pixel space: runtime, twin, preprocessing, clean accuracy."""

from .class_order import fitting_order
from .classifier import (
    Classifier,
    GraphNode,
    Logits,
    ModelInfo,
    OverridableNode,
    Parity,
    Runtime,
    ScoresInside,
    StraightThroughNode,
    Twin,
    one_torch_thread,
    require_gradients,
    rounds_by_itself,
)
from .clean_check import (
    better_alternative,
    chance_hint,
    check_clean_accuracy,
    clean_accuracy,
    clean_check,
    near_chance,
    require_a_class,
    require_above_chance,
)
from .constant_check import constant_warning
from .contradiction import scale_contradiction
from .grid import InputGrid, below_one_level
from .module import module_classifier
from .node_names import (
    is_recording,
    name_source,
    noted_source,
    recording,
    run_by_call,
    source_of,
)
from .own_output import own_output_doubt
from .preprocessing import Layout, Preprocessing, PreprocessOptions
from .training_record import PROVENANCE_KEY, TrainingRecord

__all__ = [
    "PROVENANCE_KEY",
    "Classifier",
    "GraphNode",
    "InputGrid",
    "Layout",
    "Logits",
    "ModelInfo",
    "OverridableNode",
    "Parity",
    "PreprocessOptions",
    "Preprocessing",
    "Runtime",
    "ScoresInside",
    "StraightThroughNode",
    "TrainingRecord",
    "Twin",
    "below_one_level",
    "better_alternative",
    "chance_hint",
    "check_clean_accuracy",
    "clean_accuracy",
    "clean_check",
    "constant_warning",
    "fitting_order",
    "is_recording",
    "module_classifier",
    "name_source",
    "near_chance",
    "noted_source",
    "one_torch_thread",
    "own_output_doubt",
    "recording",
    "require_a_class",
    "require_above_chance",
    "require_gradients",
    "rounds_by_itself",
    "run_by_call",
    "scale_contradiction",
    "source_of",
]
