"""Surface and Taylor analyses: stored, summarised, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from known_functions import quadratic, two_logits

import robcert.certify.landscape.surface as surface
import robcert.certify.landscape.taylor as taylor
from robcert.certify.core import Norm
from robcert.certify.data.arrays import from_arrays
from robcert.certify.errors import InvalidParameterError
from robcert.certify.landscape.figures import save_surface, save_taylor
from robcert.certify.landscape.tables import surface_tables, taylor_tables
from robcert.certify.numerics.losses import Loss
from robcert.certify.session import Session
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    matrix = torch.diag(torch.tensor([1.0, 2, 0, 1, 1, -1]))
    classifier = two_logits(quadratic(matrix, torch.ones(6), -1.0), 6)
    pixels = np.random.default_rng(0).uniform(0.2, 0.8, (6, 1, 1, 6)).astype(np.float32)
    images = from_arrays("test", pixels, np.zeros(6, np.int64))
    with ResultStore.open(tmp_path / "r.h5", model=classifier.info, data=images.info) as store:
        yield Session(classifier, images, np.array([4, 1]), store)


def test_surface_rows_arrays_and_picture(session: Session, tmp_path: Path) -> None:
    settings = surface.SurfaceSettings(Norm.LINF, 0.1, resolution=7, steps=5)
    path = surface.analyse(session, settings)
    summary = surface.summarise(session.store, path)
    assert summary.complete
    assert [row.index for row in summary.images] == [1, 4]
    grids = surface.grids(session.store.at(path), 4)
    assert grids["cross_entropy"].shape == (7, 7)
    row = summary.images[1]
    assert row.cross_entropy == pytest.approx(grids["cross_entropy"][3, 3])
    assert row.largest_cross_entropy == pytest.approx(grids["cross_entropy"].max())
    assert row.lost == pytest.approx((grids["margin"] >= 0).mean())
    assert row.turns == 0
    assert surface.analyse(session, settings) == path
    for ending in ("png", "svg"):
        target = tmp_path / f"surface.{ending}"
        save_surface(target, grids, epsilon=0.1, title="test")
        assert target.stat().st_size > 1000
    assert len(next(iter(surface_tables([summary]))).rows) == 2


def test_taylor_rows_summary_and_picture(session: Session, tmp_path: Path) -> None:
    settings = taylor.TaylorSettings(
        Norm.L2, 0.5, Loss.MARGIN, steps=(0.1, 1.0), resolution=11, directions=3
    )
    path = taylor.analyse(session, settings)
    summary = taylor.summarise(session.store, path)
    assert summary.n == 2
    assert summary.exact < 1e-5
    assert all(entry.taylor < 1e-4 for entry in summary.steps)
    assert summary.steps[0].gradient_norm < summary.steps[1].gradient_norm
    assert summary.penalty_variation > 0
    t, loss, curves = taylor.mean_curves(session.store.at(path))
    assert len(t) == len(loss) == 11
    assert [name for name, _ in curves] == ["exact product", "h = 0.1", "h = 1"]
    save_taylor(tmp_path / "t.png", t, loss, curves, title="test")
    assert (tmp_path / "t.png").stat().st_size > 1000
    assert len(list(taylor_tables([summary]))) == 2


def test_random_line_does_not_depend_on_company(session: Session) -> None:
    settings = taylor.TaylorSettings(line=taylor.Line.RANDOM, resolution=3, directions=2)
    group = session.store.at(taylor.analyse(session, settings))
    both = group.column("loss", np.array([1]))
    alone = Session(session.classifier, session.images, np.array([1]), session.store, seed=0)
    columns = taylor._rows(alone, alone.batch(np.array([1])), settings)
    assert columns["loss"].tolist() == both.tolist()


def test_picture_needs_a_known_ending(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match="has no extension of a figure"):
        save_taylor(tmp_path / "t.doc", np.arange(2.0), np.arange(2.0), [], title="")


@pytest.mark.parametrize("wrong", [{"epsilon": 0}, {"resolution": 2}, {"steps": 0}])
def test_bad_surface_settings(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidParameterError, match=next(iter(wrong))):
        surface.SurfaceSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"steps": ()}, {"steps": (0.0,)}, {"directions": 0}])
def test_bad_taylor_settings(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidParameterError):
        taylor.TaylorSettings(**wrong)  # type: ignore[arg-type]
