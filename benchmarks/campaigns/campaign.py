"""Many hostile files, each tried in a child process with limits, and a count of what happened.

A campaign makes file number i from the seed and i alone, so that each can be made again.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from robcert.certify.errors import RobcertError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

EXIT_BAD_INPUT = 2
A_BUG = "this is a bug in robcert"
OUT_OF_MEMORY = ("out of memory", "bad_alloc", "Unable to allocate", "DefaultCPUAllocator")


class Outcome(StrEnum):
    """What became of one file; the first two are right."""

    OK = "ok"
    REFUSED = "refused"
    TRACEBACK = "traceback"
    CRASH = "crash"
    HANG = "hang"
    MEMORY = "memory"
    OUTSIDE = "outside"


GOOD = (Outcome.OK, Outcome.REFUSED)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child process may use.

    Attributes:
        seconds: time; a child that takes longer counts as a hang and is killed.
        memory: bytes of address space beyond that of the parent.
    """

    seconds: float = 60.0
    memory: int = 8 * 2**30


@dataclass(frozen=True, slots=True)
class Case:
    """A file that was made.

    Attributes:
        mutation: kind of change that made it, the row of the table.
        path: the file or folder.
        arguments: those of the command `robcert` that reads it.
    """

    mutation: str
    path: Path
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a file.

    Attributes:
        number: of the file in its campaign.
        mutation: see `Case`.
        outcome: what happened.
        message: robcert's own message, or the end of the traceback.
        seconds: time that it took.
        peak: largest resident memory in bytes.
    """

    number: int
    mutation: str
    outcome: Outcome
    message: str
    seconds: float
    peak: int


@dataclass(frozen=True, slots=True)
class Campaign:
    """A kind of file and what is done with it.

    Attributes:
        name: what is tried, for the title of the table.
        make: function (seed, number, folder) that writes a file into the empty folder.
        trial: function that loads and uses a file; what it raises decides the outcome.
    """

    name: str
    make: Callable[[int, int, Path], Case]
    trial: Callable[[Case], None]


@dataclass(slots=True)
class Child:
    """A running child process, and the pipe on which it reports."""

    number: int
    pid: int
    reports: int
    begin: float
    folder: Path
    said: bytes = b""


@dataclass(slots=True)
class Counts:
    """Outcomes by mutation, and all results that are not right."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[Result] = field(default_factory=list)
    slowest: float = 0.0
    peak: int = 0

    def add(self, result: Result) -> None:
        """Count ``result``."""
        self.outcomes.setdefault(result.mutation, Counter())[result.outcome.value] += 1
        self.slowest = max(self.slowest, result.seconds)
        self.peak = max(self.peak, result.peak)
        if result.outcome not in GOOD:
            self.faults.append(result)

    @property
    def total(self) -> Counter[str]:
        """Outcomes of all mutations together."""
        return sum(self.outcomes.values(), Counter[str]())

    def table(self) -> str:
        """A Markdown table with a row per mutation."""
        head = ["mutation", "files", *(outcome.value for outcome in Outcome)]
        rows = [head, ["---"] + ["--:"] * (len(head) - 1)]
        for name, counted in [*sorted(self.outcomes.items()), ("all", self.total)]:
            kinds = [str(counted[outcome.value]) for outcome in Outcome]
            rows.append([name, str(counted.total()), *kinds])
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def to_json(self) -> dict[str, Any]:
        """Counts, and the faults with their numbers."""
        return {
            "outcomes": {name: dict(counted) for name, counted in sorted(self.outcomes.items())},
            "total": dict(self.total),
            "slowest_seconds": round(self.slowest, 1),
            "peak_bytes": self.peak,
            "faults": [
                {
                    "number": one.number,
                    "mutation": one.mutation,
                    "outcome": one.outcome.value,
                    "message": one.message,
                }
                for one in self.faults
            ],
        }


def run(
    campaign: Campaign,
    numbers: Iterable[int],
    folder: Path,
    *,
    seed: int = 0,
    workers: int = 1,
    limits: Limits | None = None,
) -> Iterator[Result]:
    """Results of the files ``numbers``, each made and tried in a forked child, as they end.

    Args:
        campaign: what is made and tried.
        numbers: of the files.
        folder: for the files; each child's own sub-folder is removed at its end.
        seed: of the mutations.
        workers: children at a time.
        limits: of each child.
    """
    limits = limits or Limits()
    live: list[Child] = []
    for number in numbers:
        while len(live) >= workers:
            yield from _ended(live, limits)
        live.append(_started(campaign, number, folder, seed, limits))
    while live:
        yield from _ended(live, limits)


def _started(campaign: Campaign, number: int, folder: Path, seed: int, limits: Limits) -> Child:
    own = folder / f"{number}"
    own.mkdir(parents=True)
    reports, sender = os.pipe()
    begin = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(reports)
        _child(campaign, number, own, seed, sender, limits)
    os.close(sender)
    return Child(number, pid, reports, begin, own)


def _child(
    campaign: Campaign, number: int, folder: Path, seed: int, sender: int, limits: Limits
) -> NoReturn:
    """Make and try one file; the mutation and the outcome go into the pipe, one line each."""
    try:
        os.setsid()  # so that its own children end with it
        faulthandler.disable()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nowhere, standard)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        case = campaign.make(seed, number, folder)
        os.write(sender, f"{case.mutation}\n".encode())
        allowed = address_space() + limits.memory
        resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
        outcome, message = judged(campaign.trial, case)
        os.write(sender, json.dumps([outcome.value, message[-2000:]]).encode())
    except BaseException:
        os.write(sender, json.dumps(["unmade", traceback.format_exc()[-2000:]]).encode())
    finally:
        os._exit(0)


def address_space() -> int:
    """Bytes of address space of this process; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmSize:"))
    return int(line.split()[1]) * 1024


def judged(trial: Callable[[Case], None], case: Case) -> tuple[Outcome, str]:
    """What becomes of ``case`` in this process, and the message."""
    try:
        trial(case)
    except RobcertError as error:
        return Outcome.REFUSED, " ".join(str(error).split())
    except MisbehaviourError as error:
        return error.outcome, str(error)
    except MemoryError as error:
        return Outcome.MEMORY, str(error)
    except BaseException as error:
        text = traceback.format_exc()
        full = any(sign in str(error) for sign in OUT_OF_MEMORY)
        return (Outcome.MEMORY if full else Outcome.TRACEBACK), text
    return Outcome.OK, ""


def _ended(live: list[Child], limits: Limits) -> Iterator[Result]:
    """Results of the children that end within a moment; they leave ``live``."""
    ready, _, _ = select.select([child.reports for child in live], [], [], 0.2)
    for child in list(live):
        late = time.monotonic() - child.begin > limits.seconds
        if child.reports in ready:
            part = os.read(child.reports, 65536)
            child.said += part
            if part and not late:
                continue
        elif not late:
            continue
        live.remove(child)
        yield _result(child, killed=late)


def _result(child: Child, *, killed: bool) -> Result:
    """The result of a child that closed its pipe, or that is ``killed`` now."""
    if killed:
        os.killpg(child.pid, signal.SIGKILL)
    _, status, usage = os.wait4(child.pid, 0)
    os.close(child.reports)
    shutil.rmtree(child.folder, ignore_errors=True)
    mutation, _, report = child.said.decode(errors="replace").partition("\n")
    if child.said.startswith(b'["unmade"'):
        raise RuntimeError(f"file {child.number} was not made: {json.loads(child.said)[1]}")
    outcome, message = Outcome.CRASH, f"status {status}"
    if killed:
        outcome, message = Outcome.HANG, ""
    elif report:
        said, message = json.loads(report)
        outcome = Outcome(said)
    seconds = time.monotonic() - child.begin
    return Result(child.number, mutation, outcome, message, seconds, usage.ru_maxrss * 1024)


def command_trial(case: Case, limits: Limits | None = None) -> tuple[Outcome, str]:
    """What becomes of the real command `robcert` with the arguments of ``case``.

    It runs in the folder `work` beside the file, empty unless the case is about it; a change of any
    other file beside it is `OUTSIDE`.
    """
    limits = limits or Limits()
    work = case.path.parent / "work"
    work.mkdir(exist_ok=True)
    before = _contents(case.path.parent, work)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    try:
        done = subprocess.run(
            [sys.executable, "-m", "robcert.cli.main", *case.arguments],
            cwd=work,
            capture_output=True,
            timeout=limits.seconds,
            preexec_fn=limited,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome.HANG, ""
    said = done.stderr.decode(errors="replace")
    if _contents(case.path.parent, work) != before:
        return Outcome.OUTSIDE, said[-2000:]
    return judged_output(done.returncode, said)


def judged_output(status: int, said: str) -> tuple[Outcome, str]:
    """What became of a command that ended with ``status`` and wrote ``said`` on stderr."""
    if status < 0:
        return Outcome.CRASH, f"signal {-status}: {said[-2000:]}"
    if "Traceback (most recent call last)" in said or A_BUG in said:
        return Outcome.TRACEBACK, said[-2000:]
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    if any("out of memory" in line for line in errors):
        return Outcome.MEMORY, said[-2000:]
    if status == EXIT_BAD_INPUT and len(errors) == 1:
        return Outcome.REFUSED, errors[0]
    return (Outcome.TRACEBACK if status > 1 else Outcome.OK), said[-2000:]


def _contents(folder: Path, besides: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file below ``folder``, those in ``besides`` left out."""
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if besides not in (path, *path.parents) and not path.is_dir()
    }


def by_command(campaign: Campaign, limits: Limits) -> Campaign:
    """``campaign`` with the real command in place of its trial."""

    def trial(case: Case) -> None:
        outcome, message = command_trial(case, limits)
        if outcome is Outcome.REFUSED:
            raise RobcertError(message)
        if outcome is not Outcome.OK:
            raise MisbehaviourError(outcome, message)

    return Campaign(f"{campaign.name}, robcert", campaign.make, trial)


class MisbehaviourError(Exception):
    """The command did what it must not do."""

    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome
