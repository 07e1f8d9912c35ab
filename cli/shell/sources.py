"""Other models whose adversarial images are tried on the audited one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .session import request_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from robcert.certify.model import Classifier

    from .session import CommandContext


def load_sources(context: CommandContext, files: Sequence[Path]) -> tuple[Classifier, ...]:
    """The models in ``files``, prepared as their own metadata says; each file once.

    Raises:
        RobcertError: one cannot be loaded, or takes other images or classes than the model.
    """
    from robcert.certify.attacks import require_same_task
    from robcert.certify.errors import DataError
    from robcert.certify.importer import load_classifier
    from robcert.certify.model import PreprocessOptions

    how = replace(
        request_of(context.options).load_options, preprocess=PreprocessOptions(), output=None
    )
    found: dict[str, Classifier] = {}
    for file in files:
        try:
            source = load_classifier(file, how, images=context.session.images)
        except DataError as error:
            message = f"the source {file} does not take the model's images: {error}"
            raise DataError(message) from error
        require_same_task(source, context.session.classifier)
        found.setdefault(source.info.sha256, source)
    return tuple(found.values())
