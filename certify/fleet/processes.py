"""One process for each task: what it does to itself, it does to no other task.

The processes are forks of a server that has imported what tasks need and has computed nothing: they
begin in milliseconds and have the memory of one task, which they give back at its end. An answer is
a file with JSON, because a process that has run a hostile model is not trusted with Python objects.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import deque
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robcert.certify.errors import RobcertError
from robcert.certify.workers import group_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.context import ForkServerContext, SpawnContext
    from multiprocessing.process import BaseProcess

    Answer = dict[str, Any]
    Work = Callable[[], Answer]

PRELOADED = ["robcert.certify.fleet.member"]
"""Modules that the server imports."""

LOOK_SECONDS = 5.0
"""Interval between two looks at whether the processes compute."""

IDLE_LOOKS = 12
"""Looks in a row at which a process has used no processor time: it hangs."""

MOST_ANSWER_BYTES = 2**26

_PR_SET_PDEATHSIG = 1  # prctl's option, sys/prctl.h


@dataclass(frozen=True, slots=True)
class ModelTask:
    """What one process does.

    Attributes:
        start: called when its turn comes; the work, which can be pickled, or None for none.
        key: tasks of the same key do not run at the same time.
        slots: how many of the pool's slots it takes.
    """

    start: Callable[[], Work | None]
    key: str
    slots: int = 1


@dataclass(frozen=True, slots=True)
class Ending:
    """How a task ended.

    Attributes:
        answer: what its work returned; None if it did not.
        error: the error that it raised, or how its process died, in one line; empty for neither.
        hint: what to do about it.
        seconds: time that it took; 0 if it was not started.
    """

    answer: Answer | None = None
    error: str = ""
    hint: str = ""
    seconds: float = 0.0


@dataclass(slots=True, eq=False)
class _Running:
    """A process with its task.

    Attributes:
        place: number of the task.
        task: it.
        process: the process, which leads a group of its own.
        begun: ``time.monotonic()`` at its start.
        used: processor time of the group at the last look, seconds.
        idle: looks in a row at which it had used none.
    """

    place: int
    task: ModelTask
    process: BaseProcess
    begun: float
    used: float = 0.0
    idle: int = 0

    @property
    def number(self) -> int:
        """Number of the process."""
        return self.process.pid or 0

    def end(self) -> None:
        """Kill the process and those that it has started."""
        with contextlib.suppress(OSError):  # it has ended, or does not lead its group yet
            os.killpg(self.number, signal.SIGKILL)
        self.process.kill()
        self.process.join()


@dataclass(slots=True)
class ModelProcesses:
    """A pool of processes; a context manager that ends those that run.

    Attributes:
        slots: how many tasks of one slot run at the same time.
        show_errors: leave stderr to the processes, and write the tracebacks of errors there.
    """

    slots: int
    show_errors: bool = False
    _running: list[_Running] = field(default_factory=list)
    _folder: tempfile.TemporaryDirectory[str] = field(
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="robcert-fleet-")
    )

    def __enter__(self) -> ModelProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        while self._running:
            self._running.pop().end()
        self._folder.cleanup()

    def run(self, tasks: Sequence[ModelTask]) -> Iterator[tuple[int, Ending]]:
        """The number of each task and how it ended, as they end."""
        waiting = deque(enumerate(tasks))
        looked = time.monotonic()
        while waiting or self._running:
            yield from self._start(waiting)
            wait([one.process.sentinel for one in self._running], LOOK_SECONDS)
            for one in [one for one in self._running if one.process.exitcode is not None]:
                self._running.remove(one)
                one.end()  # processes that it has left behind
                yield one.place, self._ending(one)
            if time.monotonic() - looked >= LOOK_SECONDS:
                looked = time.monotonic()
                yield from self._hung()

    def _start(self, waiting: deque[tuple[int, ModelTask]]) -> Iterator[tuple[int, Ending]]:
        """Start tasks while there are slots; those that have no work end at once."""
        for place, task in list(waiting):
            free = self.slots - sum(one.task.slots for one in self._running)
            if self._running and free < task.slots:
                return
            if any(one.task.key == task.key for one in self._running):
                continue
            waiting.remove((place, task))
            work = task.start()
            if work is None:
                yield place, Ending()
                continue
            self._running.append(
                _Running(place, task, self._process(place, work), time.monotonic())
            )

    def _process(self, place: int, work: Work) -> BaseProcess:
        context = _context()
        arguments = (work, self._answer(place), self.show_errors)
        process = context.Process(target=_serve, args=arguments, daemon=False)
        with _safe_path():
            process.start()
        return process

    def _answer(self, place: int) -> Path:
        return Path(self._folder.name) / f"{place}.json"

    def _ending(self, one: _Running) -> Ending:
        """What a process that has ended has left."""
        seconds = time.monotonic() - one.begun
        path = self._answer(one.place)
        try:
            if path.stat().st_size <= MOST_ANSWER_BYTES:
                found = json.loads(path.read_bytes())
                return Ending(
                    found["answer"], str(found["error"]), str(found["hint"]), seconds=seconds
                )
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            pass
        finally:
            path.unlink(missing_ok=True)
        return Ending(error=f"its process died ({_cause(one.process.exitcode)})", seconds=seconds)

    def _hung(self) -> Iterator[tuple[int, Ending]]:
        """End the processes that hang, where the system tells."""
        if not Path("/proc/self/stat").exists():
            return
        for one in list(self._running):
            used = group_seconds(one.number)
            one.idle = one.idle + 1 if used == one.used else 0
            one.used = used
            if one.idle >= IDLE_LOOKS:
                self._running.remove(one)
                one.end()
                error = f"its process used no processor time in {IDLE_LOOKS * LOOK_SECONDS:g} s"
                yield one.place, Ending(error=error, seconds=time.monotonic() - one.begun)


def _cause(status: int | None) -> str:
    """How a process ended, in words."""
    if status is None or status >= 0:
        return f"status {status}"
    with contextlib.suppress(ValueError):
        return f"signal {-status}, {signal.Signals(-status).name}"
    return f"signal {-status}"


def _context() -> ForkServerContext | SpawnContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


@contextlib.contextmanager
def _safe_path() -> Iterator[None]:
    """Let the server import no file of the working folder, such as one called onnx.py."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


def _serve(work: Work, path: Path, show_errors: bool) -> None:
    """Write what ``work`` returns to ``path``; never returns."""
    try:
        _stand_alone(quiet=not show_errors)
        found: Answer = {"answer": None, "error": "", "hint": ""}
        try:
            found["answer"] = work()
        except Exception as error:  # the model's, or robcert's: it ends this task alone
            if show_errors:
                traceback.print_exception(error)
            found["error"], found["hint"] = explained(error)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(found), encoding="utf-8")
        partial.replace(path)
        sys.stderr.flush()
        os._exit(0)
    finally:
        os._exit(1)  # without the interpreter's end, which may take seconds


def _stand_alone(*, quiet: bool) -> None:
    """Lead a group of processes, take no part in Ctrl-C, print nothing, end with the server."""
    with contextlib.suppress(AttributeError, OSError):  # a system without it
        os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the program ends its processes
    with contextlib.suppress(AttributeError, OSError):  # a C library without it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    program = multiprocessing.parent_process()
    if program is not None and not program.is_alive():
        os._exit(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2) if quiet else (0, 1):
        os.dup2(nowhere, stream)


def explained(error: Exception) -> tuple[str, str]:
    """``error`` and what to do about it, one line each."""
    if isinstance(error, RobcertError):
        return str(error), error.hint
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return "out of memory", "pass a smaller --batch-size or --workers, or a larger limit"
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}", ""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{text} (this is a bug in robcert)", "run the same command with --debug, and report it"
