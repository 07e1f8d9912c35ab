"""A child process that runs other code than the module it is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from robcert.certify.children import Ended

if TYPE_CHECKING:
    from collections.abc import Callable


def child_of(code: str) -> Callable[..., Ended]:
    """In place of `run_module`: ``code`` in a new Python."""

    def run(_module: str, request: bytes, *, seconds: float) -> Ended:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=-1, stdout=-1, stderr=-1, env=os.environ
        )
        with process:
            try:
                stdout, stderr = process.communicate(request, timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                return Ended(None, *process.communicate())
        return Ended(process.returncode, stdout, stderr)

    return run
