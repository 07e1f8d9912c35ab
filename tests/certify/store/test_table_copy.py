"""A copy of a table reads as the table does, without its file."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest
from every_analysis import network, pictures

from robcert.certify import api
from robcert.certify.attacks import AttackSettings, Suite
from robcert.certify.errors import StoreError
from robcert.certify.store import ResultStore, packed_table, unpacked_table

if TYPE_CHECKING:
    from pathlib import Path


def test_a_copied_table_has_its_rows_attributes_and_settings(tmp_path: Path) -> None:
    settings = AttackSettings(suite=Suite.QUICK, save_images=True)
    out = tmp_path / "r.h5"
    options = {"limit": 5, "every": 3, "out": out}
    api.attack(network(tmp_path), pictures(tmp_path), settings, **options)  # type: ignore[arg-type]
    with ResultStore.read(out) as store:
        (table,) = store.existing("attack")
        known = (table.indices, table.columns, table.settings, table.attribute("epsilons"))
        rows = {name: table.column(name, table.indices) for name in table.columns}
        packed = pickle.loads(pickle.dumps(packed_table(table)))  # noqa: S301
    out.unlink()
    copy = unpacked_table(*packed)
    assert copy.indices.tolist() == known[0].tolist() == [0, 3, 6, 9, 12]
    assert (copy.columns, copy.settings, copy.attribute("epsilons")) == known[1:]
    assert copy.missing(np.array([12, 13])).tolist() == [13]
    assert "adversarial" in rows
    for name, values in rows.items():
        assert copy.column(name, copy.indices).tobytes() == values.tobytes()
    with pytest.raises(StoreError, match="has no nothing"):
        copy.column("nothing")
