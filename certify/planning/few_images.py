"""A session on a few images of another, with a pilot and a results file of its own."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robcert.certify.errors import RobcertError
from robcert.certify.failures import FAILURES
from robcert.certify.passes import counting
from robcert.certify.session import Session
from robcert.certify.store import ResultStore

from .pilot import MOST_IMAGES, Measuring, PilotStoppedError
from .projection import cost_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENOUGH_IMAGES = 500
"""Images from which on a pilot before the run takes a few per cent of it at most."""

OVERALL_SECONDS = 1.0
"""Limit of that pilot for each task."""


@contextlib.contextmanager
def session_of_few(given: Session, path: Path, limit: float) -> Iterator[tuple[Session, Measuring]]:
    """A session on some of the images of ``given``, spread over them, and its pilot.

    Args:
        given: model, images, batch size and workers.
        path: results file, which must not exist.
        limit: seconds of the pilot for each task.
    """
    few = given.indices
    if len(few) > MOST_IMAGES:
        few = few[np.linspace(0, len(few) - 1, MOST_IMAGES).astype(np.int64)]
    pilot = Measuring(len(few), limit)
    info, data = given.classifier.info, given.images.info
    with ResultStore.open(path, model=info, data=data) as store, counting():
        session = Session(
            given.classifier,
            given.images,
            few,
            store,
            given.seed,
            given.batch_size,
            processes=given.processes,
            pilot=pilot,
        )
        yield session, pilot


def expected_parts(
    session: Session, run: Callable[[Session, Measuring], object]
) -> dict[str, float]:
    """Seconds that the parts of an audit will take, by name, from a short pilot.

    Empty where the pilot takes a noticeable share of the run: with few images, with a deadline, and
    where rows are there already; where other machines compute them; and where the model fails.

    Args:
        session: of the audit.
        run: the audit on a session, which sets the pilot's part.
    """
    few = len(session.indices) < ENOUGH_IMAGES
    elsewhere = session.crew is not None
    if few or elsewhere or session.deadline is not None or session.store.has_rows:
        return {}
    found: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory(prefix="robcert-pilot-") as folder,
        session_of_few(session, Path(folder) / "pilot.h5", OVERALL_SECONDS) as (some, pilot),
    ):
        try:
            run(some, pilot)
        except (RobcertError, PilotStoppedError, *FAILURES):  # the run itself tells
            return {}
    for task in pilot.tasks:
        if task.part:
            seconds = cost_of(task, len(session.indices)).seconds
            found[task.part] = found.get(task.part, 0.0) + seconds
    return found
