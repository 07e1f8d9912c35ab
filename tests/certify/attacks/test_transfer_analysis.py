"""`robcert attack --source`: the matrix of sources and radii."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from linear_models import exact_distance, linear_classifier, near_grey

from robcert.certify.attacks.tables import transfer_tables
from robcert.certify.attacks.transfer_analysis import TransferSettings, analyse, summarise
from robcert.certify.core import Batch, Norm
from robcert.certify.data.load import from_arrays
from robcert.certify.errors import DataError, InvalidParameterError, TwinUnavailableError
from robcert.certify.model.classifier import ModelInfo, Runtime
from robcert.certify.radius_bounds.schema import BOUNDS
from robcert.certify.session import Session
from robcert.certify.store.ledger import ledger
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from robcert.certify.model.classifier import Classifier

SEED, COUNT = 5, 10


def named(seed: int, name: str) -> Classifier:
    model = linear_classifier(seed, classes=2)
    return replace(model, info=ModelInfo(file=f"{name}.onnx", sha256=name * 8, kind="module"))


def session(path: Path, *, batch_size: int = 64) -> Session:
    model = named(SEED, "model")
    batch = near_grey(model, COUNT)
    labels = batch.y.numpy().copy()
    labels[1] = 1 - labels[1]  # misclassified as it is
    images = from_arrays("grey", batch.x.numpy(), labels)
    store = ResultStore.open(path, model=model.info, data=images.info)
    indices = np.arange(COUNT)
    return Session(model, images, indices, store, seed=5, batch_size=batch_size)


def distances(run: Session, seed: int) -> NDArray[np.float64]:
    """Exact linf distances of the two-class model of that seed, 0 where it is wrong."""
    x = run.images.pixels(run.indices)
    y = linear_classifier(seed, classes=2).logits(x).argmax(1)
    exact = exact_distance(seed, Batch(run.indices, x, y), Norm.LINF, classes=2)
    return np.where(y.numpy() == run.images.labels, exact.numpy(), 0.0)


def test_the_model_as_its_own_source_breaks_what_the_exact_distances_say(tmp_path: Path) -> None:
    run = session(tmp_path / "r.h5")
    exact = distances(run, SEED)
    radii = tuple(float(r) for r in np.quantile(exact[exact > 0], [0.3, 0.7]) * 1.001)
    with run.store:
        settings = TransferSettings(epsilons=radii[::-1])
        path = analyse(run, settings, (run.classifier, named(SEED + 1, "other")))
        group = run.store.at(path)
        broken, nearest = group.column("broken"), group.column("distance")
        summary = summarise(run.store, path)
    assert broken.shape == (COUNT, 2, 2)
    for at, radius in enumerate(radii):
        np.testing.assert_array_equal(broken[:, 0, at] == 1, exact <= radius)
    assert nearest[1] == 0
    assert (nearest >= exact * (1 - 1e-5)).all()
    assert [one.source for one in summary.sources] == ["model.onnx", "other.onnx"]
    own = summary.sources[0]
    assert own.clean_accuracy.value == 0.9
    assert [entry.epsilon for entry in own.robust_accuracy] == sorted(radii)
    assert own.robust_accuracy == own.source_accuracy  # model and source are the same
    assert own.robust_accuracy[0].lower < own.robust_accuracy[0].value
    for entry, one in zip(summary.all_sources, own.robust_accuracy, strict=True):
        assert entry.value <= one.value


@pytest.mark.parametrize("batch_size", [1, 3])
def test_rows_do_not_depend_on_the_batch_size_or_on_a_break(
    tmp_path: Path, batch_size: int
) -> None:
    settings, source = TransferSettings(Norm.L2, (0.05, 0.2)), named(SEED + 1, "other")
    whole = session(tmp_path / "whole.h5")
    with whole.store:
        reference = whole.store.at(analyse(whole, settings, (source,)))
        expected = {name: reference.column(name) for name in reference.columns}
    parts = session(tmp_path / "parts.h5", batch_size=batch_size)
    with parts.store:
        parts.indices = np.array([7, 2])
        analyse(parts, settings, (source,))
        parts.indices = np.arange(COUNT)
        group = parts.store.at(analyse(parts, settings, (source,)))
        for name, column in expected.items():
            np.testing.assert_array_equal(group.column(name), column, err_msg=name)


def test_what_transfers_contradicts_a_radius_that_is_too_large(tmp_path: Path) -> None:
    run = session(tmp_path / "r.h5")
    with run.store:
        analyse(run, TransferSettings(epsilons=(0.5,)), (run.classifier,))
        bounds = run.store.group(
            BOUNDS, prefix="linf", settings=TransferSettings(), seed=0, sizes={"epsilon": 1}
        )
        radii = {"l_bound": np.full(COUNT, 0.6), "omega_bound": np.full(COUNT, 1e-9)}
        rest = [column for column in BOUNDS.columns if column.name not in radii]
        zeros = {c.name: np.zeros((COUNT, *(1 for _ in c.trailing))) for c in rest}
        bounds.append(run.indices, {**radii, **zeros})
        found = ledger(run.store)
    by_column = {entry.estimate.rsplit(":", 1)[1]: entry for entry in found.comparisons}
    assert by_column["l_bound"].count == COUNT
    assert by_column["omega_bound"].count == 1  # the misclassified image alone


def test_a_source_at_chance_is_named_and_tables_say_attacked(tmp_path: Path) -> None:
    run = session(tmp_path / "r.h5")
    upside_down = Runtime(lambda x: -run.classifier.logits(x))
    wrong = replace(named(SEED, "wrong"), runtime=upside_down)
    with run.store:
        path = analyse(run, TransferSettings(epsilons=(0.01,)), (wrong,))
        summary = summarise(run.store, path)
    assert "wrong.onnx itself classifies only 10 %" in summary.warnings[0]
    shown = tuple(transfer_tables([summary]))
    assert {table.claim for table in shown} == {"attacked"}
    assert shown[0].rows[0][0] == "wrong.onnx"


def test_bad_settings_and_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameterError, match="does not support the norm l2"):
        TransferSettings(Norm.L2, recipe="soar-pgd20")
    with pytest.raises(InvalidParameterError, match="no attack on sources called 'magic'"):
        TransferSettings(recipe="magic")
    with pytest.raises(InvalidParameterError, match="epsilon must be a positive"):
        TransferSettings(epsilons=(0.0,))
    run = session(tmp_path / "r.h5")
    blind = replace(named(SEED, "blind"), twin=None)
    with run.store:
        with pytest.raises(DataError, match="other images or classes"):
            analyse(run, TransferSettings(), (linear_classifier(3),))
        with pytest.raises(TwinUnavailableError, match=r"blind\.onnx has no gradients"):
            analyse(run, TransferSettings(), (blind,))
    assert not (tmp_path / "r.h5").exists()


def test_recipes_are_those_of_the_paper() -> None:
    how = TransferSettings(recipe="soar-pgd20").source_attack()
    assert how.rule is not None
    assert (how.steps, how.rule.size) == (20, 2 / 255)
    far = TransferSettings(Norm.L2, recipe="soar-l2-pgd100").source_attack()
    assert far.rule is not None
    assert far.steps * far.rule.size == pytest.approx(2.5)
    assert torch.isclose(torch.tensor(far.rule.size), torch.tensor(0.025))
