"""A model in a process of its own: the same scores, and limits that end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from onnx import TensorProto
from onnx_models import linear, model, node, saved, weights
from pixel_costs import COSTLY, counting

from robcert.certify.errors import ModelFileError, TimeLimitError
from robcert.certify.importer import LoadOptions, RunLimits, load_classifier
from robcert.certify.importer.runtime import worker_session
from robcert.certify.importer.runtime.runtime import GraphRuntime
from robcert.certify.importer.runtime.runtime_session import open_session
from robcert.certify.importer.runtime.worker_session import WorkerSession, WorkerSource

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto

LIMITS = RunLimits(seconds=5.0, memory=2**30)


def runtime(folder: Path, made: ModelProto, limits: RunLimits = LIMITS) -> GraphRuntime:
    path = saved(folder, made)
    source = WorkerSource(made.SerializeToString(), path, 1, path.stat().st_size, limits)
    return GraphRuntime(WorkerSession(source), "x", "float32", limits=limits)


def process_of(found: GraphRuntime) -> Any:
    session: Any = found.session
    return session._worker._process


def test_the_scores_are_those_of_a_session_here(tmp_path: Path) -> None:
    made = linear()
    session = open_session(made.SerializeToString(), path=tmp_path, threads=1)
    x = torch.rand(70, 3, 4, 4)
    here = GraphRuntime(session, "x", "float32")(x, "logits")
    found = runtime(tmp_path, made)
    assert torch.equal(found(x, "logits"), here)
    assert torch.equal(found(x[:1], "logits"), here[:1])
    assert [entry.shape for entry in found.session.get_inputs()] == [
        entry.shape for entry in session.get_inputs()
    ]


@pytest.mark.parametrize("name", ["growing", "listing", "branching"])
def test_memory_beyond_the_limit_is_an_error_and_the_next_image_is_computed(
    name: str, tmp_path: Path
) -> None:
    found = runtime(tmp_path, COSTLY[name]())
    black, white = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    expected = found(black, "out")
    with pytest.raises(ModelFileError, match=r"more than 1\.0 GiB of memory") as caught:
        found(white, "out")
    assert "--memory-limit" in caught.value.hint
    assert torch.equal(found(black, "out"), expected)


def test_time_beyond_the_limit_ends_the_process_and_the_next_call_starts_another(
    tmp_path: Path,
) -> None:
    found = runtime(tmp_path, counting(), RunLimits(seconds=1.0))
    black = torch.zeros(1, 3, 4, 4)
    expected, first = found(black, "out"), process_of(found)
    with pytest.raises(TimeLimitError, match="the model took more than 1 s on a batch of 1"):
        found(torch.ones(1, 3, 4, 4), "out")
    assert first.poll() is not None
    assert torch.equal(found(black, "out"), expected)


def test_a_process_that_dies_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = runtime(tmp_path, linear())
    os.kill(process_of(found).pid, signal.SIGSTOP)  # it is killed while it is asked
    stopped = process_of(found)
    monkeypatch.setattr(worker_session, "_read", lambda *_: stopped.kill() or _eof())
    with pytest.raises(ModelFileError, match=r"the process that runs the model died .signal 9"):
        found(torch.zeros(1, 3, 4, 4), "logits")


def _eof() -> bytes:
    raise EOFError


def test_a_failure_of_the_model_is_one_line(tmp_path: Path) -> None:
    nodes = [
        node("Cast", "x", "whole", to=TensorProto.INT64),
        node("Gather", "table whole", "out"),
    ]
    made = model(
        nodes,
        inputs={"x": ("n", 2)},
        outputs={"out": None},
        weights={"table": np.zeros(3, np.float32)},
    )
    found = runtime(tmp_path, made)
    with pytest.raises(ModelFileError, match="indices element out of data bounds") as caught:
        found(torch.full((1, 2), 7.0), "out")
    assert "\n" not in str(caught.value)


def test_the_process_ends_with_the_session(tmp_path: Path) -> None:
    found = runtime(tmp_path, linear())
    process = process_of(found)
    assert process.poll() is None
    del found
    assert process.poll() is not None


def test_the_process_ends_with_a_killed_parent(tmp_path: Path) -> None:
    """The model is in a call without an end, and reads no more of its input."""
    path = saved(tmp_path, counting())
    code = f"""
from pathlib import Path
import numpy as np
from robcert.certify.importer.runtime.limits import RunLimits
from robcert.certify.importer.runtime.worker_session import WorkerSession, WorkerSource
path = Path({str(path)!r})
session = WorkerSession(WorkerSource(path.read_bytes(), path, 1, 0, RunLimits()))
print(session._worker._process.pid, flush=True)
session.run(["out"], {{"x": np.ones((1, 3, 4, 4), np.float32)}})
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        child = int(parent.stdout.readline())
    time.sleep(0.5)
    parent.kill()
    parent.wait()
    end = time.monotonic() + 20
    while _lives(child):
        assert time.monotonic() < end, "it still runs"
        time.sleep(0.1)


def _lives(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Recorder:
    """A session that notes the sizes of its batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def run(self, _outputs: object, feed: dict[str, Any], _options: object) -> list[Any]:
        (array,) = feed.values()
        self.sizes.append(len(array))
        return [array.reshape(len(array), -1)]


def test_a_batch_larger_than_memory_allows_is_split() -> None:
    session: Any = Recorder()
    x = torch.rand(17, 3, 4, 4)
    assert torch.equal(GraphRuntime(session, "x", "float32", most_rows=7)(x, "y"), x.flatten(1))
    assert session.sizes == [7, 7, 3]
    session.sizes.clear()
    assert torch.equal(GraphRuntime(session, "x", "float32")(x, "y"), x.flatten(1))
    assert session.sizes == [17]


@pytest.mark.slow
def test_how_many_images_fit_is_found_by_the_trial(tmp_path: Path) -> None:
    made = model(
        [
            node("Flatten", "x", "flat"),
            node("ReduceMax", "flat", "top", axes=[1], keepdims=1),
            node("Tile", "top often", "large"),  # 16 MiB for each image
            node("Exp", "large", "each"),
            node("ReduceMin", "each", "least", axes=[1], keepdims=1),
            node("MatMul", "flat w", "z"),
            node("Add", "z least", "out"),
        ],
        inputs={"x": ("n", 3, 4, 4)},
        outputs={"out": None},
        weights={"often": np.array([1, 2**22], np.int64), "w": weights(5, 48)},
    )
    path = saved(tmp_path, made)

    def most_rows(memory: int | None, threads: int = 1) -> int:
        options = LoadOptions(device="cpu", threads=threads, limits=RunLimits(memory=memory))
        logits: Any = load_classifier(path, options).runtime.logits
        return int(logits.args[0].most_rows)

    assert 10 <= most_rows(2**30) <= 32  # two such tensors at a time
    assert most_rows(2**30, threads=2) <= 16
    assert most_rows(None) >= 64
