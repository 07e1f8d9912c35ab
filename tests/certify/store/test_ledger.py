"""The ledger over results made by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from robcert.certify.attacks.schema import ATTACK
from robcert.certify.auditing.tables import violations_table
from robcert.certify.data.load import DataInfo
from robcert.certify.errors import ContradictionError
from robcert.certify.model.classifier import ModelInfo
from robcert.certify.radius_bounds.schema import BOUNDS
from robcert.certify.store.ledger import ESTIMATES, comparisons, ledger
from robcert.certify.store.store import ResultStore
from robcert.certify.verification.schema import VERIFY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from robcert.certify.store.column import Schema

INDICES = np.array([10, 4, 7, 2, 9, 5])
NAN, INF = math.nan, math.inf


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResultStore]:
    model = ModelInfo(file="net", sha256="1", kind="onnx")
    with ResultStore.open(tmp_path / "r.h5", model=model, data=DataInfo("d", "2", 20)) as opened:
        opened.add_images(INDICES, INDICES % 3)
        yield opened


def fill(store: ResultStore, schema: Schema, norm: str, **columns: list[float]) -> str:
    """Table with these columns, zero in the others; rows of NaN alone stay uncomputed."""
    group = store.group(schema, prefix=norm, settings={"norm": norm}, seed=0, sizes={"epsilon": 2})
    first = np.array(next(iter(columns.values())))
    done = ~np.isnan(first)
    shapes = {name: group.column(name).shape[1:] for name in group.columns}
    rows: dict[str, Any] = {n: np.zeros((done.sum(), *shape)) for n, shape in shapes.items()}
    rows |= {n: np.full(done.sum(), NAN) for n in (*ESTIMATES[2:],) if n in rows}
    rows |= {name: np.array(values)[done] for name, values in columns.items()}
    group.append(INDICES[done], rows)
    return group.path


def test_crossings_are_counted_and_the_worst_comes_first(store: ResultStore) -> None:
    radius = [0.10, 0.30, 0.20, 0.10, NAN, 0.20]
    fill(store, BOUNDS, "l2", l_bound=radius, omega_bound=[0.01] * 6)
    distance = [0.05, 0.10, 0.20, 0.30, 0.10, NAN]
    attack = fill(store, ATTACK, "l2", distance=distance)
    l_bound, omega_bound = comparisons(store)
    assert (l_bound.compared, l_bound.count, l_bound.indices) == (4, 2, (4, 10))
    assert l_bound.worst_ratio == pytest.approx(3)
    assert (l_bound.attack, l_bound.norm) == (attack, "l2")
    assert (omega_bound.compared, omega_bound.count) == (4, 0)
    whole = ledger(store)
    assert (whole.compared, whole.count) == (8, 2)
    assert whole.sentence.startswith("2 of 8 estimated radii")


def test_the_two_margins_and_two_runs_of_an_attack_are_told_apart(store: ResultStore) -> None:
    rows: dict[str, Any] = {"distance": np.full(6, 0.5)}
    for margin in ("logit", "prob"):
        settings = {"norm": "l2", "margin": margin}
        group = store.group(BOUNDS, prefix="l2", settings=settings, seed=0, sizes={"epsilon": 2})
        radii = {n: np.zeros((6, *group.column(n).shape[1:])) for n in group.columns}
        group.append(INDICES, radii | dict.fromkeys(ESTIMATES[1:], np.full(6, NAN)))
    for seed in (0, 1):
        group = store.group(ATTACK, prefix="l2-quick", settings={"norm": "l2"}, seed=seed)
        group.append(INDICES, {n: np.zeros(6) for n in group.columns} | rows)
    found = ledger(store)
    assert [entry.margin for entry in found.comparisons] == ["logit"] * 2 + ["prob"] * 2
    named = [row[:2] for row in violations_table(found).rows]
    assert [radius for radius, _ in named] == ["L-bound, logit margin"] * 2 + [
        "L-bound, probability margin"
    ] * 2
    assert len(set(named)) == 4
    assert all(against.startswith("quick (") for _, against in named)


def test_norms_are_never_mixed(store: ResultStore) -> None:
    fill(store, BOUNDS, "l2", l_bound=[9.0] * 6)
    fill(store, ATTACK, "linf", distance=[0.1] * 6)
    assert comparisons(store) == ()
    assert ledger(store).count == 0


def test_only_images_with_an_adversarial_image_count_as_compared(store: ResultStore) -> None:
    # misclassified, none found, found, rounding, an infinite radius, a radius where misclassified
    radius = [0.0, 0.2, 0.2, 0.3 * (1 + 1e-8), INF, 0.1]
    fill(store, BOUNDS, "linf", l_bound=radius)
    fill(store, ATTACK, "linf", distance=[0.0, INF, 0.3, 0.3, 0.4, 0.0])
    l_bound = comparisons(store)[0]
    assert (l_bound.compared, l_bound.count) == (4, 2)
    assert set(l_bound.indices) == {9, 5}
    assert l_bound.worst_ratio == INF


def test_a_certified_radius_that_equals_an_attacked_distance_is_a_contradiction(
    store: ResultStore,
) -> None:
    # below, equal, above, misclassified, no adversarial image, not certified
    radius = [0.1, 0.2, 0.4, 0.0, 0.5, 0.0]
    fill(store, VERIFY, "linf", radius=radius, distance=[INF] * 3 + [0.0, INF, INF])
    assert ledger(store).contradictions == ()
    ledger(store).require_sound()
    attack = fill(store, ATTACK, "linf", distance=[0.2, 0.2, 0.3, 0.0, INF, 0.1])
    found = ledger(store)
    (comparison,) = found.contradictions
    assert (comparison.compared, comparison.count) == (3, 2)
    assert comparison.indices == (7, 4)
    assert (comparison.worst_radius, comparison.worst_distance) == (0.4, 0.3)
    assert comparison.attack == attack
    assert found.sentence == (
        "2 of 3 certified radii of the model itself exceed the distance of an adversarial image: "
        "this is a fault of robcert"
    )
    with pytest.raises(ContradictionError, match=r"image 7 .* radius 0\.4 .* distance 0\.3 "):
        found.require_sound()


def test_certificates_of_another_norm_are_not_compared(store: ResultStore) -> None:
    fill(store, VERIFY, "l2", radius=[9.0] * 6, distance=[INF] * 6)
    fill(store, ATTACK, "linf", distance=[0.1] * 6)
    assert ledger(store).contradictions == ()


def test_a_distance_rounded_to_a_searched_radius_is_not_taken_at_its_word(
    store: ResultStore,
) -> None:
    settings = {"norm": "linf", "radii": [0.1]}
    group = store.group(ATTACK, prefix="linf", settings=settings, seed=0)
    distances = np.array([0.1, 0.1, 0.2, 0.2, INF, INF])
    group.append(INDICES, {n: np.zeros(6) for n in group.columns} | {"distance": distances})
    radius = [0.1, 0.1001, 0.2, 0.1, 0.1, 0.1]
    fill(store, VERIFY, "linf", radius=radius, distance=[INF] * 6)
    assert ledger(store).contradictions[0].indices == (4, 7)


def test_estimates_are_counted_apart_from_certificates(store: ResultStore) -> None:
    fill(store, BOUNDS, "l2", l_bound=[0.3] * 6, omega_bound=[0.01] * 6)
    fill(store, VERIFY, "l2", radius=[0.1] * 6, distance=[INF] * 6)
    fill(store, ATTACK, "l2", distance=[0.2] * 6)
    found = ledger(store)
    assert found.contradictions == ()
    assert found.sentence == (
        "6 of 12 estimated radii exceed the distance of an adversarial image: there the "
        "estimate is wrong; none of 6 certified radii of the model itself exceeds its attacked "
        "distance"
    )
    rows = violations_table(found).rows
    assert [row[3] for row in rows] == ["estimated"] * 2 + ["certified"]
    assert rows[-1][0] == "radius of the model itself"


def test_counterexamples_of_proofs_are_attacks_on_every_certificate(store: ResultStore) -> None:
    fill(store, VERIFY, "linf", radius=[0.1] * 6, distance=[0.2, 0.05, INF, 0.2, 0.2, 0.2])
    assert ledger(store).contradictions[0].indices == (4,)
    fill(store, ATTACK, "linf", distance=[0.2] * 6)
    by_attack, by_proof = ledger(store).comparisons
    assert (by_attack.compared, by_attack.count) == (6, 0)
    assert (by_proof.compared, by_proof.count) == (1, 1)
