"""The command line inside the test's process: what it printed and how it ended."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

from robcert.cli.main import run


@dataclass(frozen=True)
class Ended:
    status: int
    stdout: str
    stderr: str


def robcert(*arguments: object) -> Ended:
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        status = run([str(argument) for argument in arguments])
    return Ended(status, stdout.getvalue(), stderr.getvalue())
