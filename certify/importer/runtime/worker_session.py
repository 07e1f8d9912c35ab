"""A session of ONNX Runtime in a process of its own, which a time and a memory limit can end."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from robcert.certify.children import ONE_THREAD
from robcert.certify.errors import ModelFileError
from robcert.certify.workers import in_worker

from .frames import array_of, packed, packed_array, unpacked
from .limits import RunLimits, gibibytes
from .sandbox import SECONDS, SECONDS_PER_GIGABYTE
from .watch import too_slow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

# -P: a file called onnx.py in the working folder is not imported.
_WORKER = ("-P", "-m", "robcert.certify.importer.runtime.worker")

WORKERS = os.name == "posix"
"""Whether this system can wait for a pipe with a time limit; elsewhere models run in-process."""

PIPE_BYTES = 2**20
"""Largest piece of a message that is written or read at once."""


@dataclass(frozen=True, slots=True)
class WorkerSource:
    """What a worker runs.

    Attributes:
        content: the serialised model.
        path: where it came from, for messages.
        threads: threads inside one operator; 0 for one per processor core.
        size: bytes of the file, for which the limits allow more.
        limits: time of a call and memory.
    """

    content: bytes
    path: Path
    threads: int
    size: int
    limits: RunLimits

    @property
    def memory(self) -> int:
        """Bytes of address space that the process may have."""
        return self.limits.address_space(self.size)


@dataclass(frozen=True, slots=True)
class Input:
    """An input of the model, as ``onnxruntime`` describes it: free axes are strings or None."""

    name: str
    shape: list[int | str | None]


class WorkerSession:
    """The part of an ``onnxruntime.InferenceSession`` that robcert uses, in a process of its own.

    A call that breaks a limit ends the process and is an error; the next call starts another one.
    Calls of several threads wait for one another. A copy in another process starts a process of its
    own, with one thread, at its first call.

    Raises a ModelFileError if the runtime refuses the model.
    """

    def __init__(self, source: WorkerSource) -> None:
        self._source, self._lock = source, threading.Lock()
        self._worker: _Worker | None = _Worker(source)
        self._inputs, self._forked = self._worker.inputs, False

    def __getstate__(self) -> dict[str, Any]:
        """What a copy in another process needs."""
        return {"_source": replace(self._source, threads=1), "_inputs": self._inputs}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The copy, without a process."""
        self.__dict__.update(state, _worker=None, _lock=threading.Lock(), _forked=True)

    def get_inputs(self) -> list[Input]:
        """The inputs of the model."""
        return self._inputs

    def get_providers(self) -> list[str]:
        """Names of the runtime's execution providers."""
        return ["CPUExecutionProvider"]

    def run(
        self, outputs: Sequence[str], feed: Mapping[str, NDArray[Any]], _options: object = None
    ) -> list[NDArray[Any]]:
        """The one output of ``outputs`` on the one input of ``feed``.

        Raises:
            ModelFileError: the runtime fails, or needs more memory than it may have.
            TimeLimitError: it takes too long.
        """
        ((name, array),), (output,) = feed.items(), outputs
        rows = len(array) if array.ndim else 1
        if in_worker() and not self._forked:
            self._leave_to_parent()
        with self._lock:
            if self._worker is None or not self._worker.alive:
                self._worker = _Worker(self._source)
            try:
                request = packed_array({"input": name, "output": output}, array)
                header, content = self._worker.ask(request, self._source.limits.call_seconds(rows))
            except _Ended as ended:
                self._end()
                if ended.by_time:
                    raise too_slow(rows, self._source.limits.call_seconds(rows)) from None
                raise ModelFileError(ended.reason) from None
            except BaseException:  # an interrupt: the answer would be taken for that of the next
                self._end()
                raise
        if "error" in header or "out_of_memory" in header:
            raise _failure(self._source, header)
        return [array_of(header, content)]

    def _leave_to_parent(self) -> None:
        """Forget the process in a worker of an analysis, whose parent uses it; start another."""
        self._forked, self._of_parent = True, self._worker  # kept: its end would end the process
        self._worker, self._lock = None, threading.Lock()
        self._source = replace(self._source, threads=1)

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.end()
        self._worker = None


class _Ended(Exception):  # noqa: N818  a state of the worker, not an error of the user
    """The worker died, or its time was up."""

    def __init__(self, reason: str, *, by_time: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.by_time = reason, by_time


class _Worker:
    """The process with the model loaded."""

    def __init__(self, source: WorkerSource) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *_WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | ONE_THREAD,
        )
        self.end = weakref.finalize(self, _end, self._process)
        if self._process.stdin is not None:
            os.set_blocking(self._process.stdin.fileno(), False)
        stated = {"path": str(source.path), "threads": source.threads, "memory": source.memory}
        seconds = SECONDS + SECONDS_PER_GIGABYTE * source.size / 2**30
        try:
            header, _ = self.ask(packed(stated, source.content), seconds)
        except _Ended as ended:
            self.end()
            message = f"{source.path}: the process that loads it ended: {ended.reason}"
            raise ModelFileError(message) from None
        except BaseException:
            self.end()
            raise
        if "error" in header or "out_of_memory" in header:
            raise _failure(source, header)
        self.inputs = [Input(name, shape) for name, shape in header["inputs"].items()]

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def ask(
        self, request: Sequence[bytes | memoryview], seconds: float
    ) -> tuple[dict[str, Any], bytes]:
        """The answer to ``request``.

        Raises:
            _Ended: the process died, or did not answer in time.
        """
        end = time.monotonic() + seconds
        source, target = self._process.stdout, self._process.stdin
        if source is None or target is None:
            message = "it has no pipes"
            raise _Ended(message)
        try:
            for part in request:
                _write(target.fileno(), part, end)
            return unpacked(lambda size: _read(source.fileno(), size, end))
        except TimeoutError:
            message = f"no answer within {seconds:.3g} s"
            raise _Ended(message, by_time=True) from None
        except (EOFError, OSError):
            message = f"the process that runs the model died ({self._cause()})"
            raise _Ended(message) from None

    def _cause(self) -> str:
        """How the process ended."""
        try:
            code = self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return "it closed its output"
        return f"signal {-code}" if code < 0 else f"status {code}"


def _write(target: int, part: bytes | memoryview, end: float) -> None:
    """Write all of ``part``; a TimeoutError where that is not possible before ``end``."""
    rest = memoryview(part)
    while len(rest):
        if not select.select([], [target], [], max(0.0, end - time.monotonic()))[1]:
            raise TimeoutError
        rest = rest[os.write(target, rest[:PIPE_BYTES]) :]


def _read(source: int, size: int, end: float) -> bytes:
    """Exactly ``size`` bytes; EOFError if there are fewer, TimeoutError if they come too late."""
    content = bytearray()
    while len(content) < size:
        if not select.select([source], [], [], max(0.0, end - time.monotonic()))[0]:
            raise TimeoutError
        piece = os.read(source, min(size - len(content), PIPE_BYTES))
        if not piece:
            raise EOFError
        content += piece
    return bytes(content)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and forget it."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            if stream is not None:
                stream.close()


def _failure(source: WorkerSource, header: dict[str, Any]) -> ModelFileError:
    """The error that the worker told of."""
    if "error" in header:
        return ModelFileError(header["error"])
    allowed = gibibytes(source.limits.allowed)
    message = f"the model needs more than {allowed} of memory on these images"
    return ModelFileError(message, hint="--memory-limit allows more")
