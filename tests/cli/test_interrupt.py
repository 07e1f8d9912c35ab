"""Ctrl-C ends the program also where Python cannot handle it in time."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from onnx_models import saved
from pixel_costs import slow

from robcert.cli.shell.interrupt import GRACE

if TYPE_CHECKING:
    from pathlib import Path

NATIVE = "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
"""Minutes in one call of a library, which Python cannot interrupt."""

SECONDS = 10.0
"""Time in which a process must end on a busy machine; the call above takes many times as long."""

HEEDED = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
"""A shell without job control ignores Ctrl-C for what it starts; this undoes it."""

PROGRAM = f"{HEEDED}; from robcert.cli.main import main; main()"

SCRIPT = """
import hashlib, sys, threading, time
{heeded}
import robcert.cli.main as program
{imports}
def app(**_):
    print("begun", flush=True)
    {body}
program.app = app
sys.argv = ["robcert", "attack", "--model", "my model.onnx"]
program.main()
"""


@dataclass(frozen=True)
class Ended:
    status: int
    seconds: float
    stdout: str
    stderr: str


def interrupted(body: str, imports: str = "") -> Ended:
    """How a program that runs ``body`` as its command ends after an interrupt."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(body=body, imports=imports, heeded=HEEDED)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    try:
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    return Ended(process.returncode, time.monotonic() - begin, stdout, stderr)


def test_a_call_of_a_library_does_not_hold_it_up() -> None:
    ended = interrupted(NATIVE)
    assert ended.status == 130
    assert ended.seconds < SECONDS
    command = "robcert attack --model 'my model.onnx'"
    assert ended.stderr == f"interrupted: to continue, run: {command}\n"


def test_a_call_in_another_thread_does_not_hold_it_up() -> None:
    ended = interrupted(f"threading.Thread(target=lambda: {NATIVE}).start(); time.sleep(600)")
    assert ended.status == 130
    assert ended.seconds < SECONDS
    assert ended.stderr.startswith("interrupted: this run has saved nothing yet")
    assert ended.stderr.count("\n") == 1


def test_an_interrupt_that_is_swallowed_ends_the_program_all_the_same() -> None:
    body = """
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        time.sleep(600)"""
    ended = interrupted(body.strip())
    assert ended.status == 130
    assert GRACE / 2 < ended.seconds < SECONDS


def test_training_has_the_time_to_save_its_state() -> None:
    body = f"""
    with DeferredInterrupt() as interrupt:
        while not interrupt.requested: time.sleep(0.1)
        time.sleep({2 * GRACE})
        print("saved", flush=True)"""
    imports = "from robcert.trainers.loop.interrupt import DeferredInterrupt"
    ended = interrupted(body.strip(), imports)
    assert (ended.status, ended.stdout) == (0, "saved\n")


def test_a_status_is_kept_without_an_interrupt() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "robcert.cli.main", "attack", "--model", "no.onnx"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: no.onnx does not exist")


@pytest.mark.slow
@pytest.mark.parametrize("delay", [3.0, 8.0, 12.0, 20.0])
def test_a_model_of_one_long_operator_does_not_hold_it_up(delay: float, tmp_path: Path) -> None:
    """One product of matrices takes seconds; the results file is whole, or not there."""
    path = saved(tmp_path, slow())
    pixels = np.random.default_rng(0).random((20, 4, 4, 3)).astype(np.float32)
    np.savez(tmp_path / "images.npz", images=pixels, labels=np.arange(20) % 5)
    command = ["attack", "--allow-low-accuracy", "--model", path, "--batch-size", "1"]
    command += ["--data", tmp_path / "images.npz", "--out", tmp_path / "r.h5"]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, command)],
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert time.monotonic() - begin < SECONDS
    assert stderr.splitlines()[-1].startswith("interrupted: ")
    if (tmp_path / "r.h5").exists():
        with h5py.File(tmp_path / "r.h5") as file:
            assert file.attrs["format"] == "robcert-results"
