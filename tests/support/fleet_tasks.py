"""What the processes of a fleet do in the tests; they find these functions by name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from robcert.certify.errors import ModelFileError

if TYPE_CHECKING:
    from pathlib import Path


def echoes(value: object) -> dict[str, Any]:
    return {"value": value, "process": os.getpid()}


def lasts(seconds: float) -> dict[str, Any]:
    """The time in which it ran, in that of all processes."""
    begun = time.monotonic()
    time.sleep(seconds)
    return {"begun": begun, "ended": time.monotonic()}


def crashes() -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}


def leaves() -> dict[str, Any]:
    os._exit(0)


def is_refused() -> dict[str, Any]:
    message = "no model"
    raise ModelFileError(message, hint="pass another")


def errs() -> dict[str, Any]:
    message = "a fault\nof two lines"
    raise RuntimeError(message)


def cannot_be_written() -> dict[str, Any]:
    return {"value": object()}


def hangs(folder: Path | None = None) -> dict[str, Any]:
    """Sleep, beside a process of its own, whose number is in the folder."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if folder is not None:
        (folder / "pids.partial").write_text(f"{os.getpid()} {child.pid}")
        (folder / "pids.partial").rename(folder / "pids")
    time.sleep(600)
    return {}
