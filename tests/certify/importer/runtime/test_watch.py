"""Calls that end at a time limit and at Ctrl-C, in this process and in a worker."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
import torch
from onnx_models import images, saved
from pixel_costs import counting

from robcert.certify.errors import TimeLimitError
from robcert.certify.importer import LoadOptions, RunLimits, load_classifier
from robcert.certify.importer.runtime.runtime import GraphRuntime
from robcert.certify.importer.runtime.runtime_session import open_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHORT = RunLimits(seconds=0.5)


def in_process(folder: Path, limits: RunLimits) -> GraphRuntime:
    """A session of this process for a graph that would get a process of its own."""
    made = counting()
    session = open_session(made.SerializeToString(), path=folder / "x.onnx", threads=1)
    return GraphRuntime(session, "x", "float32", limits=limits)


def test_a_call_without_an_end_is_ended_in_this_process(tmp_path: Path) -> None:
    runtime = in_process(tmp_path, SHORT)
    assert runtime(torch.zeros(2, 3, 4, 4), "out").shape == (2, 5)
    begin = time.monotonic()
    with pytest.raises(TimeLimitError, match=r"took more than 0\.5 s on a batch of 2") as caught:
        runtime(torch.ones(2, 3, 4, 4), "out")
    assert "--call-limit" in caught.value.hint
    assert time.monotonic() - begin < 20


def test_a_call_without_an_end_is_ended_while_a_model_is_loaded(tmp_path: Path) -> None:
    options = LoadOptions(limits=SHORT)
    with pytest.raises(TimeLimitError, match=r"the model took more than 0\.5 s on a batch of 1"):
        load_classifier(saved(tmp_path, counting()), options, images=images())


@pytest.mark.parametrize("place", [pytest.param("here", marks=pytest.mark.slow), "worker"])
def test_an_interrupt_ends_it(place: str, tmp_path: Path) -> None:
    """Python drops an interrupt that meets a destructor, so there is a second one later."""
    runtime, path = in_process(tmp_path, RunLimits()), saved(tmp_path, counting())
    calls: dict[str, Callable[[], object]] = {
        "here": lambda: runtime(torch.ones(1, 3, 4, 4), "out"),
        "worker": lambda: load_classifier(path, images=images()),
    }
    timers = [
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)) for seconds in (4.0, 20.0)
    ]
    for timer in timers:
        timer.start()
    with pytest.raises(KeyboardInterrupt):
        calls[place]()
    for timer in timers:
        timer.cancel()
