"""Workers that are forks of this process, each at the other end of a pipe."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import warnings
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, cast

from robcert.certify.errors import WorkerError

from .activity import processor_seconds
from .child import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.process import BaseProcess

    from .links import Link, Part, Rows, Work


@dataclass(slots=True, eq=False)
class Fork:
    """One process.

    Attributes:
        process: it.
        pipe: to it.
    """

    process: BaseProcess
    pipe: Connection

    def send(self, rows: Rows, end: float) -> None:
        """Let the process compute ``rows``."""
        with contextlib.suppress(OSError):  # it has died, which its pipe will tell
            self.pipe.send((rows, end))

    def received(self) -> Part | Exception | None:
        """What it has sent.

        Raises:
            EOFError: it has ended.
        """
        try:
            return cast("Any", self.pipe.recv())
        except OSError as error:
            raise EOFError from error

    def end(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def release(self) -> None:
        """Kill it as well: another task needs another fork."""
        self.end()

    @property
    def cause(self) -> str:
        """How the process ended."""
        self.process.join(1.0)
        code = self.process.exitcode
        if code is None:
            return "it closed its pipe"
        return f"signal {-code}" if code < 0 else f"status {code}"

    @property
    def used(self) -> float:
        """Its processor time, seconds."""
        return processor_seconds(self.process.pid or 0)


@dataclass(frozen=True, slots=True)
class Forks:
    """Forks that compute rows.

    Attributes:
        compute: what a worker does with rows.
        begin: called in each worker before it computes.
    """

    compute: Work
    begin: Callable[[], None]

    def started(self) -> Fork:
        """A new worker.

        Raises:
            WorkerError: the system has no memory for it, or allows no more processes.
        """
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        arguments = (there, self.compute, self.begin, os.getpid())
        process = context.Process(target=serve, args=arguments, daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with warnings.catch_warnings():
                # newer Pythons warn of threads that a fork lacks: of the program's, it needs none
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
        except OSError as error:
            message = f"cannot start a worker process: {error.strerror}"
            raise WorkerError(message, hint="pass a smaller --workers") from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            there.close()
        return Fork(process, here)

    def ready(self, links: Sequence[Link], seconds: float) -> list[Link]:
        """Those of ``links`` that have sent something or ended, waiting for ``seconds`` at most."""
        by_pipe = {link.pipe: link for link in links if isinstance(link, Fork)}
        return [by_pipe[cast("Connection", pipe)] for pipe in wait(list(by_pipe), seconds)]
