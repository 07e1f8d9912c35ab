"""A pilot does the work of a run on a few images, and leaves what follows as it would be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from every_analysis import network, pictures

from robcert.certify import api, attacks, local_linearity, radius_bounds
from robcert.certify.attacks import AttackSettings, Suite
from robcert.certify.errors import TwinUnavailableError
from robcert.certify.local_linearity import LinearitySettings
from robcert.certify.passes import Passes, counting, passes_so_far
from robcert.certify.planning import Measuring, PilotStoppedError, expected_parts, few_images
from robcert.certify.planning import pilot as pilots
from robcert.certify.planning.pilot import FIRST_IMAGES
from robcert.certify.planning.projection import cost_of
from robcert.certify.radius_bounds import BoundsSettings
from robcert.certify.session import Session, Steps
from robcert.certify.store import ResultStore
from robcert.certify.time_budget import BatchAbandonedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from robcert.certify.workers import Rows

COUNT = 40

PATIENT, HASTY = 600.0, 0.0
"""Limits under which a pilot takes all images, and one batch."""


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    images = pictures(tmp_path, COUNT)
    classifier = api.load_model(network(tmp_path), images)
    path = tmp_path / "r.h5"
    with ResultStore.open(path, model=classifier.info, data=images.info) as store:
        yield Session(classifier, images, np.arange(COUNT), store)


def passes(work: Callable[[], object]) -> Passes:
    """The passes of ``work``."""
    before = passes_so_far()
    with counting():
        work()
    return passes_so_far() - before


def pilot(session: Session, limit: float) -> Measuring:
    session.pilot = Measuring(len(session.indices), limit)
    return session.pilot


def test_passes_are_counted_where_that_is_asked_for(session: Session) -> None:
    x = session.pixels(np.arange(3))

    def gradient() -> None:
        inputs = x.clone().requires_grad_()
        session.classifier.twin_logits(inputs).sum().backward()  # type: ignore[no-untyped-call]
        session.classifier.logits(x)
        session.classifier.many_calls()(x)

    assert passes(gradient) == Passes(forward=9, backward=3)
    before = passes_so_far()
    gradient()
    assert passes_so_far() == before


def test_the_passes_of_some_images_tell_those_of_all(session: Session) -> None:
    settings = LinearitySettings(steps=3)
    measuring = pilot(session, HASTY)
    with counting():
        group = session.store.at(local_linearity.analyse(session, settings))
    (task,) = measuring.tasks
    assert [batch.images for batch in task.batches] == [FIRST_IMAGES]
    assert int(group.computed().sum()) == FIRST_IMAGES
    again = replace(session, pilot=None)
    actual = passes(lambda: local_linearity.analyse(again, replace(settings, epsilon=0.1)))
    found = cost_of(task, COUNT)
    assert found.forward == pytest.approx(actual.forward, rel=0.1)
    assert found.backward == pytest.approx(actual.backward, rel=0.1)


def test_batches_grow_while_there_is_time(session: Session) -> None:
    measuring = pilot(session, PATIENT)
    local_linearity.analyse(session, LinearitySettings(steps=3))
    (task,) = measuring.tasks
    assert [batch.images for batch in task.batches] == [16, COUNT - 16]


class Slowly:
    """Computes single rows at once, and is abandoned with more."""

    def __init__(self) -> None:
        self.written: dict[int, float] = {}

    def compute(self, rows: Rows) -> Iterator[tuple[Rows, dict[str, NDArray[Any]]]]:
        if len(rows) > 1:
            raise BatchAbandonedError
        yield rows, {"value": rows + 0.5}

    def write(self, rows: Rows, found: dict[str, NDArray[Any]]) -> None:
        self.written.update(zip(rows.tolist(), found["value"].tolist(), strict=True))

    def steps(self, *, whole: bool) -> Steps:
        return Steps("slow", self.compute, self.write, whole=whole)


@pytest.mark.parametrize("whole", [False, True])
def test_where_a_batch_takes_too_long_one_image_is_timed(session: Session, *, whole: bool) -> None:
    measuring, slowly = Measuring(COUNT, HASTY), Slowly()
    measuring.measure(session, np.arange(COUNT), slowly.steps(whole=whole))
    (task,) = measuring.tasks
    assert [(batch.images, batch.abandoned) for batch in task.batches] == [(0, 16), (1, 0)]
    assert not task.cut
    assert len(slowly.written) == (COUNT if whole else 1)
    assert cost_of(task, COUNT).upper < np.inf


def test_without_a_row_of_a_sample_the_pilot_ends(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pilots, "LONGEST_STEP", 1e-9)
    measuring = pilot(session, HASTY)
    with pytest.raises(PilotStoppedError):
        radius_bounds.analyse(session, BoundsSettings(blocks=30, block_size=2))
    assert [task.cut for task in measuring.tasks] == [True]


def test_every_task_takes_the_same_images_first(session: Session) -> None:
    pilot(session, HASTY)
    one = local_linearity.analyse(session, LinearitySettings(steps=3))
    other = attacks.analyse(session, AttackSettings(suite=Suite.QUICK))
    first, second = (session.store.at(path).indices.tolist() for path in (one, other))
    assert first == second
    assert len(first) == FIRST_IMAGES < COUNT


def test_a_table_that_another_analysis_fills_is_paid_once(session: Session) -> None:
    measuring = pilot(session, HASTY)
    for _ in range(2):
        attacks.analyse(session, AttackSettings(suite=Suite.QUICK))
    assert [task.name for task in measuring.tasks] == ["attack"]


def test_a_sample_is_whole_for_what_follows(session: Session) -> None:
    settings = BoundsSettings(
        blocks=30, block_size=2, points=2, steps=2, restarts=1, curvature_steps=2, rho_steps=2
    )
    session.indices = np.arange(20)
    measuring = pilot(session, HASTY)
    group = session.store.at(radius_bounds.analyse(session, settings))
    sample, radii = measuring.tasks
    assert (sample.whole, sample.share) == (True, COUNT)
    assert (radii.whole, radii.share) == (False, 1.0)
    assert int(group.computed().sum()) == FIRST_IMAGES, "the fit of the copied rows gave a radius"


def test_the_file_grows_with_its_images(session: Session) -> None:
    local_linearity.analyse(session, LinearitySettings(steps=3))
    here = session.store.file.size
    assert session.store.bytes_for(COUNT) == pytest.approx(here, rel=0.01)
    row = session.store.bytes_for(1001) - session.store.bytes_for(1000)
    assert 60 < row < 200


def linearity(session: Session, measuring: Measuring) -> None:
    measuring.part = "linearity"
    local_linearity.analyse(session, LinearitySettings(steps=3))


def test_parts_are_expected_where_a_pilot_is_short_beside_the_run(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert expected_parts(session, linearity) == {}, "40 images are few"
    monkeypatch.setattr(few_images, "ENOUGH_IMAGES", COUNT)
    found = expected_parts(session, linearity)
    assert list(found) == ["linearity"]
    assert found["linearity"] > 0
    assert not session.store.has_rows
    late = replace(session, deadline=1e12)
    assert expected_parts(late, linearity) == {}
    local_linearity.analyse(session, LinearitySettings(steps=3))
    assert expected_parts(session, linearity) == {}, "some rows are there"


def test_a_pilot_that_fails_leaves_the_run_to_tell(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few_images, "ENOUGH_IMAGES", COUNT)

    def fails(*_: object) -> None:
        message = "no gradients"
        raise TwinUnavailableError(message)

    assert expected_parts(session, fails) == {}
