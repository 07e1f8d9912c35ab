"""Reads an untrusted HDF5 file through, or rescues what is whole in it, in a process of its own.

Run by `sandbox` through `certify/children/`: a request in JSON on stdin; on stdout a line with the
path of each part before it is read, and a last line with the answer, all in JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from .contents import FAULTS, Fault, described, first_fault
from .rescue import Rescue, Rescued, stored_size
from .written import UnfailingFile

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_PADDING = 2**36
"""Bytes by which a file that was cut off is lengthened at most."""


def main() -> None:
    """Answer the request on stdin."""
    request = json.load(sys.stdin)
    # HDF5's own messages go to stderr: stdout carries the answer and nothing else.
    reply = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    limit_process(request["memory"], request["seconds"])

    def tell(place: str) -> None:
        reply.write(json.dumps(place) + "\n")
        reply.flush()

    answer = (_rescue if request["target"] else _check)(request, tell)
    with reply:
        json.dump(answer, reply)


def limit_process(memory: int, seconds: int) -> None:
    """Let this process have ``memory`` bytes of addresses and ``seconds`` of processor time."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_CORE: 0,  # the death of this process is expected
    }
    for kind, limit in limits.items():
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (limit if hard < 0 else min(limit, hard), hard))


def _check(request: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    """The first fault of the file."""
    path = Path(request["path"])
    try:
        with h5py.File(path, "r", locking=False) as file:
            size, soft = path.stat().st_size, request["soft_links"]
            fault = first_fault(file, size, soft_links=soft, tell=tell)
    except FAULTS as error:
        fault = Fault("", described(error))
    return {"fault": None if fault is None else asdict(fault)}


def _rescue(request: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    """Copy the readable part of the file to the target."""
    path, target = Path(request["path"]), Path(request["target"])
    size, padded = path.stat().st_size, target.with_name(f"{target.name}.padded")
    attempt = Rescue(size, frozenset(request["skip"]), tell)
    try:
        stated = stored_size(path)
        if size < stated <= size + LONGEST_PADDING:  # HDF5 refuses a file that was cut off
            shutil.copyfile(path, padded)
            os.truncate(padded, stated)
        with UnfailingFile(target) as written:
            found = _copied(attempt, padded if padded.exists() else path, written)
            written.require_written()
    except OSError as error:
        return {"unwritable": error.errno}
    finally:
        padded.unlink(missing_ok=True)
    return asdict(found)


def _copied(attempt: Rescue, source: Path, target: UnfailingFile) -> Rescued:
    """What of ``source`` is now in ``target``."""
    try:
        with (
            h5py.File(source, "r", locking=False) as old,
            h5py.File(target, "w", libver="earliest") as new,
        ):
            return attempt.run(old, new)
    except FAULTS as error:
        return Rescued((), (), described(error))


if __name__ == "__main__":
    main()
