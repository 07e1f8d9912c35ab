"""Runs a module's ``main`` in a child process, with its input and output in pipes.

The child is forked from a process that has imported the module already and has done nothing else:
`server`. So only the first child of a kind pays for the imports, which take longer than the work
on a small file. Without such a process, a new Python is started for each child.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    Limits = tuple[tuple[int, int], ...]

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
}
"""Threads reserve address space, which is what a limit of memory counts."""

PIPE_BYTES = 2**16
"""Bytes that are written or read at once."""

# -P: a file called onnx.py in the working folder is not imported.
_PYTHON = ("-P", "-m")
_SERVER = "robcert.certify.children.server"
_FORKS = sys.platform == "linux"  # elsewhere a fork may not use what the system's libraries hold


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended.

    Attributes:
        status: its exit status, or minus the number of the signal that ended it; None if its time
            was over.
        stdout: what it wrote.
        stderr: what it wrote there.
    """

    status: int | None
    stdout: bytes
    stderr: bytes

    @property
    def cause(self) -> str:
        """Status or signal, in words."""
        if self.status is None:
            return "out of time"
        return f"signal {-self.status}" if self.status < 0 else f"status {self.status}"


def run_module(module: str, request: bytes, *, seconds: float) -> Ended:
    """The ``main`` of ``module`` in a child with ``request`` on its stdin, and one thread.

    The child has the environment, the working folder and the resource limits of this process.

    Args:
        module: full name of a module that may also be run by ``python -m``.
        request: what the child reads.
        seconds: the child is killed after this time.
    """
    server = _server() if _FORKS else None
    if server is not None:
        with server.lock, contextlib.suppress(_ServerGoneError):
            return server.run(module, request, seconds)
    return _run_alone(module, request, seconds)


def _run_alone(module: str, request: bytes, seconds: float) -> Ended:
    """The same in a new Python."""
    try:
        done = subprocess.run(
            [sys.executable, *_PYTHON, module],
            input=request,
            capture_output=True,
            timeout=seconds,
            check=False,
            env=os.environ | ONE_THREAD,
        )
    except subprocess.TimeoutExpired as error:
        return Ended(None, error.stdout or b"", error.stderr or b"")
    return Ended(done.returncode, done.stdout, done.stderr)


class _ServerGoneError(Exception):
    """The server has ended, or never answered."""


class _Server:
    """The process that forks children, as this process sees it."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.lock, self.owner = limits, threading.Lock(), os.getpid()
        self._line = b""
        self._socket, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, *_PYTHON, _SERVER, str(other.fileno())],
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | ONE_THREAD,
            )

    def run(self, module: str, request: bytes, seconds: float) -> Ended:
        """A child's end.

        Raises:
            _ServerGoneError: no child was started, or nobody knows how it ended.
        """
        deadline, pid = time.monotonic() + seconds, 0
        try:
            with _Pipes() as pipes:
                pid = self._started(module, pipes)
                in_time = pipes.exchange(request, deadline)
                status = self._status(deadline) if in_time else None
                if status is None:
                    os.kill(pid, signal.SIGKILL)
                    self._status(None)
        except BaseException:  # an interrupt; the server's next answer would be about this child
            if pid:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            self.close()
            raise
        return Ended(status, bytes(pipes.stdout), bytes(pipes.stderr))

    def close(self) -> None:
        """End the server."""
        if self.owner == os.getpid():
            self._socket.close()
            self._process.kill()
            self._process.wait()

    @property
    def closed(self) -> bool:
        """Whether the server was ended."""
        return self._socket.fileno() < 0

    def _started(self, module: str, pipes: _Pipes) -> int:
        """The number of the new child, which is not used again before the next request."""
        try:
            place = {"folder": str(Path.cwd()), "environment": os.environ | ONE_THREAD}
            content = json.dumps({"module": module, **place}).encode()
            socket.send_fds(self._socket, [len(content).to_bytes(8, "big")], pipes.of_child)
            self._socket.sendall(content)
        except OSError as error:
            raise _ServerGoneError from error
        return self._answer()["pid"]

    def _status(self, deadline: float | None) -> int | None:
        """The exit status of the child; None if there is none at the deadline."""
        wait = None if deadline is None else max(0.01, deadline - time.monotonic())
        self._socket.settimeout(wait)
        try:
            return self._answer()["status"]
        except TimeoutError:
            return None
        finally:
            self._socket.settimeout(None)

    def _answer(self) -> dict[str, int]:
        """The next line of the server; what was read of it before a time limit is kept."""
        while not self._line.endswith(b"\n"):
            piece = self._socket.recv(1)  # the line after it may have come, too
            if not piece:
                raise _ServerGoneError
            self._line += piece
        line, self._line = self._line, b""
        return dict(json.loads(line))


class _Pipes:
    """Pipes to the standard streams of a child."""

    def __init__(self) -> None:
        (stdin, self._stdin), (self._stdout, stdout), (self._stderr, stderr) = (
            os.pipe() for _ in range(3)
        )
        self.of_child = [stdin, stdout, stderr]
        self._own = [self._stdin, self._stdout, self._stderr]
        self.stdout, self.stderr = bytearray(), bytearray()

    def __enter__(self) -> _Pipes:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (*self.of_child, *self._own):
            with contextlib.suppress(OSError):  # closed on the way
                os.close(end)

    def exchange(self, request: bytes, deadline: float) -> bool:
        """Write the request, read until the child closes its streams; whether it does in time."""
        for end in self.of_child:
            os.close(end)
        self.of_child = []
        left = memoryview(request)
        read = {self._stdout: self.stdout, self._stderr: self.stderr}
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdin, selectors.EVENT_WRITE)
            for end in read:
                selector.register(end, selectors.EVENT_READ)
            os.set_blocking(self._stdin, False)
            while selector.get_map():
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    return False
                for end in (key.fd for key, _ in ready):
                    if end == self._stdin:
                        left = left[self._written(left) :]
                        done = not left
                    else:
                        piece = os.read(end, PIPE_BYTES)
                        read[end] += piece
                        done = not piece
                    if done:
                        selector.unregister(end)
                        os.close(end)
                        self._own.remove(end)
        return True

    def _written(self, content: memoryview) -> int:
        """How much of ``content`` the pipe takes; all of it if the child reads no more."""
        try:
            return os.write(self._stdin, content[:PIPE_BYTES])
        except BrokenPipeError:
            return len(content)


_known: list[_Server] = []


def _server() -> _Server | None:
    """This process's server; None in a fork of the process that started one."""
    limits = tuple(_limits())
    for server in tuple(_known):
        if server.owner != os.getpid():
            return None
        if server.limits == limits and not server.closed:
            return server
        _known.remove(server)
        server.close()
    _known.append(_Server(limits))
    return _known[-1]


def _limits() -> Iterator[tuple[int, int]]:
    """The resource limits of this process, which its children inherit."""
    import resource

    for name in dir(resource):
        if name.startswith("RLIMIT_"):
            yield resource.getrlimit(getattr(resource, name))


@atexit.register
def _close() -> None:
    for server in _known:
        server.close()
