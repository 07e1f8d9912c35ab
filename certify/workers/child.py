"""The worker's side: a fork of the process of the analysis computes rows until its pipe ends.

A fork has everything that its parent has read: the model, the settings, the images. Threads do not
survive it, so a worker computes with the one thread that it has. It writes nothing: the parent
receives the rows and writes them.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import pickle
import signal
import traceback
from typing import TYPE_CHECKING

from robcert.certify import interrupts
from robcert.certify.time_budget import BatchAbandonedError, abandoned_after

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from .links import Work

_PR_SET_PDEATHSIG = 1  # prctl's option, sys/prctl.h

_calls: list[Callable[[], None]] = []

_state = {"in worker": False}


def in_worker() -> bool:
    """Whether this process is a worker."""
    return _state["in worker"]


def at_start(call: Callable[[], None]) -> None:
    """Call ``call`` in every worker before it computes, to forget what a fork does not inherit."""
    _calls.append(call)


def serve(pipe: Connection, compute: Work, begin: Callable[[], None], parent: int) -> None:
    """Answer each message ``(rows, end)`` of the pipe; never returns.

    An answer is any number of parts, then None, or the error that ended the work.

    Args:
        pipe: to the parent.
        compute: parts of the rows that it is given.
        begin: called once, before anything is computed.
        parent: process that this one ends with.
    """
    try:
        _become_worker(parent)
        begin()
        while True:
            rows, end = pipe.recv()
            try:
                with abandoned_after(end):
                    for indices, found in compute(rows):
                        sent = portable(found) if isinstance(found, Exception) else found
                        pipe.send((indices, sent))
                answer = None
            except Exception as error:  # the parent raises it, as if it had computed the rows
                answer = portable(error)
            pipe.send(answer)
    except (EOFError, OSError):
        os._exit(0)  # the parent has ended, or wants no more
    finally:
        os._exit(1)  # without the interpreter's end, which would tidy away what is the parent's


def portable(error: Exception) -> Exception:
    """``error``, or one of the same text where it cannot be sent to another process."""
    if not isinstance(error, BatchAbandonedError):
        error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - what this line has just made
    except Exception:  # whatever its class does when it is copied
        return RuntimeError(str(error))
    return error


def _become_worker(parent: int) -> None:
    """One thread, no part in Ctrl-C, and an end with the parent."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    with contextlib.suppress(AttributeError, OSError):  # a C library without it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before it was known
        os._exit(0)
    gc.freeze()  # collecting the parent's garbage would copy its memory, and end what is not ours
    become_worker()


def become_worker() -> None:
    """Make this process a worker: one thread, no part in Ctrl-C."""
    import torch

    _state["in worker"] = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started the workers ends them
    interrupts.forget()
    torch.set_num_threads(1)
    for call in _calls:
        call()
