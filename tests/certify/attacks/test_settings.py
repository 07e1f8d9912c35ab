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
        (ATTACK, "b73a15961c4bd10b933e2d992f6bd8cf3571464a67363470bda80b0a6259ca09"),
        (AttackSettings(), "53cf04105ec7573620da8d2a92e377bc8f919347ea834e281bfa25ee6297f823"),
        (TRANSFER, "c31877be53c9b879b4fe8fe9aa943b4f2f0f26a302b5106a334c1edfc50b831a"),
        (TransferSettings(), "6e3fba965d1989e2a9121848f78e76d11e6e69a67eeb61cf582ec1ed04e645ad"),
    ],
)
def test_the_key_of_a_group_is_that_of_the_kept_digest(
    settings: AttackSettings | TransferSettings, digest: str
) -> None:
    """A key changes only where equal settings give other rows, as since ``search`` 4."""
    text = canonical_json({"seed": 5, "settings": settings})
    assert hashlib.sha256(text.encode()).hexdigest() == digest


def test_results_files_keep_the_old_names() -> None:
    assert canonical_json(ATTACK) == (
        '{"attacks":["pgd","fmn"],"every_step":true,"no_class":"wrong","norm":"l2","radii":[0.25,0.5],'
        '"reported_radii":[],"restarts":3,"round_8_bit":true,"save_images":true,"search":4,"suite":"quick"}'
    )


def test_nested_settings_are_stored_by_their_own_names() -> None:
    assert canonical_json({"all": [TRANSFER]}) == f'{{"all":[{canonical_json(TRANSFER)}]}}'
