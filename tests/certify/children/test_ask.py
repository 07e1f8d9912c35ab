"""What a child does is told, and the next child knows nothing of it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from robcert.certify.children import ONE_THREAD, ask, run_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robcert.certify.children import Ended

    Run = Callable[..., Ended]

MODULE = """
import os, sys, time, resource

known = []

def main():
    exec(sys.stdin.read())
"""


@pytest.fixture(params=["forked", "alone"])
def run(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """The standard output of code that a child runs, by either way to have one."""
    (tmp_path / "obeys.py").write_text(f"{MODULE}\nif __name__ == '__main__':\n    main()\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setattr(ask, "_known", [])
    monkeypatch.setattr(ask, "_FORKS", request.param == "forked")

    def ended(code: str, seconds: float = 60) -> Ended:
        return run_module("obeys", textwrap.dedent(code).encode(), seconds=seconds)

    yield ended
    for server in ask._known:
        server.close()


def test_streams_and_status_are_those_of_the_child(run: Run) -> None:
    ended = run("print('said'); print('told', file=sys.stderr)")
    assert (ended.status, ended.stdout, ended.stderr) == (0, b"said\n", b"told\n")
    assert run("sys.exit(3)").status == 3
    assert run("sys.exit()").status == 0
    failed = run("raise ValueError('why')")
    assert failed.status == 1
    assert failed.stderr.endswith(b"ValueError: why\n")


def test_a_signal_is_a_negative_status(run: Run) -> None:
    ended = run("print('before', flush=True); os.kill(os.getpid(), 11)")
    assert (ended.status, ended.stdout, ended.cause) == (-11, b"before\n", "signal 11")
    assert run("print('after')").stdout == b"after\n"


@pytest.mark.parametrize("silent", [False, True])
def test_a_child_is_killed_when_its_time_is_over(silent: bool, run: Run) -> None:
    """Also one that closes its streams, after which nothing more can be read from it."""
    closing = "[os.close(i) for i in range(3)];" if silent else "print('before', flush=True);"
    begin = time.monotonic()
    ended = run(f"{closing} time.sleep(60)", 2)
    assert (ended.status, ended.stdout) == (None, b"" if silent else b"before\n")
    assert time.monotonic() - begin < 30
    assert run("print('after')").stdout == b"after\n"


def test_large_requests_and_answers_pass(run: Run) -> None:
    lines = b"#" * 2**22 + b"\nprint('x' * 2**22); print('y' * 2**22, file=sys.stderr)"
    ended = run_module("obeys", lines, seconds=60)
    assert (len(ended.stdout), len(ended.stderr)) == (2**22 + 1, 2**22 + 1)


def test_a_child_that_reads_nothing_ends_well(tmp_path: Path, run: Run) -> None:
    (tmp_path / "deaf.py").write_text("def main():\n    pass\n")
    assert run_module("deaf", b"x" * 2**22, seconds=60).status == 0


def test_a_child_leaves_nothing_to_the_next(run: Run) -> None:
    assert run("known.append(1); import wave; print(len(known))").stdout == b"1\n"
    assert run("known.append(1); print(len(known), 'wave' in sys.modules)").stdout == b"1 False\n"
    assert run("print(len(os.listdir('/proc/self/fd')))").stdout == b"4\n"  # the fourth lists


def test_environment_folder_and_limits_are_those_of_the_moment(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "print(os.getcwd(), os.environ.get('ROBCERT_X'), os.environ['OMP_NUM_THREADS'])"
    run(told)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROBCERT_X", "ünï\udc80")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    said = run(told.replace("ROBCERT_X')", "ROBCERT_X').encode('utf-8', 'surrogateescape')"))
    assert said.stdout.decode() == f"{tmp_path} {'ünï'.encode() + bytes([128])!r} 1\n"
    assert ONE_THREAD["OMP_NUM_THREADS"] == "1"
    asked = "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[0] - 1, before[1]))
    try:
        assert int(run(asked).stdout) == before[0] - 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert int(run(asked).stdout) == before[0]


def test_threads_wait_for_one_another(run: Run) -> None:
    said: dict[int, bytes] = {}
    threads = [
        threading.Thread(target=lambda i=i: said.update({i: run(f"print({i})").stdout}))
        for i in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {i: f"{i}\n".encode() for i in range(6)}


def test_a_server_that_dies_is_replaced(run: Run) -> None:
    run("pass")
    for server in ask._known:
        server._process.kill()
        server._process.wait()
    assert run("print('once')").stdout == b"once\n"
    assert run("print('twice')").stdout == b"twice\n"


def test_a_fork_does_not_use_the_server_of_its_parent(run: Run) -> None:
    run("pass")
    if (pid := os.fork()) == 0:
        os._exit(0 if run("print('in a fork')").stdout == b"in a fork\n" else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert run("print('in the parent')").stdout == b"in the parent\n"


@pytest.mark.parametrize("ended_by", ["end", "kill"])
def test_nothing_is_left_of_a_process_that_ends(ended_by: str, tmp_path: Path) -> None:
    program = """
    import json, os, signal, sys, time
    from robcert.certify.children import ask, run_module
    run_module("json.tool", b"{}", seconds=60)
    print(*(server._process.pid for server in ask._known), flush=True)
    if sys.argv[1] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), ended_by],
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == (0 if ended_by == "end" else -signal.SIGKILL), done.stderr
    (server,) = map(int, done.stdout.split())
    deadline = time.monotonic() + 20
    while is_running(server):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Whether a process has this number, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("run", ["forked"], indirect=True)
def test_an_interrupt_ends_the_child_and_the_next_request_is_answered(run: Run) -> None:
    timer = threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run("time.sleep(60)")
    timer.join()
    assert run("print('after')").stdout == b"after\n"


def test_the_server_has_one_thread_when_it_forks() -> None:
    """A fork of a process with several threads may find a lock that nobody ever opens."""
    for module in ("importer.runtime.trial", "importer.executed.child", "hdf5.trial"):
        run_module(f"robcert.certify.{module}", b"", seconds=60)
    for server in ask._known:
        assert len(list(Path(f"/proc/{server._process.pid}/task").iterdir())) == 1
