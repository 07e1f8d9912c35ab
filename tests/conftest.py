from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from robcert.certify.numerics.memory import keep_freed_memory
from robcert.certify.workers import why_unavailable

keep_freed_memory()  # as every robcert command does: half of the time went into page faults

settings.register_profile("robcert", deadline=None)  # tests assert no times
settings.load_profile("robcert")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def forks() -> None:
    """Worker processes; other tests of this process may have started threads of torch's."""
    if reason := why_unavailable("cpu"):
        pytest.skip(reason)


@pytest.fixture(scope="session")
def zoo() -> Path:
    """Folder of third-party models and images; they are not part of the project."""
    folder = Path(os.environ.get("ROBCERT_ZOO", ROOT.parent / "shared" / "zoo"))
    if not (folder / "zoo.json").is_file():
        pytest.skip("no third-party models here (set ROBCERT_ZOO)")
    return folder
