"""Facts about a model file, and how robcert reads it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from robcert.certify.errors import AmbiguousOutputError
from robcert.certify.importer import LoadOptions, load_classifier
from robcert.certify.model import clean_check, fitting_order, require_a_class

from .doubts import input_doubts

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.data import ImageSet
    from robcert.certify.model import Classifier, ModelInfo, Parity
    from robcert.certify.stats import Proportion

_DEFAULTS = LoadOptions()


@dataclass(frozen=True, slots=True)
class Inspection:
    """Facts about a model, and decisions on how to read it; all measured.

    Attributes:
        info: facts about the file.
        image_shape: (c, h, w) of the images it takes.
        num_classes: number of classes k.
        one_by_one: whether the runtime takes only one image at a time.
        twin_available: whether gradient analyses can run.
        clean_accuracy: on up to 200 images spread over the set; None without labelled images.
        warnings: limitations that concern every number about this model, doubts included.
        doubts: signs that the model does not get the input it expects.
    """

    info: ModelInfo
    image_shape: tuple[int, int, int]
    num_classes: int
    one_by_one: bool
    twin_available: bool
    clean_accuracy: Proportion | None
    warnings: tuple[str, ...]
    doubts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The summary of ``inspect``; keys as in the design."""
        info = self.info
        return {
            "kind": info.kind,
            "producer": info.producer,
            "opset": info.opset,
            "input": {
                "name": info.input_name,
                "shape": list(info.input_shape),
                "image": list(self.image_shape),
                "batch": "image by image" if self.one_by_one else "any",
            },
            "output": {
                "name": info.output_name,
                "shape": list(info.output_shape),
                "classes": self.num_classes,
            },
            "logits_from": info.logits_from,
            "preprocessing": json.loads(info.preprocessing) if info.preprocessing else {},
            "runtime": info.runtime,
            "twin": {
                "available": self.twin_available,
                "reason": info.twin_unavailable,
                "straight_through": list(map(str, info.straight_through)),
            },
            "parity": _parity(info.parity),
            "clean_accuracy": _accuracy(self.clean_accuracy),
            "notes": list(info.notes),
            "warnings": list(self.warnings),
            "doubts": list(self.doubts),
        }


def inspect_model(
    path: Path, options: LoadOptions = _DEFAULTS, *, images: ImageSet | None = None
) -> Inspection:
    """Facts about the model in ``path``; arguments as of ``load_classifier``.

    Where several outputs could be the class scores, the first is inspected and a warning lists
    them all.

    Raises:
        RobcertError: as ``load_classifier``.
    """
    try:
        return inspect_classifier(load_classifier(path, options, images=images), images)
    except AmbiguousOutputError as error:
        warning = (
            f"several outputs could be the class scores ({', '.join(error.choices)}); "
            f"{error.choices[0]} is inspected; an analysis needs --output"
        )
        classifier = load_classifier(path, replace(options, first_output=True), images=images)
        return inspect_classifier(classifier, images, warnings=(warning,))


def inspect_classifier(
    classifier: Classifier,
    images: ImageSet | None,
    *,
    warnings: tuple[str, ...] = (),
    doubts: tuple[str, ...] | None = None,
) -> Inspection:
    """Facts about a loaded model, with its clean accuracy on ``images``.

    Args:
        classifier: the model.
        images: images that it takes; None if there are none.
        warnings: limitations that are known already.
        doubts: signs that the input is wrong, if they are known already.

    Raises:
        ModelFileError: the scores are NaN on every image, or without images on random ones.
    """
    found, accuracy = list(warnings), None
    if images is None:
        require_a_class(classifier)
    else:
        order = fitting_order(classifier, images)
        images = order.images
        found.extend([order.line] if order.line else [])
        checked = clean_check(classifier, images)
        accuracy = checked.accuracy
        found.extend([checked.warning] if checked.undefined else [])
    info = classifier.info
    if not classifier.differentiable:
        found.append(f"no gradients, only gradient-free analyses run: {info.twin_unavailable}")
    if info.straight_through:
        found.append(
            f"{len(info.straight_through)} nodes have straight-through gradients, which are not "
            "the gradients of the model file's function"
        )
    if info.random:
        found.append("the logits of an image differ from call to call")
    if doubts is None:
        doubts = () if images is None else input_doubts(classifier, images, accuracy)
    return Inspection(
        info=info,
        image_shape=classifier.image_shape,
        num_classes=classifier.num_classes,
        one_by_one=classifier.runtime.one_by_one,
        twin_available=classifier.differentiable,
        clean_accuracy=accuracy,
        warnings=(*found, *doubts),
        doubts=doubts,
    )


def _parity(parity: Parity | None) -> dict[str, Any]:
    names = ("images", "top1_agreement", "max_relative_logit_error", "gradient_correlation")
    return dict.fromkeys(names) if parity is None else asdict(parity)


def _accuracy(accuracy: Proportion | None) -> dict[str, Any]:
    names = ("value", "lower", "upper", "n")
    return {name: None if accuracy is None else getattr(accuracy, name) for name in names}
