"""Keys and types of what every analysis prints with `--json` stay what they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from json_shapes import COMMANDS, FOLDER, differences, kept, printed, shape

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shapes")


SLOW = ("audit_of_several", "bounds", "verify")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in COMMANDS],
)
def test_keys_and_types_are_the_kept_ones(name: str, folder: Path) -> None:
    """The names of the groups end in the hash of their settings, so that is compared too."""
    assert differences(kept(name), shape(printed(name, folder))) == []


def test_every_kept_shape_is_compared() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(COMMANDS)


def test_differences_are_seen() -> None:
    one = shape({"a": 1, "b": [{"c": 0.5}, {"c": None}], "d": []})
    assert one == {"a": "int", "b": [{"c": "float | null"}], "d": []}
    assert differences(one, shape({"a": 2, "b": [], "d": ["word"]})) == []
    changed = shape({"a": "1", "b": [{"c": 0.5, "e": 1}], "f": 0})
    assert len(differences(one, changed)) == 4
