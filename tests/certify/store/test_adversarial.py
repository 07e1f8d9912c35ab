"""The nearest adversarial image of a file: one attacked number wherever a radius is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from linear_models import linear_classifier
from linear_prover import COUNT, SEED, LinearProver, exact, session

from robcert.certify import attacks, masking, verification
from robcert.certify.attacks.settings import AttackSettings
from robcert.certify.auditing.verdict import cards, findings_of, verdict_of
from robcert.certify.comparison.overview import overview
from robcert.certify.masking.checklist import ATTACKS
from robcert.certify.masking.schema import MASKING
from robcert.certify.masking.settings import MaskingSettings
from robcert.certify.store import adversarial, ledger
from robcert.certify.store.adversarial import nearest_adversarial
from robcert.certify.verification.settings import VerificationSettings

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.session import Session
    from robcert.certify.store.store import ResultStore

EPSILON = float(np.sort(exact())[COUNT // 2] * 1.01)
CHECK = MaskingSettings(
    epsilon=EPSILON,
    steps=10,
    restarts=1,
    unbounded_steps=5,
    noise_draws=5,
    queries=20,
    long_queries=20,
    decision_queries=0,
    strengths=(2.0,),
    noisy_copies=2,
    rounds=0,
)


def test_the_attacks_of_the_check_are_those_within_its_radius() -> None:
    assert {*adversarial.CHECK_ATTACKS} == {*ATTACKS} - {"earlier", "rounds"}
    assert {*adversarial.CHECK_ATTACKS} <= {column.name for column in MASKING.columns}


def attacked_and_proved(run: Session) -> tuple[str, str]:
    """Paths of attacks and proofs, from which all adversarial images within EPSILON are removed."""
    settings = VerificationSettings(epsilons=(EPSILON,))
    prover = LinearProver(SEED, gives_up_beyond=EPSILON / 1000)
    proofs = verification.analyse(run, settings, prover=prover.of)
    path = attacks.analyse(run, settings.attack, epsilons=[EPSILON])
    for table in (path, proofs, *(one.path for one in run.store.existing("attack"))):
        distance = run.store.at(table).column("distance")
        with run.store.file.change() as file:
            file[table]["distance"][:] = np.where(distance > 0, np.inf, distance)
            if table == proofs:
                file[table]["radius"][:] = 0
    return path, proofs


def shares(store: ResultStore, path: str, proofs: str) -> list[float]:
    """The attacked share at EPSILON wherever it is shown."""
    (curve,) = attacks.summarise(store, path).robust_accuracy
    bracket = verification.summarise(store, proofs).headline
    row = overview(store, epsilon=EPSILON)
    assert bracket is not None
    assert row.attacked is not None
    return [curve.value, bracket.attacked, row.attacked.value]


def test_what_the_masking_check_breaks_counts_wherever_the_radius_is_shown(tmp_path: Path) -> None:
    with (run := session(tmp_path / "r.h5")).store as store:
        path, proofs = attacked_and_proved(run)
        assert shares(store, path, proofs) == [1 - 1 / COUNT] * 3  # one image is misclassified
        check = masking.summarise(store, masking.analyse(run, CHECK, sources=()))
        assert check.corrected.value < 0.6
        assert shares(store, path, proofs) == [check.corrected.value] * 3
        summary = attacks.summarise(store, path)
        known = nearest_adversarial(store, "linf", store.indices)
        sentences = " ".join(verdict_of(store).sentences)
        (card,) = [card for card in cards(findings_of(store)) if card.claim == "attacked"]
        other = nearest_adversarial(store, "l2", store.indices)
    broken = round((1 - check.corrected.value) * COUNT)
    assert summary.elsewhere == broken - 1
    assert int((known == EPSILON).sum()) == broken - 1
    assert f"falls to {100 * check.corrected.value:.1f} %" in sentences
    assert f"and {100 * check.corrected.value:.1f} % (attacked)" in sentences
    assert "masking check included" in card.text
    assert np.isinf(other).all()


def test_named_attacks_count_only_what_they_found(tmp_path: Path) -> None:
    with (run := session(tmp_path / "r.h5")).store as store:
        masking.analyse(run, CHECK, sources=())
        named = attacks.analyse(run, AttackSettings(attacks=("noise",)), epsilons=[EPSILON / 1000])
        summary = attacks.summarise(store, named)
    assert summary.elsewhere == 0
    assert summary.robust_accuracy[0].value == 1 - 1 / COUNT


def test_a_random_model_gets_no_adversarial_image_from_one_wrong_answer(tmp_path: Path) -> None:
    model = linear_classifier(SEED)
    run = session(
        tmp_path / "r.h5", classifier=replace(model, info=replace(model.info, random=True))
    )
    with run.store as store:
        masking.analyse(run, CHECK, sources=())
        assert np.isinf(nearest_adversarial(store, "linf", store.indices, ("masking",))).all()


@pytest.mark.parametrize("factor", [0.9, 1.001])
def test_a_radius_that_the_masking_check_refutes_is_a_contradiction(
    tmp_path: Path, factor: float
) -> None:
    with (run := session(tmp_path / "r.h5")).store as store:
        _, proofs = attacked_and_proved(run)
        masking.analyse(run, CHECK, sources=())
        broken = np.isfinite(nearest_adversarial(store, "linf", store.indices, ("masking",)))
        with store.file.change() as file:
            file[proofs]["radius"][:] = np.where(broken, EPSILON * factor, 0)
        (*_, refuted) = [0, *(one.count for one in ledger(store).contradictions)]
    assert refuted == (0 if factor < 1 else broken.sum())
    assert broken.sum() > 0
