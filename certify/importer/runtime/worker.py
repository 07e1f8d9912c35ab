"""Runs a model whose cost depends on the pixels, in a process of its own under a memory limit.

Started by :mod:`worker_session` as ``python -P -m robcert.certify.importer.runtime.worker``. The
first message on stdin holds the model; each further one an input, answered by one on stdout. The
process ends when stdin does, or when the process that started it is gone. It imports numpy and
onnxruntime, never torch.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robcert.certify.errors import RobcertError

from .frames import array_of, packed, packed_array, unpacked
from .process_memory import limit_address_space
from .runtime_session import describe_failure, open_session, out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    import onnxruntime

    Answer = list[bytes | memoryview]

_INTERVAL = 0.5
"""Seconds between two looks at whether the process that started this one still runs."""


def main() -> None:
    """Answer the messages on stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # robcert ends this process if it wants to
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # The runtime's own messages go to stderr: stdout carries the answers and nothing else.
    reply = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    header, content = unpacked(_reader(sys.stdin.buffer))
    limit_address_space(header["memory"])
    session = None
    try:
        session = open_session(content, path=Path(header["path"]), threads=header["threads"])
        inputs = {entry.name: entry.shape for entry in session.get_inputs()}
        answer = packed({"inputs": inputs})
    except RobcertError as error:
        answer = packed({"error": str(error)})
    except MemoryError:
        answer = packed({"out_of_memory": True})
    _send(reply, answer)
    while session is not None:
        header, content = unpacked(_reader(sys.stdin.buffer))
        _send(reply, _computed(session, header, content))


def _computed(
    session: onnxruntime.InferenceSession, header: dict[str, Any], content: bytes
) -> Answer:
    """The output on one input, or why there is none."""
    try:
        feed = {header["input"]: array_of(header, content)}
        (result,) = session.run([header["output"]], feed)
        return packed_array({}, np.asarray(result))
    except MemoryError:
        return packed({"out_of_memory": True})
    except Exception as error:  # onnxruntime's classes share no base but Exception
        if out_of_memory(error):
            return packed({"out_of_memory": True})
        return packed({"error": describe_failure(error)})


def _reader(stream: BinaryIO) -> Callable[[int], bytes]:
    """Function that reads exactly so many bytes; the process ends where there are no more."""

    def read(size: int) -> bytes:
        content = stream.read(size)
        if len(content) < size:
            raise SystemExit(0)
        return content

    return read


def _send(reply: BinaryIO, answer: Answer) -> None:
    for part in answer:
        reply.write(part)
    reply.flush()


def _end_with_parent() -> None:
    """End this process once its parent is gone, whatever the model does."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(_INTERVAL)
    os._exit(0)


if __name__ == "__main__":
    main()
