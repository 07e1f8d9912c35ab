"""`robcert inspect`: what is this file?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.errors import DataError

from .shell.options import AnalysisOptions, analysis_options
from .shell.session import default_data, how_to_load, load_model, model_path, note

if TYPE_CHECKING:
    from robcert.certify.auditing import Inspection
    from robcert.certify.data import DataInfo


@analysis_options
def inspect(options: AnalysisOptions) -> None:
    """What is this model file: inputs, outputs, preprocessing, gradients, parity, accuracy.

    Prints measured facts, what was decided about the file and why. Writes nothing.

    Example: robcert inspect --model model.onnx --data images.npz
    """
    from robcert.certify.auditing import tables

    from .shell.render import print_tables, print_warning

    inspection, data = _inspected(options)
    if options.as_json:
        _print_json(options, inspection, data)
        return
    summary = inspection.to_json()
    print_tables(tables("inspect", summary))
    for line in inspection.info.notes:
        note(options, line)
    for line in inspection.warnings:
        print_warning(line)


def _inspected(options: AnalysisOptions) -> tuple[Inspection, DataInfo | None]:
    """What the file is, looked at with the images that were named or that fit."""
    from robcert.certify.auditing import inspect_classifier, inspect_model
    from robcert.certify.data import load_images
    from robcert.certify.errors import AmbiguousOutputError

    if options.data is not None:
        images = load_images(options.data, root=options.data_root)
        found = inspect_model(model_path(options), how_to_load(options), images=images)
        return found, images.info
    try:
        classifier = load_model(options, None)
    except AmbiguousOutputError:
        return inspect_model(model_path(options), how_to_load(options)), None
    try:
        fitting = default_data(options, classifier)
    except DataError:
        return inspect_classifier(classifier, None), None
    return inspect_classifier(classifier, fitting), fitting.info


def _print_json(options: AnalysisOptions, inspection: Inspection, data: DataInfo | None) -> None:
    from dataclasses import asdict

    from robcert.certify.store import Outcome

    from .shell.render import print_json

    print_json(
        Outcome(
            command="inspect",
            model=inspection.info.stored(),
            data=asdict(data) if data else {},
            settings={"output": options.output, "device": options.device},
            summary=inspection.to_json(),
            violations={},
            warnings=inspection.warnings,
            results="",
        )
    )
