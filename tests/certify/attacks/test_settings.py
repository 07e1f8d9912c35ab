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
        (ATTACK, "0387b945c88fa32ec03a73e2249cae48802cf1c081a1c350ef9605d26d550dc5"),
        (AttackSettings(), "d5ffa058453f2ab35723be4304c1082bd8e7c8517f392aeac855ef1b4fee5be9"),
        (TRANSFER, "3353d89b79324d5ca34b8f32671281245e99706e90bcc92fe25bb6fe66d64fec"),
        (TransferSettings(), "867e14a30b907770d5920ced2b4b0819b2322cdeed12870f8b656d794dbfaff4"),
    ],
)
def test_the_key_of_a_group_is_that_of_the_kept_digest(
    settings: AttackSettings | TransferSettings, digest: str
) -> None:
    """A key changes only where equal settings give other rows, as since ``search`` 2."""
    text = canonical_json({"seed": 5, "settings": settings})
    assert hashlib.sha256(text.encode()).hexdigest() == digest


def test_results_files_keep_the_old_names() -> None:
    assert canonical_json(ATTACK) == (
        '{"attacks":["pgd","fmn"],"every_step":true,"norm":"l2","radii":[0.25,0.5],'
        '"reported_radii":[],"restarts":3,"round_8_bit":true,"save_images":true,"search":2,"suite":"quick"}'
    )


def test_nested_settings_are_stored_by_their_own_names() -> None:
    assert canonical_json({"all": [TRANSFER]}) == f'{{"all":[{canonical_json(TRANSFER)}]}}'
