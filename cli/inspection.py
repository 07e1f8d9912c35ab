"""`robcert inspect`: what a model file is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from robcert.certify.errors import DataError

from .shell.options import AnalysisOptions, ModelAndData, Output, analysis_options
from .shell.session import note, request_of, tell_configured

if TYPE_CHECKING:
    from robcert.certify.auditing import Inspection
    from robcert.certify.data import DataInfo


@analysis_options(*ModelAndData, *Output)
def inspect(options: AnalysisOptions) -> None:
    """Show what a model file is: inputs, outputs, preprocessing, gradients, accuracy.

    Prints measured facts, among them how well the differentiable twin matches the runtime, and what
    robcert decided about the file and why. Writes nothing.

    Example: robcert inspect --model model.onnx --data images.npz
    """
    from robcert.certify.auditing import inspection_table
    from robcert.certify.numerics import limited_memory

    from .shell.render import print_tables, print_warning

    tell_configured(options)
    with limited_memory(request_of(options).limits.memory):
        inspection, data = _inspected(options)
    if options.as_json:
        _print_json(options, inspection, data)
        return
    print_tables([inspection_table(inspection.to_json())])
    for line in inspection.info.notes:
        note(options, line)
    for line in inspection.warnings:
        print_warning(line)


def _inspected(options: AnalysisOptions) -> tuple[Inspection, DataInfo | None]:
    """What the file is, inspected with the images that were named or that fit."""
    from robcert.certify.auditing import (
        default_data,
        demo_model,
        inspect_classifier,
        inspect_model,
        load_model_of,
    )
    from robcert.certify.data import load_images
    from robcert.certify.errors import AmbiguousOutputError

    def tell(line: str) -> None:
        note(options, line)

    model = options.model or demo_model(tell)
    request = replace(request_of(options), model=model)
    if options.data is not None:
        images = load_images(options.data, root=options.data_root)
        for line in images.notes:
            tell(line)
        found = inspect_model(model, request.load_options, images=images)
        return found, images.info
    try:
        classifier = load_model_of(request, None, tell)
    except AmbiguousOutputError:
        return inspect_model(model, request.load_options), None
    try:
        fitting = default_data(request, classifier, tell)
    except DataError:
        return inspect_classifier(classifier, None), None
    return inspect_classifier(classifier, fitting), fitting.info


def _print_json(options: AnalysisOptions, inspection: Inspection, data: DataInfo | None) -> None:
    from robcert.certify.store import Outcome

    from .shell.render import print_json

    print_json(
        Outcome(
            command="inspect",
            model=inspection.info.stored(),
            data=data.facts if data else {},
            settings={"output": options.output, "device": options.device},
            summary=inspection.to_json(),
            violations={},
            warnings=inspection.warnings,
            results="",
        )
    )
