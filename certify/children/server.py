"""Forks children that have the modules they need; runs in a process of its own.

Started by `ask` as ``python -P -m robcert.certify.children.server SOCKET``. For every request it
forks a child and answers with its number, then with its exit status. A child is reaped at the next
request, so that its number belongs to no other process while it may be killed. The process ends
when the socket is closed. It never runs a model and never reads a file of the user.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
import traceback
from typing import Any, NoReturn


def main() -> None:
    """Answer the requests on the socket whose number is the argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one decides
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        while True:
            request, streams = _received(requests)
            with contextlib.suppress(Exception):  # the child fails again, and says why
                importlib.import_module(request["module"])
            pid = os.fork()
            if pid == 0:
                requests.close()
                _run(request, streams)
            for stream in streams:
                os.close(stream)
            _send(requests, {"pid": pid})
            _send(requests, {"status": _status(pid)})
            _wait_for_more(requests)
            os.waitpid(pid, 0)


def _run(request: dict[str, Any], streams: list[int]) -> NoReturn:
    """Run the module as ``python -m`` would, and end."""
    status = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        for stream in streams:
            os.close(stream)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv = [request["module"]]
        importlib.import_module(request["module"]).main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status & 0xFF)


def _status(pid: int) -> int:
    """The exit status of a child, or minus the signal that ended it; the child is not reaped."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    if ended is None:
        raise ChildProcessError  # never: this waits
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _received(requests: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A request and the streams of the child; the process ends if there is none."""
    head, streams, _, _ = socket.recv_fds(requests, 8, 3)
    content = b""
    while head and len(content) < int.from_bytes(head, "big"):
        piece = requests.recv(2**16)
        if not piece:
            break
        content += piece
    if not content:
        os._exit(0)
    return json.loads(content), streams


def _send(requests: socket.socket, answer: dict[str, int]) -> None:
    with contextlib.suppress(OSError):  # the other side is gone: the next request is the end
        requests.sendall(json.dumps(answer).encode() + b"\n")


def _wait_for_more(requests: socket.socket) -> None:
    with contextlib.suppress(OSError):
        requests.recv(1, socket.MSG_PEEK)


if __name__ == "__main__":
    main()
