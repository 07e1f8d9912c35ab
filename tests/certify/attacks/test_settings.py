"""Settings keep their names in results files, so that old files are resumed."""

from __future__ import annotations

import hashlib

import pytest

from robcert.certify.attacks.settings import AttackSettings
from robcert.certify.attacks.suites import Suite
from robcert.certify.attacks.transfer_analysis import TransferSettings
from robcert.certify.core import Norm
from robcert.certify.store.layout import canonical_json

ATTACK = AttackSettings(
    norm=Norm.L2,
    suite=Suite.QUICK,
    attacks=("pgd", "fmn"),
    restarts=3,
    save_images=True,
    epsilons=(0.25, 0.5),
    early_stopping=False,
    round_8_bit=True,
)
TRANSFER = TransferSettings(
    norm=Norm.L2,
    epsilons=(0.25, 0.5),
    recipe="soar-l2-pgd100",
    steps=7,
    sources=("abc", "def"),
)


@pytest.mark.parametrize(
    ("settings", "digest"),
    [
        (ATTACK, "201d73346dff1a6f003399a1b0df1fdf8b85174122c396ee618cbdcbd2a01c80"),
        (AttackSettings(), "4c52a3cc4d2fef95822f1b07e5a0c099cd848c57bf36cb2814417c1d9114ee80"),
        (TRANSFER, "c31877be53c9b879b4fe8fe9aa943b4f2f0f26a302b5106a334c1edfc50b831a"),
        (TransferSettings(), "6e3fba965d1989e2a9121848f78e76d11e6e69a67eeb61cf582ec1ed04e645ad"),
    ],
)
def test_the_key_of_a_group_is_that_of_the_kept_digest(
    settings: AttackSettings | TransferSettings, digest: str
) -> None:
    """A key changes only where equal settings give other rows, as since ``search`` 3."""
    text = canonical_json({"seed": 5, "settings": settings})
    assert hashlib.sha256(text.encode()).hexdigest() == digest


def test_results_files_keep_the_old_names() -> None:
    assert canonical_json(ATTACK) == (
        '{"attacks":["pgd","fmn"],"every_step":true,"no_class":"wrong","norm":"l2","radii":[0.25,0.5],'
        '"reported_radii":[],"restarts":3,"round_8_bit":true,"save_images":true,"search":3,"suite":"quick"}'
    )


def test_nested_settings_are_stored_by_their_own_names() -> None:
    assert canonical_json({"all": [TRANSFER]}) == f'{{"all":[{canonical_json(TRANSFER)}]}}'
