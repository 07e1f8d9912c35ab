"""Settings of the allocator and limits of a process, each in a process of its own."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from robcert.certify.numerics import memory

SCRIPT = """
import resource, torch
from robcert.certify.numerics.memory import keep_freed_memory
kept = {keep}
assert not kept or keep_freed_memory()
for _ in range(5):
    torch.zeros(16_000_000).add_(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.zeros(16_000_000).add_(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_large_blocks_are_not_faulted_in_again() -> None:
    faults = {
        keep: int(
            subprocess.run(
                [sys.executable, "-c", SCRIPT.format(keep=keep)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for keep in (False, True)
    }
    # Where the heap settles differs from machine to machine: a few blocks may still be new.
    assert faults[True] < faults[False] / 2, faults


LIMITED = """
import resource, sys, torch
from robcert.certify.numerics import limited_memory
before = resource.getrlimit(resource.RLIMIT_DATA)
with limited_memory({further}):
    torch.ones(2**20)
    try:
        torch.ones(2**28)  # 1 GiB
        print("allocated")
    except RuntimeError as error:
        print("DefaultCPUAllocator: can't allocate memory" in str(error))
assert resource.getrlimit(resource.RLIMIT_DATA) == before
torch.ones(2**28)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process writes to")
@pytest.mark.parametrize(
    ("further", "printed"),
    [(2**29, "True"), pytest.param(None, "allocated", marks=pytest.mark.slow)],
)
def test_an_allocation_beyond_the_limit_fails_and_the_limit_ends_with_its_context(
    further: int | None, printed: str
) -> None:
    script = LIMITED.format(further=further)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == printed


def test_the_memory_of_the_machine_is_at_most_that_of_its_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = memory.machine_memory()
    assert whole > 2**28
    limit, unlimited = tmp_path / "limit", tmp_path / "unlimited"
    limit.write_text("1000000\n")
    unlimited.write_text("max\n")
    monkeypatch.setattr(memory, "_CGROUP", (unlimited, tmp_path / "none"))
    assert memory.machine_memory() >= whole
    monkeypatch.setattr(memory, "_CGROUP", (unlimited, limit))
    assert memory.machine_memory() == 1_000_000
