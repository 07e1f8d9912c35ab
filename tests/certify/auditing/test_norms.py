"""The headline of a file with attacks in several norms, and what is said about the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from robcert.certify.attacks.schema import ATTACK
from robcert.certify.auditing.verdict import findings_of, verdict_of
from robcert.certify.data.load import DataInfo
from robcert.certify.model.classifier import ModelInfo
from robcert.certify.store.store import ResultStore

if TYPE_CHECKING:
    from pathlib import Path

N = 20
EPSILON = {"linf": 8 / 255, "l2": 0.5, "l1": 12.0}


def attacked(folder: Path, *tables: tuple[str, float, int], labelled: bool = True) -> ResultStore:
    """A file with attacks without an audit.

    Args:
        folder: where it lies.
        tables: norm, share of images that survive, number of images, in the order of their runs.
        labelled: whether the images have labels.
    """
    model = ModelInfo(file="net.onnx", sha256="n", kind="onnx")
    store = ResultStore.open(folder / "r.h5", model=model, data=DataInfo("set", "d", N))
    store.add_images(np.arange(N), np.zeros(N, int) if labelled else None)
    for number, (norm, share, count) in enumerate(tables):
        settings = {"norm": norm, "suite": "quick"}
        group = store.group(ATTACK, prefix=norm, settings=settings, seed=number)
        rows = {c.name: np.ones(count) for c in ATTACK.everywhere}
        survive = np.arange(count) < round(share * count)
        rows["distance"] = np.where(survive, 2.0, 0.5) * EPSILON[norm]
        group.append(np.arange(count), rows)
        group.set_attributes(epsilons=[EPSILON[norm]], headline_epsilon=EPSILON[norm])
        group.finish(np.arange(count))
    return store


@pytest.mark.parametrize("turned", [False, True])
def test_the_order_of_runs_does_not_choose_the_norm(tmp_path: Path, turned: bool) -> None:
    runs = [("linf", 0.25, N), ("l2", 0.75, N), ("l1", 0.5, N)]
    with attacked(tmp_path, *(reversed(runs) if turned else runs)) as store:
        found, told = findings_of(store), verdict_of(store)
    assert found.attack is not None
    assert found.attack.norm == "linf"  # the fewest survive
    assert "ε = 8/255 (linf)" in told.headline
    said = " ".join(told.sentences)
    assert "In l2: robust accuracy at ε = 0.5 (l2) is at most 75.0 % (attacked), 20 images." in said
    assert "In l1: robust accuracy at ε = 12 (l1) is at most 50.0 % (attacked), 20 images." in said
    assert "In linf" not in said


def test_more_images_come_first(tmp_path: Path) -> None:
    with attacked(tmp_path, ("l2", 0.75, N), ("linf", 0.0, 4)) as store:
        assert "(l2)" in verdict_of(store).headline
        said = " ".join(verdict_of(store).sentences)
    assert (
        "In linf: robust accuracy at ε = 8/255 (linf) is at most 0.0 % (attacked), 4 images."
        in said
    )


def test_one_norm_needs_no_further_sentence(tmp_path: Path) -> None:
    with attacked(tmp_path, ("l2", 0.75, N), ("l2", 0.5, N)) as store:
        assert findings_of(store).others == ()


def test_without_labels_it_is_no_accuracy(tmp_path: Path) -> None:
    with attacked(tmp_path, ("linf", 0.25, N), ("l2", 0.75, N), labelled=False) as store:
        (said,) = (line for line in verdict_of(store).sentences if line.startswith("In l2"))
    assert "the share of images that keep their class" in said
    assert "accuracy" not in said
