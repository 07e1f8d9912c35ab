"""Completion: the program is asked through the environment, as shells ask it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from command_line import robcert

from robcert.certify.attacks.catalogue import CATALOGUE
from robcert.certify.auditing.settings import PARTS
from robcert.certify.data.named import NAMED, bundled_sets
from robcert.cli.shell import names
from robcert.trainers.methods.registry import METHODS
from robcert.trainers.networks import names as architectures
from robcert.trainers.recipe.presets import PRESETS

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = (
    "import sys; from robcert.cli.main import run; status = run([]);"
    "print('torch' in sys.modules, file=sys.stderr); sys.exit(status)"
)


def completed(line: str) -> tuple[list[str], bool]:
    """What bash is offered at the end of ``line``, and whether torch was imported for it."""
    words = line.split(" ")
    environment = {
        **os.environ,
        "_ROBCERT_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout.split(), ended.stderr.strip() == "True"


def test_the_lists_of_names_are_those_of_the_catalogues() -> None:
    assert (*bundled_sets(), *NAMED, "imagenet") == names.DATA_SETS
    assert tuple(CATALOGUE) == names.ATTACKS
    assert PARTS == names.AUDIT_PARTS
    assert tuple(architectures()) == names.ARCHITECTURES
    found: dict[str, set[str]] = {}
    for name, recipe in PRESETS.items():
        found.setdefault(recipe.config.method, set()).add(name)
    assert {method: set(recipes) for method, recipes in names.PRESETS.items()} == found


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("robcert m", ["masking-check", "merge"]),
        ("robcert audit --data fashion", ["fashion-mnist-2000", "fashion-mnist"]),
        ("robcert attack --attack apgd", ["apgd-ce", "apgd-dlr", "apgd-targeted"]),
        ("robcert attack --profile ", ["quick", "standard", "thorough"]),
        ("robcert attack --norm l", ["l1", "l2", "linf"]),
        ("robcert audit --skip s", ["smoothing"]),
        ("robcert smoothing certify --design co", ["cohen", "cohen-runner-up"]),
        ("robcert train ", [*METHODS]),
        ("robcert train trades --preset ", ["trades-2", "trades-4", "trades-6", "trades-8"]),
        ("robcert train trades --arch resnet1", ["resnet18", "resnet152", "resnet110"]),
    ],
)
def test_names_are_offered_without_importing_torch(line: str, offered: list[str]) -> None:
    found, torch_imported = completed(line)
    assert sorted(found) == sorted(offered)
    assert not torch_imported


@pytest.mark.slow
def test_groups_of_a_results_file_are_offered(tmp_path: Path) -> None:
    out = tmp_path / "r.h5"
    assert robcert("linearity", "--limit", "1", "--steps", "1", "-q", "-o", out).status == 0
    found, _ = completed(f"robcert show {out} --group lin")
    assert len(found) == 1
    assert found[0].startswith("linearity/linf-")
    assert completed(f"robcert show {tmp_path / 'missing.h5'} --group ")[0] == []
